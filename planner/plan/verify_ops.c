/* The order of ops: each in its part of the step, as often as it may run, buckets' in the graph's order. */
#include <inttypes.h>

#include "mem.h"
#include "verify_private.h"

/* Copies are of what has been made, in the part that made it, on the streams that are theirs. */
static bool check_copy_part(const struct proof *proof, uint32_t index, const bool *ran)
{
    const struct plan_op *op = &proof->program->ops[index];
    bool repeats = proof->graph->options.micro_batches > 1;
    uint32_t stream = op->pass == PASS_OFFLOAD ? STREAM_TO_HOST : STREAM_FROM_HOST;
    char name[VERIFY_NAME];
    if (proof->evaluate || op->op >= proof->graph->forward_end || !ran[op->op])
        return verify_fail(proof, VERIFY_ORDER, "%s has nothing to copy", verify_op_name(proof, index, name));
    if (repeats && index >= proof->program->body_count)
        return verify_fail(proof, VERIFY_ORDER, "%s copies what is gone with its micro-batch",
                           verify_op_name(proof, index, name));
    if (op->stream != stream || op->workspace != NO_TENSOR)
        return verify_fail(proof, VERIFY_ORDER, "%s is on stream %u, or has workspace; copies that way are on %" PRIu32,
                           verify_op_name(proof, index, name), op->stream, stream);
    return true;
}

/* In which part of the step an op of the graph belongs, and whether it may run again. */
static bool check_part(const struct proof *proof, uint32_t index, const bool *ran)
{
    if (plan_op_copies(&proof->program->ops[index])) return check_copy_part(proof, index, ran);
    const struct plan_op *op = &proof->program->ops[index];
    const struct op *graph_op = &proof->graph->ops[op->op];
    bool forward = op->op < proof->graph->forward_end, reverse = op->pass == PASS_RECONSTRUCT;
    bool again = op->pass == PASS_RECOMPUTE || reverse;
    bool repeats = proof->graph->options.micro_batches > 1;
    bool repeated = index < proof->program->body_count;
    enum op_pass right = proof->evaluate ? PASS_EVALUATE : graph_op->pass;
    char name[VERIFY_NAME];
    if (proof->evaluate && !forward)
        return verify_fail(proof, VERIFY_ORDER, "%s does not belong there", verify_op_name(proof, index, name));
    bool once = graph_op->kind == OP_SOFTMAX_LOSS || op_runs_once(graph_op->kind);
    if (again && (proof->evaluate || !forward || once || !ran[op->op]))
        return verify_fail(proof, VERIFY_ORDER, "%s runs again, and may not", verify_op_name(proof, index, name));
    if (reverse && graph_op->kind != OP_ADD)
        return verify_fail(proof, VERIFY_ORDER, "%s is no addition that could be turned round",
                           verify_op_name(proof, index, name));
    if (!again && op->pass != right)
        return verify_fail(proof, VERIFY_ORDER, "%s is of pass %s in the graph", verify_op_name(proof, index, name),
                           op_pass_name(right));
    if (!again && ran[op->op])
        return verify_fail(proof, VERIFY_ORDER, "%s runs twice", verify_op_name(proof, index, name));
    if (repeats && repeated != (forward || graph_op->pass == PASS_BACKWARD))
        return verify_fail(proof, VERIFY_ORDER, "%s is in the wrong part: the first %zu ops run once per micro-batch",
                           verify_op_name(proof, index, name), proof->program->body_count);
    if (op->stream > (graph_op->kind == OP_ALL_REDUCE ? 1 : 0))
        return verify_fail(proof, VERIFY_ORDER, "%s is on stream %u", verify_op_name(proof, index, name), op->stream);
    if (op->stream > 0 && op->workspace != NO_TENSOR)
        return verify_fail(proof, VERIFY_ORDER, "%s has workspace on stream %u, which does not wait for its last user",
                           verify_op_name(proof, index, name), op->stream);
    return true;
}

/* The bucket that a tensor is, or is part of; the loss scale and the norm change within a step as buckets do.
 * NO_TENSOR for others. */
static uint32_t bucket_of(const struct graph *graph, uint32_t tensor)
{
    if (graph->tensors[tensor].view_of != NO_TENSOR) return graph->tensors[tensor].view_of;
    enum tensor_role role = graph->tensors[tensor].role;
    bool changes = role == ROLE_BUCKET || role == ROLE_LOSS_SCALE || role == ROLE_GRADIENT_NORM;
    return changes ? tensor : NO_TENSOR;
}

/* Per bucket, as indices of ops in the graph plus one: the last that changed it, the last of all that touched it. */
struct bucket_state {
    uint32_t changed, touched;
};

/* Ops on a bucket follow each other as in the graph: gradients, reduction, check, update. Nothing reads what a later op
 * has already changed, and nothing changes what a later op has already read. */
static bool check_changes(const struct proof *proof, uint32_t index, struct bucket_state *buckets)
{
    const struct plan_op *op = &proof->program->ops[index];
    const struct op *graph_op = &proof->graph->ops[op->op];
    char name[VERIFY_NAME];
    if (plan_op_copies(op)) return true;
    for (uint32_t k = 0; k < (uint32_t)graph_op->inputs + graph_op->outputs; k++) {
        bool writes = k >= graph_op->inputs;
        uint32_t tensor = writes ? graph_op->out[k - graph_op->inputs] : graph_op->in[k];
        uint32_t bucket = bucket_of(proof->graph, tensor), now = op->op + 1;
        if (bucket == NO_TENSOR) continue;
        struct bucket_state *state = &buckets[bucket];
        bool changes = writes && bucket == tensor;
        if (state->changed > now || (changes && state->touched > now))
            return verify_fail(proof, VERIFY_ORDER, "%s comes after an op of its bucket that should follow it",
                               verify_op_name(proof, index, name));
        if (changes) state->changed = now;
        if (state->touched < now) state->touched = now;
    }
    return true;
}

static bool check_complete(const struct proof *proof, const bool *ran)
{
    const struct graph *graph = proof->graph;
    for (uint32_t op = 0; op < (proof->evaluate ? graph->forward_end : graph->op_count); op++)
        if (!ran[op])
            return verify_fail(proof, VERIFY_ORDER, "graph op %" PRIu32 " (%s of %s) never runs", op,
                               op_kind_name(graph->ops[op].kind), graph->layers[graph->ops[op].layer].path);
    return true;
}

bool verify_ops(const struct proof *proof)
{
    const struct plan_program *program = proof->program;
    bool *ran = mem_zalloc(MEM_PLAN, proof->graph->op_count, sizeof *ran);
    struct bucket_state *buckets = mem_zalloc(MEM_PLAN, proof->graph->tensor_count, sizeof *buckets);
    bool ok = ran && buckets;
    if (!ok) error_memory(proof->err, proof->graph->tensor_count * sizeof *buckets, "verifying a plan");
    for (uint32_t i = 0; ok && i < program->op_count; i++) {
        ok = program->ops[i].op < proof->graph->op_count && program->ops[i].pass < OP_PASSES;
        if (!ok) verify_fail(proof, VERIFY_RANGE, "op %" PRIu32 " names graph op %" PRIu32, i, program->ops[i].op);
        ok = ok && check_part(proof, i, ran) && verify_operands(proof, i) && check_changes(proof, i, buckets);
        if (ok) ran[program->ops[i].op] = true;
    }
    ok = ok && check_complete(proof, ran);
    mem_free(ran);
    mem_free(buckets);
    return ok;
}
