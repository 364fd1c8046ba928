/* How ops become kernels: what the files ops_*.c share. */
#ifndef FATHOM_CUDA_OPS_H
#define FATHOM_CUDA_OPS_H

#include "cuda_group.h"

/* The kernel of a family for a type of activations. */
#define KERNEL_FOR(name, dtype) ((enum kernel_id)(KERNEL_##name##_f32 + (dtype)))

static inline uint64_t op_elements(const struct prepared *p) { return tensor_elements(p->call.out_tensor[0]); }

/* Whether what an op writes for the backward pass alone is wanted. */
static inline bool op_trains(const struct prepared *p) { return p->call.pass != PASS_EVALUATE; }

/* The type that inputs and outputs have whose bits are set in the masks: f32, f16 or bf16, the same for all. */
bool cuda_op_dtype(const struct prepared *p, unsigned inputs, unsigned outputs, enum dtype *dtype, struct error *err);

/* Enough blocks for one thread an item, or as many as the GPU runs at a time; kernels go round. */
struct launch_shape cuda_grid(const struct prepared *p, uint64_t items);

/* How many vectors of 16 bytes `elements` of so many bytes fill, when all of these addresses (NULL = none) are divided by
 * 16; else 0. */
uint64_t cuda_vectors(uint64_t elements, uint64_t element_bytes, const void *a, const void *b, const void *c);

/* How many channels go together, 8 or 1: 8 where that divides both numbers of channels, and 16 the addresses. */
uint32_t cuda_width(uint32_t channels, uint32_t other_channels, const void *a, const void *b, const void *c);

/* A launch over an image's pixels, a group of `width` channels to a thread: ERROR_FAILED where they are too many. */
bool cuda_pixels(const struct prepared *p, const struct tensor *image, uint32_t width, struct kernel_image *dims,
                 struct launch_shape *shape, struct error *err);

/* A launch over the rows of x {rows, channels} (kernels.h). */
bool cuda_columns(const struct prepared *p, const struct tensor *x, uint32_t width, struct kernel_columns *columns,
                  struct launch_shape *shape, struct error *err);

/* The same for a kernel that sums them: sums fit the device's scratch. */
bool cuda_columns_summed(const struct prepared *p, const struct tensor *x, uint32_t width,
                         struct kernel_columns *columns, struct launch_shape *shape, struct error *err);

/* The same for a kernel whose blocks wait for each other: shape->together is false where the GPU does not run them all at a
 * time, or x is so large that it would rather have more blocks than one launch less. */
bool cuda_columns_together(const struct prepared *p, const struct tensor *x, uint32_t width,
                           struct kernel_columns *columns, struct launch_shape *shape, struct error *err);

/* Adds a kernel whose arguments are *arguments. */
#define ADD_KERNEL(p, id, shape, arguments, err) prepared_kernel(p, id, shape, arguments, sizeof *(arguments), err)

/* How `norm` (bn_layout.h) normalises. */
struct kernel_normal cuda_normal(const float *norm, uint32_t channels);

/* Sums of a tensor x that lies there, for whoever makes it: of x and its squares, in f64, or f32 where `single`; of
 * dy, and of dy times x as `norm` normalises it, dy counting as 0 where it was shut (enum kernel_shut, but by a mask); of dy
 * alone, which is a bias's gradient. */
bool cuda_add_sums(struct prepared *p, const struct tensor *x, const void *at, void *sums, bool single,
                   struct error *err);
bool cuda_add_gradient_sums(struct prepared *p, const struct tensor *tensor, const void *x, const void *dy,
                            const float *norm, enum kernel_shut shut, void *sums, bool single, struct error *err);
bool cuda_add_bias_gradient(struct prepared *p, const struct tensor *dy, const void *at, float *dbias,
                            struct error *err);

/* `count` elements of f32 to a 16-bit type, and back. */
bool cuda_add_rounding(struct prepared *p, const float *in, void *out, uint64_t count, enum dtype dtype,
                       struct error *err);
bool cuda_add_widening(struct prepared *p, const void *in, float *out, uint64_t count, enum dtype dtype,
                       struct error *err);

/* Sums of f64, f32 or 16 bits over all devices of the step, which device->has_peers says there are. */
bool cuda_add_group_sum(struct prepared *p, enum group_purpose purpose, const void *in, void *out, uint64_t count,
                        enum dtype dtype, struct error *err);

/* ops_bn.c */
bool cuda_prepare_bn(struct prepared *p, struct error *err);
bool cuda_prepare_bn_backward(struct prepared *p, struct error *err);
bool cuda_prepare_bn_sums(struct prepared *p, struct error *err);
bool cuda_prepare_bn_finalize(struct prepared *p, struct error *err);
bool cuda_prepare_bn_apply(struct prepared *p, struct error *err);
bool cuda_prepare_bn_backward_sums(struct prepared *p, struct error *err);
bool cuda_prepare_bn_backward_finalize(struct prepared *p, struct error *err);
bool cuda_prepare_bn_backward_apply(struct prepared *p, struct error *err);
/* ops_conv.c: for plans without cuDNN, and for what it has no engine */
bool cuda_prepare_naive_convolution(struct prepared *p, struct error *err);
/* ops_elementwise.c */
bool cuda_prepare_dropout(struct prepared *p, struct error *err);
bool cuda_prepare_elementwise(struct prepared *p, struct error *err);
/* ops_fc.c */
bool cuda_prepare_fc(struct prepared *p, struct error *err);
bool cuda_prepare_fc_backward_data(struct prepared *p, struct error *err);
bool cuda_prepare_fc_backward_weights(struct prepared *p, struct error *err);
/* ops_loss.c */
bool cuda_prepare_softmax_loss(struct prepared *p, struct error *err);
bool cuda_prepare_softmax_loss_backward(struct prepared *p, struct error *err);
/* ops_pixels.c */
bool cuda_prepare_concat(struct prepared *p, struct error *err);
bool cuda_prepare_concat_backward(struct prepared *p, struct error *err);
bool cuda_prepare_input(struct prepared *p, struct error *err);
bool cuda_prepare_pool(struct prepared *p, struct error *err);
bool cuda_prepare_shortcut(struct prepared *p, struct error *err);
/* ops_optimizer.c */
bool cuda_prepare_gradient_norm(struct prepared *p, struct error *err);
bool cuda_prepare_update(struct prepared *p, struct error *err);
bool cuda_prepare_weights_average(struct prepared *p, struct error *err);
/* ops_update.c */
bool cuda_prepare_accumulate(struct prepared *p, struct error *err);
bool cuda_prepare_all_reduce(struct prepared *p, struct error *err);
bool cuda_prepare_gradient_check(struct prepared *p, struct error *err);
bool cuda_prepare_gradients_widen(struct prepared *p, struct error *err);
bool cuda_prepare_loss_scale_update(struct prepared *p, struct error *err);
bool cuda_prepare_weights_copy(struct prepared *p, struct error *err);

#endif
