/* Ops on buckets of gradients and weights: f32 all of them. */
#include "cuda_ops.h"

bool cuda_prepare_accumulate(struct prepared *p, struct error *err)
{
    struct accumulate_arguments a = {
        .part = op_in(p, 0), .bucket = op_out(p, 0), .count = op_elements(p), .step = p->device->step};
    a.vectors = cuda_vectors(a.count, sizeof(float), a.part, a.bucket, NULL);
    return ADD_KERNEL(p, KERNEL_accumulate, cuda_grid(p, a.vectors ? a.vectors : a.count), &a, err);
}

/* Of one device. */
bool cuda_prepare_all_reduce(struct prepared *p, struct error *err)
{
    const void *in = op_in(p, 0);
    void *out = op_out(p, 0);
    return in == out || prepared_copy(p, out, in, p->call.out_tensor[0]->bytes, err);
}

bool cuda_prepare_sgd_update(struct prepared *p, struct error *err)
{
    struct sgd_update_arguments a = {.weights = op_out(p, 0),
                                     .momenta = op_out(p, 1),
                                     .gradients = op_in(p, 1),
                                     .loss_scale = op_in(p, 3),
                                     .count = op_elements(p),
                                     .step = p->device->step};
    a.vectors = cuda_vectors(a.count, sizeof(float), a.weights, a.momenta, a.gradients);
    return ADD_KERNEL(p, KERNEL_sgd_update, cuda_grid(p, a.vectors ? a.vectors : a.count), &a, err);
}

bool cuda_prepare_loss_scale_update(struct prepared *p, struct error *err)
{
    const struct loss_scale_update_arguments a = {
        .loss_scale = op_out(p, 0), .step = p->device->step, .least = LOSS_SCALE_LEAST, .most = LOSS_SCALE_MOST};
    return ADD_KERNEL(p, KERNEL_loss_scale_update, ((struct launch_shape){.blocks = 1, .threads = 1}), &a, err);
}
