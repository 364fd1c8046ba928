/* Random small chains against every order of steps in which what is kept stays until its block's backward: shortest
 * paths over all states of memory, by rules written down here alone. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "chain.h"
#include "random.h"
#include "rounds.h"

#define MOST_BLOCKS 4
#define MOST_STATES 20000
#define HASH_SIZE   65536u

/* One block: its output (plain, or within what is saved) and what is held of it. */
struct cell {
    uint8_t output, away, kept, saved, gradient, done; /* saved: the option + 1 */
};

struct memory {
    struct cell cells[MOST_BLOCKS];
};

struct node {
    struct memory memory;
    double seconds;
    bool closed;
};

/* The search for one limit. */
struct search {
    const struct chain *chain;
    uint64_t limit;
    struct node *nodes;
    size_t count;
    uint32_t *hash; /* index + 1 */
};

static uint64_t held(const struct chain *chain, const struct memory *memory)
{
    uint64_t sum = 0;
    for (size_t k = 0; k < chain->count; k++) {
        const struct cell *cell = &memory->cells[k];
        const struct chain_block *block = &chain->blocks[k];
        if (cell->output) sum += block->output;
        if (cell->saved) sum += block->option[cell->saved - 1].saved;
        if (cell->away) sum -= block->output;
        if (cell->gradient) sum += block->gradient;
    }
    return sum;
}

static bool input_there(const struct memory *memory, size_t k)
{
    if (k == 0) return true;
    const struct cell *before = &memory->cells[k - 1];
    return (before->output || before->saved) && !before->away;
}

static void drop_input(struct memory *memory, size_t k)
{
    if (k > 0) memory->cells[k - 1].output = 0;
}

static size_t slot_of(const struct search *search, const struct memory *memory)
{
    const unsigned char *bytes = (const unsigned char *)memory;
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < sizeof *memory; i++) hash = (hash ^ bytes[i]) * 16777619u;
    size_t slot = hash % HASH_SIZE;
    while (search->hash[slot] && memcmp(&search->nodes[search->hash[slot] - 1].memory, memory, sizeof *memory) != 0)
        slot = (slot + 1) % HASH_SIZE;
    return slot;
}

static void reach(struct search *search, const struct memory *memory, double seconds)
{
    size_t slot = slot_of(search, memory);
    if (!search->hash[slot]) {
        cr_assert_lt(search->count, MOST_STATES);
        search->nodes[search->count] = (struct node){*memory, INFINITY, false};
        search->hash[slot] = (uint32_t)++search->count;
    }
    struct node *node = &search->nodes[search->hash[slot] - 1];
    if (seconds < node->seconds) node->seconds = seconds;
}

static void try_runs(struct search *search, const struct node *node, size_t k)
{
    const struct chain_block *block = &search->chain->blocks[k];
    uint64_t now = held(search->chain, &node->memory);
    if (now + block->output + block->run_overhead > search->limit) return;
    for (int keep = 0; keep <= 1; keep++) {
        struct memory next = node->memory;
        next.cells[k].output = 1;
        if (keep) next.cells[k].kept = 1;
        if (!next.cells[k].kept) drop_input(&next, k);
        reach(search, &next, node->seconds + block->forward_seconds);
    }
}

static void try_saves(struct search *search, const struct node *node, size_t k)
{
    const struct chain_block *block = &search->chain->blocks[k];
    uint64_t now = held(search->chain, &node->memory);
    bool unread = k + 1 < search->chain->count && node->memory.cells[k + 1].done;
    for (uint32_t i = 0; i < block->options; i++) {
        const struct chain_option *o = &block->option[i];
        if (now + o->saved + o->forward_overhead > search->limit) continue;
        struct memory next = node->memory;
        next.cells[k].saved = (uint8_t)(i + 1);
        next.cells[k].kept = 1;
        if (o->frees_input && k > 0) next.cells[k - 1].away = 1;
        reach(search, &next,
              node->seconds + block->forward_seconds - (unread ? block->spared_seconds : 0) +
                  search->chain->copy_seconds * o->copied);
    }
}

static void try_backward(struct search *search, const struct node *node, size_t k)
{
    const struct chain_block *block = &search->chain->blocks[k];
    struct memory next = node->memory;
    struct cell *cell = &next.cells[k];
    if (!cell->saved || !cell->gradient) return;
    const struct chain_option *o = &block->option[cell->saved - 1];
    if (o->frees_input && k > 0) next.cells[k - 1].away = 0;
    if (held(search->chain, &next) + o->backward_overhead > search->limit || !input_there(&next, k)) return;
    *cell = (struct cell){.done = 1};
    drop_input(&next, k);
    if (k > 0) next.cells[k - 1].gradient = 1;
    reach(search, &next, node->seconds + o->backward_seconds);
}

