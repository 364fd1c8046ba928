/* Batch normalisation, whole and taken apart. */
#include "bn_layout.h"
#include "cuda_ops.h"

static uint32_t channels_of(const struct prepared *p) { return p->call.in_tensor[0]->dims[3]; }

/* Sums are passed from block to block here. */
static double *partial_of(const struct prepared *p) { return (double *)(void *)p->device->scratch; }

struct kernel_normal cuda_normal(const float *norm, uint32_t channels)
{
    return (struct kernel_normal){.mean = norm + BN_ROW_MEAN * channels,
                                  .inverse = norm + BN_ROW_INVERSE_DEVIATION * channels,
                                  .gamma = norm + BN_ROW_GAMMA * channels,
                                  .beta = norm + BN_ROW_BETA * channels};
}

/* ---- Sums ---- */

/* Of the tensor x at a->x; where they go is set. */
static bool add_sums(struct prepared *p, const struct tensor *x, struct bn_sums_arguments *a, struct error *err)
{
    struct launch_shape shape;
    const uint32_t width = cuda_width(x->dims[3], 8, a->x, NULL, NULL);
    a->partial = partial_of(p);
    a->step = p->device->step;
    TRY(cuda_columns_summed(p, x, width, &a->columns, &shape, err));
    return ADD_KERNEL(p, KERNEL_FOR(bn_sums, x->dtype), shape, a, err);
}

bool cuda_add_sums(struct prepared *p, const struct tensor *x, const void *at, void *sums, bool single,
                   struct error *err)
{
    return add_sums(p, x, &(struct bn_sums_arguments){.x = at, .sums = sums, .single = single}, err);
}

bool cuda_add_bias_gradient(struct prepared *p, const struct tensor *dy, const void *at, float *dbias,
                            struct error *err)
{
    return add_sums(p, dy, &(struct bn_sums_arguments){.x = at, .total = dbias}, err);
}

static bool add_gradient_sums(struct prepared *p, const struct tensor *x, struct bn_backward_sums_arguments *a,
                              struct error *err)
{
    struct launch_shape shape;
    const uint32_t width = cuda_width(x->dims[3], 8, a->x, a->dy, NULL);
    a->partial = partial_of(p);
    a->step = p->device->step;
    TRY(cuda_columns_summed(p, x, width, &a->columns, &shape, err));
    return ADD_KERNEL(p, KERNEL_FOR(bn_backward_sums, x->dtype), shape, a, err);
}

bool cuda_add_gradient_sums(struct prepared *p, const struct tensor *tensor, const void *x, const void *dy,
                            const float *norm, enum kernel_shut shut, void *sums, bool single, struct error *err)
{
    struct bn_backward_sums_arguments a = {
        .normal = cuda_normal(norm, tensor->dims[3]), .x = x, .dy = dy, .shut = shut, .sums = sums, .single = single};
    return add_gradient_sums(p, tensor, &a, err);
}

/* How many channels go together in what makes dx. */
static uint32_t gradient_width(const struct prepared *p, const struct bn_backward_apply_arguments *a)
{
    const void *first = (const void *)((uintptr_t)a->x | (uintptr_t)a->dy);
    return cuda_width(channels_of(p), 8, first, a->other, (const void *)((uintptr_t)a->dx | (uintptr_t)a->y));
}

/* ---- Taken apart ---- */

bool cuda_prepare_bn_sums(struct prepared *p, struct error *err)
{
    enum dtype dtype;
    if (!op_trains(p)) return true;
    TRY(cuda_op_dtype(p, 1, 0, &dtype, err));
    return cuda_add_sums(p, p->call.in_tensor[0], op_in(p, 0), op_out(p, 0), false, err);
}

/* Sums of one device become those of all where the op is synchronised: *sums lies in the device's scratch then, and
 * *rows counts those of all. */
