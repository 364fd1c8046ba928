/* Lifetimes as a plan declares them: no two live tensors meet, streams are waited for, none is longer than need be, and
 * the sums at the peak are right. Whether the declarations are true is verify_replay.c's. */
#include <inttypes.h>

#include "mem.h"
#include "verify_private.h"

static uint64_t whole_units(uint64_t bytes) { return (bytes / PLAN_ALIGN + (bytes % PLAN_ALIGN != 0)) * PLAN_ALIGN; }

/* The input whose bytes and last instant this output of the op that first has it takes, or NO_TENSOR. */
static uint32_t handed_over(const struct proof *proof, uint32_t output)
{
    uint32_t index = proof->program->tensors[output].first;
    const struct plan_op *op = &proof->program->ops[index];
    const struct op *origin = &proof->graph->ops[op->op];
    if (origin->in_place == 0 || origin->outputs == 0 || plan_op_copies(op)) return NO_TENSOR;
    for (uint32_t k = 0; k < origin->inputs; k++)
        if (op->out[op_in_place_output(origin, k)] == output && verify_takes_over(proof, index, k) &&
            proof->program->tensors[op->in[k]].last == index)
            return op->in[k];
    return NO_TENSOR;
}

/* The inputs of this op whose bytes outputs take; returns how many. */
static uint32_t all_handed_over(const struct proof *proof, uint32_t index, uint32_t handed[OP_MOST_OUTPUTS])
{
    const struct plan_op *op = &proof->program->ops[index];
    uint32_t count = 0, outputs = plan_op_outputs(proof->graph, op);
    for (uint32_t k = 0; k < outputs; k++) {
        uint32_t output = op->out[k];
        if (proof->program->tensors[output].first != index) continue;
        uint32_t from = handed_over(proof, output);
        if (from != NO_TENSOR) handed[count++] = from;
    }
    return count;
}

static bool overlap(const struct proof *proof, uint32_t a, uint32_t b)
{
    char first[VERIFY_NAME], second[VERIFY_NAME];
    return verify_fail(proof, VERIFY_OVERLAP, "%s and %s are both live at op %" PRIu32,
                       verify_tensor_name(proof, a, first), verify_tensor_name(proof, b, second),
                       proof->program->tensors[b].first);
}

/* Claims a tensor's bytes; whoever had them must be dead, or hand them over at this very op. */
static bool claim(struct proof *proof, uint32_t tensor)
{
    const struct plan_tensor *t = &proof->program->tensors[tensor];
    uint32_t cursor = proof->ranges.begin[tensor];
    struct range_owner owner;
    while (ranges_next(&proof->ranges, tensor, &cursor, &owner)) {
        if (owner.tensor == NO_TENSOR || proof->program->tensors[owner.tensor].last < t->first) continue;
        if (handed_over(proof, tensor) != owner.tensor) return overlap(proof, owner.tensor, tensor);
    }
    ranges_assign(&proof->ranges, tensor, (struct range_owner){tensor, 0});
    return true;
}

/* Tensors in the order in which they come to life; start has op_count + 1 zeroed elements. */
static void order_by_first(const struct plan_program *program, uint32_t *start, uint32_t *order)
{
    for (size_t t = 0; t < program->tensor_count; t++) start[program->tensors[t].first + 1]++;
    for (size_t i = 0; i < program->op_count; i++) start[i + 1] += start[i];
    for (uint32_t t = 0; t < program->tensor_count; t++) order[start[program->tensors[t].first]++] = t;
}

static bool check_overlaps(struct proof *proof)
{
    const struct plan_program *program = proof->program;
    uint32_t *start = mem_zalloc(MEM_PLAN, program->op_count + 1, sizeof *start);
    uint32_t *order = mem_alloc(MEM_PLAN, program->tensor_count, sizeof *order);
    bool ok = start && order;
    if (!ok) error_memory(proof->err, program->tensor_count * sizeof *order, "verifying a plan");
    if (ok) order_by_first(program, start, order);
    for (size_t i = 0; ok && i < program->tensor_count; i++)
        if (proof->base[order[i]] == NO_TENSOR) ok = claim(proof, order[i]);
    mem_free(start);
    mem_free(order);
    return ok;
}

/* ---- Streams ---- */

static uint32_t operand(const struct plan_op *op, uint32_t k)
{
    if (k < OP_MOST_INPUTS) return op->in[k];
    return k < OP_MOST_INPUTS + OP_MOST_OUTPUTS ? op->out[k - OP_MOST_INPUTS] : op->workspace;
}
#define OPERANDS (OP_MOST_INPUTS + OP_MOST_OUTPUTS + 1)

static bool outlives(const struct proof *proof, uint32_t op, uint32_t join)
{
    char name[VERIFY_NAME], tensor[VERIFY_NAME];
    for (uint32_t k = 0; k < OPERANDS; k++) {
        uint32_t t = operand(&proof->program->ops[op], k);
        if (t == NO_TENSOR || proof->program->tensors[t].last >= join) continue;
        return verify_fail(proof, VERIFY_OVERLAP, "%s may still run at op %" PRIu32 ", and %s is given up before",
                           verify_op_name(proof, op, name), join, verify_tensor_name(proof, t, tensor));
    }
    return true;
}

