#include "program.h"

#include <inttypes.h>
#include <string.h>

#include "invertible.h"
#include "keep.h"
#include "mem.h"
#include "program_prune.h"

struct emitter {
    const struct graph *graph;
    struct plan_program *program;
    size_t op_capacity, tensor_capacity;
    bool lean;         /* the step's block does with small workspaces */
    uint32_t *latest;  /* per graph tensor: the plan tensor that holds its value, or NO_TENSOR */
    uint32_t *on_host; /* per graph tensor: the plan tensor that holds its value in host memory, or NO_TENSOR */
    uint32_t *leaving; /* graph tensors whose copies to host memory are to be given a place, oldest first */
    size_t leaving_count;
    uint32_t *producer;       /* per graph tensor: the forward op that makes it, or NO_OP */
    uint32_t *unwritten;      /* per gradient bucket: backward ops that have not yet written their view of it */
    uint32_t *follower;       /* per gradient bucket: the op that takes it as soon as it is complete, or NO_OP */
    uint32_t *widener;        /* per gradient bucket, of 16 bits and of f32: the op that puts the one into the other */
    bool *ran;                /* per graph op */
    bool *wanted;             /* per graph tensor: some backward op reads it */
    uint32_t *backward;       /* backward ops ordered by block, blocks' own order inside */
    uint32_t *backward_start; /* per block, and one past the last */
    bool epilogue_done;
    struct error *err;
};

static const struct tensor *tensor_at(const struct emitter *e, uint32_t tensor) { return &e->graph->tensors[tensor]; }

static bool add_instance(struct emitter *e, uint32_t origin, uint64_t bytes, uint32_t *index)
{
    struct plan_program *program = e->program;
    if (!mem_grow(MEM_PLAN, (void **)&program->tensors, &e->tensor_capacity, program->tensor_count + 1,
                  sizeof *program->tensors))
        return error_memory(e->err, sizeof *program->tensors, "a program's tensors");
    *index = (uint32_t)program->tensor_count++;
    program->tensors[*index] = (struct plan_tensor){.origin = origin, .bytes = bytes};
    return true;
}

static bool append_op(struct emitter *e, const struct plan_op *op)
{
    struct plan_program *program = e->program;
    if (!mem_grow(MEM_PLAN, (void **)&program->ops, &e->op_capacity, program->op_count + 1, sizeof *program->ops))
        return error_memory(e->err, sizeof *program->ops, "a program's ops");
    program->ops[program->op_count++] = *op;
    return true;
}

static bool add_latest(struct emitter *e, uint32_t tensor)
{
    return add_instance(e, tensor, tensor_at(e, tensor)->bytes, &e->latest[tensor]);
}

/* Tensors that no op makes: persistent ones first, so that both programs number them alike, then the step's input.
 * Views get an instance when they are first touched. */
static bool add_given_tensors(struct emitter *e)
{
    const struct graph *graph = e->graph;
    for (uint32_t t = 0; t < graph->tensor_count; t++)
        if (graph->tensors[t].persistent && graph->tensors[t].view_of == NO_TENSOR) TRY(add_latest(e, t));
    for (uint32_t t = 0; t < graph->tensor_count; t++)
        if (graph->tensors[t].class == CLASS_INPUT) TRY(add_latest(e, t));
    return true;
}

/* ---- Host memory ---- */

/* A copy's own start takes about as long as these bytes on a PCIe 3 link: what is smaller stays. */
#define LEAST_COPY_BYTES (64u << 10)

static bool append_copy(struct emitter *e, enum op_pass pass, uint32_t tensor, uint32_t from, uint32_t to)
{
    struct plan_op made = {.op = e->producer[tensor],
                           .pass = pass,
                           .stream = pass == PASS_OFFLOAD ? STREAM_TO_HOST : STREAM_FROM_HOST,
                           .workspace = NO_TENSOR};
    memset(made.in, 0xff, sizeof made.in);
    memset(made.out, 0xff, sizeof made.out);
    made.in[0] = from;
    made.out[0] = to;
    return append_op(e, &made);
}

/* The tensor is to go to host memory: its copy begins now, its bytes are given up when the copy is given its place.
 * What is there already from an earlier time need not go again. */
