#include "conv_pieces.h"

#include <string.h>

#include "bn_rows.h"
#include "cpu_threads.h"
#include "loops.h"
#include "parallel.h"

#define ALIGN 64u

/* Gradients of weights are summed in so many parts at most: each is as large as the weights. */
#define MOST_WEIGHT_PARTS 8u

static uint64_t round_up(uint64_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

static uint64_t elements(const uint32_t dims[4]) { return (uint64_t)dims[0] * dims[1] * dims[2] * dims[3]; }

/* ---- Scratch: a stretch for each thread, then what pieces leave behind ---- */

struct scratch {
    uint64_t x, gradient, mask, weights, floats, sums; /* within a thread's stretch */
    uint64_t thread_bytes;
    uint64_t parts; /* where they begin */
    uint64_t bytes;
};

static uint64_t take(uint64_t *end, bool wanted, uint64_t bytes)
{
    uint64_t at = *end;
    if (wanted) *end += round_up(bytes);
    return at;
}

struct cut {
    uint64_t pieces, parts; /* parts of the gradient of weights: pieces in order, summed by one thread */
    uint64_t works;         /* what threads take: parts or pieces */
    uint64_t x_elements, y_elements, weight_elements; /* of a piece */
    uint64_t rows, channels;                          /* of a piece of what is summed */
};

static struct cut cut_of(const struct op_call *call, const struct onednn_shape *piece)
{
    bool data = piece->primitive == ONEDNN_CONV_BWD_DATA;
    struct cut c = {.x_elements = elements(piece->x), .y_elements = elements(piece->y)};
    c.pieces = tensor_elements(data ? call->out_tensor[0] : call->in_tensor[0]) / c.x_elements;
    c.parts = c.pieces < MOST_WEIGHT_PARTS ? c.pieces : MOST_WEIGHT_PARTS;
    c.works = piece->primitive == ONEDNN_CONV_BWD_WEIGHTS ? c.parts : c.pieces;
    c.weight_elements = (uint64_t)piece->kernel[0] * piece->kernel[1] * piece->x[3] * piece->y[3];
    c.channels = data ? piece->x[3] : piece->y[3];
    c.rows = (data ? c.x_elements : c.y_elements) / c.channels;
    return c;
}

static struct scratch scratch_of(const struct op_call *call, const struct onednn_shape *piece)
{
    struct cut c = cut_of(call, piece);
    struct scratch s = {0};
    uint32_t fused = call->op->attr.conv.fused;
    uint64_t most = piece->x[3] > piece->y[3] ? piece->x[3] : piece->y[3], end = 0;
    bool weights = piece->primitive == ONEDNN_CONV_BWD_WEIGHTS;
    s.x = take(&end, fused & CONV_NORMALIZED, c.x_elements * sizeof(float));
    s.gradient = take(&end, (fused & (CONV_GRADIENT | CONV_KEEPS)) == CONV_GRADIENT, c.y_elements * sizeof(float));
    s.mask = take(&end, fused & CONV_GRADIENT_SHUT, dtype_bytes(DTYPE_BIT, c.y_elements));
    s.weights = take(&end, weights, c.weight_elements * sizeof(float));
    s.floats = take(&end, true, 2 * most * sizeof(float));
    s.thread_bytes = end;
    s.parts = end * (c.works < cpu_threads_allowed(0) ? c.works : cpu_threads_allowed(0));
    s.bytes = s.parts;
    take(&s.bytes, fused & (CONV_SUMS | CONV_GRADIENT_SUMS), c.pieces * 2 * c.channels * sizeof(double));
    take(&s.bytes, weights, c.parts * c.weight_elements * sizeof(float));
    return s;
}

uint64_t conv_pieces_before(const struct op_call *call, const struct onednn_shape *piece)
{
    return scratch_of(call, piece).bytes;
}

/* ---- One piece ---- */

struct run {
    const struct prepared *p;
    const struct loops *loops;
    const struct onednn_shape *piece;
    struct cut cut;
    struct scratch scratch;
    struct conv_operands operands;
    uint32_t fused;
    const void *weights; /* where the kernel finds them */
};

static uint8_t *stretch(const struct run *r, unsigned thread)
{
    return (uint8_t *)op_scratch(r->p) + thread * r->scratch.thread_bytes;
}

static const float *piece_in(const struct run *r, unsigned operand, uint64_t elements_of_piece, uint64_t piece)
{
    return (const float *)op_in(r->p, operand) + piece * elements_of_piece;
}

static struct bn_range range_of(const struct run *r, unsigned thread, const float *x, uint64_t count, uint64_t channels)
{
    float *scratch = (float *)(stretch(r, thread) + r->scratch.floats);
    return (struct bn_range){.x = x, .rows = count / channels, .channels = channels, .scratch = scratch};
}

/* x as the op reads it. */
static const float *read_x(const struct run *r, unsigned thread, uint64_t piece)
{
    uint64_t count = r->cut.x_elements, channels = r->piece->x[3];
    const float *x = piece_in(r, 0, count, piece);
    if (!(r->fused & CONV_NORMALIZED)) return x;
    struct bn_norm_rows n = bn_norm_rows(op_in(r->p, r->operands.norm), channels);
    struct bn_range range = range_of(r, thread, x, count, channels);
    float *out = (float *)(stretch(r, thread) + r->scratch.x);
    r->loops->bn_normalize(&range, n.mean, n.scale, n.beta, r->fused & CONV_RECTIFIED, out, NULL);
    return out;
}

/* dy as the op reads it. */
static const float *read_gradient(const struct run *r, unsigned thread, uint64_t piece, unsigned operand)
{
    uint64_t count = r->cut.y_elements, channels = r->piece->y[3];
    const float *dy = piece_in(r, operand, count, piece);
    if (!(r->fused & CONV_GRADIENT)) return dy;
    struct bn_coefficient_rows n = bn_coefficient_rows(op_in(r->p, r->operands.coefficients), channels);
    struct bn_range range = range_of(r, thread, piece_in(r, r->operands.y, count, piece), count, channels);
    uint8_t *mask = stretch(r, thread) + r->scratch.mask;
    float *out = (float *)(stretch(r, thread) + r->scratch.gradient);
    if (r->fused & CONV_KEEPS) out = (float *)op_out(r->p, r->operands.kept) + piece * count;
    if (r->fused & CONV_GRADIENT_SHUT) {
        r->loops->bn_mask(&range, n.mean, n.scale, n.beta, mask);
        range.mask = mask;
    }
    r->loops->bn_gradient(&range, dy, n.mean, n.scale, n.shift, n.slope, NULL, out);
    return out;
}

static double *piece_sums(const struct run *r, uint64_t piece)
{
    return (double *)((uint8_t *)op_scratch(r->p) + r->scratch.parts) + piece * 2 * r->cut.channels;
}

static bool sums_forward(const struct run *r) { return r->fused & CONV_SUMS && r->p->call.pass == PASS_FORWARD; }

static bool run_forward(const struct run *r, unsigned thread, uint64_t piece, struct error *err)
{
    uint64_t count = r->cut.y_elements, channels = r->cut.channels;
    float *y = (float *)op_out(r->p, 0) + piece * count;
    struct onednn_call call = {.x = read_x(r, thread, piece), .w = r->weights, .y = y};
    call.workspace = op_onednn_scratch(r->p);
    TRY(onednn_run_alone(r->p->onednn, thread, &call, err));
    if (r->operands.residual != NO_OPERAND) r->loops->add(y, y, piece_in(r, r->operands.residual, count, piece), count);
    if (!sums_forward(r)) return true;
    struct bn_range range = range_of(r, thread, y, count, channels);
    double *sums = piece_sums(r, piece);
    r->loops->bn_statistics(&range, sums, sums + channels);
    return true;
}

/* x's other gradient is added; where ReLU was shut that made x nothing is left. */
static void finish_gradient(const struct run *r, uint64_t piece, float *dx)
{
    uint64_t count = r->cut.x_elements;
    if (r->fused & CONV_ADDS) r->loops->add(dx, dx, piece_in(r, r->operands.residual, count, piece), count);
    if (r->fused & CONV_RECTIFIES)
        r->loops->relu_backward(dx, piece_in(r, r->operands.rectified, count, piece), dx, count);
}

static bool run_data(const struct run *r, unsigned thread, uint64_t piece, struct error *err)
{
    uint64_t count = r->cut.x_elements, channels = r->cut.channels;
    float *dx = (float *)op_out(r->p, 0) + piece * count;
    struct onednn_call call = {.x = dx, .w = r->weights, .y = read_gradient(r, thread, piece, 0)};
    call.workspace = op_onednn_scratch(r->p);
    TRY(onednn_run_alone(r->p->onednn, thread, &call, err));
    finish_gradient(r, piece, dx);
    if (!(r->fused & CONV_GRADIENT_SUMS)) return true;
    struct bn_norm_rows n = bn_norm_rows(op_in(r->p, r->operands.norm), channels);
    struct bn_range range = range_of(r, thread, piece_in(r, r->operands.x, count, piece), count, channels);
    double *sums = piece_sums(r, piece);
    r->loops->bn_shut_sums(&range, n.mean, n.scale, n.beta, r->fused & CONV_SHUTS, dx, sums, sums + channels);
    return true;
}

/* ---- Gradients of weights ---- */

static float *part_weights(const struct run *r, uint64_t part)
{
    return (float *)((uint8_t *)op_scratch(r->p) + r->scratch.parts) + part * r->cut.weight_elements;
}

/* The pieces of a part in order: oneDNN writes each one's gradient, which is added here. */
static bool run_weights(const struct run *r, unsigned thread, uint64_t part, struct error *err)
{
    uint64_t first = r->cut.pieces * part / r->cut.parts, last = r->cut.pieces * (part + 1) / r->cut.parts;
    float *sum = part_weights(r, part), *next = (float *)(stretch(r, thread) + r->scratch.weights);
    for (uint64_t piece = first; piece < last; piece++) {
        struct onednn_call call = {.x = read_x(r, thread, piece), .w = piece == first ? sum : next};
        call.y = read_gradient(r, thread, piece, 1);
        call.workspace = op_onednn_scratch(r->p);
        TRY(onednn_run_alone(r->p->onednn, thread, &call, err));
        if (piece > first) r->loops->add(sum, sum, next, r->cut.weight_elements);
    }
    return true;
}

static void merge_weights(const void *context, uint64_t first, uint64_t last)
{
    const struct run *r = context;
    float *out = op_out(r->p, 0);
    uint64_t n = last - first;
    if (r->cut.parts == 1) memcpy(out + first, part_weights(r, 0) + first, n * sizeof *out);
    for (uint64_t part = 1; part < r->cut.parts; part++)
        r->loops->add(out + first, (part == 1 ? part_weights(r, 0) : out) + first, part_weights(r, part) + first, n);
}

/* ---- Sums ---- */

/* Mean and squares of all pieces (Chan, Golub and LeVeque, as in loops.c), which have as many rows each. */
static void merge_statistics(const struct run *r, double *all)
{
    uint64_t channels = r->cut.channels;
    memcpy(all, piece_sums(r, 0), 2 * channels * sizeof *all);
    for (uint64_t i = 1; i < r->cut.pieces; i++) {
        const double *next = piece_sums(r, i);
        const double share = 1 / (double)(i + 1), weight = (double)(i * r->cut.rows) * share;
        for (uint64_t c = 0; c < channels; c++) {
            double difference = next[c] - all[c];
            all[c] += difference * share;
            all[channels + c] += next[channels + c] + difference * difference * weight;
        }
    }
}

static void merge_gradients(const struct run *r, double *all)
{
    uint64_t width = 2 * r->cut.channels;
    memcpy(all, piece_sums(r, 0), width * sizeof *all);
    for (uint64_t i = 1; i < r->cut.pieces; i++)
        for (uint64_t c = 0; c < width; c++) all[c] += piece_sums(r, i)[c];
}

/* ---- All ---- */

static bool run_one(const void *context, unsigned thread, uint64_t index, struct error *err)
{
    const struct run *r = context;
    switch (r->piece->primitive) {
    case ONEDNN_CONV: return run_forward(r, thread, index, err);
    case ONEDNN_CONV_BWD_DATA: return run_data(r, thread, index, err);
    default: return run_weights(r, thread, index, err);
    }
}

bool conv_pieces_run(const struct prepared *p, struct error *err)
{
    const struct onednn_shape *piece = onednn_kernel_shape(p->onednn);
    bool weights = piece->primitive == ONEDNN_CONV_BWD_WEIGHTS;
    struct run r = {.p = p, .loops = loops_best(), .piece = piece, .cut = cut_of(&p->call, piece)};
    r.scratch = scratch_of(&p->call, piece);
    r.operands = conv_operands(p->call.op);
    r.fused = p->call.op->attr.conv.fused;
    struct onednn_call call = {.w = weights ? op_out(p, 0) : op_in(p, 1), .workspace = op_onednn_scratch(p)};
    TRY(onednn_move_weights(p->onednn, &call, &r.weights, err));
    TRY(parallel_each(r.cut.works, run_one, &r, err));
    if (weights) parallel_run(r.cut.weight_elements, r.cut.weight_elements * r.cut.parts, merge_weights, &r);
    if (piece->primitive == ONEDNN_CONV && sums_forward(&r)) merge_statistics(&r, op_out(p, 1));
    if (r.fused & CONV_GRADIENT_SUMS) merge_gradients(&r, op_out(p, 1));
    return true;
}
