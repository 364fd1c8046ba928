/* What a GPU's convolutions do besides convolving, where nobody says what to fuse. */
#ifndef FATHOM_ENGINE_LOWERING_H
#define FATHOM_ENGINE_LOWERING_H

#include "graph.h"
#include "machine.h"

/* Bits of enum graph_lowering for which cuDNN 9 has engines at this capability (900 for 9.0) and type of activations; 0
 * where the capability is unknown or below DEVICE_LEAST_CAPABILITY: then the logical graph is planned. tf32: f32 may be
 * multiplied as TF32; of no effect on other types. */
uint32_t engine_lowering(uint32_t capability, enum dtype dtype, bool tf32);
/* What all devices of a machine share. */
uint32_t engine_lowering_shared(const struct machine *machine, enum dtype dtype, bool tf32);
/* Of these bits those that cuDNN has in f32 through TF32 alone. */
uint32_t engine_lowering_rounds(uint32_t lowering);

#endif
