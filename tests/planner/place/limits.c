/* Families that placers find hard, and limits of time and memory: every one ends, soundly, within them. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "place.h"
#include "place_check.h"
#include "place_chunks.h"
#include "place_kit.h"
#include "random.h"

enum family {
    FAMILY_TINY,
    FAMILY_CHAIN,
    FAMILY_LONG,
    FAMILY_EQUAL,
    FAMILY_SAME,
    FAMILY_POWERS,
    FAMILY_GIANT,
    FAMILY_STAIRS,
    FAMILY_NESTED,
    FAMILY_TOGETHER,
    FAMILIES
};

static struct place_buffer make_buffer(struct random *random, enum family family, uint64_t i, uint32_t count)
{
    uint64_t lower = random_below(random, count), size = 1 + random_below(random, 1000), align = 1;
    uint64_t upper = lower + 1 + random_below(random, 60);
    switch (family) {
    case FAMILY_TINY: size = 1 + random_below(random, 16); break;
    case FAMILY_CHAIN: lower = i, upper = i + 8; break;
    case FAMILY_LONG: upper = lower + 1 + random_below(random, count / 8 + 1); break;
    case FAMILY_EQUAL: size = 64; break;
    case FAMILY_SAME: lower = 3, upper = 9, size = 64; break;
    case FAMILY_POWERS: size = UINT64_C(1) << random_below(random, 20); break;
    case FAMILY_GIANT:
        if (i == 0) lower = 0, upper = count, size = UINT64_C(1) << 40;
        break;
    case FAMILY_STAIRS: lower = i, upper = count + i, size = 1 + i % 7; break;
    case FAMILY_NESTED: lower = i, upper = 2 * (uint64_t)count - i; break;
    default: lower = 0, upper = 10, align = 1 + random_below(random, 5); /* all at once, none fits the other */
    }
    return (struct place_buffer){lower, upper, size, align, PLACE_UNPLACED, 0, 0};
}

static struct place_buffer *make(enum family family, uint32_t count)
{
    struct place_buffer *buffers = mem_alloc(MEM_GENERAL, count, sizeof *buffers);
    struct random random = random_begin(family, RANDOM_SEARCH, 4, 4);
    cr_assert(buffers);
    for (uint32_t i = 0; i < count; i++) buffers[i] = make_buffer(&random, family, i, count);
    return buffers;
}

/* Under sanitizers and on a machine that others use, clocks run ahead of what the solver does: twice the limit and a
 * second pass here; bench/placement measures the limits themselves. */
static void bound_time(const struct place_result *result, double seconds)
{
    cr_assert_lt(result->seconds, 2 * seconds + 2, "%.2f s", result->seconds);
}

Test(place_limits, every_family_ends_soundly_at_every_size)
{
    static const uint32_t counts[] = {1, 2, 200, 3000, 30000};
    for (enum family family = 0; family < FAMILIES; family++)
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
            struct place_options options = {.seconds = 0.1, .threads = 1 + (uint32_t)i % 2};
            struct place_buffer *buffers = make(family, counts[i]);
            struct place_result result = place_kit_solve(buffers, counts[i], &options);
            bound_time(&result, options.seconds);
            mem_free(buffers);
        }
}

Test(place_limits, what_has_a_closed_answer_gets_it)
{
    static const enum family families[] = {FAMILY_EQUAL, FAMILY_SAME, FAMILY_STAIRS, FAMILY_NESTED};
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        static const struct place_options options = {.threads = 1};
        struct place_buffer *buffers = make(families[i], 20000);
        cr_assert(place_kit_solve(buffers, 20000, &options).proved_optimal, "family %d", (int)families[i]);
        mem_free(buffers);
    }
}

