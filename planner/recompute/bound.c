/* How fast a schedule can be at most: by a knapsack, and by the program itself with sizes rounded in its favour.
 *
 * When the backward of the last block begins, each block is saved under an option, and then holds what that saves less
 * what it frees of its input; or its forward runs a second time, and then it holds nothing, or on the host its input:
 * then even less. All that is held is within the limit. The choices of least time under that one condition are a
 * multiple-choice knapsack; for any price of memory, the blocks' cheapest choices less the price of the limit are no
 * dearer than its optimum (Lagrange). The best such price gives the fractional knapsack's.
 *
 * As floor(m / k) - floor(a / k) >= floor((m - a) / k), a schedule of the chain under a limit is one of the chain whose
 * sizes and whose limit are divided by k and rounded down, too (what is freed: up), and as fast there: the least time
 * of that chain's schedules is a bound. */
#include "chain_private.h"

#include <float.h>
#include <math.h>

#define HALVINGS 100

/* ---- The knapsack ---- */

struct choice {
    double seconds; /* beyond the fastest way */
    double quanta;
};

static double best_of(const struct chain *chain, const struct chain_block *block)
{
    return chain_option_seconds(chain, &block->option[chain_block_fastest_option(chain, block)]);
}

static void consider(struct choice *best, double price, struct choice choice)
{
    double own = choice.seconds + price * choice.quanta, least = best->seconds + price * best->quanta;
    if (best->seconds >= HUGE_VAL || own < least || (own <= least && choice.quanta < best->quanta)) *best = choice;
}

static struct choice cheapest(const struct chain *chain, size_t k, double price)
{
    const struct chain_block *block = &chain->blocks[k];
    double input = chain_block_input(chain, k), again = block->forward_seconds - block->spared_seconds;
    double fastest = best_of(chain, block);
    struct choice best = {HUGE_VAL, 0};
    for (uint32_t i = 0; i < block->options; i++) {
        const struct chain_option *o = &block->option[i];
        consider(&best, price,
                 (struct choice){chain_option_seconds(chain, o) - fastest,
                                 (double)o->saved - chain_block_freed(chain, k, i)});
    }
    if (k + 1 == chain->count) return best; /* the last is saved by then */
    consider(&best, price, (struct choice){again, 0});
    if (chain->copy_seconds > 0) consider(&best, price, (struct choice){again + chain->copy_seconds * input, -input});
    return best;
}

/* What is bought at a price of memory; its least seconds, less what the limit itself would cost, are a bound. */
static struct choice buy_all(const struct chain *chain, double price)
{
    struct choice sum = {0};
    for (size_t k = 0; k < chain->count; k++) {
        struct choice choice = cheapest(chain, k, price);
        sum.seconds += choice.seconds;
        sum.quanta += choice.quanta;
    }
    return sum;
}

static double fastest_seconds(const struct chain *chain)
{
    double seconds = 0;
    for (size_t k = 0; k < chain->count; k++)
        seconds += chain->blocks[k].forward_seconds + best_of(chain, &chain->blocks[k]);
    return seconds;
}

double chain_bound_seconds(const struct chain *chain, uint64_t limit)
{
    double fastest = fastest_seconds(chain), excess = 0, low = 0, price = 0, high = HUGE_VAL;
    double room = (double)limit - chain->blocks[chain->count - 1].gradient;
    for (int i = 0; i < HALVINGS; i++) {
        struct choice bought = buy_all(chain, price);
        double bound = bought.seconds + price * (bought.quanta - room);
        if (bound > excess) excess = bound;
        if (bought.quanta > room)
            low = price;
        else if (price > 0)
            high = price;
        else
            break;
        price = high < HUGE_VAL ? (low + high) / 2 : low > 0 ? 2 * low : fastest / (room > 1 ? room : 1);
    }
    return fastest + excess * (1 - 1e-9);
}

/* ---- The program, rounded in the schedule's favour ---- */

/* Raises *bound to the least time in quanta `scale` times as large, if its rows fit; otherwise *fits = false. */
static bool raise_bound(const struct chain *chain, uint64_t limit, uint32_t scale, uint64_t table_bytes, double *bound,
                        bool *fits, struct error *err)
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
        double seconds = fastest_seconds(chain) + excess * (1 - rounding);
        if (isfinite(seconds) && seconds > *bound) *bound = seconds;
    }
    chain_program_finish(&program);
    return ok;
}

bool chain_bound(const struct chain *chain, uint64_t limit, double seconds, uint64_t table_bytes, double *bound,
                 struct error *err)
{
    double least = chain_bound_seconds(chain, limit);
    uint32_t finest = chain_least_scale(chain);
    if (table_bytes == 0) table_bytes = CHAIN_TABLE_BYTES;
    bool fits = chain->count <= CHAIN_MOST_UNITS;
    for (uint32_t k = CHAIN_COARSEST_BOUND; fits && k > 0 && seconds > least * (1 + CHAIN_BOUND_GAP); k /= 2)
        TRY(raise_bound(chain, limit, k * finest, table_bytes, &least, &fits, err));
    *bound = least;
    return true;
}
