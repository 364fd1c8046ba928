#include "engine_lowering.h"

/* Batch normalisations are taken apart wherever there is a capability: their kernels are fathom's own. Before 8.0 cuDNN
 * has no engine that writes sums or reads through a scale; in f32 and bf16 none whose gradients of weights read so, or
 * whose gradients of data write sums. An addition is in all families from 8.0 on. */
uint32_t engine_lowering(uint32_t capability, enum dtype dtype)
{
    uint32_t all = LOWER_BN | LOWER_SUMS | LOWER_NORMALIZE | LOWER_ADD;
    if (capability < DEVICE_LEAST_CAPABILITY) return 0;
    if (capability < 800) return LOWER_BN;
    return dtype == DTYPE_F16 ? all | LOWER_NORMALIZE_WEIGHTS | LOWER_GRADIENT_SUMS : all;
}

uint32_t engine_lowering_shared(const struct machine *machine, enum dtype dtype)
{
    uint32_t shared = LOWER_ALL;
    for (size_t i = 0; i < machine->device_count; i++) shared &= engine_lowering(machine->devices[i].capability, dtype);
    return shared;
}
