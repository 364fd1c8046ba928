/* What the files of the readable table share. */
#ifndef FATHOM_REFERENCE_PRIVATE_H
#define FATHOM_REFERENCE_PRIVATE_H

#include "cpu_device.h"

/* Dims {N, H, W, C} of an input or output, and the index of one element. */
static inline const uint32_t *dims_in(const struct prepared *p, unsigned i) { return p->call.in_tensor[i]->dims; }
static inline const uint32_t *dims_out(const struct prepared *p, unsigned i) { return p->call.out_tensor[i]->dims; }
static inline uint64_t elements_out(const struct prepared *p) { return tensor_elements(p->call.out_tensor[0]); }

static inline uint64_t index_at(const uint32_t d[4], uint64_t n, uint64_t h, uint64_t w, uint64_t c)
{
    return ((n * d[1] + h) * d[2] + w) * d[3] + c;
}

/* Output row `out` reads input row out * stride + tap - padding; false when that is outside the image. */
static inline bool tap_row(uint64_t out, uint64_t tap, uint32_t stride, uint32_t padding, uint32_t rows, uint64_t *row)
{
    uint64_t padded = out * stride + tap;
    *row = padded - padding;
    return padded >= padding && *row < rows;
}

/* The values of an operand as its op reads them: as they are, normalised, or as a BN's gradient (bn_rows.h). */
struct source {
    const float *values;
    uint64_t channels;
    const void *norm;                  /* NULL = not normalised */
    const void *coefficients, *y;      /* NULL = no BN's gradient */
    bool relu;                         /* after normalising; or before the gradient, where it was shut */
};
struct source source_of(const struct prepared *p, unsigned operand);
/* x normalised, before ReLU. */
double normalized_value(const void *norm, uint64_t channels, const float *x, uint64_t i);
double source_value_lowered(const struct source *s, uint64_t i);

static inline double source_value(const struct source *s, uint64_t i)
{
    return s->norm || s->coefficients ? source_value_lowered(s, i) : (double)s->values[i];
}

/* dbias[k] = sum of dy over everything but channel k, where the op has a bias. */
void reference_bias_gradient(const struct prepared *p);

bool cpu_reference_conv(const struct prepared *p, struct error *err);
bool cpu_reference_conv_backward_data(const struct prepared *p, struct error *err);
bool cpu_reference_conv_backward_weights(const struct prepared *p, struct error *err);

/* A lowered BN, and its sums, which convolutions write too. */
void reference_sums(const float *x, uint64_t elements, uint64_t channels, double *sums);
void reference_gradient_sums(const float *dy, const float *x, uint64_t elements, uint64_t channels, const void *norm,
                             bool relu, double *sums);
bool cpu_reference_bn_sums(const struct prepared *p, struct error *err);
bool cpu_reference_bn_apply(const struct prepared *p, struct error *err);
bool cpu_reference_bn_backward_sums(const struct prepared *p, struct error *err);
bool cpu_reference_bn_backward_apply(const struct prepared *p, struct error *err);

#endif