static bool gather_sums(struct prepared *p, bool single, uint32_t channels, const void **sums, uint64_t *rows,
                        struct error *err)
{
    const struct op_call *call = &p->call;
    uint64_t images = call->graph->options.batch, all;
    if (!call->op->attr.bn.sync || !p->device->has_peers) return true;
    TRY(group_total(p->device->group, images, &all, err));
    TRY(cuda_add_group_sum(p, GROUP_STATISTICS, *sums, p->device->scratch, 2ull * channels,
                           single ? DTYPE_F32 : DTYPE_F64, err));
    *sums = p->device->scratch;
    *rows = *rows / images * all;
    return true;
}

bool cuda_prepare_bn_finalize(struct prepared *p, struct error *err)
{
    const struct op_call *call = &p->call;
    const bool single = bn_sums_are_single(call->graph, call->op->in[0]);
    const void *sums = bn_is_frozen(call->op, call->pass) ? NULL : op_in(p, 0);
    uint64_t rows = call->op->attr.bn.rows;
    if (sums) TRY(gather_sums(p, single, call->out_tensor[0]->dims[3], &sums, &rows, err));
    const struct bn_finalize_arguments a = {.sums = sums,
                                            .single = single,
                                            .channels = call->out_tensor[0]->dims[3],
                                            .rows = rows,
                                            .gamma = op_in(p, 1),
                                            .beta = op_in(p, 2),
                                            .running_mean = op_in(p, 3),
                                            .running_variance = op_in(p, 4),
                                            .norm = op_out(p, 0),
                                            .half_prologue = call->graph->options.dtype == DTYPE_F16,
                                            .epsilon = call->op->attr.bn.epsilon,
                                            .step = p->device->step};
    const uint32_t blocks = (a.channels + KERNEL_THREADS - 1) / KERNEL_THREADS;
    return ADD_KERNEL(p, KERNEL_bn_finalize, ((struct launch_shape){.blocks = blocks, .threads = KERNEL_THREADS}), &a,
                      err);
}

bool cuda_prepare_bn_apply(struct prepared *p, struct error *err)
{
    struct bn_apply_arguments a = {.normal = cuda_normal(op_in(p, 1), channels_of(p)),
                                   .x = op_in(p, 0),
                                   .other = op_in(p, 2),
                                   .y = op_out(p, 0),
                                   .relu = p->call.op->attr.bn.relu};
    struct launch_shape shape;
    enum dtype dtype;
    TRY(cuda_op_dtype(p, 1 | 4, 1, &dtype, err));
    const uint32_t width = cuda_width(channels_of(p), 8, a.x, a.y, a.other);
    TRY(cuda_columns(p, p->call.in_tensor[0], width, &a.columns, &shape, err));
    return ADD_KERNEL(p, KERNEL_FOR(bn_apply, dtype), shape, &a, err);
}

bool cuda_prepare_bn_backward_sums(struct prepared *p, struct error *err)
{
    const enum kernel_shut shut = p->call.op->attr.bn.relu ? KERNEL_SHUT_BY_SIGN : KERNEL_OPEN;
    enum dtype dtype;
    TRY(cuda_op_dtype(p, 3, 0, &dtype, err));
    return cuda_add_gradient_sums(p, p->call.in_tensor[0], op_in(p, 0), op_in(p, 1), op_in(p, 2), shut, op_out(p, 0),
                                  false, err);
}

bool cuda_prepare_bn_backward_finalize(struct prepared *p, struct error *err)
{
    const struct op_call *call = &p->call;
    const bool single = bn_sums_are_single(call->graph, call->op->in[0]);
    const uint8_t frozen = call->op->attr.bn.frozen;
    const void *own = frozen == BN_FROZEN ? NULL : op_in(p, 0), *sums = own;
    uint64_t rows = frozen ? 0 : call->op->attr.bn.rows;
    if (!frozen) TRY(gather_sums(p, single, call->out_tensor[0]->dims[3], &sums, &rows, err));
    const struct bn_backward_finalize_arguments a = {.sums = sums,
                                                     .own = own,
                                                     .single = single,
                                                     .channels = call->out_tensor[0]->dims[3],
                                                     .rows = rows,
                                                     .norm = op_in(p, 2),
                                                     .coefficients = op_out(p, 0),
                                                     .dgamma = op_out(p, 1),
                                                     .dbeta = op_out(p, 2)};
    const uint32_t blocks = (a.channels + KERNEL_THREADS - 1) / KERNEL_THREADS;
    return ADD_KERNEL(p, KERNEL_bn_backward_finalize,
                      ((struct launch_shape){.blocks = blocks, .threads = KERNEL_THREADS}), &a, err);
}

