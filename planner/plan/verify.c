#include "verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "mem.h"
#include "verify_private.h"

const char *verify_fault_name(enum verify_fault fault)
{
    static const char *const names[] = {"ok",      "hash",    "range", "size",   "overlap", "stale",
                                        "missing", "operand", "order", "memory", "figure"};
    return names[fault];
}

bool verify_fail(const struct proof *proof, enum verify_fault fault, const char *format, ...)
{
    char sentence[900];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    if (proof->fault) *proof->fault = fault;
    return error_set(proof->err, ERROR_INPUT, "the plan does not verify (%s%s): %s", verify_fault_name(fault),
                     proof->evaluate ? ", evaluation" : "", sentence);
}

const char *verify_op_name(const struct proof *proof, uint32_t index, char out[VERIFY_NAME])
{
    const struct plan_op *op = &proof->program->ops[index];
    const struct op *origin = &proof->graph->ops[op->op];
    snprintf(out, VERIFY_NAME, "op %" PRIu32 " (%s, %s of %s)", index, op_pass_name(op->pass),
             op_kind_name(origin->kind), proof->graph->layers[origin->layer].path);
    return out;
}

const char *verify_tensor_name(const struct proof *proof, uint32_t tensor, char out[VERIFY_NAME])
{
    char name[TENSOR_NAME];
    const struct plan_tensor *t = &proof->program->tensors[tensor];
    snprintf(out, VERIFY_NAME, "tensor %" PRIu32 " (%s, %sbytes %" PRIu64 " to %" PRIu64 ")", tensor,
             t->origin == NO_TENSOR ? "workspace" : graph_tensor_name(proof->graph, t->origin, name),
             t->host ? "host " : "", t->offset, t->offset + t->bytes);
    return out;
}

/* ---- Tensors ---- */

static bool check_tensor(const struct proof *proof, uint32_t index)
{
    const struct plan_tensor *t = &proof->program->tensors[index];
    char name[VERIFY_NAME];
    if (t->origin != NO_TENSOR && t->origin >= proof->graph->tensor_count)
        return verify_fail(proof, VERIFY_RANGE, "tensor %" PRIu32 " is of graph tensor %" PRIu32 " of %zu", index,
                           t->origin, proof->graph->tensor_count);
    const struct tensor *origin = t->origin == NO_TENSOR ? NULL : &proof->graph->tensors[t->origin];
    if (t->bytes == 0 || (origin && t->bytes != origin->bytes))
        return verify_fail(proof, VERIFY_SIZE, "%s has %" PRIu64 " bytes; the graph's has %" PRIu64,
                           verify_tensor_name(proof, index, name), t->bytes, origin ? origin->bytes : 0);
    uint64_t room = t->host ? proof->variant->host_bytes : proof->variant->arena_bytes;
    if (t->offset > room || t->bytes > room - t->offset)
        return verify_fail(proof, VERIFY_RANGE, "%s ends outside the %s of %" PRIu64 " bytes",
                           verify_tensor_name(proof, index, name), t->host ? "host memory" : "arena", room);
    bool offloads = origin && origin->class == CLASS_ACTIVATION && !origin->persistent && origin->view_of == NO_TENSOR;
    if (t->host && !offloads)
        return verify_fail(proof, VERIFY_RANGE, "%s is in host memory, and is no activation",
                           verify_tensor_name(proof, index, name));
    if (t->offset % PLAN_ALIGN != 0 && !(origin && origin->view_of != NO_TENSOR))
        return verify_fail(proof, VERIFY_RANGE, "%s does not start at a multiple of %u",
                           verify_tensor_name(proof, index, name), PLAN_ALIGN);
    if (t->first > t->last || t->last >= proof->program->op_count || t->class >= MEMORY_CLASSES)
        return verify_fail(proof, VERIFY_RANGE, "%s lives from op %" PRIu32 " to %" PRIu32 " of %zu",
                           verify_tensor_name(proof, index, name), t->first, t->last, proof->program->op_count);
    if (origin && (origin->persistent || origin->class == CLASS_INPUT) && t->first != 0)
        return verify_fail(proof, VERIFY_RANGE, "%s is there from the start, and is declared only from op %" PRIu32,
                           verify_tensor_name(proof, index, name), t->first);
    if (origin && origin->persistent && (size_t)t->last + 1 != proof->program->op_count)
        return verify_fail(proof, VERIFY_RANGE, "%s stays from step to step, and is declared only to op %" PRIu32,
                           verify_tensor_name(proof, index, name), t->last);
    return true;
}

