#include "blocks.h"

#include "cost.h"
#include "draft.h"
#include "layout.h"
#include "mem.h"
#include "schedule.h"
#include "workspace.h"

/* A program's live bytes over time, fixed tensors left out. */
struct curve {
    uint64_t *live;     /* at each op */
    uint64_t *resident; /* between each op and the next */
    size_t count;
};

static void curve_finish(struct curve *curve)
{
    mem_free(curve->live);
    mem_free(curve->resident);
}

/* Tensors that are there under any schedule: they are counted once, in full, and not by block. */
static bool is_fixed(const struct graph *graph, const struct plan_tensor *tensor)
{
    if (tensor->origin == NO_TENSOR) return false;
    const struct tensor *origin = &graph->tensors[tensor->origin];
    return origin->persistent || origin->class_ == CLASS_GRADIENT || origin->class_ == CLASS_INPUT ||
           origin->class_ == CLASS_STATISTIC || origin->view_of != NO_TENSOR;
}

static uint64_t sum_fixed(const struct graph *graph, const struct draft *draft)
{
    uint64_t sum = 0;
    for (size_t t = 0; t < draft->program.tensor_count; t++)
        if (draft->home[t] == t && is_fixed(graph, &draft->program.tensors[t]))
            sum += layout_round(draft->program.tensors[t].bytes);
    return sum;
}

/* Sums changes over time: live[] first holds what comes at an op, resident[] what goes after it. A tensor that takes
 * over another's bytes in place (at that one's last op) brings nothing, and keeps those from going. */
static bool draw_curve(const struct graph *graph, const struct draft *draft, struct curve *curve, struct error *err)
{
    const struct plan_program *program = &draft->program;
    *curve = (struct curve){.count = program->op_count};
    curve->live = mem_zalloc(MEM_PLAN, program->op_count, sizeof *curve->live);
    curve->resident = mem_zalloc(MEM_PLAN, program->op_count, sizeof *curve->resident);
    if (!curve->live || !curve->resident)
        return error_memory(err, program->op_count * sizeof *curve->live, "measuring blocks");
    for (size_t t = 0; t < program->tensor_count; t++) {
        const struct plan_tensor *tensor = &program->tensors[t];
        if (tensor->host || is_fixed(graph, tensor)) continue;
        uint64_t bytes = layout_round(tensor->bytes);
        if (draft->home[t] == t)
            curve->live[tensor->first] += bytes;
        else
            curve->resident[tensor->first] -= bytes; /* modulo 2^64: the sums are right */
        curve->resident[tensor->last] += bytes;
    }
    uint64_t now = 0;
    for (size_t i = 0; i < program->op_count; i++) {
        now += curve->live[i];
        curve->live[i] = now;
        now -= curve->resident[i];
        curve->resident[i] = now;
    }
    return true;
}

/* What happens to a block in one program. */
struct passage {
    uint64_t forward_most, backward_most; /* of live bytes */
    uint64_t resident;                    /* after its forward ops */
    double forward_seconds, backward_seconds;
};

static void pass_through(const struct graph *graph, const struct draft *draft, const struct curve *curve,
                         const struct cost_speed *speed, struct passage *passages)
{
    for (size_t i = 0; i < draft->program.op_count; i++) {
        const struct plan_op *made = &draft->program.ops[i];
        const struct op *op = &graph->ops[made->op];
        if (op->block == NO_OP) continue;
        struct passage *passage = &passages[op->block];
        bool forward = made->pass == PASS_FORWARD || made->pass == PASS_EVALUATE;
        uint64_t *most = forward ? &passage->forward_most : &passage->backward_most;
        if (curve->live[i] > *most) *most = curve->live[i];
        if (plan_op_copies(made)) continue;
        *(forward ? &passage->forward_seconds : &passage->backward_seconds) +=
            workspace_op_seconds(speed, graph, &draft->program, made);
        if (forward) passage->resident = curve->resident[i];
    }
}

static bool measure_draft(const struct variant_request *request, const struct graph *graph, const struct draft *draft,
                          struct passage *passages, struct error *err)
{
    struct cost_speed speed = cost_speed_of(request->device, request->plan->dtype, request->plan->measured);
    struct curve curve;
    bool ok = draw_curve(graph, draft, &curve, err);
    if (ok) pass_through(graph, draft, &curve, &speed, passages);
    curve_finish(&curve);
    return ok;
}

