/* What PyTorch would take for the same training: its eager mode's tensors, step by step, in its caching allocator.
 *
 * The model is written as torchvision and timm write it (ReLU in place, `out += identity`), activations are NCHW; autograd
 * keeps what derivatives.yaml says: inputs of convolutions, of fully connected layers and of batch normalisation with its
 * mean and inverse deviation, results of ReLUs, int64 indices of pools, masks of dropout (bool). The script is the common
 * one: the batch goes to the GPU, output = model(images), loss, optimizer.zero_grad() to None, loss.backward(),
 * optimizer.step() with SGD, momentum and weight decay in its foreach form. Backward nodes run in the reverse order of the
 * forward pass and let go of what they kept when they are done; gradients of a tensor with several readers are added in
 * place where nobody else holds them (torch/csrc/autograd/input_buffer.cpp). */
#ifndef FATHOM_TORCH_STEP_H
#define FATHOM_TORCH_STEP_H

#include "graph.h"

enum torch_pass { TORCH_FORWARD, TORCH_BACKWARD_DATA, TORCH_BACKWARD_WEIGHTS };

/* The workspace of a convolution (a forward op of the graph) in one pass, NCHW and with elements of `dtype`. */
typedef bool (*torch_workspace_fn)(void *context, const struct graph *graph, const struct op *op, enum torch_pass pass,
                                   enum dtype dtype, uint64_t *bytes, struct error *err);

struct torch_options {
    enum dtype dtype;    /* f32, or f16 or bf16 under autocast: parameters, their gradients and the loss stay f32 */
    uint64_t most_bytes; /* that segments may take; 0 = any */
    uint64_t cublas_bytes; /* of cuBLAS's workspace, which the allocator gives */
    torch_workspace_fn workspace; /* NULL = none */
    void *workspace_context;
};

struct torch_memory {
    uint64_t peak_tensor_bytes; /* as tensors ask for; what is allocated is rounded up, and blocks are not always split */
    uint64_t peak_allocated_bytes, peak_reserved_bytes;
    uint64_t saved_bytes;     /* what autograd keeps between forward and backward pass, each storage once */
    uint64_t parameter_bytes; /* as much again are gradients, and momenta */
    uint64_t workspace_bytes; /* the largest of a convolution */
    uint32_t steps;           /* until another one reserved nothing more */
    uint32_t given_back;      /* how often cached memory went back to the driver for want of more */
    bool out_of_memory;       /* the peaks are then those until it ran out */
};

/* Of a logical graph (lowering 0) of one micro-batch. ERROR_MEMORY, and the workspace's errors. */
bool torch_step_memory(const struct graph *graph, const struct torch_options *options, struct torch_memory *memory,
                       struct error *err);

#endif
