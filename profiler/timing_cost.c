#include "timing_cost.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void timing_cost_begin(struct timing_cost *cost, bool overlap, bool in_rows)
{
    memset(cost, 0, sizeof *cost);
    for (size_t i = 0; i < COST_STEPS; i++) cost->last[i].sort = STEP_OTHER;
    cost->overlap = overlap;
    cost->in_rows = in_rows;
}

/* ---- Blocks of steps ---- */

/* The block that ends `back` steps before the newest one. */
static enum step_sort sort_of(const struct timing_cost *cost, size_t back)
{
    const enum step_sort last = cost->last[COST_STEPS - 1 - back].sort;
    if (!cost->overlap) return last;
    const enum step_sort first = cost->last[COST_STEPS - 2 - back].sort;
    if (first == STEP_PLAIN && last == STEP_PLAIN) return STEP_PLAIN;
    return first == STEP_TIMED && last == (cost->in_rows ? STEP_TIMED : STEP_AFTER) ? STEP_TIMED : STEP_OTHER;
}

static double ns_of(const struct timing_cost *cost, size_t back)
{
    double ns = (double)cost->last[COST_STEPS - 1 - back].ns;
    return cost->overlap ? ns + (double)cost->last[COST_STEPS - 2 - back].ns : ns;
}

/* Of rows the step after the last timed one is in no block: it bears what switching costs, which few steps do. */
static size_t block_before(const struct timing_cost *cost)
{
    size_t steps = cost->overlap ? 2 : 1;
    return cost->overlap && cost->in_rows && cost->last[COST_STEPS - 1 - steps].sort == STEP_AFTER ? steps + 1 : steps;
}

static bool compare_blocks(struct timing_cost *cost)
{
    size_t before = block_before(cost);
    enum step_sort a = sort_of(cost, before), b = sort_of(cost, 0);
    double a_ns = ns_of(cost, before), b_ns = ns_of(cost, 0);
    if ((a == STEP_TIMED) == (b == STEP_TIMED) || a == STEP_OTHER || b == STEP_OTHER || a_ns <= 0 || b_ns <= 0)
        return false;
    cost->ratios[cost->count++ % COST_RATIOS] = (a == STEP_TIMED ? a_ns / b_ns : b_ns / a_ns) - 1;
    return true;
}

bool timing_cost_see(struct timing_cost *cost, enum step_sort sort, uint64_t ns)
{
    memmove(cost->last, cost->last + 1, sizeof cost->last - sizeof cost->last[0]);
    cost->last[COST_STEPS - 1].sort = cost->seen++ < COST_SKIPS ? STEP_OTHER : sort;
    cost->last[COST_STEPS - 1].ns = ns;
    if (!compare_blocks(cost)) return false;
    size_t kept = cost->count < COST_RATIOS ? cost->count : COST_RATIOS;
    if (cost->count - cost->told < (kept / 8 > COST_LEAST ? kept / 8 : COST_LEAST)) return false;
    cost->told = cost->count;
    return true;
}

/* ---- The estimate ---- */

static int compare_ratios(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, size_t count, double part)
{
    double place = part * (double)(count - 1);
    size_t below = (size_t)place;
    if (below + 1 >= count) return sorted[count - 1];
    return sorted[below] + (place - (double)below) * (sorted[below + 1] - sorted[below]);
}

/* Of n independent values the quantiles 1/2 -+ 1/sqrt(n) hold the median between them, 95 times of 100, whatever their
 * distribution (binomial: the count below the median has the deviation sqrt(n)/2). Each block is in two ratios. */
struct timing_estimate timing_cost_estimate(const struct timing_cost *cost)
{
    double sorted[COST_RATIOS];
    size_t count = cost->count < COST_RATIOS ? cost->count : COST_RATIOS;
    memcpy(sorted, cost->ratios, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_ratios);
    double away = fmin(0.5, 1 / sqrt((double)count / 2));
    return (struct timing_estimate){.median = quantile(sorted, count, 0.5),
                                    .least = quantile(sorted, count, 0.5 - away),
                                    .most = quantile(sorted, count, 0.5 + away)};
}
