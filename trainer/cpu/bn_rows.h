/* What the rows of a lowered BN's small tensors hold on this folder's devices (lower.h), one element per channel:
 *
 * sums            mean; sum of squared differences from it
 * norm            scale = gamma / sqrt(variance + epsilon); beta; mean; variance
 * gradient sums   sum of dy; sum of dy (x - mean)
 * coefficients    scale; shift = mean of dy; slope = mean of dy (x - mean) / (variance + epsilon); mean; beta
 *
 * So y = scale (x - mean) + beta, dx = scale (dy - shift - slope (x - mean)), and ReLU was shut where y <= 0. */
#ifndef FATHOM_BN_ROWS_H
#define FATHOM_BN_ROWS_H

#include "cpu_device.h"

struct bn_norm_rows {
    float *scale, *beta, *mean, *variance;
};

struct bn_coefficient_rows {
    float *scale, *shift, *slope, *mean, *beta;
};

/* Tables are read through these too: a backend's ops take inputs by address alone. */
static inline struct bn_norm_rows bn_norm_rows(const void *norm, uint64_t channels)
{
    float *rows = (float *)(uintptr_t)norm;
    return (struct bn_norm_rows){rows, rows + channels, rows + 2 * channels, rows + 3 * channels};
}

static inline struct bn_coefficient_rows bn_coefficient_rows(const void *coefficients, uint64_t channels)
{
    float *rows = (float *)(uintptr_t)coefficients;
    return (struct bn_coefficient_rows){rows, rows + channels, rows + 2 * channels, rows + 3 * channels,
                                        rows + 4 * channels};
}

/* What lies between a BN's gradient sums and the gradient of its input. */
struct bn_backward_tables {
    uint64_t channels;
    const double *sums;  /* of this device, as above */
    const void *norm;
    double *own;         /* the same as sums, where an op takes them itself */
    double *all;         /* scratch: 2 channels + 1 */
    float *coefficients; /* to be made */
};
/* The coefficients; gamma's and beta's gradients to the op's outputs 1 and 2. */
bool bn_make_coefficients(const struct prepared *p, const struct bn_backward_tables *tables, struct error *err);

/* Of OP_BN_BWD_APPLY, in scratch of so many bytes. */
uint64_t bn_backward_tables_bytes(const struct op_call *call);
struct bn_backward_tables bn_backward_tables_of(const struct prepared *p, void *scratch);
bool cpu_bn_backward_tables_workspace(const struct op_call *call, uint64_t *bytes, struct error *err);

/* From sums to norm and on to coefficients: the same for both tables. */
bool cpu_bn_finalize(const struct prepared *p, struct error *err);
bool cpu_bn_backward_finalize(const struct prepared *p, struct error *err);
bool cpu_bn_finalize_workspace(const struct op_call *call, uint64_t *bytes, struct error *err);

#endif
