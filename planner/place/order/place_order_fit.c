/* First fit where conflicts are a table and not overlaps in time, over and over as in place_squeeze.c. */
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "place_order.h"
#include "place_problem.h"
#include "place_sort.h"
#include "random.h"

#define ORDERS       4
#define AFTER_THEM   200 /* attempts that bring nothing, before the next order begins anew */
#define PLAIN_ROUNDS 2   /* attempts of each order where no time is given */
#define FINE_BITS    12
#define LOOK_EVERY   64

struct fit {
    const struct order *order;
    const struct order_limits *limits;
    uint32_t *sequence, *placed; /* placed: those that have a place, by rising offset */
    size_t placed_count;
    uint64_t *offset;
    double *weight; /* of each buffer: the sizes of those that conflict with it */
    struct sort_pair *pairs;
};

static bool is_over(const struct fit *fit)
{
    const struct order_limits *limits = fit->limits;
    if (limits->quit && atomic_load_explicit(limits->quit, memory_order_relaxed)) return true;
    return limits->deadline_ns > 0 && clock_now_ns() >= limits->deadline_ns;
}

static uint64_t end_of(const struct fit *fit, uint32_t buffer)
{
    return fit->offset[buffer] + fit->order->size[buffer];
}

/* The lowest gap, over all that have a place by rising offset. */
static void place_one(struct fit *fit, uint32_t buffer)
{
    const struct order *order = fit->order;
    uint64_t at = 0;
    if (order->fixed[buffer] != PLACE_UNPLACED) {
        at = order->fixed[buffer];
    } else {
        for (size_t i = 0; i < fit->placed_count; i++) {
            uint32_t other = fit->placed[i];
            if (fit->offset[other] >= at + order->size[buffer]) break;
            if (end_of(fit, other) <= at || !order_conflict(order, buffer, other)) continue;
            at = align_up(end_of(fit, other), order->align[buffer]);
        }
    }
    fit->offset[buffer] = at;
    size_t to = fit->placed_count++;
    for (; to > 0 && fit->offset[fit->placed[to - 1]] > at; to--) fit->placed[to] = fit->placed[to - 1];
    fit->placed[to] = buffer;
}

/* Fixed ones first. UINT64_MAX: no time, once there is something. */
static uint64_t place_all(struct fit *fit, bool obliged)
{
    const struct order *order = fit->order;
    uint64_t arena = 0;
    fit->placed_count = 0;
    for (size_t i = 0; order->any_fixed && i < order->count; i++)
        if (order->fixed[i] != PLACE_UNPLACED) place_one(fit, (uint32_t)i);
    for (size_t i = 0; i < order->count; i++) {
        if (!obliged && i % LOOK_EVERY == 0 && is_over(fit)) return UINT64_MAX;
        if (order->fixed[fit->sequence[i]] == PLACE_UNPLACED) place_one(fit, fit->sequence[i]);
    }
    for (uint32_t i = 0; i < order->count; i++)
        if (end_of(fit, i) > arena) arena = end_of(fit, i);
    return arena;
}

static void weigh(struct fit *fit)
{
    const struct order *order = fit->order;
    for (size_t i = 0; i < order->count; i++) {
        fit->weight[i] = 0;
        for (size_t j = 0; j < order->count; j++)
            if (order_conflict(order, i, j)) fit->weight[i] += (double)order->size[j];
    }
}

/* By size, by what conflicts, by both, and as they begin; with noise after the first time. */
static void make_sequence(struct fit *fit, uint32_t number)
{
    const struct order *order = fit->order;
    struct random random = random_begin(fit->limits->seed, RANDOM_SEARCH, number, 1);
    double noise = number < ORDERS ? 0 : 0.3;
    for (uint32_t i = 0; i < order->count; i++) {
        double size = (double)order->size[i], key = size;
        switch (number % ORDERS) {
        case 1: key = fit->weight[i]; break;
        case 2: key = 1e-9 * size * fit->weight[i]; break;
        case 3: key = 1e9 / (1.0 + order->first[i]); break;
        default: break;
        }
        key *= 1 + noise * (2 * random_real(&random) - 1);
        uint64_t bits;
        memcpy(&bits, &key, sizeof bits); /* positive doubles compare as their bits do */
        fit->pairs[i] = (struct sort_pair){~bits, i};
    }
    sort_pairs(fit->pairs, fit->pairs + order->count, order->count);
    for (size_t i = 0; i < order->count; i++) fit->sequence[i] = fit->pairs[i].index;
}

/* Every buffer above the target goes to a random place ahead of where it was. */
static void move_forward(struct fit *fit, struct random *random)
{
    const struct order *order = fit->order;
    for (size_t i = 0; i < order->count; i++) {
        uint32_t buffer = fit->sequence[i];
        uint64_t place = (uint64_t)i << FINE_BITS;
        bool above = end_of(fit, buffer) > fit->limits->target;
        fit->pairs[i] = (struct sort_pair){above ? (uint64_t)(random_real(random) * (double)place) : place + 1, buffer};
    }
    sort_pairs(fit->pairs, fit->pairs + order->count, order->count);
    for (size_t i = 0; i < order->count; i++) fit->sequence[i] = fit->pairs[i].index;
}

/* One order and what comes of it until `patience` attempts have brought nothing. */
static void follow(struct fit *fit, uint32_t number, uint32_t patience, uint64_t *offset, uint64_t *arena)
{
    struct random random = random_begin(fit->limits->seed, RANDOM_SEARCH, number, 2);
    uint64_t least = UINT64_MAX;
    make_sequence(fit, number);
    for (uint32_t idle = 0; idle<patience && * arena> fit->limits->target; idle++) {
        uint64_t found = place_all(fit, *arena == UINT64_MAX);
        if (found == UINT64_MAX) return;
        if (found < least) idle = 0, least = found;
        if (found < *arena) {
            *arena = found;
            memcpy(offset, fit->offset, fit->order->count * sizeof *offset);
        }
        move_forward(fit, &random);
    }
}

static bool fit_init(struct fit *fit, struct error *err)
{
    size_t count = fit->order->count;
    fit->sequence = mem_alloc(MEM_SEARCH, count, sizeof *fit->sequence);
    fit->placed = mem_alloc(MEM_SEARCH, count, sizeof *fit->placed);
    fit->offset = mem_alloc(MEM_SEARCH, count, sizeof *fit->offset);
    fit->weight = mem_alloc(MEM_SEARCH, count, sizeof *fit->weight);
    fit->pairs = mem_alloc(MEM_SEARCH, 2 * count, sizeof *fit->pairs);
    bool ok = fit->sequence && fit->placed && fit->offset && fit->weight && fit->pairs;
    return ok || error_memory(err, count * 56, "first-fit placement");
}

bool order_first_fit(const struct order *order, const struct order_limits *limits, uint64_t *offset, uint64_t *arena,
                     struct error *err)
{
    struct fit fit = {.order = order, .limits = limits};
    bool ok = fit_init(&fit, err), timed = limits->deadline_ns > 0;
    if (ok) weigh(&fit);
    for (uint32_t number = 0; ok && *arena > limits->target; number++) {
        if (*arena < UINT64_MAX && (is_over(&fit) || (!timed && number == ORDERS))) break;
        follow(&fit, number, timed ? AFTER_THEM : PLAIN_ROUNDS, offset, arena);
    }
    mem_free(fit.sequence);
    mem_free(fit.placed);
    mem_free(fit.offset);
    mem_free(fit.weight);
    mem_free(fit.pairs);
    return ok;
}
