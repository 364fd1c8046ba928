/* What PyTorch's convolutions want to work in on a GPU, where its cuDNN is not asked. */
#ifndef FATHOM_TORCH_WORKSPACE_H
#define FATHOM_TORCH_WORKSPACE_H

#include "machine.h"
#include "torch_step.h"

/* A torch_workspace_fn over a struct device_spec. cuDNN's engines for tensor cores, which f32 uses as TF32
 * (torch.backends.cudnn.allow_tf32 lets it by default), copy NCHW operands into the workspace: x and y of every pass and w,
 * but in the forward pass of f32 y is written in place; weights' gradients come in partial sums that fill the multiprocessors
 * with tiles of 128 x 128. Read off the first choices of cuDNN 9.19 for the convolutions of ResNet-18 and 50 on an A100
 * (capability 8.0) at batches of 8 to 128, and from those of 7.5, 9.0 and 10.0. In 16 bits NHWC operands are not copied, in
 * f32 most are. Without tensor cores for the dtype, and for a stem of 3 x 3 in f32: none. */
bool torch_workspace_estimate(void *device, const struct graph *graph, const struct op *op, enum torch_pass pass,
                              enum dtype dtype, uint64_t *bytes, struct error *err);

#endif
