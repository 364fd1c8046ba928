#include "engine_lowering.h"

/* Images come as bytes, and with 16 bits weights are rounded once, wherever there is a capability: those kernels are
 * fathom's own. Batch normalisations are taken apart where convolutions can do parts of them: where they cannot, the
 * parts are more launches, and no faster. Of the rest, what cuDNN 9.19 has engines for
 * (tests/planner/engines/lowering.c asks it):
 *
 * - f32: all engines that do more than convolve, add or add a bias round to TF32, and the one that adds is compiled at
 * run time; nothing is fused that a plan without TF32 could not run. With TF32 it is as in bf16.
 * - bf16 from 8.0 on: sums, input through a BN, additions; not the gradients.
 * - f16 from 8.0 on: gradients of weights too, which read through a BN and then come in 16 bits. Gradients of data
 * write sums from 9.0 to 10.3: before and after, engines that do keep the whole gradient in their workspace, more than
 * plans give. Of 8.x no additions: with sums and a BN before them cuDNN has no engine there, and 9.19 crashes when it
 * is asked.
 * - 7.5: none. */
uint32_t engine_lowering(uint32_t capability, enum dtype dtype, bool tf32)
{
    const uint32_t own = LOWER_INPUT | (dtype == DTYPE_F32 ? 0 : LOWER_WEIGHTS),
                   reads = own | LOWER_BN | LOWER_BN_ADD | LOWER_SUMS | LOWER_NORMALIZE,
                   half = reads | LOWER_NORMALIZE_WEIGHTS | LOWER_HALF_GRADIENTS;
    if (capability < DEVICE_LEAST_CAPABILITY) return 0;
    if ((dtype == DTYPE_F32 && !tf32) || capability < 800) return own;
    if (dtype != DTYPE_F16) return reads | LOWER_ADD;
    if (capability < 900) return half;
    return half | LOWER_ADD | (capability < 1200 ? LOWER_GRADIENT_SUMS : 0);
}

uint32_t engine_lowering_rounds(uint32_t lowering)
{
    return lowering & (LOWER_SUMS | LOWER_NORMALIZE | LOWER_NORMALIZE_WEIGHTS | LOWER_GRADIENT_SUMS);
}

uint32_t engine_lowering_shared(const struct machine *machine, enum dtype dtype, bool tf32)
{
    uint32_t shared = LOWER_ALL;
    for (size_t i = 0; i < machine->device_count; i++)
        shared &= engine_lowering(machine->devices[i].capability, dtype, tf32);
    return shared;
}
