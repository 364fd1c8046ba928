/* Convolutions of cpu_backend, with what a lowered one does besides (lower.h), and the parts of a lowered batch
 * normalisation: oneDNN's convolutions, own loops before and after them. Operands that are read through a BN are first
 * written to the workspace whole, unless the op runs by pieces (conv_pieces.h). */
#include <string.h>

#include "bn_parts.h"
#include "bn_rows.h"
#include "conv_pieces.h"
#include "conv_tiles.h"
#include "conv_tiles_cut.h"
#include "onednn_isa.h"
#include "parallel.h"

#define ALIGN 64u

static uint64_t round_up(uint64_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

/* ---- Scratch before oneDNN's: which operands it holds, and where ---- */

struct scratch {
    uint64_t x, gradient; /* read through a BN: offsets */
    uint64_t mask;        /* of the gradient, or of the result */
    uint64_t parts;
    uint64_t bytes;
};

static uint64_t take(struct scratch *s, bool wanted, uint64_t bytes)
{
    uint64_t at = s->bytes;
    if (wanted) s->bytes += round_up(bytes);
    return at;
}

static struct scratch scratch_of(const struct op_call *call)
{
    struct scratch s = {0};
    const struct op *op = call->op;
    bool data = op->kind == OP_CONV_BWD_DATA;
    uint32_t fused = op->attr.conv.fused;
    const struct tensor *made = call->out_tensor[0], *dy = call->in_tensor[data ? 0 : 1];
    const struct tensor *masked = fused & CONV_SHUTS ? made : dy;
    if (fused & CONV_SHUTS && fused & CONV_GRADIENT_SHUT && dy->bytes > made->bytes) masked = dy;
    s.x = take(&s, fused & CONV_NORMALIZED, call->in_tensor[0]->bytes);
    s.gradient = take(&s, (fused & (CONV_GRADIENT | CONV_KEEPS)) == CONV_GRADIENT, dy->bytes);
    s.mask = take(&s, fused & (CONV_GRADIENT_SHUT | CONV_SHUTS), dtype_bytes(DTYPE_BIT, tensor_elements(masked)));
    uint64_t parts = fused & CONV_GRADIENT ? bn_parts_bytes(dy) : 0;
    uint64_t sums = fused & (CONV_SUMS | CONV_GRADIENT_SUMS) ? bn_parts_bytes(made) : 0;
    uint64_t normal = fused & CONV_NORMALIZED ? bn_parts_bytes(call->in_tensor[0]) : 0;
    if (sums > parts) parts = sums;
    if (normal > parts) parts = normal;
    s.parts = take(&s, parts > 0, parts);
    return s;
}

bool cpu_conv_reads_half(const struct op_call *call)
{
    bool halves = call->in_tensor[0]->dtype == DTYPE_BF16 && call->out_tensor[0]->dtype == DTYPE_BF16;
    return halves && call->op->attr.conv.fused == 0 && onednn_multiplies_bf16();
}

uint64_t cpu_conv_before(const struct op_call *call)
{
    struct onednn_shape shape = {0};
    if (cpu_conv_reads_half(call)) return 0;
    if (conv_tiles_suit(call)) return conv_tiles_bytes(call);
    cpu_fast_table.kernels[call->op->kind].onednn(call, &shape);
    if (conv_is_cut(&shape)) return conv_pieces_before(call, &shape);
    return call->op->attr.conv.fused ? scratch_of(call).bytes : 0;
}

/* ---- Passes over a tensor ---- */

static void normalize(const struct tensor *tensor, const void *norm, bool relu, struct bn_parts *b)
{
    struct bn_norm_rows n = bn_norm_rows(norm, tensor->dims[3]);
    b->mean = n.mean;
    b->factor = n.scale;
    b->beta = n.beta;
    b->relu = relu;
}

/* The gradient of what a BN normalised, into `out`; where ReLU was shut counts as 0 if there is room for a mask, which
 * is written if one is wanted. */
static void gradient(const struct tensor *tensor, const float *dy, const void *coefficients, uint8_t *mask, float *out,
                     struct bn_parts *b)
{
    struct bn_coefficient_rows n = bn_coefficient_rows(coefficients, tensor->dims[3]);
    b->mean = n.mean;
    b->factor = n.scale;
    b->beta = n.beta;
    b->shift = n.shift;
    b->slope = n.slope;
    b->dy = dy;
    b->out = out;
    b->shuts = mask && bn_parts_shut_alone(tensor);
    if (mask && !b->shuts) {
        b->mask_out = mask;
        bn_parts_mask(b);
        b->mask = mask;
    }
    bn_parts_gradient(b);
}

static void take_sums(const struct tensor *tensor, const float *x, void *scratch, double *sums)
{
    struct bn_parts b = bn_parts_of(tensor, x, scratch);
    bn_parts_statistics(&b);
    memcpy(sums, b.part_sums, 2 * b.channels * sizeof *sums);
}

struct range {
    const struct loops *loops;
    float *out;
    const float *a, *rectified;
    const uint8_t *mask;
};

static void add_range(const void *context, uint64_t first, uint64_t last)
{
    const struct range *r = context;
    r->loops->add(r->out + first, r->out + first, r->a + first, last - first);
}

/* Each task takes whole bytes of the mask. */
static void shut_range(const void *context, uint64_t first, uint64_t last)
{
    const struct range *r = context;
    r->loops->keep(r->out + 8 * first, r->out + 8 * first, r->mask + first, 8 * (last - first));
}

static void finish_range(const void *context, uint64_t first, uint64_t last)
{
    const struct range *r = context;
    if (r->a) add_range(r, first, last);
    if (r->rectified) r->loops->relu_backward(r->out + first, r->rectified + first, r->out + first, last - first);
}

static void shut(float *values, const uint8_t *mask, uint64_t elements)
{
    struct range r = {.loops = loops_best(), .out = values, .mask = mask};
    uint64_t whole = elements / 8;
    parallel_run(whole, elements, shut_range, &r);
    r.loops->keep(values + 8 * whole, values + 8 * whole, mask + whole, elements % 8);
}

/* ---- Convolutions ---- */

/* x as the op reads it. */
static const void *read_x(const struct prepared *p, const struct scratch *s)
{
    struct conv_operands o = conv_operands(p->call.op);
    uint32_t fused = p->call.op->attr.conv.fused;
    uint8_t *scratch = op_scratch(p);
    const struct tensor *x = p->call.in_tensor[0];
    if (!(fused & CONV_NORMALIZED)) return op_in(p, 0);
    struct bn_parts b = bn_parts_of(x, op_in(p, 0), scratch + s->parts);
    normalize(x, op_in(p, o.norm), fused & CONV_RECTIFIED, &b);
    b.out = (float *)(scratch + s->x);
    bn_parts_normalize(&b);
    return b.out;
}

/* dy as the op reads it. */
static const void *read_gradient(const struct prepared *p, const struct scratch *s, unsigned dy)
{
    struct conv_operands o = conv_operands(p->call.op);
    uint32_t fused = p->call.op->attr.conv.fused;
    uint8_t *scratch = op_scratch(p), *mask = fused & CONV_GRADIENT_SHUT ? scratch + s->mask : NULL;
    const struct tensor *tensor = p->call.in_tensor[dy];
    if (!(fused & CONV_GRADIENT)) return op_in(p, dy);
    struct bn_parts b = bn_parts_of(tensor, op_in(p, o.y), scratch + s->parts);
    float *out = o.kept == NO_OPERAND ? (float *)(scratch + s->gradient) : op_out(p, o.kept);
    gradient(tensor, op_in(p, dy), op_in(p, o.coefficients), mask, out, &b);
    return b.out;
}

/* x, w [, bias] [, norm] [, residual] -> y [, sums] */
bool cpu_conv(const struct prepared *p, struct error *err)
{
    if (!p->onednn) return conv_tiles_run(p, err);
    if (conv_is_cut(onednn_kernel_shape(p->onednn))) return conv_pieces_run(p, err);
    struct conv_operands o = conv_operands(p->call.op);
    struct scratch s = scratch_of(&p->call);
    struct onednn_call call = {.w = op_in(p, 1), .y = op_out(p, 0), .workspace = op_onednn_scratch(p)};
    call.x = read_x(p, &s);
    if (o.bias != NO_OPERAND) call.bias = op_in(p, o.bias);
    TRY(onednn_run(p->onednn, &call, err));
    if (o.residual != NO_OPERAND) {
        struct range r = {.loops = loops_best(), .out = op_out(p, 0), .a = op_in(p, o.residual)};
        uint64_t elements = tensor_elements(p->call.out_tensor[0]);
        parallel_run(elements, elements, add_range, &r);
    }
    bool sums = p->call.op->attr.conv.fused & CONV_SUMS && p->call.pass == PASS_FORWARD;
    if (sums) take_sums(p->call.out_tensor[0], op_out(p, 0), (uint8_t *)op_scratch(p) + s.parts, op_out(p, 1));
    return true;
}

/* Adds x's other gradient, and zeroes what ReLU shut that made x. */
static void finish_gradient(const struct prepared *p)
{
    struct conv_operands o = conv_operands(p->call.op);
    struct range r = {.loops = loops_best(), .out = op_out(p, 0)};
    if (o.residual != NO_OPERAND) r.a = op_in(p, o.residual);
    if (o.rectified != NO_OPERAND) r.rectified = op_in(p, o.rectified);
    uint64_t elements = tensor_elements(p->call.out_tensor[0]);
    if (r.a || r.rectified) parallel_run(elements, elements, finish_range, &r);
}

/* Zeroes what ReLU shut, and takes the BN's gradient sums. */
static void finish_data(const struct prepared *p, const struct scratch *s)
{
    struct conv_operands o = conv_operands(p->call.op);
    const struct tensor *made = p->call.out_tensor[0];
    uint8_t *scratch = op_scratch(p);
    float *dx = op_out(p, 0);
    struct bn_parts b = bn_parts_of(made, op_in(p, o.x), scratch + s->parts);
    normalize(made, op_in(p, o.norm), true, &b);
    if (p->call.op->attr.conv.fused & CONV_SHUTS) {
        b.mask_out = scratch + s->mask;
        bn_parts_mask(&b);
        shut(dx, b.mask_out, tensor_elements(made));
    }
    b.dy = dx;
    bn_parts_gradient_sums(&b);
    memcpy(op_out(p, 1), b.sums, 2 * b.channels * sizeof *b.sums);
}

/* dy, w [, y, coefficients] [, other] [, rectified] [, x, norm] -> dx [, gradient sums] [, dy as it is read] */
bool cpu_conv_backward_data(const struct prepared *p, struct error *err)
{
    if (!p->onednn) return conv_tiles_run(p, err);
    if (conv_is_cut(onednn_kernel_shape(p->onednn))) return conv_pieces_run(p, err);
    struct scratch s = scratch_of(&p->call);
    struct onednn_call call = {.x = op_out(p, 0), .w = op_in(p, 1), .workspace = op_onednn_scratch(p)};
    call.y = read_gradient(p, &s, 0);
    TRY(onednn_run(p->onednn, &call, err));
    finish_gradient(p);
    if (p->call.op->attr.conv.fused & CONV_GRADIENT_SUMS) finish_data(p, &s);
    return true;
}

/* x, dy [, norm] [, y, coefficients] -> dw [, dbias] */
bool cpu_conv_backward_weights(const struct prepared *p, struct error *err)
{
    if (!p->onednn) return conv_tiles_run(p, err);
    if (conv_is_cut(onednn_kernel_shape(p->onednn))) return conv_pieces_run(p, err);
    struct scratch s = scratch_of(&p->call);
    struct onednn_call call = {.w = op_out(p, 0), .workspace = op_onednn_scratch(p)};
    call.x = read_x(p, &s);
    call.y = read_gradient(p, &s, 1);
    if (p->call.op->outputs > 1) call.bias = op_out(p, 1);
    return onednn_run(p->onednn, &call, err);
}

/* ---- Batch normalisation ---- */

bool cpu_bn_sums(const struct prepared *p, struct error *err)
{
    (void)err;
    if (p->call.pass == PASS_EVALUATE) return true;
    take_sums(p->call.in_tensor[0], op_in(p, 0), op_scratch(p), op_out(p, 0));
    return true;
}

/* Of the parts only their cut is wanted: no scratch is touched. */
bool cpu_bn_apply(const struct prepared *p, struct error *err)
{
    (void)err;
    bool relu = p->call.op->attr.bn.relu, adds = p->call.op->inputs > 2;
    struct bn_parts b = bn_parts_of(p->call.in_tensor[0], op_in(p, 0), op_scratch(p));
    normalize(p->call.in_tensor[0], op_in(p, 1), relu && !adds, &b);
    b.out = op_out(p, 0);
    b.other = adds ? op_in(p, 2) : NULL;
    b.relu_sum = adds && relu;
    bn_parts_normalize(&b);
    return true;
}

static uint64_t mask_bytes(const struct op_call *call)
{
    return call->op->attr.bn.relu ? round_up(dtype_bytes(DTYPE_BIT, tensor_elements(call->in_tensor[0]))) : 0;
}

bool cpu_bn_backward_workspace(const struct op_call *call, uint64_t *bytes, struct error *err)
{
    (void)err;
    *bytes = mask_bytes(call) + round_up(bn_parts_bytes(call->in_tensor[0]));
    if (call->op->kind == OP_BN_BWD_APPLY) *bytes += bn_backward_tables_bytes(call);
    return true;
}

static void take_gradient_sums(const struct prepared *p, double *sums)
{
    uint8_t *mask = op_scratch(p);
    struct bn_parts b = bn_parts_of(p->call.in_tensor[0], op_in(p, 0), mask + mask_bytes(&p->call));
    normalize(p->call.in_tensor[0], op_in(p, 2), p->call.op->attr.bn.relu, &b);
    b.mask_out = mask;
    if (b.relu) bn_parts_mask(&b);
    b.mask = b.relu ? mask : NULL;
    b.dy = op_in(p, 1);
    bn_parts_gradient_sums(&b);
    memcpy(sums, b.sums, 2 * b.channels * sizeof *sums);
}

bool cpu_bn_backward_sums(const struct prepared *p, struct error *err)
{
    (void)err;
    take_gradient_sums(p, op_out(p, 0));
    return true;
}

/* x, dy, norm [, gradient sums] [, other] -> dx, dgamma, dbeta [, y] */
bool cpu_bn_backward_apply(const struct prepared *p, struct error *err)
{
    const struct tensor *x = p->call.in_tensor[0];
    const uint8_t other = bn_other_gradient(p->call.op);
    uint8_t *mask = op_scratch(p), *parts = mask + mask_bytes(&p->call);
    const struct bn_backward_tables t = bn_backward_tables_of(p, parts + round_up(bn_parts_bytes(x)));
    if (t.own == t.sums && p->call.op->attr.bn.frozen != BN_FROZEN) take_gradient_sums(p, t.own);
    TRY(bn_make_coefficients(p, &t, err));
    struct bn_parts b = bn_parts_of(x, op_in(p, 0), parts);
    b.other = other == NO_OPERAND ? NULL : op_in(p, other);
    gradient(x, op_in(p, 1), t.coefficients, p->call.op->attr.bn.relu ? mask : NULL, op_out(p, 0), &b);
    if (p->call.op->outputs < 4) return true;
    b = bn_parts_of(x, op_in(p, 0), parts);
    normalize(x, op_in(p, 2), p->call.op->attr.bn.relu, &b);
    b.out = op_out(p, 3);
    bn_parts_normalize(&b);
    return true;
}