static uint64_t greatest_divisor(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* A chain of more quanta than this gains nothing that can be seen, and its tables grow with their number. */
#define MOST_QUANTA 20000u

/* Sizes of activations of one network share a large divisor. The classifier's few bytes would spoil it. */
static uint64_t find_quantum(const struct graph *graph)
{
    uint64_t divisor = 0, largest = 0, sum = 0;
    for (int round = 0; round < 2; round++)
        for (uint32_t i = 0; i < graph->forward_end; i++) {
            uint64_t bytes = layout_round(graph->tensors[graph->ops[i].out[0]].bytes);
            if (round == 0 && bytes > largest) largest = bytes;
            if (round == 0) sum += bytes;
            if (round == 1 && bytes >= largest / 256) divisor = greatest_divisor(divisor, bytes);
        }
    while (divisor < sum / MOST_QUANTA) divisor *= 2;
    return divisor;
}

static uint32_t quanta(const struct blocks *blocks, uint64_t bytes)
{
    return (uint32_t)((bytes + blocks->quantum_bytes - 1) / blocks->quantum_bytes);
}

static uint64_t excess(uint64_t bytes, uint64_t over) { return bytes > over ? bytes - over : 0; }

static uint64_t output_bytes(const struct graph *graph, uint32_t block)
{
    uint32_t output = graph->blocks[block].output;
    return output == NO_TENSOR ? 0 : layout_round(graph->tensors[output].bytes);
}

static void set_block(struct blocks *blocks, const struct graph *graph, uint32_t b, const struct passage *evaluate)
{
    struct chain_block *block = &blocks->chain.blocks[b];
    bool last = b + 1 == graph->block_count;
    uint64_t output = output_bytes(graph, b), input = b > 0 ? output_bytes(graph, b - 1) : 0;
    block->output = quanta(blocks, output);
    block->gradient = last ? 0 : block->output;
    block->run_overhead = quanta(blocks, excess(evaluate[b].forward_most, input + output));
    block->forward_seconds = evaluate[b].forward_seconds;
    block->options = KEEP_MODES;
}

static void set_option(struct blocks *blocks, const struct graph *graph, uint32_t b, enum keep_mode mode,
                       const struct passage *passages)
{
    struct chain_block *block = &blocks->chain.blocks[b];
    struct chain_option *option = &block->option[mode];
    uint64_t before = b > 0 ? passages[b - 1].resident : 0, after = passages[b].resident;
    uint64_t gradient = b + 1 == graph->block_count ? 0 : output_bytes(graph, b);
    uint64_t saved = excess(after, before) > output_bytes(graph, b) ? after - before : output_bytes(graph, b);
    option->keep = mode;
    option->saved = quanta(blocks, saved);
    option->forward_overhead = quanta(blocks, excess(passages[b].forward_most, before + saved));
    option->backward_overhead = quanta(blocks, excess(passages[b].backward_most, before + saved + gradient));
    option->backward_seconds = passages[b].backward_seconds;
}

static bool measure_mode(const struct variant_request *request, const struct graph *graph, enum keep_mode mode,
                         struct blocks *blocks, struct passage *passages, struct error *err)
{
    struct draft draft = {0};
    struct chain_schedule schedule;
    for (size_t b = 0; b < graph->block_count; b++) passages[b] = (struct passage){0};
    TRY(schedule_uniform(graph, mode, &schedule, err));
    bool ok =
        draft_train(request, graph, &schedule, &draft, err) && measure_draft(request, graph, &draft, passages, err);
    if (ok) blocks->fixed_bytes = sum_fixed(graph, &draft);
    for (uint32_t b = 0; ok && b < graph->block_count; b++) set_option(blocks, graph, b, mode, passages);
    draft_finish(&draft);
    chain_schedule_finish(&schedule);
    return ok;
}

static bool measure_runs(const struct variant_request *request, const struct graph *graph, struct blocks *blocks,
                         struct passage *passages, struct error *err)
{
    struct draft draft = {0};
    for (size_t b = 0; b < graph->block_count; b++) passages[b] = (struct passage){0};
    bool ok = draft_evaluate(request, graph, &draft, err) && measure_draft(request, graph, &draft, passages, err);
    for (uint32_t b = 0; ok && b < graph->block_count; b++) set_block(blocks, graph, b, passages);
    draft_finish(&draft);
    return ok;
}

bool blocks_measure(const struct variant_request *request, const struct graph *graph, struct blocks *blocks,
                    struct error *err)
{
    size_t count = graph->block_count;
    *blocks = (struct blocks){.quantum_bytes = find_quantum(graph)};
    blocks->chain.count = count;
    blocks->chain.blocks = mem_zalloc(MEM_PLAN, count, sizeof *blocks->chain.blocks);
    struct passage *passages = mem_alloc(MEM_PLAN, count, sizeof *passages);
    bool ok = blocks->chain.blocks && passages;
    if (!ok) error_memory(err, count * sizeof *blocks->chain.blocks, "measuring blocks");
    ok = ok && measure_runs(request, graph, blocks, passages, err);
    for (int mode = 0; ok && mode < KEEP_MODES; mode++)
        ok = measure_mode(request, graph, (enum keep_mode)mode, blocks, passages, err);
    mem_free(passages);
    return ok;
}

void blocks_finish(struct blocks *blocks)
{
    mem_free(blocks->chain.blocks);
    *blocks = (struct blocks){0};
}

uint64_t blocks_quanta(const struct blocks *blocks, uint64_t arena_bytes)
{
    return excess(arena_bytes, blocks->fixed_bytes) / blocks->quantum_bytes;
}
