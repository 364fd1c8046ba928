/* Long chains, limits of all sizes, wrong inputs, and what the simulator refuses. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "chain_blocks.h"
#include "mem.h"
#include "random.h"
#include "sanitizers.h"

#define MOST_BLOCKS 1500

/* Like a residual net: three stages, the blocks of each alike, times a little apart. */
static void residual_chain(struct chain_block *blocks, size_t count, struct chain *chain)
{
    struct random random = random_begin(7, RANDOM_SEARCH, count, 0);
    for (size_t i = 0; i < count; i++) {
        uint32_t width = 16u >> 3 * i / count;
        double forward = 1 + 0.1 * random_real(&random);
        blocks[i] = (struct chain_block){
            .output = width,
            .gradient = width,
            .run_overhead = width + width / 4,
            .forward_seconds = forward,
            .options = 2,
            .option = {{3 * width, 0, width, 2 * forward}, {3 * width / 2, width, 2 * width, 2.06 * forward}}};
    }
    *chain = (struct chain){.input = 4, .blocks = blocks, .count = count};
}

/* Solves, replays, and gives the time; INFINITY when it does not fit. */
static double solve(const struct chain *chain, uint64_t limit, uint64_t table_bytes, bool *optimal)
{
    struct chain_schedule schedule;
    struct error err = {0};
    if (!chain_solve(chain, limit, table_bytes, &schedule, &err)) {
        cr_expect_eq(err.kind, ERROR_UNFIT, "%s", err.text);
        return INFINITY;
    }
    double seconds;
    uint64_t peak;
    cr_assert(chain_simulate(chain, &schedule, &seconds, &peak, &err), "%s", err.text);
    cr_expect_leq(peak, limit);
    cr_expect_eq(peak, schedule.peak_quanta);
    cr_expect_float_eq(seconds, schedule.seconds, 1e-6 * seconds);
    *optimal = schedule.optimal;
    chain_schedule_finish(&schedule);
    return seconds;
}

static double least_time(const struct chain *chain)
{
    double seconds = 0;
    for (size_t i = 0; i < chain->count; i++)
        seconds += chain->blocks[i].forward_seconds + chain->blocks[i].option[0].backward_seconds;
    return seconds;
}

Test(recompute_chain, more_memory_never_takes_longer)
{
    static struct chain_block blocks[MOST_BLOCKS];
    struct chain chain;
    residual_chain(blocks, 90, &chain);
    uint64_t least = chain_least_limit(&chain);
    double before = INFINITY;
    bool optimal;
    cr_expect(isinf(solve(&chain, least - 1, 0, &optimal)));
    for (uint64_t limit = least; limit < 2700; limit += 1 + limit / 40) {
        double seconds = solve(&chain, limit, 0, &optimal);
        cr_expect(optimal);
        cr_expect_leq(seconds, before * (1 + 1e-6), "limit %lu", (unsigned long)limit);
        before = seconds;
    }
    cr_expect_float_eq(before, least_time(&chain), 1e-9 * before);
}

/* ResNet-1001's 333 units (a quantum is 4096 floats for each image; forward 1, backward 2, redoing BN-ReLU 0.06 more):
 * no slower than what the exact program is known to reach. */
Test(recompute_chain, resnet_1001_reaches_the_known_times)
{
    static struct chain_block blocks[MOST_BLOCKS];
    for (size_t i = 0; i < 333; i++) blocks[i] = resnet_block(16u >> i / 111);
    struct chain chain = {.input = 4, .blocks = blocks, .count = 333};
    bool optimal;
    cr_expect_leq(solve(&chain, 300, 0, &optimal) / 999, 1.4045);
    cr_expect(optimal);
    if (UNDER_SANITIZER) return; /* the larger table is as many times the same loop */
    cr_expect_leq(solve(&chain, 4800, 0, &optimal) / 999, 1.0195);
    cr_expect(optimal);
}

