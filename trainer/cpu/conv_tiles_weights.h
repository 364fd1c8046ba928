/* Weights in the order of tile_kernels.h, for one call, over the device's threads. Blocks are stored in that order where
 * this processor's vectors suit (weights.h); else weights are stored plain, {K, R, S, C}. */
#ifndef FATHOM_CONV_TILES_WEIGHTS_H
#define FATHOM_CONV_TILES_WEIGHTS_H

#include "conv_tiles_cut.h"

/* For gradients of inputs: inputs and outputs change places, and the kernel is turned by half a turn. */
void tiles_weights_turn(const struct tiles_cut *cut, const float *stored, float *turned);

/* Where weights are stored plain: into blocks, and out of them. */
void tiles_weights_block(const struct tiles_cut *cut, const float *stored, float *blocks);
void tiles_weights_unblock(const struct tiles_cut *cut, const float *blocks, float *stored);

#endif
