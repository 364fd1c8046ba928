/* Adding forward ops to a graph: what the model builders (resnet.c, vgg.c, ...) and tests of odd graphs use.
 *
 * Each graph_add_* makes the op, its output and parameters, and returns the output tensor. After a failed allocation or a
 * wrong shape the builder remembers its first error, every later call returns NO_TENSOR, and graph_finish reports it:
 * builders need not check each call. */
#ifndef FATHOM_BUILD_H
#define FATHOM_BUILD_H

#include "graph_grow.h"

struct graph *graph_begin(const struct model_spec *spec, const struct graph_options *options, struct error *err);

/* A square window, with padding that keeps the image's size where it is odd and steps by 1. */
uint32_t graph_add_conv(struct graph *graph, uint32_t x, uint32_t channels, uint32_t kernel, uint32_t stride, bool bias);
struct conv_window {
    uint32_t kernel[2], padding[2], stride; /* {rows, columns} */
};
uint32_t graph_add_conv_window(struct graph *graph, uint32_t x, uint32_t channels, struct conv_window window, bool bias);
/* What batch normalisations added from now on add to the variance; 1e-5 before. */
void graph_set_bn_epsilon(struct graph *graph, float epsilon);
uint32_t graph_add_bn(struct graph *graph, uint32_t x, bool relu);
uint32_t graph_add_relu(struct graph *graph, uint32_t x);
uint32_t graph_add_add(struct graph *graph, uint32_t a, uint32_t b);
uint32_t graph_add_mul(struct graph *graph, uint32_t a, uint32_t b);
uint32_t graph_add_scale(struct graph *graph, uint32_t x, float alpha, float beta);
uint32_t graph_add_sigmoid(struct graph *graph, uint32_t x);
uint32_t graph_add_dropout(struct graph *graph, uint32_t x, float drop);
uint32_t graph_add_maxpool(struct graph *graph, uint32_t x, uint32_t kernel, uint32_t stride, uint32_t padding);
/* A last window that begins in the image counts, though it reaches beyond the padding: Torch's and Caffe's way. */
uint32_t graph_add_maxpool_ceil(struct graph *graph, uint32_t x, uint32_t kernel, uint32_t stride, uint32_t padding);
/* Padding counts, as zeros. */
uint32_t graph_add_avgpool(struct graph *graph, uint32_t x, uint32_t kernel, uint32_t stride, uint32_t padding);
uint32_t graph_add_shortcut_pad(struct graph *graph, uint32_t x, uint32_t channels, uint32_t stride);
/* 2 to OP_MOST_INPUTS tensors of equal N, H and W. */
uint32_t graph_add_concat(struct graph *graph, const uint32_t *x, uint32_t count);
uint32_t graph_add_fc(struct graph *graph, uint32_t x, uint32_t features);
/* Ends the forward pass. */
void graph_add_softmax_loss(struct graph *graph, uint32_t logits);
/* The end of most nets: the mean over all pixels, a fully connected layer and the loss, as head/pool, head/fc and head/loss
 * of that stage. */
void graph_add_classifier(struct graph *graph, uint32_t stage, uint32_t x);

/* Derives backward, gradient accumulation, buckets, all-reduce and update, and counts. On failure the graph is destroyed
 * and NULL returned; else returns graph. */
struct graph *graph_finish(struct graph *graph, struct error *err);

#endif