Test(recompute_chain, small_tables_take_larger_quanta_and_hold_the_limit)
{
    static struct chain_block blocks[MOST_BLOCKS];
    struct chain chain;
    residual_chain(blocks, 90, &chain);
    for (uint64_t limit = chain_least_limit(&chain); limit < 2600; limit += limit / 3) {
        bool exact, coarse;
        double best = solve(&chain, limit, 0, &exact), seconds = solve(&chain, limit, 60000, &coarse);
        cr_expect(exact);
        cr_expect(isfinite(seconds), "what fits exactly fits");
        cr_expect_geq(seconds, best * (1 - 1e-6));
    }
    struct chain_schedule schedule;
    struct error err = {0};
    cr_expect_not(chain_solve(&chain, 1000, 1, &schedule, &err));
    cr_expect_not_null(strstr(err.text, "table bytes: found 1"), "%s", err.text);
}

Test(recompute_chain, chains_of_many_blocks_are_solved_in_runs)
{
    static struct chain_block blocks[MOST_BLOCKS];
    struct chain chain;
    residual_chain(blocks, 600, &chain);
    uint64_t least = chain_least_limit(&chain);
    double before = INFINITY, full = least_time(&chain);
    static const uint64_t more[] = {0, 200, 4000, 20000};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        bool optimal;
        double seconds = solve(&chain, least + more[i], 20 << 20, &optimal);
        cr_expect_leq(seconds, before * (1 + 1e-6));
        cr_expect_eq(optimal, seconds <= full * (1 + 1e-9));
        before = seconds;
    }
    cr_expect_lt(least, 400);
    cr_expect_float_eq(before, full, 1e-9 * full);
}

/* Features of all kinds on a residual chain. */
static void varied_chain(struct chain_block *blocks, size_t count, struct chain *chain)
{
    residual_chain(blocks, count, chain);
    chain->copy_seconds = 0.01;
    for (size_t i = 0; i < count; i++) {
        struct chain_block *block = &blocks[i];
        block->spared_seconds = 0.25 * block->forward_seconds;
        block->options = 4;
        block->option[2] = block->option[1];
        block->option[2].frees_input = true;
        block->option[2].backward_seconds += 0.2;
        block->option[3] = block->option[2];
        block->option[3].saved = block->output;
        block->option[3].copied = block->option[1].saved;
        block->option[3].backward_seconds = block->option[1].backward_seconds;
    }
}

static void expect_monotone(const struct chain *chain, uint64_t table_bytes, uint64_t most, uint64_t part)
{
    uint64_t least = chain_least_limit(chain);
    double before = INFINITY;
    for (uint64_t limit = least; limit < most; limit += 1 + limit / part) {
        struct chain_schedule schedule;
        struct error err = {0};
        double seconds;
        uint64_t peak;
        cr_assert(chain_solve(chain, limit, table_bytes, &schedule, &err), "limit %lu: %s", (unsigned long)limit,
                  err.text);
        cr_assert(chain_simulate(chain, &schedule, &seconds, &peak, &err), "%s", err.text);
        cr_expect_leq(peak, limit);
        cr_expect_eq(peak, schedule.peak_quanta);
        cr_expect_float_eq(seconds, schedule.seconds, 1e-9 * seconds);
        cr_expect_leq(seconds, before * (1 + 1e-6), "limit %lu: %g after %g", (unsigned long)limit, seconds, before);
        cr_expect_leq(schedule.bound_seconds, seconds * (1 + 1e-9));
        before = seconds;
        chain_schedule_finish(&schedule);
    }
}

Test(recompute_chain, coarse_quanta_and_runs_of_blocks_never_take_longer_with_more)
{
    static struct chain_block blocks[MOST_BLOCKS];
    struct chain chain;
    residual_chain(blocks, 90, &chain);
    expect_monotone(&chain, 60000, 2700, 9);
    varied_chain(blocks, 90, &chain);
    expect_monotone(&chain, 60000, 2700, 9);
    expect_monotone(&chain, 400000, 2700, 5);
    varied_chain(blocks, 700, &chain);
    expect_monotone(&chain, 4 << 20, 22000, 2);
}