static void send(struct emitter *e, uint32_t tensor)
{
    if (tensor == NO_TENSOR || e->producer[tensor] == NO_OP) return;
    if (e->latest[tensor] == NO_TENSOR || tensor_at(e, tensor)->bytes < LEAST_COPY_BYTES) return;
    if (e->on_host[tensor] != NO_TENSOR) {
        e->latest[tensor] = NO_TENSOR;
        return;
    }
    for (size_t i = 0; i < e->leaving_count; i++)
        if (e->leaving[i] == tensor) return;
    e->leaving[e->leaving_count++] = tensor;
}

/* Gives places to the copies of the first `most` leaving tensors. */
static bool settle(struct emitter *e, size_t most)
{
    size_t count = most < e->leaving_count ? most : e->leaving_count;
    for (size_t i = 0; i < count; i++) {
        uint32_t tensor = e->leaving[i], from = e->latest[tensor];
        if (from == NO_TENSOR) continue; /* dropped since */
        TRY(add_instance(e, tensor, tensor_at(e, tensor)->bytes, &e->on_host[tensor]));
        e->program->tensors[e->on_host[tensor]].host = true;
        TRY(append_copy(e, PASS_OFFLOAD, tensor, from, e->on_host[tensor]));
        e->latest[tensor] = NO_TENSOR;
    }
    e->leaving_count -= count;
    memmove(e->leaving, e->leaving + count, e->leaving_count * sizeof *e->leaving);
    return true;
}

/* The tensor is wanted on the device: it stays if it has not left yet, and is fetched if it has. */
static bool recall(struct emitter *e, uint32_t tensor)
{
    size_t kept = 0;
    for (size_t i = 0; i < e->leaving_count; i++)
        if (e->leaving[i] != tensor) e->leaving[kept++] = e->leaving[i];
    e->leaving_count = kept;
    if (e->latest[tensor] != NO_TENSOR || e->on_host[tensor] == NO_TENSOR) return true;
    uint32_t from = e->on_host[tensor];
    return add_latest(e, tensor) && append_copy(e, PASS_FETCH, tensor, from, e->latest[tensor]);
}

/* ---- Ops ---- */

static bool run_op(struct emitter *e, uint32_t index, enum op_pass pass);

/* Makes sure that the tensor has an instance: those of views and of buckets come into being when first touched, a
 * dropped activation by running its op again. */
static bool need_input(struct emitter *e, uint32_t tensor)
{
    if (e->latest[tensor] != NO_TENSOR) return true;
    if (e->on_host[tensor] != NO_TENSOR) return recall(e, tensor);
    const struct tensor *t = tensor_at(e, tensor);
    if (t->view_of != NO_TENSOR) {
        TRY(need_input(e, t->view_of));
        return add_latest(e, tensor);
    }
    uint32_t producer = e->producer[tensor];
    if (producer == NO_OP) return add_latest(e, tensor);
    if (!e->ran[producer])
        return error_set(e->err, ERROR_INPUT, "the schedule runs an op of %s before its input was computed",
                         e->graph->layers[t->layer].path);
    return run_op(e, producer, PASS_RECOMPUTE);
}

static bool is_input(const struct op *op, uint32_t tensor)
{
    for (uint32_t i = 0; i < op->inputs; i++)
        if (op->in[i] == tensor) return true;
    return false;
}

/* Whether writing this output goes to the instance that is there rather than to a fresh one. */
static bool writes_existing(const struct emitter *e, const struct op *op, uint32_t output, enum op_pass pass)
{
    const struct tensor *t = tensor_at(e, output);
    bool statistic = t->role == ROLE_MEAN || t->role == ROLE_VARIANCE;
    return t->persistent || t->view_of != NO_TENSOR || t->role == ROLE_BUCKET || is_input(op, output) ||
           (pass == PASS_RECOMPUTE && statistic);
}

/* A bucket that has one in 16 bits is complete when both are and that is widened; NO_TENSOR until then. */
static bool widen_bucket(struct emitter *e, uint32_t *bucket)
{
    uint32_t widen = e->widener[*bucket];
    if (widen == NO_OP) return true;
    const struct op *op = &e->graph->ops[widen];
    *bucket = e->unwritten[op->in[0]] || e->unwritten[op->out[0]] ? NO_TENSOR : op->out[0];
    return *bucket == NO_TENSOR || run_op(e, widen, op->pass);
}

