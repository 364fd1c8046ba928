/* What a block's options are said to cost, against the programs of whole schedules that keep blocks so. */
#include "block_costs.h"

#include <math.h>

#include "cost.h"
#include "draft.h"
#include "layout.h"
#include "planner_kit.h"
#include "schedule.h"
#include "timeline.h"

static const char *const models[] = {"resnet-56", "resnet-164", "resnet-50"};
static const uint32_t batches[] = {64, 32, 16};
#define MODELS     (sizeof models / sizeof models[0])
#define MOST_CODES 64

static struct machine machine;

static void finish(void) { machine_finish(&machine); }

/* A graph with its measured blocks. */
struct measured {
    struct plan_request request;
    struct plan *plan; /* its graph */
    struct variant_request wanted;
    struct block_costs blocks;
};

static const struct graph *graph_of(const struct measured *m) { return m->plan->variants[0].graph; }

static void measure(struct measured *m, const char *model, uint32_t batch)
{
    struct error err = {0};
    *m = (struct measured){.request = kit_request(model, "titan-x", batch, &machine)};
    m->request.micro_batches = 1;
    m->request.offload_bytes = UINT64_MAX;
    m->plan = kit_plan(&m->request);
    m->wanted = (struct variant_request){&m->request, &machine.devices[0], batch, 1, 1, true};
    cr_assert(block_costs_measure(&m->wanted, graph_of(m), &m->blocks, &err), "%s", err.text);
    block_costs_set_price(&m->blocks, 1e-9);
}

static void measured_finish(struct measured *m)
{
    block_costs_finish(&m->blocks);
    plan_destroy(m->plan);
}

/* The block's option of that code; its `options` where it has none. */
static uint32_t find_option(const struct chain_block *block, uint32_t keep)
{
    uint32_t i = 0;
    while (i < block->options && block->option[i].keep != keep) i++;
    return i;
}

/* The schedule under keep[], run by the chain's figures and as a program: the same bytes but for rounding, the same
 * time. */
static void compare(const struct measured *m, const uint32_t *keep, const char *what)
{
    struct error err = {0};
    struct chain_schedule schedule;
    struct draft draft = {0};
    double seconds;
    uint64_t peak, bound;
    cr_assert(schedule_each(graph_of(m), keep, &schedule, &err), "%s", err.text);
    cr_assert(draft_train(&m->wanted, graph_of(m), &schedule, &draft, &err), "%s", err.text);
    cr_assert(layout_bound(graph_of(m), &draft.program, draft.home, &bound, &err), "%s", err.text);
    struct cost_speed speed = cost_speed_of(&machine.devices[0], m->plan->dtype, NULL);
    struct timeline_request timed = {.graph = graph_of(m), .program = &draft.program, .speed = &speed};
    struct timeline timeline;
    cr_assert(timeline_make(&timed, &timeline, &err), "%s", err.text);
    for (size_t i = 0; i < schedule.count; i++)
        schedule.steps[i].option =
            find_option(&m->blocks.chain.blocks[schedule.steps[i].block], schedule.steps[i].keep);
    cr_assert(chain_simulate(&m->blocks.chain, &schedule, &seconds, &peak, &err), "%s: %s", what, err.text);
    double computing = timeline.body - timeline.stalled;
    double told = (double)(m->blocks.fixed_bytes + peak * m->blocks.quantum_bytes), real = (double)bound;
    cr_expect(told >= real * 0.999 && told <= real * 1.11, "%s: %.0f bytes by the blocks, %.0f", what, told, real);
    cr_expect(fabs(seconds / computing - 1) < 0.03, "%s: %g s by the blocks, %g", what, seconds, computing);
    draft_finish(&draft);
    chain_schedule_finish(&schedule);
}

Test(block_costs, of_blocks_that_are_all_kept_alike, .fini = finish)
{
    static const uint32_t codes[] = {KEEP_ALL, KEEP_CONVOLUTIONS, KEEP_ALL | KEEP_LEAN, KEEP_ALL | KEEP_ON_HOST,
                                     KEEP_CONVOLUTIONS | KEEP_ON_HOST};
    for (size_t n = 0; n < MODELS; n++) {
        struct measured m;
        uint32_t keep[MOST_CODES];
        measure(&m, models[n], batches[n]);
        cr_assert_leq(m.blocks.chain.count, MOST_CODES);
        for (size_t c = 0; c < sizeof codes / sizeof codes[0]; c++) {
            size_t alone = 0;
            for (size_t b = 0; b < m.blocks.chain.count; b++) {
                const struct chain_block *block = &m.blocks.chain.blocks[b];
                const struct chain_option *option = &block->option[find_option(block, codes[c])];
                bool on_host = codes[c] & KEEP_ON_HOST;
                keep[b] = codes[c];
                if (on_host && find_option(block, codes[c]) == block->options)
                    keep[b] &= KEEP_MODE_MASK; /* the last's would come back at once */
                if (keep[b] != codes[c]) {
                    alone++;
                    continue;
                }
                cr_assert_lt(option - block->option, block->options, "%s: block %zu has code %u", models[n], b,
                             codes[c]);
                cr_expect_eq(option->frees_input, on_host && b > 0);
                cr_expect_eq(option->copied > 0, on_host, "%s: block %zu", models[n], b);
                cr_expect_not(option->remakes_input);
                cr_expect_geq(option->saved, block->output);
            }
            cr_expect_leq(alone, 3, "%s: %zu blocks cannot wait in host memory", models[n], alone);
            compare(&m, keep, models[n]);
        }
        measured_finish(&m);
        finish();
    }
}

/* Every second block's input is made again from what the one before keeps, which is all or its convolutions' outputs.
 */
Test(block_costs, of_inputs_that_are_made_again, .fini = finish)
{
    for (size_t n = 0; n < MODELS; n++)
        for (uint32_t first = 1; first <= 2; first++) {
            struct measured m;
            uint32_t keep[MOST_CODES];
            size_t remade = 0;
            measure(&m, models[n], batches[n]);
            for (uint32_t b = 0; b < m.blocks.chain.count; b++) {
                const struct chain_block *block = &m.blocks.chain.blocks[b];
                uint32_t code = KEEP_CONVOLUTIONS | KEEP_REMAKE_INPUT;
                bool wanted = b >= first && (b - first) % 2 == 0 && find_option(block, code) < block->options;
                keep[b] = wanted ? code : KEEP_CONVOLUTIONS;
                if (!wanted) continue;
                const struct chain_option *made = &block->option[find_option(block, code)];
                const struct chain_option *plain = &block->option[find_option(block, KEEP_CONVOLUTIONS)];
                cr_expect(made->frees_input && made->remakes_input && made->copied == 0);
                cr_expect_gt(made->backward_seconds, plain->backward_seconds);
                cr_expect_geq(block->remade, m.blocks.chain.blocks[b - 1].output);
                remade++;
            }
            cr_expect_geq(remade, m.blocks.chain.count / 3, "%s: %zu of %zu", models[n], remade, m.blocks.chain.count);
            compare(&m, keep, models[n]);
            measured_finish(&m);
            finish();
        }
}
