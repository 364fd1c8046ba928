/* The sets that loops.c and the files beside it were compiled into (meson.build). */
#ifndef FATHOM_LOOPS_PRIVATE_H
#define FATHOM_LOOPS_PRIVATE_H

#include "loops.h"

extern const struct loops loops_plain;
#ifdef __x86_64__
extern const struct loops loops_avx2, loops_avx512;
#endif

/* Loops of the set that is being compiled which are in files of their own. */
#ifdef LOOPS_NAME
#define LOOPS_PASTE(loop, set) loop##_of_##set
#define LOOPS_JOIN(loop, set)  LOOPS_PASTE(loop, set)
#define LOOPS_OWN(loop)        LOOPS_JOIN(loop, LOOPS_NAME)
/* loops_bn.c */
void LOOPS_OWN(bn_statistics)(const struct bn_range *range, double *mean, double *squares);
void LOOPS_OWN(bn_normalize)(const struct bn_range *range, const float *mean, const float *factor, const float *beta,
                             bool relu, float *y, uint8_t *mask);
void LOOPS_OWN(bn_normalize_add)(const struct bn_range *range, const float *mean, const float *factor, const float *beta,
                                 const float *other, bool relu, bool streams, float *y);
void LOOPS_OWN(bn_mask)(const struct bn_range *range, const float *mean, const float *factor, const float *beta,
                        uint8_t *mask);
/* loops_bn_gradient.c */
void LOOPS_OWN(bn_gradient_sums)(const struct bn_range *range, const float *dy, const float *mean, double *sum,
                                 double *product);
void LOOPS_OWN(bn_shut_sums)(const struct bn_range *range, const float *mean, const float *factor, const float *beta,
                             bool shuts, float *dy, double *sum, double *product);
void LOOPS_OWN(bn_gradient)(const struct bn_range *range, const float *dy, const float *mean, const float *factor,
                            const float *shift, const float *slope, const float *other, float *dx);
void LOOPS_OWN(bn_shut_gradient)(const struct bn_range *range, const float *dy, const float *mean, const float *factor,
                                 const float *beta, const float *shift, const float *slope, const float *other,
                                 float *dx);
#endif

#endif
