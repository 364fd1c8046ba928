/* Which convolutions run by tiles (conv_tiles.h), and how they are cut. */
#ifndef FATHOM_CONV_TILES_CUT_H
#define FATHOM_CONV_TILES_CUT_H

#include "cpu_device.h"
#include "tile_kernels.h"

/* For benchmarks and tests: set before ops are prepared and their workspaces asked for. */
enum conv_tiles_rule {
    CONV_TILES_MEASURED, /* where they were measured to be faster (conv_tiles_cut.c) */
    CONV_TILES_ALWAYS,   /* wherever they can */
    CONV_TILES_NEVER,
};
extern enum conv_tiles_rule conv_tiles_rule;

/* Whether an op runs so: by its shape, this processor's vectors and the rule. */
bool conv_tiles_suit(const struct op_call *call);

/* What runs it: these kernels' name, or "own". */
const char *conv_tiles_name(const struct op_call *call);

/* Units are what parts consist of: tiles of pixels of y, or with a 3 x 3 kernel images. */
struct tiles_cut {
    const struct tile_kernels *kernels;
    const uint32_t *x, *y; /* dims */
    bool window;           /* 3 x 3 */
    bool plain;            /* weights are stored plain, not in the kernels' blocks */
    uint32_t stride;
    uint64_t pixels; /* of y, in all images */
    uint64_t tile;   /* pixels of y in a unit; fewer in the last one */
    uint64_t units, parts;
    uint64_t panel_pixels; /* that a panel has room for */
    uint64_t weights;      /* how many */
};

struct tiles_cut tiles_cut_of(const struct op_call *call);

/* Part i has units [i, i + 1) of this. */
static inline uint64_t tiles_first_unit(const struct tiles_cut *c, uint64_t part) { return c->units * part / c->parts; }

#endif