/* What bounds a coarse schedule bounds the exact one too. */
Test(recompute_chain, no_schedule_is_faster_than_the_bound)
{
    static struct chain_block blocks[MOST_BLOCKS];
    struct chain chain;
    for (int kind = 0; kind < 2; kind++) {
        (kind ? varied_chain : residual_chain)(blocks, 90, &chain);
        for (uint64_t limit = chain_least_limit(&chain) + 5; limit < 2600; limit += limit / 4) {
            struct chain_schedule exact, coarse;
            struct error err = {0};
            cr_assert(chain_solve(&chain, limit, 0, &exact, &err));
            cr_assert(chain_solve(&chain, limit, 60000, &coarse, &err));
            cr_expect(exact.optimal && exact.bound_seconds >= exact.seconds * (1 - 1e-12));
            cr_expect_leq(coarse.bound_seconds, exact.seconds * (1 + 1e-9), "limit %lu: %g, but %g",
                          (unsigned long)limit, coarse.bound_seconds, exact.seconds);
            cr_expect_geq(coarse.bound_seconds, exact.seconds * (limit > 400 ? 0.9 : 0), "limit %lu",
                          (unsigned long)limit);
            double bound;
            cr_assert(chain_bound(&chain, limit, coarse.seconds, 0, &bound, &err), "%s", err.text);
            cr_expect_leq(bound, exact.seconds * (1 + 1e-9));
            cr_expect_geq(bound, coarse.bound_seconds);
            cr_expect_geq(bound, fmin(coarse.seconds / (1 + CHAIN_BOUND_GAP), exact.seconds * (1 - 1e-5)));
            chain_schedule_finish(&exact);
            chain_schedule_finish(&coarse);
        }
    }
}

Test(recompute_chain, one_table_serves_many_limits)
{
    static struct chain_block blocks[MOST_BLOCKS];
    struct chain chain;
    struct error err = {0};
    varied_chain(blocks, 100, &chain);
    uint64_t least = chain_least_limit(&chain);
    struct chain_table *table = chain_table_create(&chain, least + 20, least + 600, 0, &err);
    cr_assert(table, "%s", err.text);
    for (uint64_t limit = least + 20; limit <= least + 600; limit += 58) {
        struct chain_schedule alone, read;
        cr_assert(chain_solve(&chain, limit, 0, &alone, &err));
        cr_assert(chain_table_schedule(table, limit, &read, &err), "%s", err.text);
        cr_expect_float_eq(alone.seconds, read.seconds, 1e-6 * alone.seconds);
        cr_expect_leq(read.peak_quanta, limit);
        chain_schedule_finish(&alone);
        chain_schedule_finish(&read);
    }
    struct chain_schedule schedule = {.count = 77};
    cr_expect_not(chain_table_schedule(table, least + 19, &schedule, &err));
    cr_expect(err.kind == ERROR_INPUT && schedule.count == 77);
    cr_expect(chain_table_schedule(table, UINT64_MAX, &schedule, &err));
    cr_expect_leq(schedule.peak_quanta, least + 600);
    chain_schedule_finish(&schedule);
    chain_table_destroy(table);
    cr_expect_null(chain_table_create(&chain, 0, least - 1, 0, &err));
    cr_expect_eq(err.kind, ERROR_UNFIT);
}

Test(recompute_chain, the_least_schedule_has_the_least_peak)
{
    static struct chain_block blocks[MOST_BLOCKS];
    struct chain chain;
    struct error err = {0};
    for (size_t count = 1; count < 700; count = 3 * count + 1) {
        struct chain_schedule schedule;
        double seconds;
        uint64_t peak;
        varied_chain(blocks, count, &chain);
        cr_assert(chain_solve_least(&chain, &schedule, &err), "%s", err.text);
        cr_assert(chain_simulate(&chain, &schedule, &seconds, &peak, &err), "%s", err.text);
        cr_expect_eq(peak, chain_least_limit(&chain));
        cr_expect_eq(peak, schedule.peak_quanta);
        cr_expect_float_eq(seconds, schedule.seconds, 1e-9 * seconds);
        cr_expect_leq(schedule.bound_seconds, seconds);
        chain_schedule_finish(&schedule);
    }
}