/* After an op wrote into a bucket's view: the bucket's follower runs when no writer is left. */
static bool note_bucket(struct emitter *e, uint32_t output)
{
    uint32_t bucket = tensor_at(e, output)->view_of;
    if (bucket == NO_TENSOR || e->unwritten[bucket] == 0 || --e->unwritten[bucket] > 0) return true;
    TRY(widen_bucket(e, &bucket));
    if (bucket == NO_TENSOR || e->follower[bucket] == NO_OP) return true;
    return run_op(e, e->follower[bucket], e->graph->ops[e->follower[bucket]].pass);
}

static bool run_op(struct emitter *e, uint32_t index, enum op_pass pass)
{
    const struct op *op = &e->graph->ops[index];
    struct plan_op made = {
        .op = index, .pass = pass, .stream = op->kind == OP_ALL_REDUCE, .lean = e->lean, .workspace = NO_TENSOR};
    memset(made.in, 0xff, sizeof made.in);
    memset(made.out, 0xff, sizeof made.out);
    for (uint32_t i = 0; i < op->inputs; i++) TRY(need_input(e, op->in[i]));
    for (uint32_t i = 0; i < op->inputs; i++) made.in[i] = e->latest[op->in[i]];
    uint32_t outputs = plan_op_outputs(e->graph, &made);
    for (uint32_t i = 0; i < outputs; i++) {
        TRY(writes_existing(e, op, op->out[i], pass) ? need_input(e, op->out[i]) : add_latest(e, op->out[i]));
        made.out[i] = e->latest[op->out[i]];
    }
    e->ran[index] = true;
    TRY(append_op(e, &made));
    if (op->pass != PASS_BACKWARD) return true;
    for (uint32_t i = 0; i < op->outputs; i++) TRY(note_bucket(e, op->out[i]));
    return true;
}

static bool run_forward(struct emitter *e, uint32_t first, uint32_t last)
{
    for (uint32_t op = first; op < last; op++) {
        if (e->ran[op] && op_runs_once(e->graph->ops[op].kind)) continue;
        TRY(run_op(e, op, e->ran[op] ? PASS_RECOMPUTE : e->graph->ops[op].pass));
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
        wanted |= e->wanted[op->out[k]] && tensor_at(e, op->out[k])->class == CLASS_ACTIVATION;
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
            bool statistic = tensor_at(e, op->out[k])->class != CLASS_ACTIVATION;
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
        if (!e->ran[op]) TRY(run_op(e, op, graph->ops[op].pass));
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
    TRY(need_input(e, block->output) && need_input(e, addition.summand));
    struct plan_op made = {.op = addition.op, .pass = PASS_RECONSTRUCT, .workspace = NO_TENSOR};
    memset(made.in, 0xff, sizeof made.in);
    memset(made.out, 0xff, sizeof made.out);
    made.in[0] = e->latest[block->output];
    made.in[1] = e->latest[addition.summand];
    TRY(add_latest(e, block->input));
    made.out[0] = e->latest[block->input];
    return append_op(e, &made);
}

static bool run_backward(struct emitter *e, uint32_t block, uint32_t keep)
{
    TRY(run_epilogue(e));
    if (keep & KEEP_RECONSTRUCT) TRY(reconstruct_input(e, &e->graph->blocks[block]));
    for (uint32_t i = e->backward_start[block]; i < e->backward_start[block + 1]; i++)
        TRY(run_op(e, e->backward[i], PASS_BACKWARD));
    return true;
}

/* What is left at the end: backward ops of no block, reductions of accumulated gradients, the update. */
static bool run_rest(struct emitter *e)
{
    const struct graph *graph = e->graph;
    TRY(run_epilogue(e));
    for (uint32_t op = graph->forward_end; op < graph->backward_end; op++)
        if (!e->ran[op]) TRY(run_op(e, op, graph->ops[op].pass));
    e->program->body_count = e->program->op_count;
    for (uint32_t op = graph->backward_end; op < graph->op_count; op++)
        if (!e->ran[op]) TRY(run_op(e, op, graph->ops[op].pass));
    return true;
}

/* What a block saved with KEEP_ON_HOST has there; do is send or recall. */
static bool recall_block(struct emitter *e, const struct graph_block *block)
{
    for (uint32_t i = block->first; i < block->last; i++)
        for (uint32_t k = 0; k < e->graph->ops[i].outputs; k++)
            if (e->graph->ops[i].out[k] != block->output) TRY(recall(e, e->graph->ops[i].out[k]));
    return block->input == NO_TENSOR || recall(e, block->input);
}

/* In the order in which they are made. Statistics stay: they are small. */
static void send_block(struct emitter *e, const struct graph_block *block)
{
    send(e, block->input);
    for (uint32_t i = block->first; i < block->last; i++)
        for (uint32_t k = 0; k < e->graph->ops[i].outputs; k++) {
            uint32_t output = e->graph->ops[i].out[k];
            if (output != block->output && tensor_at(e, output)->class == CLASS_ACTIVATION) send(e, output);
        }
}

static bool is_copy(const struct chain_step *step) { return step->kind == CHAIN_OFFLOAD || step->kind == CHAIN_FETCH; }

/* What the step needs of host memory. */
static bool recall_for(struct emitter *e, const struct chain_step *step)
{
    const struct graph_block *block = &e->graph->blocks[step->block];
    if (step->kind == CHAIN_FETCH) return block->input == NO_TENSOR || recall(e, block->input);
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
        if (inside && !e->wanted[part] && tensor_at(e, part)->class == CLASS_ACTIVATION) forget_made(e, part);
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
        send(e, e->graph->blocks[step->block].input);
        return true;
    }
    if (step->kind == CHAIN_BACKWARD) TRY(run_epilogue(e));
    TRY(recall_for(e, step) && recall_ahead(e, steps, count, i));
    if (step->kind == CHAIN_FETCH) return true;
    size_t before = e->leaving_count;
    TRY(run_ops(e, step, held));
    bool turns = step->kind != CHAIN_BACKWARD && i + 1 < count && steps[i + 1].kind == CHAIN_BACKWARD;
    return turns || settle(e, before);
}

