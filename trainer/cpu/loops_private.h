/* The sets that loops.c was compiled into (meson.build). */
#ifndef FATHOM_LOOPS_PRIVATE_H
#define FATHOM_LOOPS_PRIVATE_H

#include "loops.h"

extern const struct loops loops_plain;
#ifdef __x86_64__
extern const struct loops loops_avx2, loops_avx512;
#endif

#endif
