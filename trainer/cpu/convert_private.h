/* The sets that convert.c was compiled into (meson.build). */
#ifndef FATHOM_CONVERT_PRIVATE_H
#define FATHOM_CONVERT_PRIVATE_H

#include "convert.h"

extern const struct conversions convert_plain;
#ifdef __x86_64__
extern const struct conversions convert_avx2, convert_avx512;
#endif

#endif
