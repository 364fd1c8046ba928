/* How a rule that is broken is told. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

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
