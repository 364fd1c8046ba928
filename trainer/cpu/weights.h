/* The order in which cpu_backend keeps parameters: the same bytes as the canonical {K, R, S, C}, permuted so that
 * oneDNN writes gradients of weights in place and can read weights in place; where other kernels are faster, weights are
 * moved for a call (onednn_method.c). It follows from the dims and this process's vector width alone, so momentum and
 * gradients share it and an SGD update stays elementwise. */
#ifndef FATHOM_WEIGHTS_H
#define FATHOM_WEIGHTS_H

#include <stdbool.h>
#include <stdint.h>

#include "graph.h"

enum weight_order {
    WEIGHT_PLAIN,   /* [K][R][S][C], canonical */
    WEIGHT_OUTPUTS, /* [K/b][R][S][C][b outputs] */
    WEIGHT_BLOCKED, /* [K/b][C/b][R][S][b inputs][b outputs] */
};

struct weight_layout {
    enum weight_order order;
    uint32_t block; /* b: floats in a vector register, 16 or 8 */
};

/* Of a parameter {K, R, S, C}; plain where b does not divide K, and for fully connected layers of VGG's size, which run
 * best on a matrix product. */
struct weight_layout weight_layout(const uint32_t dims[4]);

void weights_permute_in(const uint32_t dims[4], const float *canonical, float *stored);
void weights_permute_out(const uint32_t dims[4], const float *stored, float *canonical);

/* For one call, over the device's threads; of WEIGHT_BLOCKED parameters with blocks of 16. */

/* [K/16][C/16][R][S][16 outputs][16 inputs] */
void weights_transpose(const uint32_t dims[4], const float *stored, float *transposed);
/* The convolution that leads from the gradient of y to that of x: inputs and outputs change places and the kernel is
 * turned by half a turn. [C/block][R][S][K][block inputs], where C is rounded up and what is beyond it is 0; block is a
 * multiple of 16. */
void weights_turn(const uint32_t dims[4], uint32_t block, const float *stored, float *turned);

#endif
