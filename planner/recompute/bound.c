/* How fast a schedule can be at most, by the program itself with sizes rounded in the schedule's favour.
 *
 * As floor(m / k) - floor(a / k) >= floor((m - a) / k), a schedule of the chain under a limit is one of the chain whose
 * sizes and whose limit are divided by k and rounded down, too (what is freed: up), and as fast there: the least time
 * of that chain's schedules is a bound. */
#include "chain_private.h"

#include <float.h>
#include <math.h>

/* Raises *bound to the least time in quanta `scale` times as large, if its rows fit; otherwise *fits = false. */
static bool raise_bound(const struct chain *chain, uint64_t limit, uint32_t scale, uint64_t table_bytes, double fastest,
                        double *bound, bool *fits, struct error *err)
{
    struct unit_cut cut = {.count = chain->count, .size = 1, .scale = scale, .inner = scale, .optimistic = true};
    struct program program;
    TRY(chain_program_begin(&program, chain, &cut, err));
    uint64_t scaled = limit / scale;
    uint32_t m = scaled < NO_ROOM / 4 ? (uint32_t)scaled : NO_ROOM / 4;
    *fits = chain_program_row_bytes(&program, m, m) <= table_bytes;
    bool ok = !*fits || chain_program_solve(&program, m, m, err);
    if (ok && *fits) {
        const struct row *whole = &program.rows[state_index(&program.list, 0, 0, chain->count - 1)];
        double excess = chain_row_value(whole, m), rounding = (double)chain->count * FLT_EPSILON;
        double seconds = fastest + excess * (1 - rounding);
        if (isfinite(seconds) && seconds > *bound) *bound = seconds;
    }
    chain_program_finish(&program);
    return ok;
}

bool chain_bound(const struct chain *chain, uint64_t limit, double seconds, uint64_t table_bytes, double *bound,
                 struct error *err)
{
    struct knapsack knapsack;
    TRY(chain_knapsack_make(chain, &knapsack, err));
    double least = chain_knapsack_seconds(&knapsack, limit), fastest = knapsack.fastest_seconds;
    chain_knapsack_finish(&knapsack);
    uint32_t finest = chain_least_scale(chain);
    if (table_bytes == 0) table_bytes = CHAIN_TABLE_BYTES;
    bool fits = chain->count <= CHAIN_MOST_UNITS;
    for (uint32_t k = CHAIN_COARSEST_BOUND; fits && k > 0 && seconds > least * (1 + CHAIN_BOUND_GAP); k /= 2)
        TRY(raise_bound(chain, limit, k * finest, table_bytes, fastest, &least, &fits, err));
    *bound = least;
    return true;
}
