/* Random small chains against every persistent schedule there is, each measured by the simulator. */
#include <criterion/criterion.h>
#include <math.h>

#include "chain.h"
#include "random.h"
#include "rounds.h"

#define MOST_BLOCKS 5
#define MOST_STEPS  64
#define MOST_LIMIT  500

/* One schedule of the enumeration: the choices made on the way; the next one changes the last that can be changed. */
struct enumeration {
    const struct chain *chain;
    size_t choice[MOST_STEPS], options[MOST_STEPS], known, depth;
    struct chain_step steps[MOST_STEPS];
    size_t count;
};

static size_t choose(struct enumeration *e, size_t options)
{
    if (e->depth == e->known) {
        e->choice[e->known] = 0;
        e->options[e->known++] = options;
    }
    return e->choice[e->depth++];
}

static void emit(struct enumeration *e, enum chain_step_kind kind, size_t block, size_t option)
{
    cr_assert_lt(e->count, MOST_STEPS);
    e->steps[e->count++] = (struct chain_step){kind, (uint32_t)block, (uint32_t)option};
}

/* How many inputs in a row may be made again after s is saved so. */
static uint32_t more_after(const struct chain *chain, const struct chain_option *option, uint32_t more)
{
    return option->remakes_input ? more - 1 : option->frees_input ? 0 : chain->most_remade;
}

/* Options that make their input again count only where they may. */
static size_t open_options(const struct chain_block *block, uint32_t more, size_t open[CHAIN_MOST_OPTIONS])
{
    size_t count = 0;
    for (size_t i = 0; i < block->options; i++)
        if (more > 0 || !block->option[i].remakes_input) open[count++] = i;
    return count;
}

static void build(struct enumeration *e, size_t s, size_t t, uint32_t more)
{
    bool host = s > 0 && e->chain->copy_seconds > 0;
    size_t open[CHAIN_MOST_OPTIONS], options = open_options(&e->chain->blocks[s], more, open),
                                     choice = choose(e, options + (t - s) * (host ? 2 : 1));
    if (choice < options) {
        emit(e, CHAIN_SAVE, s, open[choice]);
        if (s < t) build(e, s + 1, t, more_after(e->chain, &e->chain->blocks[s].option[open[choice]], more));
        emit(e, CHAIN_BACKWARD, s, open[choice]);
        return;
    }
    bool offload = choice - options >= t - s;
    size_t j = s + 1 + (choice - options) % (t - s);
    emit(e, CHAIN_CHECKPOINT, s, 0);
    if (offload) emit(e, CHAIN_OFFLOAD, s, 0);
    for (size_t k = s + 1; k < j; k++) emit(e, CHAIN_RUN, k, 0);
    build(e, j, t, 0);
    if (offload) emit(e, CHAIN_FETCH, s, 0);
    build(e, s, j - 1, 0);
}

static bool advance(struct enumeration *e)
{
    while (e->known > 0 && e->choice[e->known - 1] + 1 == e->options[e->known - 1]) e->known--;
    if (e->known == 0) return false;
    e->choice[e->known - 1]++;
    return true;
}

/* Least time under each limit, over all schedules. */
static void search_all(const struct chain *chain, double best[MOST_LIMIT])
{
    struct enumeration e = {.chain = chain};
    for (size_t i = 0; i < MOST_LIMIT; i++) best[i] = INFINITY;
    do {
        struct error err = {0};
        double seconds;
        uint64_t peak;
        e.depth = e.count = 0;
        build(&e, 0, chain->count - 1, 0);
        struct chain_schedule schedule = {.steps = e.steps, .count = e.count};
        cr_assert(chain_simulate(chain, &schedule, &seconds, &peak, &err), "%s", err.text);
        cr_assert_lt(peak, MOST_LIMIT);
        if (seconds < best[peak]) best[peak] = seconds;
    } while (advance(&e));
    for (size_t i = 1; i < MOST_LIMIT; i++) best[i] = fmin(best[i], best[i - 1]);
}

/* What a chain's options may do beside saving. */
struct features {
    size_t most_blocks, most_options;
    bool frees, copies, spares, remakes;
};

static struct chain_option draw_option(struct random *random, const struct features *features, uint32_t output)
{
    struct chain_option option = {.saved = output + random_below(random, 25),
                                  .forward_overhead = random_below(random, 8),
                                  .backward_overhead = random_below(random, 12),
                                  .backward_seconds = 2 + random_below(random, 5) * 0.5};
    if (features->frees) option.frees_input = random_below(random, 2);
    if (features->copies && random_below(random, 2)) option.copied = random_below(random, 20);
    return option;
}

/* Which takes longer than finding it there. */
static void remake_input(struct chain_option *option, struct random *random)
{
    option->remake_overhead = random_below(random, 12);
    option->frees_input = option->remakes_input = true;
    option->backward_seconds += 6; /* more than copies cost */
}

