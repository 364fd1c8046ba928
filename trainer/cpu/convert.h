/* Conversions between f32 and the 16-bit floats of activations, compiled once per instruction set; half.h says what they
 * give. Arrays do not overlap. */
#ifndef FATHOM_CONVERT_H
#define FATHOM_CONVERT_H

#include <stddef.h>
#include <stdint.h>

struct conversions {
    void (*from_bf16)(float *out, const uint16_t *in, size_t n);
    void (*to_bf16)(uint16_t *out, const float *in, size_t n);
    void (*from_f16)(float *out, const uint16_t *in, size_t n);
    void (*to_f16)(uint16_t *out, const float *in, size_t n);
};

/* The best set for this processor. */
const struct conversions *conversions_best(void);

/* All sets that this processor can run, ended by NULL: for tests. */
#define CONVERSION_SETS 4
void conversions_all(const struct conversions *sets[CONVERSION_SETS]);

#endif