static void use(const struct proof *proof, uint32_t tensor, uint32_t op)
{
    if (proof->used_first[tensor] == NO_OP || op < proof->used_first[tensor]) proof->used_first[tensor] = op;
    if (op > proof->used_last[tensor]) proof->used_last[tensor] = op;
}

static void use_operands(const struct proof *proof, uint32_t op, uint32_t until)
{
    for (uint32_t k = 0; k < OPERANDS; k++) {
        uint32_t t = operand(&proof->program->ops[op], k);
        if (t == NO_TENSOR) continue;
        use(proof, t, until);
        if (proof->base[t] != NO_TENSOR) use(proof, proof->base[t], until);
    }
}

/* The compute stream waits for communication where it touches the same tensor: until then what that op touches must
 * stay. Backwards, next[t] is the next compute op that touches t. Copies need no such rule: whoever touches their bytes
 * is ordered after them as in the program, so that what the replay finds holds on any number of streams. */
static bool check_streams(const struct proof *proof)
{
    const struct plan_program *program = proof->program;
    uint32_t *next = mem_alloc(MEM_PLAN, program->tensor_count, sizeof *next);
    if (!next) return error_memory(proof->err, program->tensor_count * sizeof *next, "verifying a plan");
    for (size_t t = 0; t < program->tensor_count; t++) next[t] = (uint32_t)program->op_count - 1;
    bool ok = true;
    for (uint32_t i = (uint32_t)program->op_count; ok && i-- > 0;) {
        const struct plan_op *op = &program->ops[i];
        uint32_t join = (uint32_t)program->op_count - 1;
        for (uint32_t k = 0; k < OPERANDS; k++) {
            uint32_t t = operand(op, k);
            if (t == NO_TENSOR) continue;
            if (op->stream == STREAM_COMPUTE) next[t] = i;
            if (op->stream == STREAM_COMMUNICATION && next[t] < join) join = next[t];
        }
        use_operands(proof, i, i);
        if (op->stream != STREAM_COMMUNICATION) continue;
        use_operands(proof, i, join);
        ok = outlives(proof, i, join);
    }
    mem_free(next);
    return ok;
}

/* What persists, and the images and labels, are there before the first op; what one round of the body leaves for the
 * ops after all rounds is there from the start, as it must outlast the others. */
static uint32_t least_first(const struct proof *proof, uint32_t tensor)
{
    const struct plan_tensor *t = &proof->program->tensors[tensor];
    const struct tensor *origin = t->origin == NO_TENSOR ? NULL : &proof->graph->tensors[t->origin];
    size_t body = proof->program->body_count;
    bool outlasts =
        proof->graph->options.micro_batches > 1 && proof->used_first[tensor] < body && proof->used_last[tensor] >= body;
    return outlasts || (origin && origin->class == CLASS_INPUT) ? 0 : proof->used_first[tensor];
}

/* A lifetime that is longer than it need be would raise the lower bound, and make an arena look as small as can be. */
static bool check_uses(const struct proof *proof)
{
    char name[VERIFY_NAME];
    for (uint32_t t = 0; t < proof->program->tensor_count; t++) {
        const struct plan_tensor *tensor = &proof->program->tensors[t];
        const struct tensor *origin = tensor->origin == NO_TENSOR ? NULL : &proof->graph->tensors[tensor->origin];
        bool persists = origin && (origin->persistent || origin->apart);
        if (persists || proof->base[t] != NO_TENSOR) continue;
        if (proof->used_first[t] == NO_OP)
            return verify_fail(proof, VERIFY_RANGE, "%s is touched by no op", verify_tensor_name(proof, t, name));
        uint32_t first = least_first(proof, t);
        if (tensor->first < first || tensor->last > proof->used_last[t])
            return verify_fail(proof, VERIFY_RANGE,
                               "%s is declared to live from op %" PRIu32 " to %" PRIu32
                               ", and is in use from op %" PRIu32 " to %" PRIu32 " alone",
                               verify_tensor_name(proof, t, name), tensor->first, tensor->last, first,
                               proof->used_last[t]);
    }
    return true;
}

/* ---- Sums ---- */

static bool is_kept(const struct tensor *origin)
{
    return origin->class == CLASS_ACTIVATION || (origin->class == CLASS_STATISTIC && !origin->persistent);
}