static void try_host(struct search *search, const struct node *node, size_t k)
{
    const struct cell *cell = &node->memory.cells[k];
    if (k == 0 || !(search->chain->copy_seconds > 0) || cell->saved || !cell->kept) return;
    struct memory next = node->memory;
    double copy = next.cells[k - 1].away ? 0 : search->chain->copy_seconds * search->chain->blocks[k - 1].output;
    if (!next.cells[k - 1].away && !input_there(&next, k)) return;
    next.cells[k - 1].away ^= 1;
    if (held(search->chain, &next) <= search->limit) reach(search, &next, node->seconds + copy);
}

static void expand(struct search *search, size_t index)
{
    struct node node = search->nodes[index];
    for (size_t k = 0; k < search->chain->count; k++) {
        const struct cell *cell = &node.memory.cells[k];
        if (cell->done) continue;
        if (!cell->output && !cell->saved && input_there(&node.memory, k)) {
            try_runs(search, &node, k);
            try_saves(search, &node, k);
        }
        try_backward(search, &node, k);
        try_host(search, &node, k);
    }
}

/* Dijkstra, with a plain search for the nearest: there are few states. */
static double least_seconds(struct search *search)
{
    struct memory begin = {0};
    search->count = 0;
    memset(search->hash, 0, HASH_SIZE * sizeof *search->hash);
    begin.cells[search->chain->count - 1].gradient = 1;
    reach(search, &begin, 0);
    for (;;) {
        size_t nearest = search->count;
        for (size_t i = 0; i < search->count; i++)
            if (!search->nodes[i].closed &&
                (nearest == search->count || search->nodes[i].seconds < search->nodes[nearest].seconds))
                nearest = i;
        if (nearest == search->count) return INFINITY;
        if (search->nodes[nearest].memory.cells[0].done) return search->nodes[nearest].seconds;
        search->nodes[nearest].closed = true;
        expand(search, nearest);
    }
}

static struct chain_option draw_option(struct random *random, uint32_t output)
{
    return (struct chain_option){.saved = output + random_below(random, 20),
                                 .forward_overhead = random_below(random, 6),
                                 .backward_overhead = random_below(random, 10),
                                 .backward_seconds = 2 + random_below(random, 5) * 0.5,
                                 .copied = random_below(random, 2) * random_below(random, 12),
                                 .frees_input = random_below(random, 3) == 0};
}

static void draw_chain(struct random *random, struct chain_block blocks[MOST_BLOCKS], struct chain *chain)
{
    *chain = (struct chain){.input = random_below(random, 9),
                            .blocks = blocks,
                            .count = 2 + random_below(random, MOST_BLOCKS - 1),
                            .copy_seconds = random_below(random, 3) * 0.08};
    for (size_t i = 0; i < chain->count; i++) {
        struct chain_block *block = &blocks[i];
        *block = (struct chain_block){.output = 1 + random_below(random, 9),
                                      .gradient = random_below(random, 9),
                                      .run_overhead = random_below(random, 8),
                                      .forward_seconds = 1 + random_below(random, 4),
                                      .spared_seconds = random_below(random, 4) * 0.25,
                                      .options = 1 + random_below(random, 2)};
        for (uint32_t k = 0; k < block->options; k++) block->option[k] = draw_option(random, block->output);
    }
}

static void compare(struct search *search)
{
    struct chain_schedule schedule;
    struct error err = {0};
    double best = least_seconds(search), seconds;
    uint64_t peak;
    bool ok = chain_solve(search->chain, search->limit, 0, &schedule, &err);
    cr_assert_eq(ok, isfinite(best), "limit %lu: best %g, but %s", (unsigned long)search->limit, best, err.text);
    if (!ok) return;
    cr_assert(chain_simulate(search->chain, &schedule, &seconds, &peak, &err), "%s", err.text);
    cr_expect_leq(peak, search->limit);
    cr_expect_float_eq(seconds, best, 1e-4, "limit %lu: %g instead of %g", (unsigned long)search->limit, seconds, best);
    chain_schedule_finish(&schedule);
}

Test(recompute_orders, no_order_of_steps_is_faster)
{
    struct random random = random_begin(9, RANDOM_SEARCH, 0, 0);
    struct search search = {.nodes = calloc(MOST_STATES, sizeof *search.nodes),
                            .hash = calloc(HASH_SIZE, sizeof *search.hash)};
    cr_assert(search.nodes && search.hash);
    for (size_t i = 0; i < rounds(1500); i++) {
        struct chain_block blocks[MOST_BLOCKS];
        struct chain chain;
        draw_chain(&random, blocks, &chain);
        search.chain = &chain;
        uint64_t least = chain_least_limit(&chain);
        static const uint64_t above[] = {0, 1, 3, 7, 14, 25};
        for (size_t k = 0; k < sizeof above / sizeof above[0]; k++) {
            search.limit = least + above[k];
            compare(&search);
        }
        search.limit = least - 1;
        if (least > 0) compare(&search);
    }
    free(search.nodes);
    free(search.hash);
}
