/* What a convolution does besides, where cuDNN refuses to do it: by the kernels that a plan has which fuses nothing,
 * around the convolution alone. The plan stays as it is. What its input is normalised to, which has no bytes in the
 * arena, lies beside it, in memory that all such ops of the computing stream share. */
#include <inttypes.h>

#include "bn_layout.h"
#include "conv.h"
#include "cuda_ops.h"

/* ---- What is asked ---- */

bool conv_question_next(const struct op_call *call, struct engine_question *question)
{
    if (engine_question_next(question)) return true;
    if (!(question->fused & CONV_APART)) return false;
    engine_question_of(call->graph, call->op, call->pass, question);
    question->fused &= ~(uint32_t)CONV_APART;
    return true;
}

uint32_t conv_apart_bits(const struct op_call *call, const struct engine_question *question)
{
    struct engine_question whole;
    return engine_question_of(call->graph, call->op, call->pass, &whole) ? whole.fused & ~question->fused : 0;
}

static bool copy_fits(const struct op_call *call, uint64_t copy_bytes) { return copy_bytes <= call->workspace_bytes; }

bool conv_copies_beside(const struct op_call *call, const struct engine_question *question)
{
    return !copy_fits(call, conv_copy_bytes(call, question));
}

uint64_t conv_limit_bytes(const struct op_call *call, const struct engine_question *question)
{
    const uint64_t copy = conv_copy_bytes(call, question);
    return copy_fits(call, copy) ? call->workspace_bytes - copy : call->workspace_bytes;
}

/* Of x as its BN normalises it, the convolution's, or the one whose ReLU shuts the gradient of x. */
static uint64_t normalized_bytes(const struct op_call *call, uint32_t apart)
{
    const struct tensor *x = apart & CONV_NORMALIZED ? call->in_tensor[0]
                             : apart & CONV_SHUTS    ? call->in_tensor[conv_operands(call->op).x]
                                                     : NULL;
    return x ? (x->bytes + 255) / 256 * 256 : 0;
}

uint64_t conv_apart_bytes(const struct op_call *call, const struct engine_question *question)
{
    const uint64_t copy = conv_copies_beside(call, question) ? conv_copy_bytes(call, question) : 0;
    return normalized_bytes(call, conv_apart_bits(call, question)) + copy;
}

/* ---- Memory beside the arena ---- */

/* What stays free for what takes memory later: code that is loaded when it first runs, and recordings. */
#define MARGIN_BYTES ((uint64_t)256 << 20)

static bool check(const struct cuda_convolutions *all, cudaError_t status, uint64_t bytes, struct error *err)
{
    return cuda_check(all->device->vendor, status, err, "%" PRIu64 " bytes beside the arena", bytes);
}

/* Too little is no failure of the device, and is not to be found by whoever asks for the last one. */
static bool take(const struct cuda_convolutions *all, uint64_t bytes, void **at, struct error *err)
{
    const struct cuda_calls *cuda = &all->device->vendor->cuda;
    size_t free_bytes, total_bytes;
    TRY(check(all, cuda->MemGetInfo(&free_bytes, &total_bytes), bytes, err));
    if (free_bytes < bytes + MARGIN_BYTES) return check(all, cudaErrorMemoryAllocation, bytes, err);
    cudaError_t status = cuda->Malloc(at, bytes);
    if (status == cudaErrorMemoryAllocation) cuda->GetLastError();
    return check(all, status, bytes, err);
}

static void give_back(struct cuda_convolutions *all)
{
    while (all->scratch_count > 0) all->device->vendor->cuda.Free(all->scratch[--all->scratch_count].at);
}

bool conv_apart_reserve(struct cuda_convolutions *all, uint64_t bytes, void **at, struct error *err)
{
    *at = NULL;
    for (uint32_t i = 0; i < all->scratch_count && bytes > 0 && !*at; i++)
        if (all->scratch[i].bytes >= bytes) *at = all->scratch[i].at;
    if (bytes == 0 || *at) return true;
    if (!all->scratch_used) give_back(all);
    if (all->scratch_count == CONV_MOST_SCRATCH) return error_set(err, ERROR_FAILED, "memory was taken too often");
    if (all->scratch_short && all->scratch_count > 0) return check(all, cudaErrorMemoryAllocation, bytes, err);
    if (!take(all, bytes, at, err)) {
        all->scratch_short = true;
        return false;
    }
    all->scratch[all->scratch_count++] = (struct conv_scratch){*at, bytes};
    return true;
}

/* The ones and zeros that a bias is added by. */
static bool reserve_ones(struct cuda_convolutions *all, struct error *err)
{
    const struct vendor *vendor = all->device->vendor;
    float ones[CONV_MOST_BIASED];
    void *at;
    if (all->ones) return true;
    TRY(take(all, 2 * sizeof ones, &at, err));
    all->ones = at;
    for (uint32_t i = 0; i < CONV_MOST_BIASED; i++) ones[i] = 1;
    return cuda_check(vendor, vendor->cuda.MemsetAsync(at, 0, 2 * sizeof ones, all->device->own), err, "zeros") &&
           cuda_check(vendor, vendor->cuda.MemcpyAsync(at, ones, sizeof ones, cudaMemcpyHostToDevice, all->device->own),
                      err, "ones") &&
           cuda_check(vendor, vendor->cuda.StreamSynchronize(all->device->own), err, "ones");
}

