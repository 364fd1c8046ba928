/* Who of some buffers ends before whom begins, as a table of bits, and what follows from it (place_clocks_solve.c). */
#ifndef FATHOM_PLACE_ORDER_H
#define FATHOM_PLACE_ORDER_H

#include "place_clocks.h"

struct order {
    size_t count, words;
    uint64_t *before;   /* count rows of bits: row a, bit b: a ends before b begins */
    uint64_t *size;     /* rounded up to the alignment */
    uint64_t *align;    /* at least 1 */
    uint64_t *fixed;    /* or PLACE_UNPLACED */
    uint32_t *first;    /* a run of the order as intervals: buffers that conflict overlap, others may, too */
    uint32_t *last;
    bool any_fixed;
    bool is_interval; /* they overlap exactly when they conflict */
};

static inline bool order_before(const struct order *order, size_t a, size_t b)
{
    return order->before[a * order->words + b / 64] >> b % 64 & 1;
}

static inline bool order_conflict(const struct order *order, size_t a, size_t b)
{
    return !order_before(order, a, b) && !order_before(order, b, a);
}

/* Of the buffers index[count]. Ended by order_finish, which takes a zeroed object; on failure it is finished already. */
bool order_init(struct order *order, const struct place_buffer *buffers, const struct place_clocks *clocks,
                const uint32_t *index, size_t count, struct error *err);
void order_finish(struct order *order);

/* Numbers buffers by components of the comparable: those of two components all conflict. Returns how many there are;
 * queue[] is scratch, of each buffer as well. */
uint32_t order_components(const struct order *order, uint32_t *component, uint32_t *queue);

/* The heaviest set of which any two conflict, by Dilworth's theorem as a flow; beyond CLOCKS_MOST_EXACT the heaviest
 * that has begun and not ended when some buffer begins. member[] is of each buffer. */
bool order_find_clique(const struct order *order, bool *member, uint64_t *bytes, struct error *err);

/* First fit in one order after another, and again with what stuck out moved ahead: improves offset[] below *arena,
 * until `target`, a deadline on clock_now_ns (0 = a few orders) or quit. */
struct order_limits {
    uint64_t target, deadline_ns, seed;
    const atomic_bool *quit;
};
bool order_first_fit(const struct order *order, const struct order_limits *limits, uint64_t *offset, uint64_t *arena,
                     struct error *err);

#endif
