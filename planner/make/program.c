#include "program.h"

#include <inttypes.h>

#include "invertible.h"
#include "mem.h"
#include "program_private.h"
#include "program_prune.h"

/* Tensors that no op makes: persistent ones first, so that both programs number them alike, then the step's input.
 * Views get an instance when they are first touched. */
static bool add_given_tensors(struct emitter *e)
{
    const struct graph *graph = e->graph;
    for (uint32_t t = 0; t < graph->tensor_count; t++)
        if (graph->tensors[t].persistent && graph->tensors[t].view_of == NO_TENSOR) TRY(emitter_add_latest(e, t));
    for (uint32_t t = 0; t < graph->tensor_count; t++)
        if (graph->tensors[t].class == CLASS_INPUT) TRY(emitter_add_latest(e, t));
    return true;
}

static bool run_forward(struct emitter *e, uint32_t first, uint32_t last)
{
    for (uint32_t op = first; op < last; op++) {
        if (e->ran[op] && op_runs_once(e->graph->ops[op].kind)) continue;
        TRY(program_run_op(e, op, e->ran[op] ? PASS_RECOMPUTE : e->graph->ops[op].pass));
    }
    return true;
}

/* Whether what this op made is dropped. An elementwise op whose output no backward op reads keeps its mask instead of
 * running again for it; of an op of which none reads anything, nothing is worth keeping for others that run again. */
static bool is_dropped(const struct emitter *e, const struct graph_block *block, uint32_t index, uint32_t keep)
{
    const struct op *op = &e->graph->ops[index];
    uint32_t place = index - block->first;
    bool named = place < KEEP_MOST_DROPS && keep & KEEP_DROP(place), wanted = false;
    for (uint32_t k = 0; k < op->outputs; k++)
        wanted |= e->wanted[op->out[k]] && emitter_tensor(e, op->out[k])->class == CLASS_ACTIVATION;
    switch (keep & KEEP_MODE_MASK) {
    case KEEP_CONVOLUTIONS: return keep_is_elementwise(op->kind) && e->wanted[op->out[0]];
    case KEEP_SOME: return named || !wanted;
    default: return false;
    }
}

/* Forgets values of a block so that a later reader runs their ops again. Statistics stay: they are small, and
 * recomputed BN must use the first run's. */
static void drop_outputs(struct emitter *e, const struct graph_block *block, bool all, uint32_t keep)
{
    for (uint32_t i = block->first; i < block->last; i++) {
        const struct op *op = &e->graph->ops[i];
        if (!all && !is_dropped(e, block, i, keep)) continue;
        for (uint32_t k = 0; k < op->outputs; k++) {
            bool statistic = emitter_tensor(e, op->out[k])->class != CLASS_ACTIVATION;
            if (op->out[k] != block->output && !statistic) e->latest[op->out[k]] = NO_TENSOR;
        }
    }
}

/* Forward ops that belong to no block: before the first (once, at the start) and after the last (before any backward).
 */
static bool run_prologue(struct emitter *e)
{
    return run_forward(e, 0, e->graph->block_count ? e->graph->blocks[0].first : 0);
}

static bool run_epilogue(struct emitter *e)
{
    if (e->epilogue_done) return true;
    e->epilogue_done = true;
    const struct graph *graph = e->graph;
    TRY(run_forward(e, graph->block_count ? graph->blocks[graph->block_count - 1].last : 0, graph->forward_end));
    uint32_t first_of_block = graph->backward_end;
    for (uint32_t i = 0; i < e->backward_start[graph->block_count]; i++)
        if (e->backward[i] < first_of_block) first_of_block = e->backward[i];
    for (uint32_t op = graph->forward_end; op < first_of_block; op++)
        if (!e->ran[op]) TRY(program_run_op(e, op, graph->ops[op].pass));
    return true;
}

/* A block saved with KEEP_RECONSTRUCT lets go of its input, and of what was added to it, which no backward op reads. */
static void drop_input(struct emitter *e, const struct graph_block *block)
{
    struct addition addition;
    if (!invertible_find(e->graph, block, &addition)) return;
    e->latest[block->input] = NO_TENSOR;
    e->latest[addition.summand] = NO_TENSOR;
}

