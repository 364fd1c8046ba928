/* Additions turned round, broken on purpose. */
#include "broken_kit.h"
#include "planner_kit.h"
#include "verify.h"

static struct plan *reconstructing(uint32_t *op)
{
    struct plan *plan = kit_make(.model = "resnet-29", .batch = 16, .gpus = "16GiB", .recompute = RECOMPUTE_ELEMENTWISE,
                                 .reconstruct = true);
    struct error err = {0};
    cr_assert(plan_verify(plan, NULL, &err), "%s", err.text);
    *op = find_op(plan, OP_ADD, PASS_RECONSTRUCT, 0);
    return plan;
}

/* The sum and the summand exchanged, another block's, or no addition at all. */
Test(broken, reconstructs_something_else)
{
    uint32_t at;
    struct plan *plan = reconstructing(&at);
    struct plan_op *op = &plan->variants[0].train.ops[at];
    uint32_t sum = op->in[0];
    op->in[0] = op->in[1];
    op->in[1] = sum;
    expect(plan, VERIFY_OPERAND);
    plan = reconstructing(&at);
    plan->variants[0].train.ops[at].in[1] = plan->variants[0].train.ops[at].in[0];
    expect(plan, VERIFY_OPERAND);
    plan = reconstructing(&at);
    plan->variants[0].train.ops[at].out[0] = plan->variants[0].train.ops[at].in[1];
    expect(plan, VERIFY_OPERAND);
    plan = reconstructing(&at);
    plan->variants[0].train.ops[at].op = plan->variants[0].train.ops[0].op;
    expect(plan, VERIFY_ORDER);
    plan = reconstructing(&at);
    plan->variants[0].train.ops[at].in[2] = plan->variants[0].train.ops[at].in[0];
    expect(plan, VERIFY_OPERAND);
    plan = reconstructing(&at);
    plan->variants[0].train.ops[at].in[1] = NO_TENSOR;
    expect(plan, VERIFY_RANGE);
}

Test(broken, reconstructs_without_need_or_on_another_stream)
{
    uint32_t at;
    struct plan *plan = reconstructing(&at);
    plan->variants[0].train.ops[at].stream = STREAM_COMMUNICATION;
    expect(plan, VERIFY_ORDER);
    plan = reconstructing(&at);
    plan->variants[0].train.ops[at].pass = PASS_RECOMPUTE;
    expect(plan, VERIFY_OPERAND);
}

/* What the block adds is not made again, or the reconstruction itself does not happen: readers find other bytes. */
Test(broken, reconstructs_from_what_is_not_there)
{
    uint32_t at;
    struct plan *plan = reconstructing(&at);
    struct plan_program *program = &plan->variants[0].train;
    uint32_t conv = at;
    while (program->ops[conv].out[0] != program->ops[at].in[1]) conv--;
    cr_assert_eq(program->ops[conv].pass, PASS_RECOMPUTE);
    remove_op(program, conv);
    expect(plan, VERIFY_MISSING);
    plan = reconstructing(&at);
    program = &plan->variants[0].train;
    program->tensors[program->ops[at].out[0]].first = at + 1;
    remove_op(program, at);
    expect(plan, VERIFY_MISSING);
}

/* The block's output is overwritten before it is turned round. */
Test(broken, reconstructs_from_a_stale_sum)
{
    uint32_t at;
    struct plan *plan = reconstructing(&at);
    struct plan_program *program = &plan->variants[0].train;
    const struct plan_tensor *sum = &program->tensors[program->ops[at].in[0]];
    uint32_t by = at - 1;
    program->tensors[program->ops[by].out[0]].offset = sum->offset;
    expect(plan, VERIFY_OVERLAP);
}
