/* Lowered convolutions by pieces of the batch: what is read through a batch normalisation is computed into scratch that
 * stays in a core's cache, oneDNN's convolution runs on it on that core alone, and what the result is summed for is taken
 * while it is there. A piece is one image or several; of a 1x1 convolution that steps by 1, rows of images, since it looks
 * at every pixel by itself.
 *
 * The cut depends on the shape alone. Each piece is computed by one thread, whichever is free, and sums of pieces are
 * merged in order: the bits do not depend on the number of threads. */
#ifndef FATHOM_CONV_PIECES_H
#define FATHOM_CONV_PIECES_H

#include "cpu_device.h"

/* From the shape of the whole op to that of a piece; nothing when the op is faster, or only possible, as a whole. */
void conv_pieces_cut(const struct op_call *call, struct onednn_shape *shape);

/* Whether a shape is that of a piece. */
static inline bool conv_is_cut(const struct onednn_shape *shape) { return shape->alone != 0; }

/* Scratch of the op's own, before oneDNN's. */
uint64_t conv_pieces_before(const struct op_call *call, const struct onednn_shape *piece);
bool conv_pieces_run(const struct prepared *p, struct error *err);

#endif