/* x = y - F(x), before the block's backward ops: then y and F(x) can go, or hand x their bytes. */
static bool reconstruct_input(struct emitter *e, const struct graph_block *block)
{
    struct addition addition;
    bool there =
        block->input == NO_TENSOR || e->latest[block->input] != NO_TENSOR || e->on_host[block->input] != NO_TENSOR;
    if (there || !invertible_find(e->graph, block, &addition)) return true;
    if (e->latest[block->output] == NO_TENSOR && e->on_host[block->output] == NO_TENSOR)
        return error_set(e->err, ERROR_INPUT, "the schedule runs the backward pass of %s, whose output is not there",
                         e->graph->layers[block->layer].path);
    TRY(program_need(e, block->output) && program_need(e, addition.summand));
    struct plan_op made = emitter_op(addition.op, PASS_RECONSTRUCT, STREAM_COMPUTE);
    made.in[0] = e->latest[block->output];
    made.in[1] = e->latest[addition.summand];
    TRY(emitter_add_latest(e, block->input));
    made.out[0] = e->latest[block->input];
    return emitter_append(e, &made);
}

static bool run_backward(struct emitter *e, uint32_t block, uint32_t keep)
{
    TRY(run_epilogue(e));
    if (keep & KEEP_RECONSTRUCT) TRY(reconstruct_input(e, &e->graph->blocks[block]));
    for (uint32_t i = e->backward_start[block]; i < e->backward_start[block + 1]; i++)
        TRY(program_run_op(e, e->backward[i], PASS_BACKWARD));
    return true;
}

/* What is left at the end: backward ops of no block, reductions of accumulated gradients, the update. */
static bool run_rest(struct emitter *e)
{
    const struct graph *graph = e->graph;
    TRY(run_epilogue(e));
    for (uint32_t op = graph->forward_end; op < graph->backward_end; op++)
        if (!e->ran[op]) TRY(program_run_op(e, op, graph->ops[op].pass));
    e->program->body_count = e->program->op_count;
    for (uint32_t op = graph->backward_end; op < graph->op_count; op++)
        if (!e->ran[op]) TRY(program_run_op(e, op, graph->ops[op].pass));
    return true;
}

/* What a block saved with KEEP_ON_HOST has there. */
static bool recall_block(struct emitter *e, const struct graph_block *block)
{
    for (uint32_t i = block->first; i < block->last; i++)
        for (uint32_t k = 0; k < e->graph->ops[i].outputs; k++)
            if (e->graph->ops[i].out[k] != block->output) TRY(program_recall(e, e->graph->ops[i].out[k]));
    return block->input == NO_TENSOR || program_recall(e, block->input);
}

/* In the order in which they are made. Statistics stay: they are small. */
static void send_block(struct emitter *e, const struct graph_block *block)
{
    program_send(e, block->input);
    for (uint32_t i = block->first; i < block->last; i++)
        for (uint32_t k = 0; k < e->graph->ops[i].outputs; k++) {
            uint32_t output = e->graph->ops[i].out[k];
            if (output != block->output && emitter_tensor(e, output)->class == CLASS_ACTIVATION)
                program_send(e, output);
        }
}

static bool is_copy(const struct chain_step *step) { return step->kind == CHAIN_OFFLOAD || step->kind == CHAIN_FETCH; }

/* What the step needs of host memory. */
static bool recall_for(struct emitter *e, const struct chain_step *step)
{
    const struct graph_block *block = &e->graph->blocks[step->block];
    if (step->kind == CHAIN_FETCH) return block->input == NO_TENSOR || program_recall(e, block->input);
    if (step->kind == CHAIN_BACKWARD && step->keep & KEEP_ON_HOST) return recall_block(e, block);
    return true;
}

/* What the next step that runs ops needs comes while this one's run. */
static bool recall_ahead(struct emitter *e, const struct chain_step *steps, size_t count, size_t i)
{
    do {
        if (++i == count) return true;
        TRY(recall_for(e, &steps[i]));
    } while (is_copy(&steps[i]));
    return true;
}

/* The tensor, and what it was made from in its block that no backward op reads, which would be kept for it. */
static void forget_made(struct emitter *e, uint32_t tensor)
{
    uint32_t producer = e->producer[tensor];
    e->latest[tensor] = NO_TENSOR;
    for (uint32_t k = 0; producer != NO_OP && k < e->graph->ops[producer].inputs; k++) {
        uint32_t part = e->graph->ops[producer].in[k], maker = e->producer[part];
        bool inside = maker != NO_OP && e->graph->ops[maker].block == e->graph->ops[producer].block;
        if (inside && !e->wanted[part] && emitter_tensor(e, part)->class == CLASS_ACTIVATION) forget_made(e, part);
    }
}

