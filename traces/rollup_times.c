/* Times of ops and kernels: how often they fell where, and percentiles of that. */
#include <math.h>
#include <string.h>

#include "mem.h"
#include "rollup_private.h"

/* ---- Where buckets lie ---- */

#define SLAB_BYTES 65536u

struct rollup_slab {
    struct rollup_slab *next;
    uint32_t buckets[SLAB_BYTES / sizeof(uint32_t) - 4];
};

/* Buckets come in 8, 16, 32, 64 or 128. */
static size_t class_of(size_t size)
{
    size_t class = 0;
    while ((size_t)ROLLUP_FEWEST_BUCKETS << class < size) class ++;
    return class;
}

static uint32_t *take_buckets(struct rollup_pool *pool, size_t class)
{
    const size_t count = (size_t)ROLLUP_FEWEST_BUCKETS << class;
    uint32_t *buckets = pool->free[class];
    if (buckets) {
        memcpy(&pool->free[class], buckets, sizeof(uint32_t *));
        memset(buckets, 0, count * sizeof *buckets);
        return buckets;
    }
    if (pool->left < count) {
        struct rollup_slab *slab = mem_zalloc(MEM_TRACE, 1, sizeof *slab);
        if (!slab) return NULL;
        slab->next = pool->slabs;
        pool->slabs = slab;
        pool->left = sizeof slab->buckets / sizeof slab->buckets[0];
    }
    buckets = &pool->slabs->buckets[sizeof pool->slabs->buckets / sizeof *buckets - pool->left];
    pool->left -= count;
    return buckets;
}

static void give_buckets(struct rollup_pool *pool, uint32_t *buckets, size_t class)
{
    memcpy(buckets, &pool->free[class], sizeof(uint32_t *));
    pool->free[class] = buckets;
}

void rollup_finish_pool(struct rollup_pool *pool)
{
    for (struct rollup_slab *slab = pool->slabs, *next; slab; slab = next) {
        next = slab->next;
        mem_free(slab);
    }
    *pool = (struct rollup_pool){0};
}

/* ---- Counting ---- */

/* The exponent, then the five bits after the leading one. */
static int step_of(uint64_t ns)
{
    int exponent = 63 - __builtin_clzll(ns | 1);
    uint64_t fraction = exponent >= 5 ? ns >> (exponent - 5) : ns << (5 - exponent);
    return exponent * ROLLUP_OCTAVE + (int)(fraction & (ROLLUP_OCTAVE - 1));
}

/* The time at which a step begins. */
static double step_begin_ns(int step)
{
    return ldexp(1.0 + (double)(step % ROLLUP_OCTAVE) / ROLLUP_OCTAVE, step / ROLLUP_OCTAVE);
}

/* Makes room for a step outside of the buckets: for those between, too, which become pairs, fours, ... where there
 * would be too many. False when memory is short: then all is as before. */
static bool reach(struct rollup_pool *pool, struct rollup_histogram *h, int step)
{
    int shift = h->shift, first = h->size ? h->from << shift : step,
        last = h->size ? (h->from + h->size) << shift : step;
    if (step < first) first = step;
    if (step >= last) last = step + 1;
    while (((last - 1) >> shift) - (first >> shift) >= ROLLUP_BUCKETS) shift++;
    const int from = first >> shift, size = ((last - 1) >> shift) - from + 1;
    const size_t class = class_of((size_t)size);
    uint32_t *buckets = take_buckets(pool, class);
    if (!buckets) return false;
    for (int i = 0; i < h->size; i++) buckets[((h->from + i) >> (shift - h->shift)) - from] += h->buckets[i];
    if (h->buckets) give_buckets(pool, h->buckets, class_of(h->size));
    *h = (struct rollup_histogram){buckets, (uint16_t)from, (uint8_t)shift, (uint8_t)size};
    return true;
}

static void count_in_histogram(struct rollup_pool *pool, struct rollup_histogram *h, uint64_t ns)
{
    int step = step_of(ns), bucket = (step >> h->shift) - h->from;
    if (bucket < 0 || bucket >= h->size) {
        if (!reach(pool, h, step)) return;
        bucket = (step >> h->shift) - h->from;
    }
    h->buckets[bucket]++;
}

