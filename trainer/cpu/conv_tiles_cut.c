/* Which convolutions run by tiles, and how large these are. */
#include "conv_tiles_cut.h"

#include "weights.h"

#define CHANNELS    16u /* a multiple of every vector */
#define PLAIN_LANES 4u  /* without AVX2 */

/* A part is worth a thread's while with so many multiplications. */
#define PART_MACS   (3u << 19)
#define LEAST_PARTS 8u
#define MOST_PARTS  64u
/* Gradients of weights: each part's is as large as the weights, and all are read again. */
#define WEIGHT_PART_MACS   (2 * PART_MACS)
#define LEAST_WEIGHT_PARTS 4u
#define MOST_WEIGHT_PARTS  8u
#define WEIGHT_PARTS_BYTES (128u << 10) /* together, where that is more parts */

/* Values of a tile of the wider of x and y: 16 KiB. */
#define TILE_ELEMENTS 4096u
#define TILE_PIXELS   16u /* tiles have a multiple of */
/* Pixels whose products make a gradient of weights together, before they are added to those before: fewer add more
 * often, more do not stay in the cache. */
#define WEIGHT_TILE_PIXELS 64u

enum conv_tiles_rule conv_tiles_rule = CONV_TILES_MEASURED;

static const struct tensor *x_of(const struct op_call *call)
{
    return call->op->kind == OP_CONV_BWD_DATA ? call->out_tensor[0] : call->in_tensor[0];
}

static const struct tensor *y_of(const struct op_call *call)
{
    switch (call->op->kind) {
    case OP_CONV: return call->out_tensor[0];
    case OP_CONV_BWD_DATA: return call->in_tensor[0];
    default: return call->in_tensor[1];
    }
}

static const struct tensor *weights_of(const struct op_call *call)
{
    return call->op->kind == OP_CONV_BWD_WEIGHTS ? call->out_tensor[0] : call->in_tensor[1];
}

static uint64_t wider(const struct tiles_cut *c) { return c->x[3] > c->y[3] ? c->x[3] : c->y[3]; }

static uint64_t most(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t parts_of(const struct tiles_cut *c, enum op_kind kind)
{
    uint64_t macs = c->pixels * c->weights, parts = most(LEAST_PARTS, least(MOST_PARTS, macs / PART_MACS));
    if (kind == OP_CONV_BWD_WEIGHTS) {
        uint64_t room = least(MOST_PARTS, WEIGHT_PARTS_BYTES / (c->weights * sizeof(float)));
        parts = most(LEAST_WEIGHT_PARTS, least(most(MOST_WEIGHT_PARTS, room), macs / WEIGHT_PART_MACS));
    }
    return least(parts, c->units);
}

static uint64_t tile_pixels(const struct tiles_cut *c, enum op_kind kind)
{
    if (kind == OP_CONV_BWD_WEIGHTS) return WEIGHT_TILE_PIXELS;
    return most(TILE_PIXELS, TILE_ELEMENTS / wider(c) / TILE_PIXELS * TILE_PIXELS);
}

struct tiles_cut tiles_cut_of(const struct op_call *call)
{
    struct tiles_cut c = {.x = x_of(call)->dims, .y = y_of(call)->dims, .stride = call->op->attr.conv.stride};
    struct weight_layout layout = weight_layout(weights_of(call)->dims);
    c.plain = layout.order == WEIGHT_PLAIN;
    c.kernels = tile_kernels_of(c.plain ? PLAIN_LANES : layout.block);
    c.window = call->op->attr.conv.kernel[0] == 3;
    c.pixels = (uint64_t)c.y[0] * c.y[1] * c.y[2];
    c.weights = tensor_elements(weights_of(call));
    if (c.window) {
        c.tile = (uint64_t)c.y[1] * c.y[2];
        c.panel_pixels = (uint64_t)(c.x[1] + 2) * (c.x[2] + 2);
    } else {
        c.tile = c.panel_pixels = tile_pixels(&c, call->op->kind);
    }
    c.units = (c.pixels + c.tile - 1) / c.tile;
    c.parts = parts_of(&c, call->op->kind);
    return c;
}

/* ---- Which ---- */

static bool has_kernel(const struct op_call *call)
{
    const uint32_t *kernels = call->op->attr.conv.kernel, *paddings = call->op->attr.conv.padding;
    uint32_t kernel = kernels[0], padding = paddings[0], stride = call->op->attr.conv.stride;
    if (kernels[1] != kernel || paddings[1] != padding) return false;
    if (kernel == 3) return stride == 1 && padding == 1;
    return kernel == 1 && padding == 0 && (stride == 1 || call->op->kind != OP_CONV_BWD_DATA);
}

static bool has_bias(const struct op_call *call)
{
    if (call->op->kind == OP_CONV_BWD_WEIGHTS) return call->op->outputs > 1;
    return call->op->kind == OP_CONV && conv_operands(call->op).bias != NO_OPERAND;
}

/* As bench/cpu_units measured it on a Xeon with AVX-512 (docs/measurements.md): of ResNet-29, 20, 18 and 50. More
 * weights than that do not stay in the first-level cache beside a tile, and oneDNN's blocks of them win. */
#define MOST_WINDOW_WEIGHTS   (9u * 64 * 64)
#define MOST_NARROW_WEIGHTS   (9u * 16 * 32) /* with vectors of 8, forward and of inputs */
#define MOST_PRODUCT_WEIGHTS  (256u * 1024)
#define MOST_FORWARD_INPUTS   256u
#define MOST_GRADIENT_WEIGHTS (256u * 512)

/* 1 x 1, not of the gradient of weights. */
static bool is_faster_product(const struct op_call *call, uint64_t weights, uint32_t block)
{
    bool forward = call->op->kind == OP_CONV;
    uint32_t x = x_of(call)->dims[3], y = y_of(call)->dims[3], read = forward ? x : y, made = forward ? y : x;
    if (block == 1 && made > read) return false; /* vectors of 4 */
    return weights <= MOST_PRODUCT_WEIGHTS && (!forward || x <= MOST_FORWARD_INPUTS);
}

static bool is_faster(const struct op_call *call)
{
    uint64_t weights = tensor_elements(weights_of(call));
    uint32_t block = weight_layout(weights_of(call)->dims).block, kernel = call->op->attr.conv.kernel[0];
    bool gradient = call->op->kind == OP_CONV_BWD_WEIGHTS;
    if (kernel == 3) return weights <= (block == 8 && !gradient ? MOST_NARROW_WEIGHTS : MOST_WINDOW_WEIGHTS);
    return gradient ? weights <= MOST_GRADIENT_WEIGHTS : is_faster_product(call, weights, block);
}

bool conv_tiles_suit(const struct op_call *call)
{
    enum op_kind kind = call->op->kind;
    if (kind != OP_CONV && kind != OP_CONV_BWD_DATA && kind != OP_CONV_BWD_WEIGHTS) return false;
    /* oneDNN's sums of gradients of weights depend on the number of threads. */
    if (call->op->attr.conv.fused == 0 && kind != OP_CONV_BWD_WEIGHTS) return false;
    if (conv_tiles_rule == CONV_TILES_NEVER || has_bias(call)) return false;
    if (!has_kernel(call) || x_of(call)->dims[3] % CHANNELS != 0 || y_of(call)->dims[3] % CHANNELS != 0) return false;
    return conv_tiles_rule == CONV_TILES_ALWAYS || is_faster(call);
}

const char *conv_tiles_name(const struct op_call *call)
{
    return conv_tiles_suit(call) ? tiles_cut_of(call).kernels->name : "own";
}
