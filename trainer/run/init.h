/* Values before the first step. */
#ifndef FATHOM_INIT_H
#define FATHOM_INIT_H

#include "graph.h"

/* Fills values (tensor_elements of them, canonical layout) of parameter number `index` of graph->parameters: a function
 * of (seed, index, shape, role) alone, so every device and every plan of a model starts from the same bits.
 * Convolutions: normal with standard deviation sqrt(2 / (k k c_out)), as the authors' releases do (arXiv:1512.03385;
 * arXiv:1502.01852, 2.2, says that fan-out serves as well as fan-in); nets without batch normalisation by fan-in
 * (eq. 10 there). Fully connected: uniform in +-1 / sqrt(features), biases 0. BN: gamma 1, beta 0. */
void init_parameter(const struct graph *graph, uint32_t index, uint64_t seed, float *values);

/* Running statistics: mean 0, variance 1. */
void init_statistic(const struct tensor *tensor, float *values);

/* The fully connected layer that reads a weight; NULL for other weights. */
const struct op *init_fully_connected(const struct graph *graph, uint32_t tensor);

#endif