/* Common to both: what is read through and where dx goes are set. */
static bool add_backward_apply(struct prepared *p, const struct tensor *x, struct bn_backward_apply_arguments *a,
                               enum dtype dtype, struct error *err)
{
    struct launch_shape shape;
    const uint32_t width = gradient_width(p, a);
    TRY(cuda_columns(p, x, width, &a->columns, &shape, err));
    return ADD_KERNEL(p, KERNEL_FOR(bn_backward_apply, dtype), shape, a, err);
}

/* The sums to gamma's and beta's gradients, and the gradient: in one launch where its blocks can wait for each other.
 */
static bool add_backward_whole(struct prepared *p, struct bn_backward_apply_arguments *a, enum dtype dtype,
                               struct error *err)
{
    struct launch_shape shape;
    struct bn_backward_whole_arguments whole = {.sums = {.normal = a->normal,
                                                         .x = a->x,
                                                         .dy = a->dy,
                                                         .mask = a->mask,
                                                         .shut = a->shut,
                                                         .dgamma = a->dgamma,
                                                         .dbeta = a->dbeta,
                                                         .partial = partial_of(p),
                                                         .step = p->device->step}};
    TRY(cuda_columns_together(p, p->call.in_tensor[0], gradient_width(p, a), &a->columns, &shape, err));
    if (!shape.together)
        return add_gradient_sums(p, p->call.in_tensor[0], &whole.sums, err) &&
               add_backward_apply(p, p->call.in_tensor[0], a, dtype, err);
    whole.apply = *a;
    whole.sums.columns = a->columns;
    return ADD_KERNEL(p, KERNEL_FOR(bn_backward_whole, dtype), shape, &whole, err);
}

/* The gradient sums that no op before took, where those of all devices are wanted or of one group of images, x: to the
 * scratch behind what sums take. */
static bool add_own_sums(struct prepared *p, const struct tensor *x, struct bn_backward_apply_arguments *a,
                         struct error *err)
{
    void *sums = p->device->scratch + CUDA_SUMS_BYTES;
    struct bn_backward_sums_arguments own = {.normal = a->normal,
                                             .x = a->x,
                                             .dy = a->dy,
                                             .mask = a->mask,
                                             .mask_bit = a->mask_bit,
                                             .shut = a->shut,
                                             .sums = sums};
    a->sums = a->own = sums;
    return add_gradient_sums(p, x, &own, err);
}

bool cuda_prepare_bn_backward_apply(struct prepared *p, struct error *err)
{
    const struct op *op = p->call.op;
    const uint8_t other = bn_other_gradient(op);
    struct bn_backward_apply_arguments a = {.normal = cuda_normal(op_in(p, 2), channels_of(p)),
                                            .x = op_in(p, 0),
                                            .dy = op_in(p, 1),
                                            .other = other == NO_OPERAND ? NULL : op_in(p, other),
                                            .dx = op_out(p, 0),
                                            .y = op_out(p, 3),
                                            .dgamma = op_out(p, 1),
                                            .dbeta = op_out(p, 2),
                                            .rows = op->attr.bn.frozen ? 0 : op->attr.bn.rows,
                                            .shut = op->attr.bn.relu ? KERNEL_SHUT_BY_SIGN : KERNEL_OPEN};
    enum dtype dtype;
    TRY(cuda_op_dtype(p, 3u | (other == NO_OPERAND ? 0 : 1u << other), 1, &dtype, err));
    if (op->attr.bn.frozen == BN_FROZEN) return add_backward_apply(p, p->call.in_tensor[0], &a, dtype, err);
    if (op->attr.bn.whole && !(op->attr.bn.sync && p->device->has_peers)) return add_backward_whole(p, &a, dtype, err);
    if (op->attr.bn.whole) {
        TRY(add_own_sums(p, p->call.in_tensor[0], &a, err));
    } else {
        a.sums = a.own = op_in(p, 3);
        a.single = bn_sums_are_single(p->call.graph, op->in[3]);
    }
    return gather_sums(p, a.single, channels_of(p), &a.sums, &a.rows, err) &&
           add_backward_apply(p, p->call.in_tensor[0], &a, dtype, err);
}

