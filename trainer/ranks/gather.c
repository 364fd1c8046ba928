/* What each rank has, to all others. */
#include "ranks_private.h"

/* Up to so many ranks exchange with each other; of more each has a message to and from one other a round, in as many
 * rounds as their number has binary digits (Bruck et al., "Efficient Algorithms for All-to-All Communications in
 * Multiport Message-Passing Systems", 1997): 1,024 ranks send 10 messages each in place of 1,023, and want as few
 * connections. */
#define MOST_AT_ONCE 64u

/* Where the records of a rank begin, in numbers of records; of rank `size` where all end. */
typedef uint32_t (*first_fn)(const struct ranks *ranks, uint32_t rank);

struct gather {
    struct ranks *ranks;
    uint8_t *all;
    uint64_t bytes; /* of a record */
    first_fn first;
};

/* The records of the ranks begin..end-1 as a message to or from a peer. */
static struct ranks_part part_of(const struct gather *g, uint32_t peer, uint32_t begin, uint32_t end)
{
    uint64_t at = g->first(g->ranks, begin) * g->bytes;
    return (struct ranks_part){peer, g->all + at, g->first(g->ranks, end) * g->bytes - at};
}

static bool gather_at_once(const struct gather *g, struct error *err)
{
    struct ranks *ranks = g->ranks;
    uint32_t own = ranks->place.rank, messages = 0;
    for (uint32_t step = 1; step < ranks->place.size; step++) {
        uint32_t peer = (own + step) % ranks->place.size;
        ranks->out[messages] = part_of(g, peer, own, own + 1);
        ranks->in[messages++] = part_of(g, peer, peer, peer + 1);
    }
    return ranks_exchange(ranks, ranks->out, messages, ranks->in, messages, err);
}

/* The records of `count` ranks from `begin` on, the first following the last. Returns of how many parts. */
static uint32_t cut(const struct gather *g, uint32_t peer, uint32_t begin, uint32_t count, struct ranks_part parts[2])
{
    uint32_t size = g->ranks->place.size, end = begin + count;
    parts[0] = part_of(g, peer, begin, end < size ? end : size);
    if (end <= size) return 1;
    parts[1] = part_of(g, peer, 0, end - size);
    return 2;
}

/* After each round a rank knows twice as many of those that follow it. */
static bool gather_in_rounds(const struct gather *g, struct error *err)
{
    uint32_t own = g->ranks->place.rank, size = g->ranks->place.size;
    for (uint32_t known = 1; known < size; known *= 2) {
        struct ranks_part out[2], in[2];
        uint32_t count = known < size - known ? known : size - known;
        uint32_t to = (own + size - known) % size, from = (own + known) % size;
        uint32_t outs = cut(g, to, own, count, out), ins = cut(g, from, from, count, in);
        TRY(ranks_exchange(g->ranks, out, outs, in, ins, err));
    }
    return true;
}

static bool gather(struct ranks *ranks, void *all, uint64_t bytes, first_fn first, struct error *err)
{
    const struct gather g = {ranks, all, bytes, first};
    if (!ranks) return true;
    return ranks->place.size > MOST_AT_ONCE ? gather_in_rounds(&g, err) : gather_at_once(&g, err);
}

static uint32_t one_each(const struct ranks *ranks, uint32_t rank)
{
    (void)ranks;
    return rank;
}

bool ranks_gather(struct ranks *ranks, void *all, uint64_t bytes, struct error *err)
{
    return gather(ranks, all, bytes, one_each, err);
}

bool ranks_gather_devices(struct ranks *ranks, void *all, uint64_t bytes, struct error *err)
{
    return gather(ranks, all, bytes, ranks_first_device, err);
}
