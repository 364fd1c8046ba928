/* How each kind of op is prepared. Two tables: convolutions by cuDNN, and by loops that read as their definitions. */
#include "cuda_ops.h"

#define OWN_OPS                                                                                                        \
    [OP_RELU] = cuda_prepare_elementwise, [OP_ADD] = cuda_prepare_elementwise, [OP_MUL] = cuda_prepare_elementwise,    \
    [OP_SCALE] = cuda_prepare_elementwise, [OP_SIGMOID] = cuda_prepare_elementwise,                                    \
    [OP_RELU_BWD] = cuda_prepare_elementwise, [OP_MUL_BWD] = cuda_prepare_elementwise,                                 \
    [OP_SCALE_BWD] = cuda_prepare_elementwise, [OP_SIGMOID_BWD] = cuda_prepare_elementwise,                            \
    [OP_ADD_GRADIENT] = cuda_prepare_elementwise, [OP_ACCUMULATE] = cuda_prepare_accumulate,                           \
    [OP_ALL_REDUCE] = cuda_prepare_all_reduce, [OP_SGD_UPDATE] = cuda_prepare_sgd_update,                              \
    [OP_LOSS_SCALE_UPDATE] = cuda_prepare_loss_scale_update

const struct cuda_table cuda_fast_table = {.name = "cuda", .prepare = {OWN_OPS}};
const struct cuda_table cuda_reference_table = {.name = "cuda-reference", .prepare = {OWN_OPS}, .naive = true};