/* Of tensors that may be kept, those are that live from the forward into the backward pass. */
static enum memory_class right_class(const struct proof *proof, const struct plan_tensor *tensor, uint32_t backward)
{
    static const enum memory_class of_class[TENSOR_CLASSES] = {
        [CLASS_WEIGHT] = MEMORY_WEIGHTS,    [CLASS_GRADIENT] = MEMORY_GRADIENTS, [CLASS_OPTIMIZER] = MEMORY_OPTIMIZER,
        [CLASS_STATISTIC] = MEMORY_WEIGHTS, [CLASS_INPUT] = MEMORY_INPUT,        [CLASS_WORKSPACE] = MEMORY_WORKSPACE,
        [CLASS_COMM] = MEMORY_GRADIENTS};
    if (tensor->origin == NO_TENSOR) return MEMORY_WORKSPACE;
    const struct tensor *origin = &proof->graph->tensors[tensor->origin];
    if (!is_kept(origin)) return of_class[origin->class];
    return tensor->first < backward && backward <= tensor->last ? MEMORY_KEPT : MEMORY_TRANSIENT;
}

static bool check_tensor_classes(const struct proof *proof)
{
    const struct plan_program *program = proof->program;
    uint32_t backward = 0;
    char name[VERIFY_NAME];
    while (backward < program->op_count && program->ops[backward].pass != PASS_BACKWARD) backward++;
    for (uint32_t t = 0; t < program->tensor_count; t++) {
        enum memory_class right = right_class(proof, &program->tensors[t], backward);
        if (program->tensors[t].class != right)
            return verify_fail(proof, VERIFY_FIGURE, "class of %s is %s; it belongs to %s",
                               verify_tensor_name(proof, t, name), memory_class_name(program->tensors[t].class),
                               memory_class_name(right));
    }
    return true;
}

/* The largest sum of live bytes, and whether it is also reached at the op that the plan names. */
static bool check_bound(const struct proof *proof)
{
    const struct plan_program *program = proof->program;
    uint64_t *change = mem_zalloc(MEM_PLAN, program->op_count + 1, sizeof *change);
    if (!change) return error_memory(proof->err, program->op_count * sizeof *change, "verifying a plan");
    for (size_t t = 0; t < program->tensor_count; t++) {
        if (proof->base[t] != NO_TENSOR || program->tensors[t].host) continue;
        uint64_t bytes = whole_units(program->tensors[t].bytes);
        change[program->tensors[t].first] += bytes; /* modulo 2^64: the sums are right all the same */
        change[program->tensors[t].last + 1] -= bytes;
    }
    uint64_t live = 0, bound = 0, at_peak = 0;
    for (uint32_t i = 0; i < program->op_count; i++) {
        live += change[i];
        uint32_t handed[OP_MOST_OUTPUTS], count = all_handed_over(proof, i, handed);
        uint64_t now = live;
        for (uint32_t k = 0; k < count; k++) now -= whole_units(program->tensors[handed[k]].bytes);
        if (now > bound) bound = now;
        if (i == proof->variant->peak_op) at_peak = now;
    }
    mem_free(change);
    if (bound != proof->variant->lower_bound_bytes || at_peak != bound)
        return verify_fail(proof, VERIFY_SIZE,
                           "the most bytes live at one op are %" PRIu64 "; %" PRIu64 " are declared, at op %" PRIu32
                           " where %" PRIu64 " are",
                           bound, proof->variant->lower_bound_bytes, proof->variant->peak_op, at_peak);
    return true;
}

static bool check_classes(const struct proof *proof)
{
    const struct plan_variant *variant = proof->variant;
    uint64_t classes[MEMORY_CLASSES] = {0}, sum = 0;
    uint32_t handed[OP_MOST_OUTPUTS], count = all_handed_over(proof, variant->peak_op, handed);
    for (uint32_t t = 0; t < proof->program->tensor_count; t++) {
        const struct plan_tensor *tensor = &proof->program->tensors[t];
        bool live = tensor->first <= variant->peak_op && variant->peak_op <= tensor->last;
        for (uint32_t k = 0; k < count; k++) live = live && t != handed[k];
        if (!live || tensor->host || proof->base[t] != NO_TENSOR) continue;
        classes[tensor->class] += whole_units(tensor->bytes);
        sum += whole_units(tensor->bytes);
    }
    if (sum <= variant->arena_bytes) classes[MEMORY_TRANSIENT] += variant->arena_bytes - sum;
    for (size_t c = 0; c < MEMORY_CLASSES; c++)
        if (classes[c] != variant->classes[c])
            return verify_fail(proof, VERIFY_SIZE, "%s take %" PRIu64 " bytes at the peak; %" PRIu64 " are declared",
                               memory_class_name((enum memory_class)c), classes[c], variant->classes[c]);
    return true;
}

bool verify_lifetimes(struct proof *proof) { return check_overlaps(proof) && check_streams(proof); }

bool verify_sums(const struct proof *proof)
{
    TRY(check_uses(proof) && check_tensor_classes(proof));
    if (proof->evaluate) return true;
    if (proof->variant->peak_op >= proof->program->op_count)
        return verify_fail(proof, VERIFY_RANGE, "the peak is at op %" PRIu32 " of %zu", proof->variant->peak_op,
                           proof->program->op_count);
    return check_bound(proof) && check_classes(proof);
}
