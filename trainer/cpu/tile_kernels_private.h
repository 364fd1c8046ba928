/* The sets that tile_kernels.c was compiled into (meson.build). */
#ifndef FATHOM_TILE_KERNELS_PRIVATE_H
#define FATHOM_TILE_KERNELS_PRIVATE_H

#include "tile_kernels.h"

extern const struct tile_kernels tile_kernels_plain;
#ifdef __x86_64__
extern const struct tile_kernels tile_kernels_avx2, tile_kernels_avx512;
#endif

#endif
