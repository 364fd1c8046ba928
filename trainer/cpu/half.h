/* 16-bit floats, one at a time, by their bits: what convert.h's loops give for every value.
 *
 * Stores round to nearest, ties to even; what is too large becomes infinite; NaNs stay NaNs and are made quiet. */
#ifndef FATHOM_HALF_H
#define FATHOM_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float float_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float float_from_bf16(uint16_t half) { return float_from_bits((uint32_t)half << 16); }

/* Adding 0x7fff, and 1 where the last kept bit is odd, carries into the kept bits exactly where rounding goes up. */
static inline uint16_t bf16_from_float(float value)
{
    uint32_t bits = float_bits(value), rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16 | 0x40u) : rounded);
}

/* Exponents of f16 have 5 bits and a bias of 15, fractions 10 bits. */
static inline float float_from_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31u, fraction = half & 0x3ffu;
    if (exponent == 31) return float_from_bits(sign | 0x7f800000u | (fraction ? 0x400000u : 0) | fraction << 13);
    if (exponent) return float_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float small = (float)fraction * 0x1p-24f;
    return float_from_bits(sign | float_bits(small));
}

static inline uint16_t f16_from_float(float value)
{
    uint32_t bits = float_bits(value), size = bits & 0x7fffffffu;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    if (size > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (size >> 13 & 0x3ffu));
    if (size >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* from 65,520 on */
    if (size >= 0x38800000u) return (uint16_t)(sign | (size - 0x38000000u + 0xfffu + (size >> 13 & 1)) >> 13);
    /* Below the smallest normal number: in units of 2^-24, rounded by an addition whose last bit is that unit. */
    return (uint16_t)(sign | (float_bits(float_from_bits(size) + 0.5f) - float_bits(0.5f)));
}

#endif