static void draw_chain(struct random *random, const struct features *features, struct chain_block blocks[MOST_BLOCKS],
                       struct chain *chain)
{
    *chain = (struct chain){.input = random_below(random, 9),
                            .blocks = blocks,
                            .count = 1 + random_below(random, (uint32_t)features->most_blocks),
                            .copy_seconds = features->copies ? random_below(random, 4) * 0.06 : 0};
    if (features->remakes) chain->most_remade = random_below(random, CHAIN_MOST_REMADE + 1);
    for (size_t i = 0; i < chain->count; i++) {
        struct chain_block *block = &blocks[i];
        *block = (struct chain_block){.output = random_below(random, 9),
                                      .gradient = random_below(random, 9),
                                      .run_overhead = random_below(random, 4) * random_below(random, 6),
                                      .forward_seconds = 1 + random_below(random, 4),
                                      .options = 1 + random_below(random, (uint32_t)features->most_options)};
        if (features->spares) block->spared_seconds = 0.25 * random_below(random, 5);
        for (uint32_t k = 0; k < block->options; k++) block->option[k] = draw_option(random, features, block->output);
        if (features->remakes) block->remade = random_below(random, 12);
        for (uint32_t k = 1; features->remakes && i > 0 && k < block->options; k++)
            if (random_below(random, 3) > 0) remake_input(&block->option[k], random);
    }
}

/* In quanta of any size, and exact in the smallest. */
static void expect_bounds(const struct chain *chain, uint64_t limit, double best)
{
    struct error err = {0};
    double bound, before = 0;
    for (double seconds = 0; !isinf(seconds); seconds = seconds < best ? best : INFINITY) {
        cr_assert(chain_bound(chain, limit, seconds, 0, &bound, &err), "%s", err.text);
        cr_expect_leq(bound, best * (1 + 1e-6), "limit %lu: %g, but %g", (unsigned long)limit, bound, best);
        cr_expect_geq(bound, before);
        before = bound;
    }
    cr_assert(chain_bound(chain, limit, INFINITY, 0, &bound, &err), "%s", err.text);
    cr_expect_leq(bound, best * (1 + 1e-6));
    cr_expect_geq(bound, best - 1e-4, "limit %lu: %g, not %g", (unsigned long)limit, bound, best);
}

static void expect_best_at_each_limit(const struct chain *chain, const double best[MOST_LIMIT])
{
    uint64_t least = 0;
    while (isinf(best[least])) least++;
    cr_expect_eq(chain_least_limit(chain), least);
    for (uint64_t limit = 0; limit < MOST_LIMIT; limit++) {
        struct chain_schedule schedule;
        struct error err = {0};
        bool ok = chain_solve(chain, limit, 0, &schedule, &err);
        cr_assert_eq(ok, limit >= least, "limit %lu, least %lu: %s", (unsigned long)limit, (unsigned long)least,
                     err.text);
        if (!ok) {
            cr_expect_eq(err.kind, ERROR_UNFIT);
            continue;
        }
        double seconds;
        uint64_t peak;
        cr_assert(chain_simulate(chain, &schedule, &seconds, &peak, &err), "%s", err.text);
        cr_expect(schedule.optimal && peak <= limit);
        cr_expect_float_eq(schedule.bound_seconds, schedule.seconds, 0);
        cr_expect_eq(peak, schedule.peak_quanta);
        cr_expect_float_eq(seconds, schedule.seconds, 1e-9);
        if (limit % 16 == 5) expect_bounds(chain, limit, best[limit]);
        cr_expect_float_eq(seconds, best[limit], 1e-4, "limit %lu: %g instead of %g", (unsigned long)limit, seconds,
                           best[limit]);
        chain_schedule_finish(&schedule);
    }
}

static void compare_with_all(const struct features *features, size_t chains, uint64_t seed)
{
    struct random random = random_begin(seed, RANDOM_SEARCH, 0, 0);
    for (size_t i = 0; i < rounds(chains); i++) {
        struct chain_block blocks[MOST_BLOCKS];
        struct chain chain;
        double best[MOST_LIMIT];
        draw_chain(&random, features, blocks, &chain);
        search_all(&chain, best);
        expect_best_at_each_limit(&chain, best);
    }
}

Test(recompute_exact, finds_the_best_of_all_schedules)
{
    compare_with_all(&(struct features){.most_blocks = 5, .most_options = 2}, 400, 1);
    compare_with_all(&(struct features){.most_blocks = 5, .most_options = 2, .spares = true}, 400, 2);
}

Test(recompute_exact, finds_the_best_of_all_with_inputs_freed)
{
    compare_with_all(&(struct features){.most_blocks = 4, .most_options = 4, .frees = true, .spares = true}, 600, 3);
}

Test(recompute_exact, finds_the_best_of_all_with_copies_to_the_host)
{
    struct features features = {.most_blocks = 4, .most_options = 3, .frees = true, .copies = true, .spares = true};
    compare_with_all(&features, 1000, 4);
    features.most_blocks = 5;
    features.most_options = 2;
    compare_with_all(&features, 300, 5);
}

/* ---- Rows of inputs made again, chosen as wholes ---- */

