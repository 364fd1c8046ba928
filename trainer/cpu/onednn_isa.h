/* The instruction set that oneDNN uses in this process. */
#ifndef FATHOM_ONEDNN_ISA_H
#define FATHOM_ONEDNN_ISA_H

#include <stdbool.h>
#include <stdint.h>

/* Floats in a vector register of the ISA that oneDNN uses here (16 or 8); 0 = not an x86 with AVX2. */
uint32_t onednn_vector_floats(void);
/* Whether it multiplies bf16 and sums in f32, two products to each of f32. */
bool onednn_multiplies_bf16(void);

#endif