static uint64_t whole_units(uint64_t bytes) { return (bytes / PLAN_ALIGN + (bytes % PLAN_ALIGN != 0)) * PLAN_ALIGN; }

static bool belongs_apart(const struct graph *graph, const struct plan_tensor *t)
{
    if (t->origin == NO_TENSOR) return false;
    uint32_t base = graph->tensors[t->origin].view_of;
    return graph->tensors[base == NO_TENSOR ? t->origin : base].apart;
}

/* What lies apart is the arena's end: nothing else is there, each has the same place there on every device, and it is
 * its own throughout. */
static bool check_apart(const struct proof *proof)
{
    const struct plan_program *program = proof->program;
    const struct graph *graph = proof->graph;
    uint64_t apart = 0, arena = proof->variant->arena_bytes;
    char name[VERIFY_NAME];
    for (size_t t = 0; t < graph->tensor_count; t++)
        if (graph->tensors[t].apart) apart += whole_units(graph->tensors[t].bytes);
    if (apart > arena)
        return verify_fail(proof, VERIFY_RANGE, "%" PRIu64 " bytes lie apart in an arena of %" PRIu64, apart, arena);
    uint64_t place = arena - apart;
    for (uint32_t t = 0; t < program->tensor_count; t++) {
        const struct plan_tensor *tensor = &program->tensors[t];
        if (!tensor->host && !belongs_apart(graph, tensor) && tensor->offset + tensor->bytes > place)
            return verify_fail(proof, VERIFY_RANGE, "%s reaches into what lies apart, from byte %" PRIu64,
                               verify_tensor_name(proof, t, name), place);
    }
    for (size_t t = 0; t < graph->tensor_count; t++) {
        uint32_t index = proof->only[t];
        if (!graph->tensors[t].apart) continue;
        const struct plan_tensor *tensor = index == NO_TENSOR ? NULL : &program->tensors[index];
        if (tensor && (tensor->offset != place || tensor->first != 0 || (size_t)tensor->last + 1 != program->op_count))
            return verify_fail(proof, VERIFY_RANGE, "%s lies apart, at byte %" PRIu64 " throughout",
                               verify_tensor_name(proof, index, name), place);
        place += whole_units(graph->tensors[t].bytes);
    }
    return true;
}

/* Persistent tensors, bases of views and the input are unique: otherwise it would not be clear which one a view is part
 * of, or which one the loader fills. */
static bool note_unique(struct proof *proof, uint32_t index)
{
    uint32_t origin = proof->program->tensors[index].origin;
    if (origin == NO_TENSOR) return true;
    const struct tensor *t = &proof->graph->tensors[origin];
    bool only = t->persistent || t->role == ROLE_BUCKET || t->role == ROLE_WEIGHT_COPY || t->view_of != NO_TENSOR ||
                t->class == CLASS_INPUT;
    if (!only) return true;
    char name[VERIFY_NAME];
    if (proof->only[origin] != NO_TENSOR)
        return verify_fail(proof, VERIFY_RANGE, "%s is there twice", verify_tensor_name(proof, index, name));
    proof->only[origin] = index;
    return true;
}

static bool check_view(struct proof *proof, uint32_t index)
{
    const struct plan_tensor *view = &proof->program->tensors[index];
    proof->base[index] = NO_TENSOR;
    if (view->origin == NO_TENSOR || proof->graph->tensors[view->origin].view_of == NO_TENSOR) return true;
    const struct tensor *origin = &proof->graph->tensors[view->origin];
    uint32_t base = proof->only[origin->view_of];
    char name[VERIFY_NAME];
    if (base == NO_TENSOR)
        return verify_fail(proof, VERIFY_RANGE, "%s is part of a bucket that is not in the program",
                           verify_tensor_name(proof, index, name));
    const struct plan_tensor *bucket = &proof->program->tensors[base];
    if (view->offset != bucket->offset + origin->view_offset || view->first < bucket->first ||
        view->last > bucket->last)
        return verify_fail(proof, VERIFY_RANGE, "%s is not at its place in its bucket",
                           verify_tensor_name(proof, index, name));
    proof->base[index] = base;
    return true;
}