Test(place_limits, the_search_keeps_to_its_memory)
{
    static const uint64_t limits[] = {1, 1 << 20, 8 << 20, 64 << 20};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        for (enum family family = 0; family < FAMILIES; family++) {
            uint32_t count = 1000;
            struct place_options options = {.seconds = 0.05, .threads = 2, .memory_bytes = limits[i]};
            struct place_buffer *buffers = make(family, count);
            place_kit_solve(buffers, count, &options);
            mem_free(buffers);
            /* the peak is the process's, so limits rise; placers take what they take for so many buffers */
            cr_assert_leq(mem_peak_bytes(MEM_SEARCH), limits[i] + 2000 * (uint64_t)count, "family %d limit %" PRIu64,
                          (int)family, limits[i]);
        }
}

/* Neighbours of neighbours: 10^10 pairs that the tables would list. */
Test(place_limits, pairs_beyond_memory_are_not_listed)
{
    uint32_t count = 100000;
    static const struct place_options options = {.seconds = 0.2, .threads = 1};
    struct place_buffer *buffers = make(FAMILY_TOGETHER, count);
    place_kit_solve(buffers, count, &options);
    cr_assert_leq(mem_peak_bytes(MEM_SEARCH), 2000 * (uint64_t)count);
    mem_free(buffers);
}

Test(place_limits, a_placed_file_placed_again_is_checked_quickly)
{
    uint32_t count = 100000;
    static const struct place_options options = {.seconds = 1, .threads = 1};
    struct place_buffer *buffers = make(FAMILY_GIANT, count);
    struct place_result first = place_kit_solve(buffers, count, &options);
    for (uint32_t i = 0; i < count; i++) buffers[i].fixed = buffers[i].offset;
    uint64_t start = clock_thread_cpu_ns();
    struct place_result again = place_kit_solve(buffers, count, &options);
    cr_assert_eq(first.arena_bytes, again.arena_bytes);
    cr_assert(again.proved_optimal);
    cr_assert_lt((double)(clock_thread_cpu_ns() - start) * 1e-9, 10);
    mem_free(buffers);
}

Test(place_limits, storages_of_a_large_problem_end_in_time)
{
    static const uint32_t counts[] = {2000, 30000};
    for (size_t i = 0; i < 2; i++) {
        struct place_options options = {.seconds = 0.3, .threads = 1};
        struct place_buffer *buffers = make(FAMILY_TINY, counts[i]);
        for (uint32_t b = 0; b < counts[i]; b++) buffers[b].alias = b % 3 ? 0 : 1 + b / 9;
        struct place_result result = place_kit_solve(buffers, counts[i], &options);
        bound_time(&result, options.seconds);
        mem_free(buffers);
    }
}

/* Without time: one pass, which takes steps in proportion to the buffers. */
Test(place_limits, one_pass_over_a_large_problem_ends_soon)
{
    static const struct place_options options = {.threads = 1};
    static const enum family families[] = {FAMILY_LONG, FAMILY_TOGETHER};
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        uint32_t count = 30000;
        struct place_buffer *buffers = make(families[i], count);
        uint64_t start = clock_thread_cpu_ns();
        place_kit_solve(buffers, count, &options);
        for (uint32_t b = 0; b < count; b += 50) buffers[b].fixed = buffers[b].offset;
        place_kit_solve(buffers, count, &options); /* with fixed buffers there are no sweeps: first fit is obliged */
        cr_assert_lt((double)(clock_thread_cpu_ns() - start) * 1e-9, 50, "family %d", (int)families[i]);
        mem_free(buffers);
    }
}

static void solve_chunks(struct place_buffer *buffers, uint32_t count, uint64_t chunk_bytes,
                         const struct place_options *options)
{
    struct error err = {0};
    struct place_chunks_result result;
    uint64_t *chunk = mem_alloc(MEM_GENERAL, count, sizeof *chunk);
    for (uint32_t b = 0; b < count; b++) chunk[b] = buffers[b].fixed == PLACE_UNPLACED ? PLACE_UNPLACED : 0;
    cr_assert(place_chunks_solve(buffers, chunk, count, chunk_bytes, 4, options, &result, &err), "%s", err.text);
    cr_assert(place_check_chunks(buffers, chunk, count, chunk_bytes, result.chunks, &err), "%s", err.text);
    if (options->seconds > 0) cr_assert_lt(result.seconds, 2 * options->seconds + 10, "%.2f s", result.seconds);
    mem_free(chunk);
}