static bool save_block(struct emitter *e, const struct graph_block *block, uint32_t keep)
{
    if (keep & KEEP_REMAKE_INPUT && block->input != NO_TENSOR) forget_made(e, block->input);
    drop_outputs(e, block, false, keep);
    if (keep & KEEP_RECONSTRUCT) drop_input(e, block);
    if (keep & KEEP_ON_HOST) send_block(e, block);
    return true;
}

static bool run_ops(struct emitter *e, const struct chain_step *step, bool *held)
{
    const struct graph_block *block = &e->graph->blocks[step->block];
    e->lean = (step->kind == CHAIN_SAVE || step->kind == CHAIN_BACKWARD) && step->keep & KEEP_LEAN;
    if (step->kind == CHAIN_BACKWARD) {
        held[step->block] = false;
        return run_backward(e, step->block, step->keep);
    }
    TRY(run_forward(e, block->first, block->last));
    if (step->kind == CHAIN_SAVE) {
        held[step->block] = true;
        return save_block(e, block, step->keep);
    }
    drop_outputs(e, block, true, KEEP_ALL);
    if (step->kind == CHAIN_CHECKPOINT) held[step->block] = true;
    if (!held[step->block] && block->input != NO_TENSOR) e->latest[block->input] = NO_TENSOR;
    return true;
}

/* Copies that began before this step have had its ops to hide behind, and end with it. At the turn from forward to
 * backward they wait, for what would come back at once stays. */
static bool run_step(struct emitter *e, const struct chain_step *steps, size_t count, size_t i, bool *held)
{
    const struct chain_step *step = &steps[i];
    if (step->kind == CHAIN_OFFLOAD) {
        program_send(e, e->graph->blocks[step->block].input);
        return true;
    }
    if (step->kind == CHAIN_BACKWARD) TRY(run_epilogue(e));
    TRY(recall_for(e, step) && recall_ahead(e, steps, count, i));
    if (step->kind == CHAIN_FETCH) return true;
    size_t before = e->leaving_count;
    TRY(run_ops(e, step, held));
    bool turns = step->kind != CHAIN_BACKWARD && i + 1 < count && steps[i + 1].kind == CHAIN_BACKWARD;
    return turns || program_settle(e, before);
}

static bool emit_steps(struct emitter *e, const struct chain_step *steps, size_t count)
{
    bool *held = mem_zalloc(MEM_PLAN, e->graph->block_count, sizeof *held);
    if (!held) return error_memory(e->err, e->graph->block_count, "emitting a program");
    bool ok = add_given_tensors(e) && run_prologue(e);
    for (size_t i = 0; ok && i < count; i++) {
        ok = steps[i].block < e->graph->block_count;
        if (!ok) error_set(e->err, ERROR_INPUT, "step %zu of the schedule names block %" PRIu32, i, steps[i].block);
        ok = ok && run_step(e, steps, count, i, held);
    }
    mem_free(held);
    return ok && run_rest(e);
}

bool program_emit_train(const struct graph *graph, const struct chain_step *steps, size_t count,
                        struct plan_program *program, struct error *err)
{
    struct emitter e;
    bool ok = emitter_init(&e, graph, program, err) && emit_steps(&e, steps, count);
    emitter_finish(&e);
    return ok && program_prune(graph, program, err);
}

bool program_emit_evaluate(const struct graph *graph, struct plan_program *program, struct error *err)
{
    struct emitter e;
    bool ok = emitter_init(&e, graph, program, err) && add_given_tensors(&e);
    for (uint32_t op = 0; ok && op < graph->forward_end; op++) ok = program_run_op(&e, op, PASS_EVALUATE);
    program->body_count = program->op_count;
    emitter_finish(&e);
    return ok;
}

bool program_add_workspaces(const struct graph *graph, struct plan_program *program, plan_workspace_fn workspace,
                            plan_workspace_fn lean, void *context, struct error *err)
{
    size_t capacity = program->tensor_count;
    for (size_t i = 0; i < program->op_count; i++) {
        struct plan_op *op = &program->ops[i];
        uint64_t bytes = 0;
        if (plan_op_copies(op)) continue;
        TRY((op->lean ? lean : workspace)(context, graph, &graph->ops[op->op], op->pass, &bytes, err));
        if (bytes == 0) continue;
        if (!mem_grow(MEM_PLAN, (void **)&program->tensors, &capacity, program->tensor_count + 1,
                      sizeof *program->tensors))
            return error_memory(err, sizeof *program->tensors, "workspaces");
        op->workspace = (uint32_t)program->tensor_count;
        program->tensors[program->tensor_count++] = (struct plan_tensor){.origin = NO_TENSOR, .bytes = bytes};
    }
    return true;
}