bool conv_apart_place(struct cuda_convolutions *all, const struct prepared *p, bool whole, struct conv_way *way,
                      struct error *err)
{
    const struct engine_question *q = &way->question;
    void *at;
    way->copy_bytes = conv_copy_bytes(&p->call, q);
    way->apart = whole ? conv_apart_bits(&p->call, q) : 0;
    way->copy = copy_fits(&p->call, way->copy_bytes) ? op_workspace(p) : NULL;
    way->normalized = NULL;
    if (!conv_is_aligned(p, way)) /* what lies beside the arena always is, and is kept once it is taken */
        return error_set(err, ERROR_FAILED, "its operands are not where cuDNN can read them");
    if (way->apart & ENGINE_BIAS)
        TRY((q->filters <= CONV_MOST_BIASED || error_set(err, ERROR_FAILED, "it has too many channels")) &&
            reserve_ones(all, err));
    TRY(conv_apart_reserve(all, conv_apart_bytes(&p->call, q), &at, err));
    all->scratch_used = all->scratch_used || (whole && at);
    way->normalized = at;
    if (!copy_fits(&p->call, way->copy_bytes))
        way->copy = (uint8_t *)at + normalized_bytes(&p->call, conv_apart_bits(&p->call, q));
    return true;
}

void conv_apart_finish(struct cuda_convolutions *all)
{
    give_back(all);
    if (all->ones) all->device->vendor->cuda.Free(all->ones);
}

/* ---- Before ---- */

/* Of x, to y: through a BN and ReLU, or by what is added to it. */
static bool add_apply(struct prepared *p, const struct tensor *x, struct bn_apply_arguments *a, struct error *err)
{
    const uint32_t width = cuda_width(x->dims[3], 8, a->x, a->y, a->other);
    struct launch_shape shape;
    TRY(cuda_columns(p, x, width, &a->columns, &shape, err));
    return ADD_KERNEL(p, KERNEL_FOR(bn_apply, x->dtype), shape, a, err);
}

static bool add_normalized(struct prepared *p, const struct conv_way *way, unsigned operand, unsigned norm, bool relu,
                           struct error *err)
{
    const struct tensor *x = p->call.in_tensor[operand];
    struct bn_apply_arguments a = {
        .normal = cuda_normal(op_in(p, norm), x->dims[3]), .x = op_in(p, operand), .y = way->normalized, .relu = relu};
    return add_apply(p, x, &a, err);
}

bool conv_apart_before(struct prepared *p, const struct conv_way *way, struct error *err)
{
    if (!(way->apart & CONV_NORMALIZED)) return true;
    return add_normalized(p, way, 0, conv_operands(p->call.op).norm, way->apart & CONV_RECTIFIED, err);
}

/* ---- After ---- */

/* y + bias + residual, where y lies. */
static bool add_bias(struct prepared *p, const void *residual, struct error *err)
{
    const struct tensor *y = p->call.out_tensor[0];
    const float *ones = p->device->convolutions->ones;
    struct bn_apply_arguments a = {.normal = {.mean = ones + CONV_MOST_BIASED,
                                              .inverse = ones,
                                              .gamma = ones,
                                              .beta = op_in(p, conv_operands(p->call.op).bias)},
                                   .x = op_out(p, 0),
                                   .other = residual,
                                   .y = op_out(p, 0)};
    return add_apply(p, y, &a, err);
}

static bool add_elementwise(struct prepared *p, enum kernel_id kernel, const void *with, struct error *err)
{
    void *at = op_out(p, 0);
    struct elementwise_arguments a = {.a = with, .b = at, .out = at, .count = op_elements(p)};
    a.vectors = cuda_vectors(a.count, dtype_bytes(p->call.out_tensor[0]->dtype, 1), with, at, NULL);
    return ADD_KERNEL(p, kernel, cuda_grid(p, a.vectors ? a.vectors : a.count), &a, err);
}

static bool after_forward(struct prepared *p, const struct conv_way *way, struct error *err)
{
    const struct conv_operands o = conv_operands(p->call.op);
    const struct tensor *y = p->call.out_tensor[0];
    const void *residual = way->apart & CONV_ADDS ? op_in(p, o.residual) : NULL;
    if (way->apart & ENGINE_BIAS)
        TRY(add_bias(p, residual, err));
    else if (residual)
        TRY(add_elementwise(p, KERNEL_FOR(add, y->dtype), residual, err));
    return !(way->apart & CONV_SUMS) || cuda_add_sums(p, y, op_out(p, 0), op_out(p, 1), true, err);
}

static bool after_data(struct prepared *p, const struct conv_way *way, struct error *err)
{
    const struct conv_operands o = conv_operands(p->call.op);
    const struct tensor *dx = p->call.out_tensor[0];
    if (way->apart & CONV_SHUTS)
        TRY(add_normalized(p, way, o.x, o.norm, true, err) &&
            add_elementwise(p, KERNEL_FOR(relu_backward, dx->dtype), way->normalized, err));
    return !(way->apart & CONV_GRADIENT_SUMS) ||
           cuda_add_gradient_sums(p, dx, op_in(p, o.x), op_out(p, 0), op_in(p, o.norm), KERNEL_OPEN, op_out(p, 1), true,
                                  err);
}

bool conv_apart_after(struct prepared *p, const struct conv_way *way, struct error *err)
{
    if (way->apart == 0 || way->question.pass == ENGINE_BACKWARD_WEIGHTS) return true;
    return way->question.pass == ENGINE_FORWARD ? after_forward(p, way, err) : after_data(p, way, err);
}
