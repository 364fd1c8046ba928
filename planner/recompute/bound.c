/* How fast a schedule can be at most.
 *
 * When the backward of the last block begins, each block is saved under an option, and then holds what that saves less
 * what it frees of its input; or its forward runs a second time, and then it holds nothing, or on the host its input:
 * then even less. All that is held is within the limit. The choices of least time under that one condition are a
 * multiple-choice knapsack; for any price of memory, the blocks' cheapest choices less the price of the limit are no
 * dearer than its optimum (Lagrange). The best such price gives the fractional knapsack's. */
#include "chain_private.h"

#include <math.h>

#define HALVINGS 100

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
    struct choice best = {HUGE_VAL, 0};
    for (uint32_t i = 0; i < block->options; i++) {
        const struct chain_option *o = &block->option[i];
        consider(&best, price,
                 (struct choice){chain_option_seconds(chain, o) - best_of(chain, block),
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

double chain_bound_seconds(const struct chain *chain, uint64_t limit)
{
    double fastest = 0, excess = 0, low = 0, price = 0, high = HUGE_VAL;
    double room = (double)limit - chain->blocks[chain->count - 1].gradient;
    for (size_t k = 0; k < chain->count; k++)
        fastest += chain->blocks[k].forward_seconds + best_of(chain, &chain->blocks[k]);
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