static bool check_tensors(struct proof *proof)
{
    const struct plan_program *program = proof->program;
    for (size_t t = 0; t < proof->graph->tensor_count; t++) proof->only[t] = NO_TENSOR;
    for (uint32_t t = 0; t < program->tensor_count; t++) TRY(check_tensor(proof, t) && note_unique(proof, t));
    for (uint32_t t = 0; t < program->tensor_count; t++) TRY(check_view(proof, t));
    for (uint32_t t = 0; t < proof->graph->tensor_count; t++) {
        const struct tensor *tensor = &proof->graph->tensors[t];
        if (tensor->persistent && tensor->view_of == NO_TENSOR && proof->only[t] == NO_TENSOR)
            return verify_fail(proof, VERIFY_MISSING,
                               "graph tensor %" PRIu32 " stays from step to step and has no place", t);
    }
    return check_apart(proof);
}

/* ---- Ops ---- */

bool verify_only_reads(const struct proof *proof, const struct plan_op *op, uint32_t output)
{
    const struct op *made = &proof->graph->ops[op->op];
    bool normalises = made->kind == OP_BN && made->attr.bn.frozen == BN_TRAINED;
    return op->pass == PASS_RECOMPUTE && normalises && (output == 1 || output == 2);
}

static bool check_operand(const struct proof *proof, uint32_t op, uint32_t tensor, uint32_t origin, const char *what)
{
    char name[VERIFY_NAME], operand[VERIFY_NAME], right[TENSOR_NAME];
    if (tensor >= proof->program->tensor_count)
        return verify_fail(proof, VERIFY_RANGE, "%s: %s tensor %" PRIu32 " of %zu", verify_op_name(proof, op, name),
                           what, tensor, proof->program->tensor_count);
    if (proof->program->tensors[tensor].origin != origin)
        return verify_fail(proof, VERIFY_OPERAND, "%s: %s %s; its graph op has %s", verify_op_name(proof, op, name),
                           what, verify_tensor_name(proof, tensor, operand),
                           origin == NO_TENSOR ? "workspace" : graph_tensor_name(proof->graph, origin, right));
    return true;
}

/* A copy takes one of its graph op's results from the arena to host memory, or back. */
static bool check_copy(const struct proof *proof, uint32_t index)
{
    const struct plan_op *op = &proof->program->ops[index];
    const struct op *graph_op = &proof->graph->ops[op->op];
    const struct plan_tensor *tensors = proof->program->tensors;
    uint32_t origin = NO_TENSOR;
    char name[VERIFY_NAME];
    for (uint32_t k = 0; k < graph_op->outputs; k++)
        if (op->in[0] < proof->program->tensor_count && tensors[op->in[0]].origin == graph_op->out[k])
            origin = graph_op->out[k];
    if (origin == NO_TENSOR)
        return verify_fail(proof, VERIFY_OPERAND, "%s copies what its graph op does not make",
                           verify_op_name(proof, index, name));
    TRY(check_operand(proof, index, op->out[0], origin, "writes"));
    bool leaves = op->pass == PASS_OFFLOAD;
    if (tensors[op->in[0]].host == leaves || tensors[op->out[0]].host != leaves)
        return verify_fail(proof, VERIFY_OPERAND, "%s does not go %s host memory", verify_op_name(proof, index, name),
                           leaves ? "from the arena to" : "to the arena from");
    for (uint32_t k = 1; k < OP_MOST_INPUTS; k++)
        if (op->in[k] != NO_TENSOR || (k < OP_MOST_OUTPUTS && op->out[k] != NO_TENSOR))
            return verify_fail(proof, VERIFY_OPERAND, "%s copies more than one tensor",
                               verify_op_name(proof, index, name));
    return true;
}

