/* Values before the first step. */
#ifndef FATHOM_INIT_H
#define FATHOM_INIT_H

#include "graph.h"
#include "recipe.h"

/* Fills values (tensor_elements of them, canonical layout) of parameter number `index` of graph->parameters: a function
 * of (seed, index, shape, role, kind) alone, so every device and every plan of a model starts from the same bits. With
 * fan-in k k c_in and fan-out k k c_out of a convolution, of a fully connected layer its features and classes:
 *
 * - INIT_HE: convolutions normal with variance 2 / fan-out, as fb.resnet.torch and the authors' resnet-1k-layers do
 *   (arXiv:1502.01852, 2.2, says that fan-out serves as well as fan-in); nets without batch normalisation by fan-in. Fully
 *   connected uniform in +-1 / sqrt(fan-in), which is Torch's own, left there as it was.
 * - INIT_HE_FAN_IN: the same with 2 / fan-in, eq. 10 there, to which arXiv:1512.03385, 3.4, refers; gcr's
 *   torch-residual-networks (nninit.kaiming).
 * - INIT_TORCH: what Torch and PyTorch begin with where nobody says otherwise: all uniform in +-1 / sqrt(fan-in), biases too.
 * - INIT_XAVIER: all uniform in +-sqrt(6 / (fan-in + fan-out)) (Glorot and Bengio, AISTATS 2010, eq. 16).
 * - INIT_LECUN: all normal with variance 1 / fan-in (LeCun et al., Efficient BackProp, 1998, 4.6).
 *
 * Other biases are 0, a gate's what the model begins with; BN: gamma 1, beta 0. */
void init_parameter(const struct graph *graph, uint32_t index, enum init_kind kind, uint64_t seed, float *values);

/* Running statistics: mean 0, variance 1. */
void init_statistic(const struct tensor *tensor, float *values);

/* The fully connected layer that reads a weight; NULL for other weights. */
const struct op *init_fully_connected(const struct graph *graph, uint32_t tensor);

#endif
