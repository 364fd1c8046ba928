/* What each op touches: the tensors that its graph op names, no others, and none of them over another. */
#include <inttypes.h>

#include "verify_private.h"

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

bool verify_operands(const struct proof *proof, uint32_t op)
{
    return check_operands(proof, op) && check_aliases(proof, op);
}
