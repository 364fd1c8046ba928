#include "squares.h"

#include "convert.h"
#include "parallel.h"

#define LANES 8u
#define PARTS 64u  /* each summed by one thread */
#define CHUNK 512u /* elements that are widened at a time */

double floats_sum_squares(const float *values, uint64_t count)
{
    double lanes[LANES] = {0}, sum = 0;
    uint64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (unsigned k = 0; k < LANES; k++) lanes[k] += (double)values[i + k] * (double)values[i + k];
    for (; i < count; i++) sum += (double)values[i] * (double)values[i];
    for (unsigned k = 0; k < LANES; k++) sum += lanes[k];
    return sum;
}

struct squares {
    const void *values;
    enum dtype dtype;
    uint64_t count;
    double *sums; /* PARTS */
};

static double sum_halves(const struct squares *s, uint64_t first, uint64_t last)
{
    const struct conversions *loops = conversions_best();
    void (*widen)(float *out, const uint16_t *in, size_t n) =
        s->dtype == DTYPE_F16 ? loops->from_f16 : loops->from_bf16;
    const uint16_t *values = s->values;
    float chunk[CHUNK];
    double sum = 0;
    for (uint64_t i = first, n; i < last; i += n) {
        n = last - i < CHUNK ? last - i : CHUNK;
        widen(chunk, values + i, n);
        sum += floats_sum_squares(chunk, n);
    }
    return sum;
}

static void sum_parts(const void *context, uint64_t first, uint64_t last)
{
    const struct squares *s = context;
    const uint64_t each = (s->count + PARTS - 1) / PARTS;
    for (uint64_t part = first; part < last; part++) {
        uint64_t from = part * each < s->count ? part * each : s->count;
        uint64_t to = from + each < s->count ? from + each : s->count;
        s->sums[part] = s->dtype == DTYPE_F32 ? floats_sum_squares((const float *)s->values + from, to - from)
                                              : sum_halves(s, from, to);
    }
}

double cpu_sum_squares(const void *values, enum dtype dtype, uint64_t count)
{
    double sums[PARTS], sum = 0;
    const struct squares s = {values, dtype, count, sums};
    parallel_run(PARTS, count, sum_parts, &s);
    for (unsigned i = 0; i < PARTS; i++) sum += sums[i];
    return sum;
}
