/* What the rows of a lowered BN's small tensors hold on this backend (lower.h has their shapes), so that cuDNN and the
 * device's own kernels read and write the same. Read by C and by the .cu files.
 *
 * - sums {1, 1, 2, C}, 16 C bytes: the sum of x, the sum of its squares. Written by OP_BN_SUMS they are f64. Written by a
 *   convolution (cuDNN's statistics, or the naive kernel in its place) they are f32, and fill the first half of the bytes.
 * - gradient sums {1, 1, 2, C}: of dy (beta's gradient), and of dy times the normalised x (gamma's gradient). f64 from
 *   OP_BN_BWD_SUMS, f32 in the first half of the bytes from a convolution, as above.
 * - norm {1, 1, 6, C}, f32, the rows below. The last two are gamma / deviation and beta - mean * gamma / deviation, as
 *   convolutions read their input, in the type that cuDNN's prologue wants: f16 in plans in f16, where they fill the first
 *   half of row BN_ROW_PROLOGUE together; f32 otherwise.
 * - coefficients {1, 1, 5, C}, f32: written and read by own kernels alone (kernels.h). */
#ifndef FATHOM_BN_LAYOUT_H
#define FATHOM_BN_LAYOUT_H

enum bn_norm_row {
    BN_ROW_MEAN,
    BN_ROW_INVERSE_DEVIATION, /* 1 / sqrt(variance + epsilon) */
    BN_ROW_GAMMA,
    BN_ROW_BETA,
    BN_ROW_PROLOGUE, /* scale; the bias follows it after C elements of its type */
};

#endif