/* Only copies reach host memory. */
static bool check_device_operand(const struct proof *proof, uint32_t op, uint32_t tensor)
{
    char name[VERIFY_NAME], operand[VERIFY_NAME];
    if (!proof->program->tensors[tensor].host) return true;
    return verify_fail(proof, VERIFY_OPERAND, "%s cannot reach %s", verify_op_name(proof, op, name),
                       verify_tensor_name(proof, tensor, operand));
}

/* y = a + b turned round: reads y and one summand, writes the other. The reading of versions is the replay's, so what
 * is written is that summand if and only if y and the other one are what they should be. */
static bool check_reconstruct(const struct proof *proof, uint32_t index)
{
    const struct plan_op *op = &proof->program->ops[index];
    const struct op *graph_op = &proof->graph->ops[op->op];
    char name[VERIFY_NAME];
    bool first =
        op->in[1] < proof->program->tensor_count && proof->program->tensors[op->in[1]].origin == graph_op->in[0];
    TRY(check_operand(proof, index, op->in[0], graph_op->out[0], "takes as the sum") &&
        check_operand(proof, index, op->in[1], graph_op->in[!first], "takes from the sum") &&
        check_operand(proof, index, op->out[0], graph_op->in[first], "writes"));
    const uint32_t touched[] = {op->in[0], op->in[1], op->out[0]};
    for (int k = 0; k < 3; k++) TRY(check_device_operand(proof, index, touched[k]));
    for (uint32_t k = 1; k < OP_MOST_INPUTS; k++)
        if ((k > 1 && op->in[k] != NO_TENSOR) || (k < OP_MOST_OUTPUTS && op->out[k] != NO_TENSOR))
            return verify_fail(proof, VERIFY_OPERAND, "%s has too many operands", verify_op_name(proof, index, name));
    if (op->workspace != NO_TENSOR)
        return verify_fail(proof, VERIFY_OPERAND, "%s has workspace", verify_op_name(proof, index, name));
    return true;
}

static bool check_operands(const struct proof *proof, uint32_t index)
{
    const struct plan_op *op = &proof->program->ops[index];
    const struct op *graph_op = &proof->graph->ops[op->op];
    char name[VERIFY_NAME];
    if (plan_op_copies(op)) return check_copy(proof, index);
    if (op->pass == PASS_RECONSTRUCT) return check_reconstruct(proof, index);
    uint32_t outputs = plan_op_outputs(proof->graph, op);
    for (uint32_t k = 0; k < OP_MOST_INPUTS; k++) {
        if (k < graph_op->inputs)
            TRY(check_operand(proof, index, op->in[k], graph_op->in[k], "reads") &&
                check_device_operand(proof, index, op->in[k]));
        if (k >= graph_op->inputs && op->in[k] != NO_TENSOR)
            return verify_fail(proof, VERIFY_OPERAND, "%s has too many inputs", verify_op_name(proof, index, name));
    }
    for (uint32_t k = 0; k < OP_MOST_OUTPUTS; k++) {
        if (k < outputs)
            TRY(check_operand(proof, index, op->out[k], graph_op->out[k], "writes") &&
                check_device_operand(proof, index, op->out[k]));
        if (k >= outputs && op->out[k] != NO_TENSOR)
            return verify_fail(proof, VERIFY_OPERAND, "%s has too many outputs", verify_op_name(proof, index, name));
    }
    if (op->workspace == NO_TENSOR) return true;
    return check_operand(proof, index, op->workspace, NO_TENSOR, "works in");
}

