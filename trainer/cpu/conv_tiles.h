/* Lowered convolutions by kernels of our own (tile_kernels.h): what is read through a batch normalisation is computed into
 * a panel in the first-level cache, a tile of pixels or rows at a time; additions, masks and sums are done to results that
 * are still in registers. 1 x 1 and 3 x 3 kernels, over channels that 16 divides.
 *
 * Tiles and parts depend on the shape alone. A part's tiles are computed by one thread in order and its sums are its own;
 * parts are merged in order, in double but for gradients of weights: so bits do not depend on the number of threads. */
#ifndef FATHOM_CONV_TILES_H
#define FATHOM_CONV_TILES_H

#include "cpu_device.h"

/* Of an op that conv_tiles_suit says yes to (conv_tiles_cut.h): its workspace. */
uint64_t conv_tiles_bytes(const struct op_call *call);
bool conv_tiles_run(const struct prepared *p, struct error *err);

#endif
