/* Sums of squares, in f64. */
#ifndef FATHOM_SQUARES_H
#define FATHOM_SQUARES_H

#include "graph.h"

/* By one thread. */
double floats_sum_squares(const float *values, uint64_t count);
/* Of f32, f16 or bf16, by all threads: in an order that the count decides. */
double cpu_sum_squares(const void *values, enum dtype dtype, uint64_t count);

#endif
