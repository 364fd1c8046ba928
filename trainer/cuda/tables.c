/* How each kind of op is prepared. Two tables: convolutions by cuDNN, and by loops that read as their definitions. */
#include "cuda_ops.h"

#define OWN_OPS                                                                                                        \
    [OP_BN] = cuda_prepare_bn, [OP_RELU] = cuda_prepare_elementwise, [OP_ADD] = cuda_prepare_elementwise,              \
    [OP_MUL] = cuda_prepare_elementwise, [OP_SCALE] = cuda_prepare_elementwise,                                        \
    [OP_SIGMOID] = cuda_prepare_elementwise, [OP_DROPOUT] = cuda_prepare_dropout, [OP_MAXPOOL] = cuda_prepare_pool,    \
    [OP_AVGPOOL] = cuda_prepare_pool, [OP_SHORTCUT_PAD] = cuda_prepare_shortcut, [OP_FC] = cuda_prepare_fc,            \
    [OP_FC_BWD_DATA] = cuda_prepare_fc_backward_data, [OP_FC_BWD_WEIGHTS] = cuda_prepare_fc_backward_weights,          \
    [OP_WEIGHTS_COPY] = cuda_prepare_weights_copy, [OP_SOFTMAX_LOSS] = cuda_prepare_softmax_loss,                      \
    [OP_CONCAT] = cuda_prepare_concat, [OP_BN_BWD] = cuda_prepare_bn_backward,                                         \
    [OP_RELU_BWD] = cuda_prepare_elementwise, [OP_MUL_BWD] = cuda_prepare_elementwise,                                 \
    [OP_SCALE_BWD] = cuda_prepare_elementwise, [OP_SIGMOID_BWD] = cuda_prepare_elementwise,                            \
    [OP_DROPOUT_BWD] = cuda_prepare_dropout, [OP_MAXPOOL_BWD] = cuda_prepare_pool,                                     \
    [OP_AVGPOOL_BWD] = cuda_prepare_pool, [OP_SHORTCUT_PAD_BWD] = cuda_prepare_shortcut,                               \
    [OP_SOFTMAX_LOSS_BWD] = cuda_prepare_softmax_loss_backward, [OP_CONCAT_BWD] = cuda_prepare_concat_backward,        \
    [OP_ADD_GRADIENT] = cuda_prepare_elementwise, [OP_ACCUMULATE] = cuda_prepare_accumulate,                           \
    [OP_ALL_REDUCE] = cuda_prepare_all_reduce, [OP_UPDATE] = cuda_prepare_update, [OP_BN_SUMS] = cuda_prepare_bn_sums, \
    [OP_BN_FINALIZE] = cuda_prepare_bn_finalize, [OP_BN_APPLY] = cuda_prepare_bn_apply,                                \
    [OP_BN_BWD_SUMS] = cuda_prepare_bn_backward_sums, [OP_BN_BWD_FINALIZE] = cuda_prepare_bn_backward_finalize,        \
    [OP_BN_BWD_APPLY] = cuda_prepare_bn_backward_apply, [OP_GRADIENT_CHECK] = cuda_prepare_gradient_check,             \
    [OP_LOSS_SCALE_UPDATE] = cuda_prepare_loss_scale_update, [OP_INPUT] = cuda_prepare_input,                          \
    [OP_GRADIENTS_WIDEN] = cuda_prepare_gradients_widen, [OP_GRADIENT_NORM] = cuda_prepare_gradient_norm,              \
    [OP_WEIGHTS_AVERAGE] = cuda_prepare_weights_average

#define NAIVE_CONVOLUTIONS                                                                                             \
    [OP_CONV] = cuda_prepare_naive_convolution, [OP_CONV_BWD_DATA] = cuda_prepare_naive_convolution,                   \
    [OP_CONV_BWD_WEIGHTS] = cuda_prepare_naive_convolution

const struct cuda_table cuda_fast_table = {
    .name = "cuda",
    .prepare = {OWN_OPS, [OP_CONV] = cuda_prepare_convolution, [OP_CONV_BWD_DATA] = cuda_prepare_convolution,
                [OP_CONV_BWD_WEIGHTS] = cuda_prepare_convolution}};
const struct cuda_table cuda_reference_table = {
    .name = "cuda-reference", .prepare = {OWN_OPS, NAIVE_CONVOLUTIONS}, .naive = true};
