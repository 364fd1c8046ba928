/* Vectors of 16 floats for the loops over channels (loops.h): compilers make two or four of one where the instruction set
 * has shorter ones. */
#ifndef FATHOM_LOOPS_VECTORS_H
#define FATHOM_LOOPS_VECTORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#define ALWAYS_INLINE inline __attribute__((always_inline))

#define LANES 16u
#define TILE  4u /* vectors whose sums are kept in registers together */
typedef float vector __attribute__((vector_size(64)));
typedef int32_t lanes __attribute__((vector_size(64)));
typedef float unaligned_vector __attribute__((vector_size(64), aligned(4), may_alias));

/* Where vectors are shorter they would be returned in other ways; but all of this is inlined. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

static ALWAYS_INLINE vector load_vector(const float *p) { return *(const unaligned_vector *)p; }
static ALWAYS_INLINE void store(float *p, vector v) { *(unaligned_vector *)p = v; }

/* Bit j = lane j is above 0, or not a number. */
static ALWAYS_INLINE uint16_t bits_above_zero(vector v)
{
#ifdef __AVX512F__
    return (uint16_t)_mm512_cmp_ps_mask((__m512)v, _mm512_setzero_ps(), _CMP_NLE_UQ);
#else
    unsigned bits = 0;
    for (unsigned j = 0; j < LANES; j++) bits |= (unsigned)!(v[j] <= 0) << j;
    return (uint16_t)bits;
#endif
}

static ALWAYS_INLINE vector keep_lanes(vector v, uint16_t bits)
{
#ifdef __AVX512F__
    return (vector)_mm512_maskz_mov_ps(bits, (__m512)v);
#else
    const lanes each = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
    lanes kept = (each & (int32_t)bits) != 0;
    return (vector)((lanes)v & kept);
#endif
}

static ALWAYS_INLINE vector keep_masked(vector v, const uint8_t *mask, size_t element)
{
    uint16_t bits;
    memcpy(&bits, mask + element / 8, sizeof bits);
    return keep_lanes(v, bits);
}

static ALWAYS_INLINE bool masked_out(const uint8_t *mask, size_t element) { return mask && !(mask[element / 8] >> element % 8 & 1); }

/* Rows whose values stay in the first-level cache between two passes, a multiple of 8 so that masks begin with a byte.
 */
static ALWAYS_INLINE size_t block_rows(size_t channels)
{
    size_t rows = 4096 / channels / 8 * 8;
    return rows ? rows : 8;
}

/* Narrow rows are taken several at a time, as one row of TILE vectors: how many, or 1. */
static ALWAYS_INLINE size_t folding(size_t channels)
{
    return channels < TILE * LANES && channels % LANES == 0 && TILE * LANES % channels == 0 ? TILE * LANES / channels
                                                                                            : 1;
}

static ALWAYS_INLINE void repeat(const float *values, size_t count, float *wide)
{
    for (size_t i = 0; i < TILE * LANES; i++) wide[i] = values[i % count];
}

#pragma GCC diagnostic pop

#endif
