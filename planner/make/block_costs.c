#include "block_costs.h"

#include <math.h>

#include "block_passages.h"
#include "cost.h"
#include "draft.h"
#include "invertible.h"
#include "keep.h"
#include "keep_choices.h"
#include "layout.h"
#include "mem.h"
#include "schedule.h"
#include "variant_request.h"
#include "workspace.h"

static uint64_t greatest_divisor(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* A chain of more quanta than this gains nothing that can be seen. */
#define MOST_QUANTA (1u << 20)

/* Sizes of activations of one network share a large divisor. The classifier's few bytes would spoil it. */
static uint64_t find_quantum(const struct graph *graph)
{
    uint64_t divisor = 0, largest = 0, sum = 0;
    for (int round = 0; round < 2; round++)
        for (uint32_t i = 0; i < graph->forward_end; i++) {
            const struct tensor *made = &graph->tensors[graph->ops[i].out[0]];
            uint64_t bytes = layout_round(made->bytes);
            /* Few bytes of a lowered BN's, or counted apart, or three channels, which divide nothing. */
            if (made->class != CLASS_ACTIVATION || made->role == ROLE_IMAGE) continue;
            if (round == 0 && bytes > largest) largest = bytes;
            if (round == 0) sum += bytes;
            if (round == 1 && bytes >= largest / 64) divisor = greatest_divisor(divisor, bytes);
        }
    while (divisor < sum / MOST_QUANTA) divisor *= 2;
    return divisor;
}

static uint32_t quanta(const struct block_costs *blocks, uint64_t bytes)
{
    return (uint32_t)((bytes + blocks->quantum_bytes - 1) / blocks->quantum_bytes);
}

static double later(double a, double b) { return a > b ? a : b; }

static uint64_t excess(uint64_t bytes, uint64_t over) { return bytes > over ? bytes - over : 0; }

static uint64_t output_bytes(const struct graph *graph, uint32_t block)
{
    uint32_t output = graph->blocks[block].output;
    return output == NO_TENSOR ? 0 : layout_round(graph->tensors[output].bytes);
}

static uint64_t input_bytes(const struct graph *graph, uint32_t block)
{
    return block > 0 ? output_bytes(graph, block - 1) : 0;
}

/* ---- What a block that runs again spares when nobody reads its output ---- */

/* Marks what backward ops of the block itself read: the output's reader in the next block does not count. */
static void mark_own_readers(const struct graph *graph, bool *read)
{
    for (uint32_t i = graph->forward_end; i < graph->backward_end; i++) {
        const struct op *op = &graph->ops[i];
        for (uint32_t k = 0; op->block != NO_OP && k < op->inputs; k++) {
            bool foreign = op->block > 0 && op->in[k] == graph->blocks[op->block].input;
            if (!foreign) read[op->in[k]] = true;
        }
    }
}

/* Statistics do not count: they are there from the first run. */
static bool is_read(const struct graph *graph, const struct op *op, const bool *read)
{
    for (uint32_t k = 0; k < op->outputs; k++) {
        if (read[op->out[k]] && graph->tensors[op->out[k]].class != CLASS_STATISTIC) return true;
    }
    return false;
}

/* Ops of the evaluation program are those of the forward pass, one for one. */
static double find_spared(const struct graph *graph, const struct plan_program *evaluate, uint32_t block,
                          const struct cost_speed *speed, bool *read)
{
    double spared = 0;
    for (uint32_t i = graph->blocks[block].last; i-- > graph->blocks[block].first;) {
        const struct op *op = &graph->ops[i];
        bool useful = is_read(graph, op, read);
        if (!useful) spared += workspace_op_seconds(speed, graph, evaluate, &evaluate->ops[i]);
        for (uint32_t k = 0; useful && k < op->inputs; k++)
            if (op->in[k] != graph->blocks[block].input) read[op->in[k]] = true;
    }
    return spared;
}

static bool set_spared(const struct variant_request *request, const struct graph *graph,
                       const struct plan_program *evaluate, struct block_costs *blocks, struct error *err)
{
    struct cost_speed speed = cost_speed_of(request->device, request->plan->dtype, request->plan->measured);
    bool *read = mem_zalloc(MEM_PLAN, graph->tensor_count, sizeof *read);
    if (!read) return error_memory(err, graph->tensor_count * sizeof *read, "measuring blocks");
    mark_own_readers(graph, read);
    for (uint32_t b = 0; b < graph->block_count; b++) {
        struct chain_block *block = &blocks->chain.blocks[b];
        double spared = find_spared(graph, evaluate, b, &speed, read);
        block->spared_seconds = spared < block->forward_seconds ? spared : block->forward_seconds;
    }
    mem_free(read);
    return true;
}

/* ---- The chain ---- */

static void set_block(struct block_costs *blocks, const struct graph *graph, uint32_t b, const struct passage *evaluate)
{
    struct chain_block *block = &blocks->chain.blocks[b];
    bool last = b + 1 == graph->block_count;
    uint64_t output = output_bytes(graph, b);
    block->output = quanta(blocks, output);
    block->gradient = last ? 0 : block->output;
    block->run_overhead = quanta(blocks, excess(evaluate[b].forward_most, input_bytes(graph, b) + output));
    block->forward_seconds = evaluate[b].forward_seconds;
}

/* A lowered block may have nothing elementwise to run again: then its convolutions are all that it keeps anyway. */
static bool has_elementwise(const struct graph *graph, uint32_t b)
{
    for (uint32_t i = graph->blocks[b].first; i < graph->blocks[b].last; i++)
        if (keep_is_elementwise(graph->ops[i].kind)) return true;
    return graph->options.lowering == 0;
}

/* Whether the block can be kept so at all. What the last block keeps is wanted at once. */
static bool can_keep(const struct graph *graph, uint32_t b, uint32_t keep, const struct passage *passage)
{
    struct addition addition;
    if ((keep & KEEP_MODE_MASK) == KEEP_CONVOLUTIONS && !has_elementwise(graph, b)) return false;
    if (keep & KEEP_ON_HOST && (passage->sent == 0 || b + 1 == graph->block_count)) return false;
    return !(keep & KEEP_RECONSTRUCT) || (b > 0 && invertible_find(graph, &graph->blocks[b], &addition));
}

/* One block's option under `keep`, when all the blocks before hold `held` bytes; unless it is only to be passed. What
 * leaves for the host does so while later ops run: it is counted there, as what they need beside what is held. Whether
 * the block has one more option now. */
static bool set_option(struct block_costs *blocks, const struct graph *graph, uint32_t b, uint32_t keep, bool wanted,
                       const struct passage *passages, uint64_t *held)
{
    struct chain_block *block = &blocks->chain.blocks[b];
    const struct passage *passage = &passages[b];
    bool possible = can_keep(graph, b, keep, passage), on_host = possible && keep & KEEP_ON_HOST;
    bool frees = possible && b > 0 && keep & (KEEP_ON_HOST | KEEP_RECONSTRUCT | KEEP_REMAKE_INPUT);
    uint64_t output = output_bytes(graph, b), gradient = b + 1 == graph->block_count ? 0 : output;
    uint64_t before = b > 0 ? passages[b - 1].resident : 0, freed = frees ? input_bytes(graph, b) : 0;
    uint64_t saved = on_host ? output : excess(passage->resident + freed, before);
    if (saved < output) saved = output;
    /* A small workspace slows the saving run too. */
    double slower = later(passage->forward_seconds - block->forward_seconds, 0);
    if (possible && wanted)
        block->option[block->options++] = (struct chain_option){
            .keep = keep,
            .saved = quanta(blocks, saved),
            .forward_overhead = quanta(blocks, excess(passage->forward_most, *held + saved)),
            .backward_overhead = quanta(blocks, excess(passage->backward_most, *held + saved + gradient)),
            .remake_overhead = quanta(blocks, excess(passage->remake_most, *held + saved + gradient)),
            .backward_seconds = passage->backward_seconds + slower,
            .copied = on_host ? quanta(blocks, passage->sent) : 0,
            .frees_input = frees,
            .remakes_input = frees && keep & KEEP_REMAKE_INPUT};
    *held += saved - freed;
    return possible && wanted;
}

/* Programs of blocks that are all saved. */
struct measuring {
    const struct variant_request *request;
    const struct graph *graph;
    struct block_costs *blocks;
    struct passage *passages; /* of each block, as all below */
    struct keep_choices *choices;
    uint32_t *keep;
    bool *wanted; /* it is to be an option of the block's; once measured, it has become one */
};

static bool measure_keeps(struct measuring *m, struct error *err)
{
    const struct graph *graph = m->graph;
    struct draft draft = {0};
    struct chain_schedule schedule;
    uint64_t held = 0;
    for (size_t b = 0; b < graph->block_count; b++) m->passages[b] = (struct passage){0};
    TRY(schedule_each(graph, m->keep, &schedule, err));
    bool ok = draft_train(m->request, graph, &schedule, &draft, err) &&
              block_passages_measure(m->request, graph, &draft, m->passages, err);
    if (ok && m->blocks->fixed_bytes == 0) m->blocks->fixed_bytes = block_passages_fixed(graph, &draft);
    for (uint32_t b = 0; ok && b < graph->block_count; b++) {
        struct chain_block *block = &m->blocks->chain.blocks[b];
        m->wanted[b] = set_option(m->blocks, graph, b, m->keep[b], m->wanted[b], m->passages, &held);
        if (m->wanted[b])
            block->option[block->options - 1].parts = quanta(m->blocks, keep_choices_parts(&m->choices[b], m->keep[b]));
    }
    draft_finish(&draft);
    chain_schedule_finish(&schedule);
    return ok;
}

/* All blocks under one code. */
static void set_alike(struct measuring *m, uint32_t keep)
{
    for (size_t b = 0; b < m->graph->block_count; b++) {
        m->keep[b] = keep;
        m->wanted[b] = true;
    }
}

static bool measure_alike(struct measuring *m, uint32_t keep, struct error *err)
{
    set_alike(m, keep);
    return measure_keeps(m, err);
}

/* Each under its n-th choice, if any has as many; those that have fewer only pass by. */
static bool set_choice(struct measuring *m, uint32_t n)
{
    bool any = false;
    for (size_t b = 0; b < m->graph->block_count; b++) {
        m->wanted[b] = n < m->choices[b].count;
        m->keep[b] = m->wanted[b] ? m->choices[b].keep[n] : KEEP_CONVOLUTIONS;
        any |= m->wanted[b];
    }
    return any;
}

static bool measure_runs(const struct variant_request *request, const struct graph *graph, struct block_costs *blocks,
                         struct passage *passages, struct error *err)
{
    struct draft draft = {0};
    for (size_t b = 0; b < graph->block_count; b++) passages[b] = (struct passage){0};
    bool ok =
        draft_evaluate(request, graph, &draft, err) && block_passages_measure(request, graph, &draft, passages, err);
    for (uint32_t b = 0; ok && b < graph->block_count; b++) set_block(blocks, graph, b, passages);
    ok = ok && set_spared(request, graph, &draft.program, blocks, err);
    draft_finish(&draft);
    return ok;
}

#define MOST_CODES 8

/* Whether convolutions can do with less workspace than they want: a backend that is asked says what they need. */
static bool has_tiers(const struct variant_request *request)
{
    return request->device->kind == DEVICE_GPU && !request->plan->workspace_bytes;
}

/* Ways to keep a block that the request allows; those with copies last. */
static size_t list_codes(const struct variant_request *request, uint32_t codes[MOST_CODES])
{
    size_t count = 0;
    codes[count++] = KEEP_ALL;
    codes[count++] = KEEP_CONVOLUTIONS;
    if (request->plan->reconstruct) codes[count++] = KEEP_ALL | KEEP_RECONSTRUCT;
    if (request->plan->reconstruct) codes[count++] = KEEP_CONVOLUTIONS | KEEP_RECONSTRUCT;
    if (has_tiers(request)) codes[count++] = KEEP_ALL | KEEP_LEAN;
    if (has_tiers(request)) codes[count++] = KEEP_CONVOLUTIONS | KEEP_LEAN;
    if (request->plan->offload_bytes > 0) codes[count++] = KEEP_ALL | KEEP_ON_HOST;
    if (request->plan->offload_bytes > 0) codes[count++] = KEEP_CONVOLUTIONS | KEEP_ON_HOST;
    return count;
}

/* Beyond as many blocks the chain takes several together, and each of its inputs stays. */
#define MOST_REMADE_BLOCKS 512

static bool is_rough(const struct variant_request *request, const struct graph *graph)
{
    return request->plan->rough && graph->block_count > PLAN_ROUGH_BLOCKS;
}

/* Of longer chains the table has few rows to spare: all but the shortest stretches of inputs that are made again are
 * streaks, each block kept alike. */
#define MOST_MIXED_BLOCKS 64

/* What the block before runs again besides it does in place of its own backward: that takes no more time, but is there
 * from now on. */
static void set_remaking(const struct block_costs *blocks, struct chain_block *block, const struct keep_choices *before)
{
    struct chain_option *made = &block->option[block->options - 1];
    made->remake_overhead += quanta(blocks, before->parts_bytes);
    for (uint32_t i = 0; i + 1 < block->options; i++)
        if ((block->option[i].keep | KEEP_REMAKE_INPUT) == made->keep)
            made->backward_seconds = block->option[i].backward_seconds + before->remake_seconds;
}

/* Every second block with its input made again, from `first` on; those before them keep what it is made of. */
static bool measure_remaking(struct measuring *m, uint32_t first, struct error *err)
{
    for (uint32_t b = 0; b < m->graph->block_count; b++) {
        bool remakes = b >= first && (b - first) % 2 == 0;
        m->keep[b] = remakes ? m->keep[b] | KEEP_REMAKE_INPUT : KEEP_CONVOLUTIONS;
        m->wanted[b] &= remakes && m->choices[b - 1].remake_seconds < HUGE_VAL;
    }
    TRY(measure_keeps(m, err));
    for (uint32_t b = 1; b < m->graph->block_count; b++) {
        struct chain_block *block = &m->blocks->chain.blocks[b];
        block->remade = quanta(m->blocks, input_bytes(m->graph, b) + m->choices[b - 1].parts_bytes);
        m->blocks->chain.blocks[b - 1].parts = quanta(m->blocks, m->choices[b - 1].parts_bytes);
        if (m->wanted[b]) set_remaking(m->blocks, block, &m->choices[b - 1]);
    }
    return true;
}

/* All ways to keep that have no copies, now with the input made again. */
static bool measure_all_remaking(struct measuring *m, struct error *err)
{
    bool any = true;
    if (m->graph->block_count > MOST_REMADE_BLOCKS || is_rough(m->request, m->graph)) return true;
    for (uint32_t n = 0; any && n < KEEP_MOST_CHOICES + 2; n++)
        for (uint32_t first = 1; any && first <= 2; first++) {
            if (n < 2)
                set_alike(m, n == 0 ? KEEP_ALL : KEEP_CONVOLUTIONS);
            else
                any = set_choice(m, n - 2);
            TRY(!any || measure_remaking(m, first, err));
        }
    return true;
}

/* Options with copies come last. */
static bool measure_codes(struct measuring *m, struct error *err)
{
    uint32_t codes[MOST_CODES];
    size_t count = list_codes(m->request, codes), resident = 0;
    while (resident < count && !(codes[resident] & KEEP_ON_HOST)) resident++;
    for (size_t i = 0; i < resident; i++) TRY(measure_alike(m, codes[i], err));
    for (uint32_t n = 0; n < KEEP_MOST_CHOICES && set_choice(m, n); n++) TRY(measure_keeps(m, err));
    TRY(measure_all_remaking(m, err));
    for (size_t b = 0; b < m->graph->block_count; b++) m->blocks->resident[b] = m->blocks->chain.blocks[b].options;
    for (size_t i = resident; i < count; i++) TRY(measure_alike(m, codes[i], err));
    for (size_t b = 0; b < m->graph->block_count; b++) m->blocks->options[b] = m->blocks->chain.blocks[b].options;
    for (size_t b = 0; b < m->graph->block_count; b++) m->blocks->first[b] = m->blocks->chain.blocks[b].option[0];
    block_costs_set_price(m->blocks, 0);
    return true;
}

static bool measure_all(struct measuring *m, struct error *err)
{
    struct cost_speed speed = cost_speed_of(m->request->device, m->request->plan->dtype, m->request->plan->measured);
    return measure_runs(m->request, m->graph, m->blocks, m->passages, err) &&
           keep_choices_find(m->graph, &speed, m->choices, err) && measure_codes(m, err);
}

bool block_costs_measure(const struct variant_request *request, const struct graph *graph, struct block_costs *blocks,
                         struct error *err)
{
    size_t count = graph->block_count;
    *blocks = (struct block_costs){.quantum_bytes = find_quantum(graph)};
    blocks->chain.count = count;
    blocks->chain.most_remade = count > MOST_MIXED_BLOCKS ? 1 : CHAIN_MOST_REMADE;
    blocks->chain.loose = count <= MOST_MIXED_BLOCKS;
    blocks->chain.longest_streak = CHAIN_MOST_STREAK;
    blocks->chain.most_units = is_rough(request, graph) ? PLAN_ROUGH_BLOCKS : 0;
    blocks->chain.blocks = mem_zalloc(MEM_PLAN, count, sizeof *blocks->chain.blocks);
    blocks->first = mem_alloc(MEM_PLAN, count, sizeof *blocks->first);
    blocks->options = mem_alloc(MEM_PLAN, count, sizeof *blocks->options);
    blocks->resident = mem_alloc(MEM_PLAN, count, sizeof *blocks->resident);
    struct measuring m = {.request = request,
                          .graph = graph,
                          .blocks = blocks,
                          .passages = mem_alloc(MEM_PLAN, count, sizeof *m.passages),
                          .choices = mem_alloc(MEM_PLAN, count, sizeof *m.choices),
                          .keep = mem_alloc(MEM_PLAN, count, sizeof *m.keep),
                          .wanted = mem_alloc(MEM_PLAN, count, sizeof *m.wanted)};
    bool ok = blocks->chain.blocks && blocks->first && blocks->options && blocks->resident && m.passages && m.choices &&
              m.keep && m.wanted;
    if (!ok) error_memory(err, count * sizeof *blocks->chain.blocks, "measuring blocks");
    ok = ok && measure_all(&m, err);
    mem_free(m.passages);
    mem_free(m.choices);
    mem_free(m.keep);
    mem_free(m.wanted);
    return ok;
}

void block_costs_set_price(struct block_costs *blocks, double copy_seconds)
{
    blocks->chain.copy_seconds = copy_seconds;
    for (size_t b = 0; b < blocks->chain.count; b++)
        blocks->chain.blocks[b].options = copy_seconds > 0 ? blocks->options[b] : blocks->resident[b];
}

void block_costs_send(struct block_costs *blocks, uint32_t keep, size_t count)
{
    size_t all = blocks->chain.count;
    block_costs_set_price(blocks, 0);
    for (size_t b = 0; b < all; b++) {
        struct chain_block *block = &blocks->chain.blocks[b];
        bool chosen = (b + 1) * count / all > b * count / all;
        block->option[0] = blocks->first[b];
        for (uint32_t i = blocks->resident[b]; chosen && i < blocks->options[b]; i++) {
            if (block->option[i].keep != keep) continue;
            block->option[0] = block->option[i];
            block->options = 1;
        }
    }
}

void block_costs_finish(struct block_costs *blocks)
{
    mem_free(blocks->chain.blocks);
    mem_free(blocks->first);
    mem_free(blocks->options);
    mem_free(blocks->resident);
    *blocks = (struct block_costs){0};
}

uint64_t block_costs_quanta(const struct block_costs *blocks, uint64_t arena_bytes)
{
    return excess(arena_bytes, blocks->fixed_bytes) / blocks->quantum_bytes;
}
