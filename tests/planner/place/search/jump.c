/* Searches that go back to what a failure follows from: what they find is valid, they miss next to nothing that is
 * there, call nothing impossible, and find more with the same number of steps. */
#include <criterion/criterion.h>

#include "mem.h"
#include "place_check.h"
#include "place_problem.h"
#include "place_search.h"
#include "random.h"

#define MOST 256

static void add(struct place_buffer *buffers, size_t *count, uint64_t lower, uint64_t upper, uint64_t size)
{
    buffers[(*count)++] =
        (struct place_buffer){.lower = lower, .upper = upper, .size = size, .align = 1, .fixed = PLACE_UNPLACED};
}

/* Six buffers of any lifetime, and one at every instant that fills it up: no slack, and in some no placement. */
static size_t make_full(struct place_buffer *buffers, struct random *random)
{
    uint64_t live[9] = {0}, most = 0;
    size_t count = 0;
    while (count < 6) {
        uint64_t lower = random_below(random, 6), upper = lower + 1 + random_below(random, 3);
        add(buffers, &count, lower, upper, 1 + random_below(random, 4));
        for (uint64_t t = lower; t < upper; t++) live[t] += buffers[count - 1].size;
    }
    for (size_t t = 0; t < 9; t++)
        if (live[t] > most) most = live[t];
    for (size_t t = 0; t < 9; t++)
        if (live[t] > 0 && live[t] < most) add(buffers, &count, t, t + 1, most - live[t]);
    return count;
}

/* A rectangle cut at random, one time or one height after the other. */
static void cut(struct place_buffer *buffers, size_t *count, struct random *random, uint64_t lower, uint64_t upper,
                uint64_t size)
{
    bool may_halve = upper - lower >= 2, may_stack = size >= 16;
    if (*count + 1 >= MOST || (!may_halve && !may_stack) || (upper - lower) * size < 700 + random_below(random, 2000)) {
        add(buffers, count, lower, upper, size);
        return;
    }
    if (may_halve && (!may_stack || random_below(random, 2) == 0)) {
        uint64_t at = lower + 1 + random_below(random, (uint32_t)(upper - lower - 1));
        cut(buffers, count, random, lower, at, size);
        cut(buffers, count, random, at, upper, size);
    } else {
        uint64_t low = 8 + random_below(random, (uint32_t)size - 15);
        cut(buffers, count, random, lower, upper, low);
        cut(buffers, count, random, lower, upper, size - low);
    }
}

struct fixture {
    struct problem problem;
    struct search_tables tables;
    struct search *search;
};

static void begin(struct fixture *fixture, const struct place_buffer *buffers, size_t count)
{
    struct error err = {0};
    cr_assert(problem_init(&fixture->problem, buffers, count, &err), "%s", err.text);
    cr_assert(search_tables_init(&fixture->tables, &fixture->problem, &err), "%s", err.text);
    fixture->tables.trail_bytes = 1 << 26;
    fixture->search = search_create(&fixture->tables, &err);
    cr_assert(fixture->search);
}

static void end(struct fixture *fixture)
{
    search_destroy(fixture->search);
    search_tables_finish(&fixture->tables);
    problem_finish(&fixture->problem);
}

/* One search; what it finds is checked by code that shares nothing with it. */
static enum search_verdict run(struct fixture *fixture, const struct search_job *job, struct place_buffer *buffers,
                               size_t count)
{
    uint64_t offset[MOST], nodes;
    struct error err = {0};
    enum search_verdict verdict = search_run(fixture->search, job, offset, &nodes);
    if (verdict != SEARCH_FOUND) return verdict;
    for (size_t i = 0; i < count; i++) buffers[fixture->problem.origin[i]].offset = offset[i];
    cr_assert(place_check(buffers, count, job->capacity, &err), "%s", err.text);
    return verdict;
}

Test(place_jump, misses_next_to_nothing_and_calls_nothing_impossible)
{
    size_t possible = 0, impossible = 0, missed = 0;
    for (uint32_t seed = 0; seed < 1500; seed++) {
        struct random random = random_begin(seed, RANDOM_SEARCH, 6, 6);
        struct place_buffer buffers[MOST];
        size_t count = make_full(buffers, &random);
        struct fixture fixture;
        begin(&fixture, buffers, count);
        struct search_job job = {.capacity = fixture.problem.bound, .most_nodes = 1u << 20, .seed = seed};
        enum search_verdict plain = run(&fixture, &job, buffers, count);
        job.jump = true;
        enum search_verdict jumping = run(&fixture, &job, buffers, count);
        end(&fixture);
        cr_assert_neq(jumping, SEARCH_IMPOSSIBLE);
        possible += plain == SEARCH_FOUND;
        impossible += plain == SEARCH_IMPOSSIBLE;
        if (plain == SEARCH_IMPOSSIBLE) cr_assert_eq(jumping, SEARCH_STOPPED, "seed %u", seed);
        missed += plain == SEARCH_FOUND && jumping != SEARCH_FOUND;
    }
    cr_log_info("%zu possible, %zu impossible, %zu missed", possible, impossible, missed);
    cr_assert_gt(impossible, 5);
    cr_assert_leq(missed * 100, possible);
}

Test(place_jump, finds_more_within_the_same_steps)
{
    size_t found[2] = {0};
    for (uint32_t seed = 0; seed < 24; seed++) {
        struct random random = random_begin(seed, RANDOM_SEARCH, 6, 7);
        struct place_buffer buffers[MOST];
        size_t count = 0;
        cut(buffers, &count, &random, 0, 60, 1000);
        struct fixture fixture;
        begin(&fixture, buffers, count);
        for (uint32_t i = 0; i < 16; i++) {
            struct search_job job = {.capacity = 1020,
                                     .most_nodes = 30 * count,
                                     .order = i / 2 % SEARCH_ORDERS,
                                     .noise = 0.3,
                                     .seed = i / 2};
            job.jump = i & 1;
            if (run(&fixture, &job, buffers, count) == SEARCH_FOUND) found[job.jump]++;
        }
        end(&fixture);
    }
    cr_log_info("%zu found step by step, %zu with jumps", found[0], found[1]);
    cr_assert_gt(found[1], found[0]);
}

/* Long parts that nothing joins, the last one the tightest: it comes first, and the next begins far from there. */
Test(place_jump, a_part_begins_anew)
{
    enum { SIDE = 700, PARTS = 3, ALL = SIDE * PARTS };
    static struct place_buffer buffers[ALL];
    static uint64_t offset[ALL];
    struct random random = random_begin(1, RANDOM_SEARCH, 6, 8);
    size_t count = 0;
    for (uint64_t part = 0; part < PARTS; part++)
        for (uint64_t i = 0; i + 1 < SIDE; i++) {
            uint64_t lower = part * SIDE + i;
            add(buffers, &count, lower, lower + 2, 10 * (part + 1) + random_below(&random, 10));
        }
    struct fixture fixture;
    begin(&fixture, buffers, count);
    for (uint32_t jump = 0; jump < 2; jump++) {
        uint64_t nodes;
        struct error err = {0};
        struct search_job job = {
            .capacity = 2 * fixture.problem.bound, .most_nodes = 1u << 20, .noise = 0.3, .seed = 1, .jump = jump};
        cr_assert_eq(search_run(fixture.search, &job, offset, &nodes), SEARCH_FOUND, "with jumps %u", jump);
        for (size_t i = 0; i < count; i++) buffers[fixture.problem.origin[i]].offset = offset[i];
        cr_assert(place_check(buffers, count, job.capacity, &err), "%s", err.text);
    }
    end(&fixture);
}