/* ---- Preparation ---- */

static void note_producers(struct emitter *e)
{
    const struct graph *graph = e->graph;
    for (uint32_t i = 0; i < graph->forward_end; i++)
        for (uint32_t k = 0; k < graph->ops[i].outputs; k++) e->producer[graph->ops[i].out[k]] = i;
    for (uint32_t i = graph->forward_end; i < graph->backward_end; i++)
        for (uint32_t k = 0; k < graph->ops[i].inputs; k++) e->wanted[graph->ops[i].in[k]] = true;
}

/* A bucket without accumulation is reduced at once, so that the transfer hides behind the rest of the backward pass. */
static void note_buckets(struct emitter *e)
{
    const struct graph *graph = e->graph;
    bool accumulates = graph->options.micro_batches > 1;
    for (uint32_t i = graph->forward_end; i < graph->op_count; i++) {
        const struct op *op = &graph->ops[i];
        if (op->kind == OP_ACCUMULATE || (op->kind == OP_ALL_REDUCE && !accumulates)) e->follower[op->in[0]] = i;
        if (op->kind == OP_GRADIENTS_WIDEN) e->widener[op->in[0]] = e->widener[op->out[0]] = i;
        if (op->pass != PASS_BACKWARD) continue;
        for (uint32_t k = 0; k < op->outputs; k++) {
            uint32_t bucket = graph->tensors[op->out[k]].view_of;
            if (bucket != NO_TENSOR) e->unwritten[bucket]++;
        }
    }
}

static bool reads_output(const struct op *reader, const struct op *writer)
{
    for (uint32_t k = 0; k < writer->outputs; k++)
        if (is_input(reader, writer->out[k])) return true;
    return false;
}

static bool is_weight_gradient(enum op_kind kind) { return kind == OP_CONV_BWD_WEIGHTS || kind == OP_FC_BWD_WEIGHTS; }

/* The position of the next weight gradient over the same activation as list[at], or count. */
static uint32_t find_cluster(const struct graph *graph, const uint32_t *list, uint32_t count, uint32_t at)
{
    for (uint32_t i = at + 1; i < count; i++)
        if (is_weight_gradient(graph->ops[list[i]].kind) && graph->ops[list[i]].in[0] == graph->ops[list[at]].in[0])
            return i;
    return count;
}

/* A projection shares its input with the branch's first convolution: its gradients are taken next to that one's, so
 * that one recomputation serves both. They move down as far as nothing in between reads them. */