Test(recompute_chain, keep_all_saves_every_block_under_option_0)
{
    static struct chain_block blocks[MOST_BLOCKS];
    struct chain chain;
    residual_chain(blocks, 9, &chain);
    struct chain_schedule schedule;
    struct error err = {0};
    cr_assert(chain_keep_all(&chain, &schedule, &err));
    cr_expect_eq(schedule.count, 18);
    double seconds;
    uint64_t peak;
    cr_assert(chain_simulate(&chain, &schedule, &seconds, &peak, &err), "%s", err.text);
    cr_expect_eq(peak, schedule.peak_quanta);
    cr_expect_eq(peak, 3 * 3 * (16 + 8 + 4) + 8, "all saved, and the last gradient with its backward's overhead");
    cr_expect_float_eq(seconds, least_time(&chain), 1e-9);
    chain_schedule_finish(&schedule);
}

Test(recompute_chain, two_runs_give_the_same_schedule)
{
    static struct chain_block blocks[MOST_BLOCKS];
    struct chain chain;
    residual_chain(blocks, 120, &chain);
    struct chain_schedule a, b;
    struct error err = {0};
    cr_assert(chain_solve(&chain, 700, 0, &a, &err), "%s", err.text);
    cr_assert(chain_solve(&chain, 700, 0, &b, &err));
    cr_assert_eq(a.count, b.count);
    for (size_t i = 0; i < a.count; i++)
        cr_assert(a.steps[i].kind == b.steps[i].kind && a.steps[i].block == b.steps[i].block &&
                  a.steps[i].option == b.steps[i].option);
    chain_schedule_finish(&a);
    chain_schedule_finish(&b);
}

/* Of 513 blocks taken two at a time: the first allocations of all, and some of the many that follow. */
Test(recompute_chain, failing_allocations_of_a_long_chain_are_survived)
{
    static struct chain_block blocks[MOST_BLOCKS];
    struct chain chain;
    residual_chain(blocks, 513, &chain);
    uint64_t search = mem_current_bytes(MEM_SEARCH), plan = mem_current_bytes(MEM_PLAN);
    for (uint64_t n = 1; n < 1400; n += 1 + n / 2) {
        struct error err = {0};
        struct chain_schedule schedule;
        mem_fail_at(n);
        bool ok = chain_solve(&chain, 120, 0, &schedule, &err);
        mem_fail_at(0);
        cr_expect(!ok && err.kind == ERROR_MEMORY, "allocation %lu: %s", (unsigned long)n, err.text);
        cr_expect(mem_current_bytes(MEM_SEARCH) == search && mem_current_bytes(MEM_PLAN) == plan);
    }
}

static void expect_wrong_chain(struct chain_block block, size_t count, const char *part)
{
    struct chain chain = {.blocks = &block, .count = count};
    struct chain_schedule schedule = {.count = 77};
    struct error err = {0};
    cr_expect_not(chain_solve(&chain, 100, 0, &schedule, &err));
    cr_expect_eq(err.kind, ERROR_INPUT);
    cr_expect_not_null(strstr(err.text, part), "%s", err.text);
    cr_expect_eq(schedule.count, 77);
    cr_expect_not(chain_keep_all(&chain, &schedule, &err));
    cr_expect_eq(chain_least_limit(&chain), UINT64_MAX);
}

Test(recompute_chain, wrong_chains_are_refused)
{
    struct chain_block good = {.output = 2, .forward_seconds = 1, .options = 1, .option = {{2, 0, 0, 1}}};
    expect_wrong_chain(good, 0, "no blocks");
    struct chain_block bad = good;
    bad.options = 0;
    expect_wrong_chain(bad, 1, "found 0 options");
    bad.options = CHAIN_MOST_OPTIONS + 1;
    expect_wrong_chain(bad, 1, "found 29 options");
    bad = good;
    bad.option[0].saved = 1;
    expect_wrong_chain(bad, 1, "saves 1 quanta");
    bad = good;
    bad.forward_seconds = NAN;
    expect_wrong_chain(bad, 1, "forward seconds");
    bad = good;
    bad.spared_seconds = 1.5;
    expect_wrong_chain(bad, 1, "spared seconds");
    bad = good;
    bad.option[0].backward_seconds = -1;
    expect_wrong_chain(bad, 1, "backward seconds");
}