void rollup_count_time(struct rollup_pool *pool, struct rollup_op *op, uint64_t ns)
{
    count_in_histogram(pool, &op->histogram, ns);
    double seconds = (double)ns * 1e-9;
    op->sum_of_squares += seconds * seconds;
    op->total_ns += ns;
    if (op->count == 0 || ns < op->least_ns) op->least_ns = ns;
    if (ns > op->most_ns) op->most_ns = ns;
    op->last_ns = ns;
    op->count++;
}

/* ---- Percentiles ---- */

static double bucket_begin(const struct rollup_op *op, int bucket)
{
    return step_begin_ns((op->histogram.from + bucket) << op->histogram.shift);
}

/* Of the times those that are in a bucket: while memory is short they are in none, but counted. */
static uint64_t held_times(const struct rollup_histogram *h)
{
    uint64_t held = 0;
    for (int i = 0; i < h->size; i++) held += h->buckets[i];
    return held;
}

static uint64_t between(uint64_t least_ns, uint64_t most_ns, double fraction)
{
    return least_ns + (uint64_t)(fraction * (double)(most_ns - least_ns));
}

/* The k-th smallest lies in a bucket; within it, times are taken as evenly spread. */
uint64_t rollup_percentile_ns(const struct rollup_op *op, double fraction)
{
    if (op->count == 0) return 0;
    if (fraction <= 0) return op->least_ns;
    if (fraction >= 1) return op->most_ns;
    const struct rollup_histogram *h = &op->histogram;
    const uint64_t held = held_times(h);
    if (held == 0) return between(op->least_ns, op->most_ns, fraction);
    double least = (double)op->least_ns, most = (double)op->most_ns;
    double rank = fraction * (double)(held - 1), before = 0;
    int bucket = 0;
    while (bucket < h->size - 1 && before + h->buckets[bucket] <= rank) before += h->buckets[bucket++];
    double inside = h->buckets[bucket] ? (rank - before + 0.5) / h->buckets[bucket] : 0.5;
    double begin = fmax(least, bucket_begin(op, bucket)), end = fmin(most, bucket_begin(op, bucket + 1));
    double ns = begin + (end - begin) * inside;
    if (!(ns < most)) return op->most_ns;
    return ns > least ? (uint64_t)ns : op->least_ns;
}

static void spread_histogram(struct rollup_times *times, const struct rollup_op *op)
{
    const struct rollup_histogram *h = &op->histogram;
    int width = 1 << h->shift;
    for (int i = 0; i < h->size; i++) {
        int first = (h->from + i) * width;
        for (int k = 0; h->buckets[i] && k < width && first + k < ROLLUP_STEPS; k++)
            times->steps[first + k] += (double)h->buckets[i] / width;
    }
}

void rollup_times_add(struct rollup_times *times, const struct rollup_op *op)
{
    if (op->count == 0) return;
    if (times->ops == 0) times->first = op;
    if (times->ops == 1) spread_histogram(times, times->first);
    if (times->ops > 0) spread_histogram(times, op);
    if (times->ops == 0 || op->least_ns < times->least_ns) times->least_ns = op->least_ns;
    if (op->most_ns > times->most_ns) times->most_ns = op->most_ns;
    times->held += held_times(&op->histogram);
    times->ops++;
}

uint64_t rollup_times_percentile_ns(const struct rollup_times *times, double fraction)
{
    if (times->ops <= 1) return times->ops ? rollup_percentile_ns(times->first, fraction) : 0;
    if (fraction <= 0) return times->least_ns;
    if (fraction >= 1) return times->most_ns;
    if (times->held == 0) return between(times->least_ns, times->most_ns, fraction);
    double rank = fraction * (double)(times->held - 1), before = 0;
    int at = 0;
    while (at < ROLLUP_STEPS - 1 && before + times->steps[at] <= rank) before += times->steps[at++];
    double inside = times->steps[at] > 0 ? fmin(1, (rank - before + 0.5) / times->steps[at]) : 0.5;
    double least = (double)times->least_ns, most = (double)times->most_ns;
    double begin = fmax(least, step_begin_ns(at)), end = fmin(most, step_begin_ns(at + 1));
    double ns = begin + (end - begin) * inside;
    if (!(ns < most)) return times->most_ns;
    return ns > least ? (uint64_t)ns : times->least_ns;
}