/* ---- Whole ---- */

/* The images that statistics are taken over, and what lies where in the op's tensors. */
struct norm_group {
    struct tensor x;
    uint32_t index, count; /* which group, of how many */
    uint64_t first;        /* its first element of x */
    uint64_t vector;       /* its first channel of mean and variance */
};

static struct norm_group norm_group_of(const struct prepared *p, uint32_t index, uint32_t count)
{
    struct norm_group g = {.x = *p->call.in_tensor[0], .index = index, .count = count};
    g.x.dims[0] /= count;
    g.x.bytes = dtype_bytes(g.x.dtype, tensor_elements(&g.x));
    g.first = index * tensor_elements(&g.x);
    g.vector = (uint64_t)index * channels_of(p);
    return g;
}

/* Where the group begins in a tensor of x's shape. */
static void *group_at(const struct norm_group *g, const void *tensor)
{
    return (uint8_t *)(uintptr_t)tensor + dtype_bytes(g->x.dtype, g->first);
}

/* From the result, where a byte has bits of several pixels. */
static bool add_mask(struct prepared *p, enum dtype dtype, struct error *err)
{
    const struct bn_mask_arguments a = {op_out(p, 0), op_out(p, p->call.op->outputs - 1u), op_elements(p)};
    return ADD_KERNEL(p, KERNEL_FOR(bn_mask, dtype), cuda_grid(p, (a.count + 7) / 8), &a, err);
}

static struct kernel_normal normal_of(const struct prepared *p, const void *mean, const void *variance)
{
    const bool backward = p->call.op->kind == OP_BN_BWD;
    return (struct kernel_normal){.mean = mean,
                                  .variance = variance,
                                  .gamma = op_in(p, backward ? 2 : 1),
                                  .beta = op_in(p, 2), /* nobody asks for it backward */
                                  .epsilon = p->call.op->attr.bn.epsilon};
}

/* Mean and variance of the batch, which are kept for the backward pass, and what they normalise: in one launch where
 * its blocks can wait for each other. */
static bool add_statistics(struct prepared *p, const struct norm_group *group, struct bn_apply_arguments *a,
                           uint32_t width, enum dtype dtype, bool *applied, struct error *err)
{
    struct launch_shape shape;
    struct bn_whole_arguments whole = {.sums = {.x = a->x,
                                                .mean = (float *)op_out(p, 1) + group->vector,
                                                .variance = (float *)op_out(p, 2) + group->vector,
                                                .group = group->index,
                                                .groups = group->count,
                                                .running_mean = op_in(p, 3),
                                                .running_variance = op_in(p, 4),
                                                .partial = partial_of(p),
                                                .step = p->device->step}};
    TRY(cuda_columns_together(p, &group->x, width, &a->columns, &shape, err));
    *applied = shape.together;
    if (!shape.together) return add_sums(p, &group->x, &whole.sums, err);
    whole.apply = *a;
    whole.sums.columns = a->columns;
    return ADD_KERNEL(p, KERNEL_FOR(bn_whole, dtype), shape, &whole, err);
}