/* Sizes whose sums pass 32 bits are solved in larger quanta. */
Test(recompute_chain, huge_sizes_do_not_overflow)
{
    static struct chain_block blocks[MOST_BLOCKS];
    for (size_t i = 0; i < 30; i++)
        blocks[i] = (struct chain_block){.output = UINT32_MAX / 4,
                                         .gradient = UINT32_MAX,
                                         .run_overhead = UINT32_MAX,
                                         .forward_seconds = 1,
                                         .options = 1,
                                         .option = {{UINT32_MAX, UINT32_MAX, UINT32_MAX, 2}}};
    struct chain chain = {.blocks = blocks, .count = 30};
    bool optimal;
    uint64_t least = chain_least_limit(&chain);
    cr_expect(isinf(solve(&chain, least - 1, 1 << 20, &optimal)));
    cr_expect(isfinite(solve(&chain, least, 1 << 20, &optimal)));
    cr_expect(isfinite(solve(&chain, 3 * least, 1 << 20, &optimal)));
    cr_expect_not(optimal);
    cr_expect_float_eq(solve(&chain, UINT64_MAX, 0, &optimal), 90, 1e-9);
}

static void expect_refused(const struct chain *chain, struct chain_step *steps, size_t count, const char *part)
{
    struct chain_schedule schedule = {.steps = steps, .count = count};
    struct error err = {0};
    double seconds = -1;
    uint64_t peak = 12345;
    cr_expect_not(chain_simulate(chain, &schedule, &seconds, &peak, &err));
    cr_expect_eq(err.kind, ERROR_INPUT);
    cr_expect_not_null(strstr(err.text, part), "\"%s\" lacks \"%s\"", err.text, part);
    cr_expect(peak == 12345 && seconds < 0);
}

Test(recompute_chain, the_simulator_names_the_first_wrong_step)
{
    static struct chain_block blocks[3];
    struct chain chain;
    residual_chain(blocks, 3, &chain);
    struct chain_step skipped[] = {{CHAIN_SAVE, 1, 0}};
    expect_refused(&chain, skipped, 1, "step 0: block 1 runs without its input");
    struct chain_step early[] = {{CHAIN_SAVE, 0, 0}, {CHAIN_BACKWARD, 0, 0}};
    expect_refused(&chain, early, 2, "step 1: backward of block 0 without the gradient");
    struct chain_step lost[] = {
        {CHAIN_CHECKPOINT, 0, 0}, {CHAIN_RUN, 1, 0}, {CHAIN_SAVE, 2, 0}, {CHAIN_BACKWARD, 2, 0}, {CHAIN_SAVE, 1, 0}};
    expect_refused(&chain, lost, 5, "step 4: block 1 runs without its input");
    struct chain_step other[] = {{CHAIN_SAVE, 0, 0}, {CHAIN_SAVE, 1, 0}, {CHAIN_SAVE, 2, 1}, {CHAIN_BACKWARD, 2, 0}};
    expect_refused(&chain, other, 4, "step 3: backward of block 2 without what option 0 saves");
    struct chain_step twice[] = {{CHAIN_SAVE, 0, 0}, {CHAIN_RUN, 0, 0}};
    expect_refused(&chain, twice, 2, "step 1: block 0 runs though its output is there");
    struct chain_step unknown[] = {{CHAIN_SAVE, 0, 2}};
    expect_refused(&chain, unknown, 1, "option 2 of block 0");
    struct chain_step outside[] = {{CHAIN_RUN, 3, 0}};
    expect_refused(&chain, outside, 1, "block 3 of 3");
    expect_refused(&chain, early, 1, "block 0 has had no backward");
    struct chain_step image[] = {{CHAIN_CHECKPOINT, 0, 0}, {CHAIN_OFFLOAD, 0, 0}};
    expect_refused(&chain, image, 2, "step 1: the input of block 0 goes to the host");
    struct chain_step plain[] = {{CHAIN_RUN, 0, 0}, {CHAIN_OFFLOAD, 1, 0}};
    expect_refused(&chain, plain, 2, "step 1: block 1 has no checkpoint to send");
    struct chain_step away[] = {{CHAIN_RUN, 0, 0},  {CHAIN_CHECKPOINT, 1, 0}, {CHAIN_OFFLOAD, 1, 0},
                                {CHAIN_SAVE, 2, 0}, {CHAIN_BACKWARD, 2, 0},   {CHAIN_SAVE, 1, 0}};
    expect_refused(&chain, away, 6, "step 5: block 1 runs while its input is away");
    struct chain_step never[] = {{CHAIN_RUN, 0, 0}, {CHAIN_FETCH, 1, 0}};
    expect_refused(&chain, never, 2, "step 1: block 1 has no checkpoint on the host");
}

