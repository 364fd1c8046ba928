/* Ops on buckets of gradients and weights: f32, and what of them is in 16 bits. */
#include "pieces.h"

bool cuda_prepare_accumulate(struct prepared *p, struct error *err)
{
    struct accumulate_arguments a = {
        .part = op_in(p, 0), .bucket = op_out(p, 0), .count = op_elements(p), .step = p->device->step};
    a.vectors = cuda_vectors(a.count, sizeof(float), a.part, a.bucket, NULL);
    return ADD_KERNEL(p, KERNEL_accumulate, cuda_grid(p, a.vectors ? a.vectors : a.count), &a, err);
}

/* Through 16 bits: rounded, added up, widened, one after the other on the stream of communication. */
static bool reduce_halves(struct prepared *p, enum dtype dtype, struct error *err)
{
    const uint64_t count = op_elements(p);
    void *message = op_out(p, 1);
    TRY(cuda_add_rounding(p, op_in(p, 0), message, count, dtype, err));
    if (p->device->has_peers) TRY(cuda_add_group_sum(p, GROUP_GRADIENTS, message, message, count, dtype, err));
    return cuda_add_widening(p, message, op_out(p, 0), count, dtype, err);
}

/* Over all devices of the step; of one alone a copy, if anything. */
bool cuda_prepare_all_reduce(struct prepared *p, struct error *err)
{
    const void *in = op_in(p, 0);
    void *out = op_out(p, 0);
    if (p->call.out_tensor[1]) return reduce_halves(p, p->call.out_tensor[1]->dtype, err);
    if (p->device->has_peers) return cuda_add_group_sum(p, GROUP_GRADIENTS, in, out, op_elements(p), DTYPE_F32, err);
    return in == out || prepared_copy(p, out, in, p->call.out_tensor[0]->bytes, err);
}

bool cuda_prepare_loss_scale_update(struct prepared *p, struct error *err)
{
    const struct loss_scale_update_arguments a = {
        .loss_scale = op_out(p, 0), .step = p->device->step, .least = LOSS_SCALE_LEAST, .most = LOSS_SCALE_MOST};
    return ADD_KERNEL(p, KERNEL_loss_scale_update, ((struct launch_shape){.blocks = 1, .threads = 1}), &a, err);
}

/* Of one address each, vectors of 8 elements where both are fit for them. */
static uint64_t vectors_of(const void *in, const void *out, uint64_t count)
{
    return ((uintptr_t)in | (uintptr_t)out) % 16 == 0 ? count / 8 : 0;
}

static bool check_half(enum dtype dtype, struct error *err)
{
    return dtype == DTYPE_F16 || dtype == DTYPE_BF16 ||
           error_set(err, ERROR_FAILED,
                     "weights, or their gradients, in %s: the cuda backend has them in 16 bits beside f32",
                     dtype_name(dtype));
}

bool cuda_add_rounding(struct prepared *p, const float *in, void *out, uint64_t count, enum dtype dtype,
                       struct error *err)
{
    const struct round_arguments a = {.in = in, .out = out, .count = count, .vectors = vectors_of(in, out, count)};
    const enum kernel_id kernel = dtype == DTYPE_F16 ? KERNEL_round_elements_f16 : KERNEL_round_elements_bf16;
    return check_half(dtype, err) && ADD_KERNEL(p, kernel, cuda_grid(p, a.vectors ? a.vectors : a.count), &a, err);
}

bool cuda_add_widening(struct prepared *p, const void *in, float *out, uint64_t count, enum dtype dtype,
                       struct error *err)
{
    const struct widen_arguments a = {.in = in, .out = out, .count = count, .vectors = vectors_of(in, out, count)};
    const enum kernel_id kernel = dtype == DTYPE_F16 ? KERNEL_widen_elements_f16 : KERNEL_widen_elements_bf16;
    return check_half(dtype, err) && ADD_KERNEL(p, kernel, cuda_grid(p, a.vectors ? a.vectors : a.count), &a, err);
}

bool cuda_prepare_weights_copy(struct prepared *p, struct error *err)
{
    return cuda_add_rounding(p, op_in(p, 0), op_out(p, 0), op_elements(p), p->call.out_tensor[0]->dtype, err);
}

/* ---- Gradient check ---- */

static bool launch_check(struct cuda_pieces *s, struct launch_shape shape, struct error *err)
{
    struct gradient_check_arguments *a = s->arguments;
    TRY(ADD_KERNEL(s->p, KERNEL_gradient_check, shape, a, err));
    a->keep = 1;
    return true;
}

/* The bytes between parameters mean nothing. */
bool cuda_prepare_gradient_check(struct prepared *p, struct error *err)
{
    const struct graph *graph = p->call.graph;
    struct gradient_check_arguments a = {.gradients = op_in(p, 0),
                                         .loss_scale = op_out(p, 0),
                                         .keep = !p->call.op->attr.check.first,
                                         .step = p->device->step};
    struct cuda_pieces s = {.p = p, .list = a.pieces, .launch = launch_check, .arguments = &a};
    TRY(cuda_pieces_check(p->call.in_tensor[0], "check", err));
    for (size_t i = 0; i < graph->parameter_count; i++) {
        const struct tensor *parameter = &graph->tensors[graph->parameters[i]];
        if (parameter->view_of == p->call.in_tensor[0]->of)
            TRY(cuda_pieces_add(&s, parameter->view_offset / sizeof(float), tensor_elements(parameter), err));
    }
    return cuda_pieces_end(&s, err);
}

/* ---- Gradients in 16 bits ---- */

static bool launch_widen(struct cuda_pieces *s, struct launch_shape shape, struct error *err)
{
    const struct widen_pieces_arguments *a = s->arguments;
    const bool f16 = s->p->call.in_tensor[0]->dtype == DTYPE_F16;
    return ADD_KERNEL(s->p, f16 ? KERNEL_widen_pieces_f16 : KERNEL_widen_pieces_bf16, shape, a, err);
}

bool cuda_prepare_gradients_widen(struct prepared *p, struct error *err)
{
    const struct graph *graph = p->call.graph;
    struct widen_pieces_arguments a = {.in = op_in(p, 0), .out = op_out(p, 0)};
    struct cuda_pieces s = {.p = p, .list = a.pieces, .launch = launch_widen, .arguments = &a};
    TRY(check_half(p->call.in_tensor[0]->dtype, err) && cuda_pieces_check(p->call.in_tensor[0], "widen", err));
    for (size_t i = 0; i < graph->tensor_count; i++) {
        const struct tensor *gradient = &graph->tensors[i];
        if (gradient->view_of == p->call.op->in[0])
            TRY(cuda_pieces_add(&s, gradient->view_offset / sizeof(uint16_t), tensor_elements(gradient), err));
    }
    return cuda_pieces_end(&s, err);
}
