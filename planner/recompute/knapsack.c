/* How fast a schedule can be at most, by what is kept at one instant.
 *
 * When the backward of the last block begins, each block is saved under an option, and then holds what that saves less
 * what it frees of its input; or its forward runs a second time, and then it holds nothing, or on the host its input:
 * then even less. All that is held is within the limit. The choices of least time under that one condition are a
 * multiple-choice knapsack, and the fractional one is no slower: each block begins with its fastest choice, and what
 * is over the limit goes along the lower hulls of the blocks' choices, the cheapest quantum first. */
#include <math.h>
#include <stdlib.h>

#include "chain_private.h"
#include "mem.h"

struct choice {
    double seconds; /* beyond the fastest way */
    double quanta;
};

#define MOST_CHOICES (CHAIN_MOST_OPTIONS + 2)

static double best_of(const struct chain *chain, const struct chain_block *block)
{
    return chain_option_seconds(chain, &block->option[chain_block_fastest_option(chain, block)]);
}

static size_t list_choices(const struct chain *chain, size_t k, struct choice choices[MOST_CHOICES])
{
    const struct chain_block *block = &chain->blocks[k];
    double input = chain_block_input(chain, k), again = block->forward_seconds - block->spared_seconds;
    double fastest = best_of(chain, block);
    size_t count = 0;
    for (uint32_t i = 0; i < block->options; i++) {
        const struct chain_option *o = &block->option[i];
        choices[count++] = (struct choice){chain_option_seconds(chain, o) - fastest,
                                           (double)o->saved - chain_block_freed(chain, k, i)};
    }
    if (k + 1 == chain->count) return count; /* the last is saved by then */
    choices[count++] = (struct choice){again, 0};
    if (chain->copy_seconds > 0) choices[count++] = (struct choice){again + chain->copy_seconds * input, -input};
    return count;
}

static const struct choice *find_fastest(const struct choice *choices, size_t count)
{
    const struct choice *best = choices;
    for (const struct choice *own = choices; own < choices + count; own++)
        if (own->seconds < best->seconds || (own->seconds <= best->seconds && own->quanta < best->quanta)) best = own;
    return best;
}

static double price_between(const struct choice *more, const struct choice *less)
{
    return (less->seconds - more->seconds) / (more->quanta - less->quanta);
}

/* The hull's next choice of fewer quanta; NULL when there is none. */
static const struct choice *find_next(const struct choice *choices, size_t count, const struct choice *now)
{
    const struct choice *best = NULL;
    for (const struct choice *own = choices; own < choices + count; own++) {
        if (own->quanta >= now->quanta) continue;
        double price = price_between(now, own), least = best ? price_between(now, best) : HUGE_VAL;
        if (price < least || (price <= least && best && own->quanta < best->quanta)) best = own;
    }
    return best;
}

static void add_block(const struct chain *chain, size_t k, struct knapsack *knapsack)
{
    struct choice choices[MOST_CHOICES];
    size_t count = list_choices(chain, k, choices);
    const struct choice *now = find_fastest(choices, count), *next;
    knapsack->fastest_seconds += chain->blocks[k].forward_seconds + best_of(chain, &chain->blocks[k]);
    knapsack->quanta += now->quanta;
    for (; (next = find_next(choices, count, now)); now = next)
        knapsack->sales[knapsack->count++] =
            (struct sale){price_between(now, next), now->quanta - next->quanta, next->seconds - now->seconds};
}

static int compare(const void *left, const void *right)
{
    const struct sale *a = left, *b = right;
    return (a->price > b->price) - (a->price < b->price);
}

/* Each with what all before it give, too. */
static void sum_up(struct knapsack *knapsack)
{
    for (size_t i = 1; i < knapsack->count; i++) {
        knapsack->sales[i].quanta += knapsack->sales[i - 1].quanta;
        knapsack->sales[i].seconds += knapsack->sales[i - 1].seconds;
    }
}

bool chain_knapsack_make(const struct chain *chain, struct knapsack *knapsack, struct error *err)
{
    size_t most = chain->count * MOST_CHOICES;
    *knapsack = (struct knapsack){.gradient = chain->blocks[chain->count - 1].gradient};
    knapsack->sales = mem_alloc(MEM_SEARCH, most, sizeof *knapsack->sales);
    if (!knapsack->sales) return error_memory(err, most * sizeof *knapsack->sales, mem_purpose_name(MEM_SEARCH));
    for (size_t k = 0; k < chain->count; k++) add_block(chain, k, knapsack);
    if (knapsack->count > 0) qsort(knapsack->sales, knapsack->count, sizeof *knapsack->sales, compare);
    sum_up(knapsack);
    return true;
}

void chain_knapsack_finish(struct knapsack *knapsack)
{
    mem_free(knapsack->sales);
    *knapsack = (struct knapsack){0};
}

/* The first sale by which so many quanta are given up; the last when not even that does. */
static size_t find_sale(const struct knapsack *knapsack, double quanta)
{
    size_t low = 0, high = knapsack->count - 1;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (knapsack->sales[middle].quanta >= quanta)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

double chain_knapsack_seconds(const struct knapsack *knapsack, uint64_t limit)
{
    double over = knapsack->quanta + knapsack->gradient - (double)limit;
    if (over <= 0 || knapsack->count == 0) return knapsack->fastest_seconds;
    size_t last = find_sale(knapsack, over);
    const struct sale *sale = &knapsack->sales[last];
    double spare = sale->quanta > over ? sale->quanta - over : 0, seconds = sale->seconds - spare * sale->price;
    return knapsack->fastest_seconds + (seconds > 0 ? seconds : 0) * (1 - 1e-9);
}

bool chain_quick_bound(const struct chain *chain, uint64_t limit, double *seconds, struct error *err)
{
    struct knapsack knapsack;
    TRY(chain_knapsack_make(chain, &knapsack, err));
    *seconds = chain_knapsack_seconds(&knapsack, limit);
    chain_knapsack_finish(&knapsack);
    return true;
}