/* Option 2 makes the block's input again, option 3 lets it go. */
Test(recompute_chain, inputs_are_made_again_of_what_is_there)
{
    static struct chain_block blocks[3];
    struct chain chain;
    residual_chain(blocks, 3, &chain);
    for (size_t i = 0; i < 3; i++) {
        blocks[i].options = 4;
        blocks[i].option[2] = blocks[i].option[3] = blocks[i].option[1];
        blocks[i].option[2].remakes_input = true;
        blocks[i].option[3].frees_input = true;
    }
    struct chain_step never[] = {{CHAIN_SAVE, 0, 0}, {CHAIN_SAVE, 1, 2}};
    expect_refused(&chain, never, 2, "step 1: block 1 is to have its input made again, as 0 before it");
    chain.most_remade = 1;
    struct chain_step image[] = {{CHAIN_SAVE, 0, 2}};
    expect_refused(&chain, image, 1, "step 0: block 0 is to have its input made again, as 0 before it");
    struct chain_step freed[] = {{CHAIN_SAVE, 0, 3}, {CHAIN_SAVE, 1, 2}};
    expect_refused(&chain, freed, 2, "step 1: block 1 is to have its input made again, of which nothing is there");
    struct chain_step unsaved[] = {{CHAIN_CHECKPOINT, 0, 0}, {CHAIN_SAVE, 1, 2}};
    expect_refused(&chain, unsaved, 2, "step 1: block 1 is to have its input made again, of which nothing is there");
    struct chain_step row[] = {{CHAIN_SAVE, 0, 0}, {CHAIN_SAVE, 1, 2}, {CHAIN_SAVE, 2, 2}};
    expect_refused(&chain, row, 3, "step 2: block 2 is to have its input made again, as 1 before it");
    struct chain_step twice[] = {{CHAIN_SAVE, 0, 0}, {CHAIN_SAVE, 0, 0}};
    expect_refused(&chain, twice, 2, "step 1: block 0 is saved though its output is there");
}

static void fail_each_allocation(const struct chain *chain, uint64_t limit, uint64_t table_bytes)
{
    uint64_t search = mem_current_bytes(MEM_SEARCH), plan = mem_current_bytes(MEM_PLAN), n = 1;
    for (;; n++) {
        struct error err = {0};
        struct chain_schedule schedule = {.count = 77};
        mem_fail_at(n);
        bool ok = chain_solve(chain, limit, table_bytes, &schedule, &err);
        mem_fail_at(0);
        if (ok) {
            chain_schedule_finish(&schedule);
            break;
        }
        cr_expect_eq(err.kind, ERROR_MEMORY, "allocation %lu: %s", (unsigned long)n, err.text);
        cr_expect_eq(schedule.count, 77);
        cr_expect(mem_current_bytes(MEM_SEARCH) == search && mem_current_bytes(MEM_PLAN) == plan,
                  "allocation %lu leaks", (unsigned long)n);
    }
    cr_expect_gt(n, 8);
    cr_expect(mem_current_bytes(MEM_SEARCH) == search && mem_current_bytes(MEM_PLAN) == plan);
}

Test(recompute_chain, every_failing_allocation_is_survived)
{
    static struct chain_block blocks[MOST_BLOCKS];
    struct chain chain;
    residual_chain(blocks, 60, &chain);
    fail_each_allocation(&chain, 300, 0);
    fail_each_allocation(&chain, 600, 20000);
    fail_each_allocation(&chain, chain_least_limit(&chain), 3000);
}
