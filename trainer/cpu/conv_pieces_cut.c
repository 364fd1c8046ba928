/* Which convolutions run by pieces, and how large these are: measured with bench/cpu_lowered (ResNet-29 and 20 at 64
 * and 128 images, ResNet-50 at 4 of 224 x 224) on a Xeon with 2 MiB of second-level cache a core. */
#include "conv_pieces.h"

#define VECTOR 16u /* channels that the loops here take at a time */

/* Of x and y together. Twice and half of it are 1 to 3 % slower in ResNet-29. */
#define PIECE_BYTES (384u << 10)
/* Fewer pieces leave threads without work. */
#define LEAST_PIECES 8u
/* With more weights than this they push the piece out of the cache, and oneDNN does better over the whole batch: with
 * 1 MiB and more (ResNet-50's stages 3 and 4) pieces cost 13 and 53 % of the backward pass. */
#define MOST_WEIGHT_BYTES (768u << 10)

static uint64_t image_bytes(const uint32_t dims[4]) { return (uint64_t)dims[1] * dims[2] * dims[3] * sizeof(float); }

static uint64_t weight_bytes(const struct onednn_shape *s)
{
    return (uint64_t)s->kernel[0] * s->kernel[1] * s->x[3] * s->y[3] * sizeof(float);
}

/* The largest divisor of n that is at most `most`, or 1. */
static uint32_t divisor(uint32_t n, uint64_t most)
{
    uint32_t d = most < n ? (uint32_t)most : n;
    while (d > 1 && n % d != 0) d--;
    return d ? d : 1;
}

/* How many of n equal things a piece has, `bytes` each. */
static uint32_t piece_of(uint32_t n, uint64_t bytes)
{
    uint64_t most = PIECE_BYTES / bytes, fair = n / LEAST_PIECES;
    return divisor(n, most < fair ? most : fair);
}

static bool is_worth_cutting(const struct op_call *call, const struct onednn_shape *s)
{
    if (s->bias || weight_bytes(s) > MOST_WEIGHT_BYTES) return false;
    /* oneDNN's sums of gradients of weights depend on the number of threads, those over pieces do not. */
    if (s->primitive == ONEDNN_CONV_BWD_WEIGHTS) return true;
    return call->op->attr.conv.fused != 0 && s->x[3] % VECTOR == 0 && s->y[3] % VECTOR == 0;
}

void conv_pieces_cut(const struct op_call *call, struct onednn_shape *s)
{
    if (!is_worth_cutting(call, s)) return;
    uint64_t bytes = image_bytes(s->x) + image_bytes(s->y);
    if (s->kernel[0] == 1 && s->kernel[1] == 1 && s->stride == 1 && s->padding[0] == 0 && s->padding[1] == 0) {
        s->x[1] = s->y[1] = piece_of(s->x[0] * s->x[1], bytes / s->x[1]);
        s->x[0] = s->y[0] = 1;
    } else {
        s->x[0] = s->y[0] = piece_of(s->x[0], bytes);
    }
    s->alone = 1;
}
