/* What PyTorch's users call a net's tensors: torchvision's names for its ResNets and VGGs, and the same rule for the others
 * (docs/formats.md). */
#ifndef FATHOM_TORCH_NAMES_H
#define FATHOM_TORCH_NAMES_H

#include "graph.h"

#define TORCH_NAME 176

/* "layer1.0.conv2.weight" of "stage1/unit1/conv2.weight", a parameter or a running statistic; returns out. */
char *torch_name(const struct graph *graph, uint32_t tensor, char out[TORCH_NAME]);

/* How its numbers lie there: {K, C, R, S} for a convolution's weights, {K, features} for a fully connected layer's, features
 * counted as C x H x W of what it reads, {C} for the rest. Here they are {K, R, S, C}: `kernel` gets those. Returns the rank. */
uint32_t torch_shape(const struct graph *graph, uint32_t tensor, uint64_t shape[4], uint32_t kernel[4]);

#endif