static void join_clusters(const struct graph *graph, uint32_t *list, uint32_t count)
{
    for (uint32_t i = count; i-- > 0;) {
        if (!is_weight_gradient(graph->ops[list[i]].kind)) continue;
        uint32_t target = find_cluster(graph, list, count, i);
        if (target == count) continue;
        uint32_t length = i + 1 < count && graph->ops[list[i + 1]].forward == graph->ops[list[i]].forward ? 2 : 1;
        uint32_t end = i + length;
        bool free_to_move = true;
        for (uint32_t k = end; k < target && free_to_move; k++)
            for (uint32_t m = i; m < end; m++)
                if (reads_output(&graph->ops[list[k]], &graph->ops[list[m]])) free_to_move = false;
        if (!free_to_move) continue;
        uint32_t moved[2] = {list[i], list[end - 1]};
        memmove(&list[i], &list[end], (target - end) * sizeof *list);
        memcpy(&list[target - length], moved, length * sizeof *list);
    }
}

/* Counting sort of the backward ops by block; ops of no block are left to run_epilogue and run_rest. */
static void order_backward(struct emitter *e)
{
    const struct graph *graph = e->graph;
    uint32_t *start = e->backward_start;
    for (uint32_t i = graph->forward_end; i < graph->backward_end; i++)
        if (graph->ops[i].pass == PASS_BACKWARD && graph->ops[i].block != NO_OP) start[graph->ops[i].block + 1]++;
    for (size_t b = 0; b < graph->block_count; b++) start[b + 1] += start[b];
    for (uint32_t i = graph->backward_end; i-- > graph->forward_end;) {
        const struct op *op = &graph->ops[i];
        if (op->pass == PASS_BACKWARD && op->block != NO_OP) e->backward[--start[op->block + 1]] = i;
    }
    /* Each start[b + 1] has come down to where block b begins. */
    memmove(start, start + 1, graph->block_count * sizeof *start);
    uint32_t total = 0;
    for (uint32_t i = graph->forward_end; i < graph->backward_end; i++)
        total += graph->ops[i].pass == PASS_BACKWARD && graph->ops[i].block != NO_OP;
    start[graph->block_count] = total;
    for (size_t b = 0; b < graph->block_count; b++)
        join_clusters(graph, e->backward + start[b], start[b + 1] - start[b]);
}

static uint32_t *alloc_indices(size_t count, uint32_t value)
{
    uint32_t *indices = mem_alloc(MEM_PLAN, count, sizeof *indices);
    for (size_t i = 0; indices && i < count; i++) indices[i] = value;
    return indices;
}

static void emitter_finish(struct emitter *e)
{
    mem_free(e->latest);
    mem_free(e->on_host);
    mem_free(e->leaving);
    mem_free(e->producer);
    mem_free(e->unwritten);
    mem_free(e->follower);
    mem_free(e->widener);
    mem_free(e->ran);
    mem_free(e->wanted);
    mem_free(e->backward);
    mem_free(e->backward_start);
}

static bool emitter_init(struct emitter *e, const struct graph *graph, struct plan_program *program, struct error *err)
{
    *e = (struct emitter){.graph = graph, .program = program, .err = err};
    *program = (struct plan_program){0};
    size_t tensors = graph->tensor_count, backward = graph->backward_end - graph->forward_end;
    e->latest = alloc_indices(tensors, NO_TENSOR);
    e->on_host = alloc_indices(tensors, NO_TENSOR);
    e->leaving = alloc_indices(tensors, NO_TENSOR);
    e->producer = alloc_indices(tensors, NO_OP);
    e->unwritten = alloc_indices(tensors, 0);
    e->follower = alloc_indices(tensors, NO_OP);
    e->widener = alloc_indices(tensors, NO_OP);
    e->ran = mem_zalloc(MEM_PLAN, graph->op_count, sizeof *e->ran);
    e->wanted = mem_zalloc(MEM_PLAN, tensors, sizeof *e->wanted);
    e->backward = alloc_indices(backward, NO_OP);
    e->backward_start = alloc_indices(graph->block_count + 2, 0);
    if (!e->latest || !e->on_host || !e->leaving || !e->producer || !e->unwritten || !e->follower || !e->widener ||
        !e->ran || !e->wanted || !e->backward || !e->backward_start)
        return error_memory(err, tensors * 4 * sizeof(uint32_t), "emitting a program");
    note_producers(e);
    note_buckets(e);
    order_backward(e);
    return true;
}

/* ---- Entry points ---- */

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
    for (uint32_t op = 0; ok && op < graph->forward_end; op++) ok = run_op(&e, op, PASS_EVALUATE);
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
