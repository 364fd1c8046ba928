/* The order in which cpu_backend keeps parameters: the same bytes as the canonical {K, R, S, C}, permuted so that
 * oneDNN's forward and backward-weights kernels read and write them in place. It follows from the dims and this
 * process's vector width alone, so momentum and gradients share it and an SGD update stays elementwise. */
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

#endif
