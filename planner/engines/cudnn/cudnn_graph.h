/* A convolution, with what it does besides, as a graph of cuDNN's ops: the same for a device that is described, whose
 * engines are asked for, and for one that is there and runs it.
 *
 * Besides (the names of planner/graph's enum conv_fusion, whose bits these are):
 * - the input is read as relu(x * scale + shift), per channel; in f32 until it is rounded to the type of x;
 * - the result gets a bias, then a residual, in f32, and is rounded once;
 * - sums of the rounded result and of its squares over all pixels are written, f32;
 * - a gradient of x is zeroed where (x' - mean) * deviation * gamma + beta <= 0, x' being a BN's input in its place, and
 *   its sum and that of its product with (x' - mean) * deviation are written, f32. cuDNN makes three rows more of this,
 *   which nobody reads. */
#ifndef FATHOM_CUDNN_GRAPH_H
#define FATHOM_CUDNN_GRAPH_H

#include "cudnn_descriptors.h"

enum convolution_pass { PASS_OF_FORWARD, PASS_OF_DATA, PASS_OF_WEIGHTS };

enum convolution_besides {
    BESIDES_NORMALIZED = 1,
    BESIDES_RECTIFIED = 2,
    BESIDES_ADDS = 4,
    BESIDES_SUMS = 8,
    BESIDES_GRADIENT_SUMS = 64,
    BESIDES_SHUTS = 128,
    BESIDES_BIAS = 256,
    BESIDES_CHANNELS_FIRST = 512, /* not what it does, but how its tensors lie: NCHW, K C R S */
};

struct convolution {
    enum convolution_pass pass;
    cudnnDataType_t type, weights; /* of activations; of w, or of its gradient */
    uint32_t besides;              /* bits of enum convolution_besides */
    int64_t images, height, width, channels, filters, kernel[2], stride, padding[2]; /* of the forward pass */
};

/* What its tensors are called in cuDNN's graph, and in an execution's arguments. All of {1, C, 1, 1} but the first three
 * and the residual, which is like y. */
enum convolution_operand {
    OPERAND_X = 1, /* or its gradient */
    OPERAND_W,     /* or its gradient */
    OPERAND_Y,     /* or its gradient */
    OPERAND_SCALE, OPERAND_SHIFT, OPERAND_BIAS, OPERAND_RESIDUAL, OPERAND_SUMS, OPERAND_SQUARES,
    OPERAND_NORM_X, OPERAND_MEAN, OPERAND_DEVIATION, OPERAND_GAMMA, OPERAND_BETA,
    OPERAND_GAMMA_GRADIENT, OPERAND_BETA_GRADIENT,
    OPERAND_UNREAD_DY, OPERAND_UNREAD_X, OPERAND_UNREAD_BIAS,
    CONVOLUTION_OPERANDS /* one more than the last */
};

/* The type of scale and shift: precompiled engines, which f16 alone has, want its own. */
cudnnDataType_t convolution_prologue_type(cudnnDataType_t type);

struct cudnn_graph {
    struct cudnn_descriptors descriptors;
    cudnnBackendDescriptor_t graph;
};

/* handle: NULL where the device is only described. ERROR_FAILED with cuDNN's words. The caller ends it with
 * cudnn_graph_finish, also after a failure. */
bool cudnn_graph_init(struct cudnn_graph *graph, const struct cudnn_library *cudnn, cudnnHandle_t handle,
                      const struct convolution *convolution, struct error *err);
void cudnn_graph_finish(struct cudnn_graph *graph);

#endif
