/* Compiled several times, with other instruction sets and another CONVERT_NAME. */
#include "convert.h"

#if defined(__AVX512F__) || defined(__F16C__)
#include <immintrin.h>
#endif

#include "convert_private.h"
#include "half.h"

static void from_bf16(float *restrict out, const uint16_t *restrict in, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = float_from_bf16(in[i]);
}

static void to_bf16(uint16_t *restrict out, const float *restrict in, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = bf16_from_float(in[i]);
}

#if defined(__AVX512F__)
#define STEP 16u
static void step_from_f16(float *out, const uint16_t *in)
{
    _mm512_storeu_ps(out, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)in)));
}
static void step_to_f16(uint16_t *out, const float *in)
{
    _mm256_storeu_si256((__m256i *)(void *)out, _mm512_cvtps_ph(_mm512_loadu_ps(in), _MM_FROUND_TO_NEAREST_INT));
}
#elif defined(__F16C__)
#define STEP 8u
static void step_from_f16(float *out, const uint16_t *in)
{
    _mm256_storeu_ps(out, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)in)));
}
static void step_to_f16(uint16_t *out, const float *in)
{
    _mm_storeu_si128((__m128i *)(void *)out, _mm256_cvtps_ph(_mm256_loadu_ps(in), _MM_FROUND_TO_NEAREST_INT));
}
#else
#define STEP 1u
static void step_from_f16(float *out, const uint16_t *in) { *out = float_from_f16(*in); }
static void step_to_f16(uint16_t *out, const float *in) { *out = f16_from_float(*in); }
#endif

static void from_f16(float *restrict out, const uint16_t *restrict in, size_t n)
{
    size_t i = 0;
    for (; i + STEP <= n; i += STEP) step_from_f16(out + i, in + i);
    for (; i < n; i++) out[i] = float_from_f16(in[i]);
}

static void to_f16(uint16_t *restrict out, const float *restrict in, size_t n)
{
    size_t i = 0;
    for (; i + STEP <= n; i += STEP) step_to_f16(out + i, in + i);
    for (; i < n; i++) out[i] = f16_from_float(in[i]);
}

const struct conversions CONVERT_NAME = {from_bf16, to_bf16, from_f16, to_f16};