static double solve_replayed(const struct chain *chain, uint64_t limit)
{
    struct chain_schedule schedule;
    struct error err = {0};
    double seconds;
    uint64_t peak;
    if (!chain_solve(chain, limit, 0, &schedule, &err)) return INFINITY;
    cr_assert(chain_simulate(chain, &schedule, &seconds, &peak, &err), "%s", err.text);
    cr_expect_leq(peak, limit);
    cr_expect_eq(peak, schedule.peak_quanta);
    cr_expect_float_eq(seconds, schedule.seconds, 1e-9);
    chain_schedule_finish(&schedule);
    return seconds;
}

/* Outputs are large, and making them again takes little longer than finding them there: so that rows pay. */
static void draw_cheap_rows(struct random *random, const struct features *features,
                            struct chain_block blocks[MOST_BLOCKS], struct chain *chain)
{
    draw_chain(random, features, blocks, chain);
    for (size_t i = 0; i < chain->count; i++) {
        blocks[i].output += 20;
        for (uint32_t k = 0; k < blocks[i].options; k++) {
            struct chain_option *option = &blocks[i].option[k];
            option->saved += 20;
            option->backward_seconds = option->remakes_input ? 4 + 0.25 * random_below(random, 3) : 4;
        }
    }
}

/* With one way to make an input again rows that are alike are all rows. */
Test(recompute_exact, streaks_are_as_good_as_rows_of_the_table)
{
    struct features features = {.most_blocks = 5, .most_options = 2, .spares = true, .remakes = true};
    struct random random = random_begin(8, RANDOM_SEARCH, 0, 0);
    size_t longer = 0;
    for (size_t i = 0; i < 300; i++) {
        struct chain_block blocks[MOST_BLOCKS];
        struct chain chain;
        draw_cheap_rows(&random, &features, blocks, &chain);
        chain.most_remade = 1;
        uint64_t least = chain_least_limit(&chain);
        for (uint64_t limit = least; limit < least + 120; limit += 3) {
            double alone = solve_replayed(&chain, limit);
            chain.longest_streak = 3;
            double streaks = solve_replayed(&chain, limit);
            chain.most_remade = 3;
            chain.longest_streak = 0;
            double table = solve_replayed(&chain, limit);
            chain.most_remade = 1;
            cr_expect_float_eq(streaks, table, 1e-4, "chain %zu, limit %lu: %g, %g", i, (unsigned long)limit, streaks,
                               table);
            longer += streaks < alone - 1e-4;
        }
    }
    cr_expect_gt(longer, 100, "%zu", longer);
}

/* Of each block some comes back when its output is made again: as it is kept, up to `beyond` more than is taken for it
 * where that is not known. */
static void draw_parts(struct random *random, struct chain *chain, uint32_t beyond)
{
    for (size_t b = 0; b < chain->count; b++) {
        struct chain_block *block = &chain->blocks[b];
        block->parts = random_below(random, 9);
        for (uint32_t k = 0; k < block->options; k++) {
            block->option[k].parts = random_below(random, block->parts + beyond + 1);
            if (b > 0) block->option[k].remake_overhead += chain->blocks[b - 1].parts;
        }
        if (b > 0) block->remade += chain->blocks[b - 1].parts;
    }
}

/* Limits under which streaks are faster than rows of the table alone; they are never slower. */
static size_t count_faster(size_t chains, uint64_t seed, uint32_t beyond)
{
    struct features features = {.most_blocks = 5, .most_options = 4, .spares = true, .remakes = true};
    struct random random = random_begin(seed, RANDOM_SEARCH, 0, 0);
    size_t faster = 0;
    for (size_t i = 0; i < chains; i++) {
        struct chain_block blocks[MOST_BLOCKS];
        struct chain chain;
        draw_cheap_rows(&random, &features, blocks, &chain);
        chain.most_remade = 1 + random_below(&random, 3);
        draw_parts(&random, &chain, beyond);
        uint64_t least = chain_least_limit(&chain);
        for (uint64_t limit = least; limit < least + 120; limit += 3) {
            chain.longest_streak = 0;
            double without = solve_replayed(&chain, limit);
            chain.longest_streak = CHAIN_MOST_STREAK;
            double with = solve_replayed(&chain, limit);
            cr_expect_leq(with, without + 1e-4);
            faster += with < without - 1e-4;
        }
    }
    return faster;
}

/* What is known of how a block is kept is never more than what is taken for it else. */
Test(recompute_exact, streaks_count_what_comes_back_of_each_block)
{
    size_t faster = count_faster(400, 9, 0);
    cr_expect_gt(faster, 100, "%zu", faster);
}

/* Or it is more: the limit holds all the same. */
Test(recompute_exact, more_may_come_back_than_is_taken_for_a_block)
{
    size_t faster = count_faster(300, 10, 12);
    cr_expect_gt(faster, 100, "%zu", faster);
}

Test(recompute_exact, finds_the_best_of_all_with_inputs_made_again)
{
    struct features features = {.most_blocks = 5, .most_options = 3, .spares = true, .remakes = true};
    compare_with_all(&features, 300, 6);
    features.most_blocks = 4;
    features.frees = features.copies = true;
    compare_with_all(&features, 600, 7);
}