Test(place_limits, chunks_of_a_large_problem_end_in_time)
{
    static const enum family families[] = {FAMILY_LONG, FAMILY_CHAIN};
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        for (int timed = 0; timed < 2; timed++) {
            uint32_t count = 30000;
            struct place_options options = {.seconds = timed * 0.2, .threads = 1};
            struct place_buffer *buffers = make(families[i], count);
            solve_chunks(buffers, count, 600001, &options);
            buffers[0] = (struct place_buffer){0, 2 * (uint64_t)count, 1000, 1, 600000 - 1000, 0, 0};
            solve_chunks(buffers, count, 600001, &options);
            mem_free(buffers);
        }
}

/* Whoever asks to stop gets what there is: a placement, even before the first was found. */
Test(place_limits, a_stop_before_the_beginning_leaves_a_placement)
{
    atomic_bool stop = true;
    uint32_t count = 30000;
    struct place_options options = {.seconds = 100, .threads = 2, .stop = &stop};
    struct place_buffer *buffers = make(FAMILY_LONG, count);
    place_kit_solve(buffers, count, &options);
    solve_chunks(buffers, count, 5000, &options);
    for (uint32_t b = 0; b < count; b++) buffers[b].fixed = PLACE_UNPLACED;
    buffers[7].fixed = 123456;
    struct place_result result = place_kit_solve(buffers, count, &options);
    cr_assert_lt(result.seconds, 50);
    mem_free(buffers);
}

/* Beyond 100,000 the cheapest placers come first: what is there when time is up is sound, and so is one pass. */
Test(place_limits, two_hundred_thousand_buffers_keep_to_their_time)
{
    uint32_t count = 200000;
    struct place_buffer *buffers = make(FAMILY_LONG, count);
    for (int timed = 0; timed < 2; timed++) {
        struct place_options options = {.seconds = timed * 0.3, .brief = true, .threads = 1};
        uint64_t start = clock_thread_cpu_ns();
        struct place_result result = place_kit_solve(buffers, count, &options);
        cr_assert_lt((double)(clock_thread_cpu_ns() - start) * 1e-9, 30);
        if (timed) bound_time(&result, options.seconds);
    }
    cr_assert_leq(mem_peak_bytes(MEM_SEARCH), 800 * (uint64_t)count);
    mem_free(buffers);
}

/* A stack of nested lifetimes is placed by the first sweep: what that takes of memory is all there is. */
Test(place_limits, nested_lifetimes_take_little_memory)
{
    uint32_t count = 200000;
    struct place_buffer *buffers = make(FAMILY_NESTED, count);
    struct place_result result = place_kit_solve(buffers, count, &(struct place_options){.brief = true, .threads = 1});
    cr_assert(result.proved_optimal);
    cr_assert_leq(mem_peak_bytes(MEM_SEARCH), 160 * (uint64_t)count);
    mem_free(buffers);
}

/* A brief pass ends near the bound; any other goes on with all the steps of a pass, and never to a larger arena. */
Test(place_limits, only_a_brief_pass_ends_before_its_steps)
{
    uint32_t count = 100000;
    struct place_buffer *buffers = make(FAMILY_LONG, count);
    struct place_result brief = place_kit_solve(buffers, count, &(struct place_options){.brief = true, .threads = 1});
    struct place_result whole = place_kit_solve(buffers, count, &(struct place_options){.threads = 1});
    cr_assert_leq(brief.arena_bytes, brief.lower_bound_bytes + brief.lower_bound_bytes / 16);
    cr_assert_lt(whole.arena_bytes, brief.arena_bytes);
    mem_free(buffers);
}
