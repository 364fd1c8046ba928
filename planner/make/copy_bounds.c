#include "copy_bounds.h"

/* What the blocks' measures do not tell. */
#define SURE_PART 0.99

/* Quanta that are copied for sure: each block's are rounded up. */
static double sure_copied(const struct copy_bounds *bounds, double quanta)
{
    double copied = quanta - (double)bounds->chain->count;
    return copied > 0 ? copied : 0;
}

/* A step takes no less than its computing, nor than all that leaves for the host and then comes back. */
static double least_step(const struct copy_bounds *bounds, double computing, double copied_quanta)
{
    double copying = bounds->link_seconds * sure_copied(bounds, copied_quanta);
    return SURE_PART * bounds->micro_batches * (computing > copying ? computing : copying);
}

double copy_bounds_schedule(const struct copy_bounds *bounds, const struct chain_schedule *schedule)
{
    double copied = (double)schedule->copied_quanta;
    return least_step(bounds, schedule->seconds - bounds->chain->copy_seconds * copied, copied);
}

/* A mean of computing and copying, weighed so that copies count by their price, is a part of what the chain says. */
double copy_bounds_all(const struct copy_bounds *bounds, double seconds)
{
    double price = bounds->chain->copy_seconds, part = bounds->link_seconds / (bounds->link_seconds + price);
    return least_step(bounds, part * (seconds - price * (double)bounds->chain->count), 0);
}

/* Quanta that any schedule copies: each block is saved once. */
static double forced_quanta(const struct chain *chain)
{
    double quanta = 0;
    for (size_t b = 0; b < chain->count; b++) {
        uint32_t least = UINT32_MAX;
        for (uint32_t i = 0; i < chain->blocks[b].options; i++)
            if (chain->blocks[b].option[i].copied < least) least = chain->blocks[b].option[i].copied;
        quanta += least;
    }
    return quanta;
}

/* All copies are there when the backward pass begins. */
bool copy_bounds_overflow(const struct copy_bounds *bounds, double quanta)
{
    return sure_copied(bounds, quanta) * (double)bounds->quantum_bytes > (double)bounds->host_bytes;
}

bool copy_bounds_vain(const struct copy_bounds *bounds, uint64_t limit, double seconds, bool *vain, struct error *err)
{
    double forced = forced_quanta(bounds->chain), chain_seconds;
    TRY(chain_quick_bound(bounds->chain, limit, &chain_seconds, err));
    *vain = copy_bounds_overflow(bounds, forced) || least_step(bounds, 0, forced) >= seconds ||
            copy_bounds_all(bounds, chain_seconds) >= seconds;
    return true;
}