static bool meet(const struct plan_tensor *a, const struct plan_tensor *b)
{
    return a->host == b->host && a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

bool verify_takes_over(const struct proof *proof, uint32_t index, uint32_t input)
{
    const struct plan_op *op = &proof->program->ops[index];
    const struct op *origin = &proof->graph->ops[op->op];
    if (plan_op_copies(op)) return false;
    const struct plan_tensor *from = &proof->program->tensors[op->in[input]];
    const struct plan_tensor *to = &proof->program->tensors[op->out[op_in_place_output(origin, input)]];
    return (origin->in_place >> input & 1) && from->offset == to->offset && from->bytes == to->bytes;
}

/* While one op runs: what it writes and its scratch meet nothing else that it touches, but for permitted in-place. */
static bool check_aliases(const struct proof *proof, uint32_t index)
{
    const struct plan_op *op = &proof->program->ops[index];
    const struct op *graph_op = &proof->graph->ops[op->op];
    if (plan_op_copies(op)) return true; /* their two sides are different memories */
    uint32_t touched[OP_MOST_INPUTS + OP_MOST_OUTPUTS + 1], count = 0, outputs = plan_op_outputs(proof->graph, op);
    for (uint32_t k = 0; k < graph_op->inputs; k++) touched[count++] = op->in[k];
    for (uint32_t k = 0; k < outputs; k++) touched[count++] = op->out[k];
    if (op->workspace != NO_TENSOR) touched[count++] = op->workspace;
    for (uint32_t b = graph_op->inputs; b < count; b++)
        for (uint32_t a = 0; a < b; a++) {
            const struct plan_tensor *from = &proof->program->tensors[touched[a]];
            const struct plan_tensor *to = &proof->program->tensors[touched[b]];
            if (!meet(from, to)) continue;
            if (touched[a] == touched[b] && a < graph_op->inputs) continue;
            bool hands = a < graph_op->inputs && b == graph_op->inputs + op_in_place_output(graph_op, a);
            if (hands && outputs > 0 && verify_takes_over(proof, index, a)) continue;
            char name[VERIFY_NAME], first[VERIFY_NAME], second[VERIFY_NAME];
            return verify_fail(proof, VERIFY_OVERLAP, "%s: %s and %s meet", verify_op_name(proof, index, name),
                               verify_tensor_name(proof, touched[a], first),
                               verify_tensor_name(proof, touched[b], second));
        }
    return true;
}

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
    bool repeated = index<proof->program->body_count, repeats = proof->graph->options.micro_batches> 1;
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

/* The bucket that a tensor is, or is part of; the loss scale and the norm change within a step as
 * buckets do. NO_TENSOR for others.
 */
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

static bool check_ops(const struct proof *proof)
{
    const struct plan_program *program = proof->program;
    bool *ran = mem_zalloc(MEM_PLAN, proof->graph->op_count, sizeof *ran);
    struct bucket_state *buckets = mem_zalloc(MEM_PLAN, proof->graph->tensor_count, sizeof *buckets);
    bool ok = ran && buckets;
    if (!ok) error_memory(proof->err, proof->graph->tensor_count * sizeof *buckets, "verifying a plan");
    for (uint32_t i = 0; ok && i < program->op_count; i++) {
        ok = program->ops[i].op < proof->graph->op_count && program->ops[i].pass < OP_PASSES;
        if (!ok) verify_fail(proof, VERIFY_RANGE, "op %" PRIu32 " names graph op %" PRIu32, i, program->ops[i].op);
        ok = ok && check_part(proof, i, ran) && check_operands(proof, i) && check_aliases(proof, i) &&
             check_changes(proof, i, buckets);
        if (ok) ran[program->ops[i].op] = true;
    }
    ok = ok && check_complete(proof, ran);
    mem_free(ran);
    mem_free(buckets);
    return ok;
}

/* ---- Programs, variants, devices ---- */

static bool examine(struct proof *proof)
{
    size_t tensors = proof->program->tensor_count;
    if (proof->program->op_count == 0 || proof->program->body_count > proof->program->op_count)
        return verify_fail(proof, VERIFY_RANGE, "%zu of %zu ops run once per micro-batch", proof->program->body_count,
                           proof->program->op_count);
    proof->base = mem_alloc(MEM_PLAN, tensors, sizeof *proof->base);
    proof->only = mem_alloc(MEM_PLAN, proof->graph->tensor_count, sizeof *proof->only);
    proof->used_first = mem_alloc(MEM_PLAN, tensors, sizeof *proof->used_first);
    proof->used_last = mem_zalloc(MEM_PLAN, tensors, sizeof *proof->used_last);
    if (!proof->base || !proof->only || !proof->used_first || !proof->used_last)
        return error_memory(proof->err, tensors * sizeof *proof->base, "verifying a plan");
    for (size_t t = 0; t < tensors; t++) proof->used_first[t] = NO_OP;
    return check_tensors(proof) && check_ops(proof) &&
           ranges_init(&proof->ranges, proof->program->tensors, tensors, proof->variant->arena_bytes, proof->err) &&
           verify_lifetimes(proof) && verify_replay(proof) && verify_sums(proof);
}

static bool verify_program(const struct plan_variant *variant, bool evaluate, enum verify_fault *fault,
                           struct error *err)
{
    struct proof proof = {.variant = variant,
                          .program = evaluate ? &variant->evaluate : &variant->train,
                          .graph = variant->graph,
                          .evaluate = evaluate,
                          .fault = fault,
                          .err = err};
    bool ok = examine(&proof);
    ranges_finish(&proof.ranges);
    mem_free(proof.base);
    mem_free(proof.only);
    mem_free(proof.used_first);
    mem_free(proof.used_last);
    return ok;
}

/* Between the programs: what persists lies at the same bytes in both. Each one's persistent tensors are complete and
 * unique by now. */
static bool check_persistent(const struct proof *proof, const struct plan_variant *variant)
{
    const struct plan_program *train = &variant->train, *evaluate = &variant->evaluate;
    uint64_t *offset = mem_zalloc(MEM_PLAN, variant->graph->tensor_count, sizeof *offset);
    if (!offset) return error_memory(proof->err, variant->graph->tensor_count * sizeof *offset, "verifying a plan");
    for (size_t t = 0; t < train->tensor_count; t++)
        if (train->tensors[t].origin != NO_TENSOR) offset[train->tensors[t].origin] = train->tensors[t].offset;
    bool ok = true;
    for (size_t t = 0; ok && t < evaluate->tensor_count; t++) {
        uint32_t origin = evaluate->tensors[t].origin;
        if (origin == NO_TENSOR || !variant->graph->tensors[origin].persistent) continue;
        if (variant->graph->tensors[origin].view_of != NO_TENSOR) continue;
        if (evaluate->tensors[t].offset != offset[origin])
            ok =
                verify_fail(proof, VERIFY_RANGE, "tensor %zu of the evaluation lies elsewhere than in the training", t);
    }
    mem_free(offset);
    return ok;
}

static bool verify_variant(const struct plan *plan, const struct plan_variant *variant, enum verify_fault *fault,
                           struct error *err)
{
    struct proof proof = {.variant = variant, .graph = variant->graph, .fault = fault, .err = err};
    const struct graph_options *options = &variant->graph->options;
    uint64_t hash = graph_hash(variant->graph);
    if (hash != variant->graph_hash)
        return verify_fail(&proof, VERIFY_HASH, "it was made for graph %016" PRIx64 "; this one is %016" PRIx64,
                           variant->graph_hash, hash);
    if (options->step_images != plan->batch || options->dtype != plan->dtype || options->sync_bn != plan->sync_bn ||
        options->freeze_bn != plan->freeze_bn || options->bn_group != plan->bn_group ||
        options->lowering != plan->lowering || !update_needs_same(&options->update, &plan->update) ||
        options->frozen != plan->frozen || options->all_reduce != (plan->device_count > 1) ||
        strcmp(variant->graph->spec.name, plan->spec.name) != 0)
        return verify_fail(
            &proof, VERIFY_HASH,
            "a variant's graph is of another model, batch, type, lowering, optimizer or frozen part than the plan");
    if (variant->host_bytes > UINT64_MAX - variant->arena_bytes)
        return verify_fail(&proof, VERIFY_RANGE, "%" PRIu64 " bytes of arena and %" PRIu64 " of host memory",
                           variant->arena_bytes, variant->host_bytes);
    return verify_program(variant, false, fault, err) && verify_program(variant, true, fault, err) &&
           check_persistent(&proof, variant) && verify_figures(&proof);
}

bool plan_verify(const struct plan *plan, enum verify_fault *fault, struct error *err)
{
    struct proof proof = {.fault = fault, .err = err};
    if (fault) *fault = VERIFY_OK;
    if (plan->device_count == 0) return verify_fail(&proof, VERIFY_RANGE, "it has no device");
    for (size_t v = 0; v < plan->variant_count; v++) TRY(verify_variant(plan, &plan->variants[v], fault, err));
    return verify_devices(&proof, plan) && verify_statements(&proof, plan);
}
