/* Plans to be broken, and the rule by which the verifier must refuse them. */
#ifndef FATHOM_BROKEN_KIT_H
#define FATHOM_BROKEN_KIT_H

#include <string.h>

#include "planner_kit.h"
#include "verify.h"

static inline void expect(struct plan *plan, enum verify_fault wanted)
{
    enum verify_fault fault = VERIFY_OK;
    struct error err = {0};
    cr_assert_not(plan_verify(plan, &fault, &err), "a broken plan verified; %s was expected",
                  verify_fault_name(wanted));
    cr_assert_eq(fault, wanted, "found %s instead of %s: %s", verify_fault_name(fault), verify_fault_name(wanted),
                 err.text);
    cr_assert_eq(err.kind, ERROR_INPUT);
    cr_assert_gt(strlen(err.text), 40);
    plan_destroy(plan);
}

static inline struct plan *sound(void)
{
    return kit_make(.model = "resnet-20", .batch = 16, .gpus = "2x16GiB", .recompute = RECOMPUTE_ELEMENTWISE);
}

/* The first from `from` on. */
static inline uint32_t find_op(const struct plan *plan, enum op_kind kind, enum op_pass pass, uint32_t from)
{
    const struct plan_program *program = &plan->variants[0].train;
    for (uint32_t i = from; i < program->op_count; i++)
        if (program->ops[i].pass == pass && plan->variants[0].graph->ops[program->ops[i].op].kind == kind) return i;
    cr_assert_fail("no such op");
    return 0;
}

static inline struct plan *divided(uint32_t micro_batches, bool sync_bn)
{
    return kit_make(.model = "resnet-20", .batch = 16, .gpus = "16GiB,24GiB", .micro_batches = micro_batches,
                    .sync_bn = sync_bn);
}

static inline const struct tensor *origin_of(const struct plan *plan, uint32_t tensor)
{
    return &plan->variants[0].graph->tensors[plan->variants[0].train.tensors[tensor].origin];
}

static inline void remove_op(struct plan_program *program, uint32_t op)
{
    memmove(&program->ops[op], &program->ops[op + 1], (program->op_count - op - 1) * sizeof program->ops[0]);
    program->op_count--;
    if (op < program->body_count) program->body_count--;
    for (size_t t = 0; t < program->tensor_count; t++) {
        program->tensors[t].first -= program->tensors[t].first > op;
        program->tensors[t].last -= program->tensors[t].last >= op && program->tensors[t].last > 0;
    }
}

#endif
