/* Softmax with cross-entropy. */
#include "cuda_ops.h"

#define IMAGE_SUMS (4 * sizeof(double))

bool cuda_prepare_softmax_loss(struct prepared *p, struct error *err)
{
    const struct tensor *logits = p->call.in_tensor[0];
    const uint32_t images = logits->dims[0];
    enum dtype dtype;
    TRY(cuda_op_dtype(p, 1, 0, &dtype, err));
    if (images > CUDA_SCRATCH_BYTES / IMAGE_SUMS)
        return error_set(err, ERROR_FAILED, "a loss of %u images at a time: the cuda backend takes %u",
                         (unsigned)images, (unsigned)(CUDA_SCRATCH_BYTES / IMAGE_SUMS));
    const struct softmax_loss_arguments a = {.logits = op_in(p, 0),
                                             .labels = op_in(p, 1),
                                             .probabilities = op_out(p, 0),
                                             .metrics = op_out(p, 1),
                                             .partial = (double *)(void *)p->device->scratch,
                                             .images = images,
                                             .classes = (uint32_t)(tensor_elements(logits) / images),
                                             .trains = op_trains(p),
                                             .step = p->device->step};
    struct launch_shape shape = cuda_grid(p, 32ull * images);
    shape.shared_bytes = KERNEL_THREADS * sizeof(double);
    return ADD_KERNEL(p, KERNEL_FOR(softmax_loss, dtype), shape, &a, err);
}

bool cuda_prepare_softmax_loss_backward(struct prepared *p, struct error *err)
{
    const struct tensor *probabilities = p->call.in_tensor[0];
    const uint32_t images = probabilities->dims[0];
    enum dtype dtype;
    TRY(cuda_op_dtype(p, 0, 1, &dtype, err));
    const struct softmax_loss_backward_arguments a = {
        .probabilities = op_in(p, 0),
        .labels = op_in(p, 1),
        .gradient = op_out(p, 0),
        .loss_scale = op_in(p, 2),
        .images = images,
        .classes = (uint32_t)(tensor_elements(probabilities) / images),
        .divisor = (float)p->call.op->attr.loss.images,
        .step = p->device->step,
    };
    return ADD_KERNEL(p, KERNEL_FOR(softmax_loss_backward, dtype), cuda_grid(p, op_elements(p)), &a, err);
}