static bool add_apply(struct prepared *p, const struct tensor *x, struct bn_apply_arguments *a, uint32_t width,
                      enum dtype dtype, struct error *err)
{
    struct launch_shape shape;
    TRY(cuda_columns(p, x, width, &a->columns, &shape, err));
    return ADD_KERNEL(p, KERNEL_FOR(bn_apply, dtype), shape, a, err);
}

/* A group of images, to y; and to the mask where the columns are wide enough. */
static bool add_normalized(struct prepared *p, const struct norm_group *g, uint32_t width, enum dtype dtype,
                           struct error *err)
{
    const bool relu = p->call.op->attr.bn.relu, running = bn_is_frozen(p->call.op, p->call.pass);
    struct bn_apply_arguments a = {.x = group_at(g, op_in(p, 0)), .y = group_at(g, op_out(p, 0)), .relu = relu};
    bool applied = false;
    a.normal = running ? normal_of(p, op_in(p, 3), op_in(p, 4))
                       : normal_of(p, (const float *)op_out(p, 1) + g->vector, (const float *)op_out(p, 2) + g->vector);
    if (op_trains(p) && relu && width == 8) a.mask = (uint8_t *)op_out(p, p->call.op->outputs - 1u) + g->first / 8;
    if (p->call.pass == PASS_FORWARD && !running) TRY(add_statistics(p, g, &a, width, dtype, &applied, err));
    return applied || add_apply(p, &g->x, &a, width, dtype, err);
}

bool cuda_prepare_bn(struct prepared *p, struct error *err)
{
    const bool running = bn_is_frozen(p->call.op, p->call.pass);
    const uint32_t width = cuda_width(channels_of(p), 8, op_in(p, 0), op_out(p, 0), NULL);
    const uint32_t groups = running ? 1 : bn_groups(p->call.out_tensor[1]);
    enum dtype dtype;
    TRY(cuda_op_dtype(p, 1, 1, &dtype, err));
    for (uint32_t i = 0; i < groups; i++) {
        const struct norm_group group = norm_group_of(p, i, groups);
        TRY(add_normalized(p, &group, width, dtype, err));
    }
    return !op_trains(p) || !p->call.op->attr.bn.relu || width == 8 || add_mask(p, dtype, err);
}

static struct bn_backward_apply_arguments backward_of(const struct prepared *p, const struct norm_group *g)
{
    const bool relu = p->call.op->attr.bn.relu;
    const float *mean = (const float *)op_in(p, 3) + g->vector, *variance = (const float *)op_in(p, 4) + g->vector;
    return (struct bn_backward_apply_arguments){
        .normal = normal_of(p, mean, variance),
        .rows = p->call.op->attr.bn.frozen ? 0 : tensor_elements(&g->x) / channels_of(p),
        .dgamma = op_out(p, 1),
        .dbeta = op_out(p, 2),
        .x = group_at(g, op_in(p, 0)),
        .dy = group_at(g, op_in(p, 1)),
        .dx = group_at(g, op_out(p, 0)),
        .mask = relu ? (const uint8_t *)op_in(p, 5) + g->first / 8 : NULL,
        .mask_bit = (uint32_t)(g->first % 8),
        .adds = g->index > 0,
        .shut = relu ? KERNEL_SHUT_BY_MASK : KERNEL_OPEN};
}

bool cuda_prepare_bn_backward(struct prepared *p, struct error *err)
{
    const uint32_t groups = bn_groups(p->call.in_tensor[3]);
    enum dtype dtype;
    TRY(cuda_op_dtype(p, 3, 1, &dtype, err));
    for (uint32_t i = 0; i < groups; i++) {
        const struct norm_group group = norm_group_of(p, i, groups);
        struct bn_backward_apply_arguments a = backward_of(p, &group);
        if (groups == 1 && p->call.op->attr.bn.frozen != BN_FROZEN) return add_backward_whole(p, &a, dtype, err);
        if (groups > 1) TRY(add_own_sums(p, &group.x, &a, err));
        TRY(add_backward_apply(p, &group.x, &a, dtype, err));
    }
    return true;
}
