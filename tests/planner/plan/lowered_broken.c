/* Lowered plans: their file, and ones broken on purpose, which the verifier refuses by the rule that they break. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lower.h"
#include "planner_kit.h"
#include "plan_file.h"
#include "sharing.h"
#include "verify.h"

static void expect(struct plan *plan, enum verify_fault wanted)
{
    enum verify_fault fault = VERIFY_OK;
    struct error err = {0};
    cr_assert_not(plan_verify(plan, &fault, &err), "a broken plan verified; %s was expected",
                  verify_fault_name(wanted));
    cr_expect_eq(fault, wanted, "found %s instead of %s: %s", verify_fault_name(fault), verify_fault_name(wanted),
                 err.text);
    plan_destroy(plan);
}

/* In which convolutions and BN_APPLYs run again. */
static struct plan *sound(void)
{
    struct plan *plan = kit_make(.model = "resnet-56", .unit = UNIT_PREACT + 1, .batch = 16, .gpus = "2x16GiB",
                                 .recompute = RECOMPUTE_BUDGET, .budget = 20000000, .lowering = LOWER_ALL);
    cr_assert(plan_verify(plan, NULL, NULL));
    return plan;
}

static uint32_t find_op(const struct plan *plan, enum op_kind kind, enum op_pass pass, uint32_t from)
{
    const struct plan_program *program = &plan->variants[0].train;
    for (uint32_t i = from; i < program->op_count; i++)
        if (program->ops[i].pass == pass && plan->variants[0].graph->ops[program->ops[i].op].kind == kind) return i;
    cr_assert_fail("no such op");
    return 0;
}

static struct plan_op *op_at(struct plan *plan, uint32_t i) { return &plan->variants[0].train.ops[i]; }

static const struct op *graph_op_at(const struct plan *plan, uint32_t i)
{
    return &plan->variants[0].graph->ops[plan->variants[0].train.ops[i].op];
}

Test(lowered_broken, another_lowering)
{
    struct plan *plan = sound();
    plan->lowering = LOWER_ALL & ~LOWER_ADD;
    expect(plan, VERIFY_HASH);
}

/* A convolution that runs again and writes its sums once more, over what others may hold by then. */
Test(lowered_broken, sums_written_again)
{
    struct plan *plan = sound();
    uint32_t again = find_op(plan, OP_CONV, PASS_RECOMPUTE, 0), first = 0;
    while (op_at(plan, first)->op != op_at(plan, again)->op) first++;
    cr_assert_eq(op_at(plan, again)->out[1], NO_TENSOR);
    cr_assert(graph_op_at(plan, again)->attr.conv.fused & CONV_SUMS);
    op_at(plan, again)->out[1] = op_at(plan, first)->out[1];
    expect(plan, VERIFY_OPERAND);
}

Test(lowered_broken, sums_not_written)
{
    struct plan *plan = sound();
    uint32_t conv = find_op(plan, OP_CONV, PASS_FORWARD, 0);
    op_at(plan, conv)->out[1] = NO_TENSOR;
    expect(plan, VERIFY_RANGE);
}

/* Statistics are made once: made again they would move the running ones twice. */
Test(lowered_broken, statistics_made_again)
{
    struct plan *plan = sound();
    uint32_t again = find_op(plan, OP_CONV, PASS_RECOMPUTE, 0),
             finalize = find_op(plan, OP_BN_FINALIZE, PASS_FORWARD, 0);
    struct plan_op *op = op_at(plan, again);
    *op = *op_at(plan, finalize);
    op->pass = PASS_RECOMPUTE;
    expect(plan, VERIFY_ORDER);
}

Test(lowered_broken, another_norm)
{
    struct plan *plan = sound();
    uint32_t conv = find_op(plan, OP_CONV, PASS_FORWARD, 20);
    uint8_t norm = conv_operands(graph_op_at(plan, conv)).norm;
    cr_assert_neq(norm, NO_OPERAND);
    op_at(plan, conv)->in[norm] = op_at(plan, find_op(plan, OP_BN_FINALIZE, PASS_FORWARD, 0))->out[0];
    expect(plan, VERIFY_OPERAND);
}

static uint32_t reader_of(const struct plan *plan, uint32_t tensor, uint32_t from)
{
    const struct plan_program *program = &plan->variants[0].train;
    for (uint32_t i = from; i < program->op_count; i++)
        for (uint32_t k = 0; k < OP_MOST_INPUTS; k++)
            if (program->ops[i].in[k] == tensor) return i;
    cr_assert_fail("nobody reads it");
    return 0;
}

static void swap_ops(struct plan *plan, uint32_t a, uint32_t b)
{
    struct plan_op saved = *op_at(plan, a);
    *op_at(plan, a) = *op_at(plan, b);
    *op_at(plan, b) = saved;
}

/* The convolution reads x through a norm that is made after it. */
Test(lowered_broken, a_norm_that_is_not_there_yet)
{
    struct plan *plan = kit_make(.model = "resnet-29", .batch = 16, .gpus = "16GiB", .recompute = RECOMPUTE_NONE,
                                 .sharing = SHARING_NONE, .lowering = LOWER_ALL);
    uint32_t finalize = find_op(plan, OP_BN_FINALIZE, PASS_FORWARD, 0);
    uint32_t norm = op_at(plan, finalize)->out[0];
    uint32_t conv = reader_of(plan, norm, finalize);
    struct plan_program *program = &plan->variants[0].train;
    for (uint32_t t = 0; t < program->tensor_count; t++) /* else the lifetimes alone would tell */
        if (program->tensors[t].first > 0 && program->tensors[t].first <= conv) program->tensors[t].first = 0;
    swap_ops(plan, finalize, conv);
    enum verify_fault fault = VERIFY_OK;
    cr_assert_not(plan_verify(plan, &fault, NULL));
    cr_expect(fault == VERIFY_MISSING || fault == VERIFY_STALE, "%s", verify_fault_name(fault));
    plan_destroy(plan);
}

/* Whatever a small tensor of a BN is moved onto. */
Test(lowered_broken, small_tensors_that_overlap)
{
    static const enum tensor_role roles[] = {ROLE_SUMS, ROLE_NORM, ROLE_GRADIENT_SUMS, ROLE_COEFFICIENTS};
    for (size_t r = 0; r < sizeof roles / sizeof roles[0]; r++) {
        struct plan *plan = kit_make(.model = "resnet-29", .batch = 16, .gpus = "16GiB", .lowering = LOWER_ALL);
        struct plan_program *program = &plan->variants[0].train;
        struct plan_tensor *kept = &program->tensors[program->ops[0].out[0]], *found = NULL;
        for (uint32_t t = 0; t < program->tensor_count && !found; t++) {
            struct plan_tensor *tensor = &program->tensors[t];
            if (tensor->origin == NO_TENSOR || plan->variants[0].graph->tensors[tensor->origin].role != roles[r])
                continue;
            if (tensor->first > kept->first && tensor->first <= kept->last) found = tensor;
        }
        cr_assert_not_null(found);
        found->offset = kept->offset;
        expect(plan, VERIFY_OVERLAP);
    }
}

/* ---- The file ---- */

static char *read_text(const char *path, size_t *size)
{
    FILE *file = fopen(path, "r");
    cr_assert(file);
    char *text = calloc(1, 64 << 20);
    *size = fread(text, 1, (64 << 20) - 1, file);
    fclose(file);
    return text;
}

static void write_text(const char *path, const char *text, size_t size)
{
    FILE *file = fopen(path, "w");
    cr_assert(file && fwrite(text, 1, size, file) == size && fclose(file) == 0);
}

Test(lowered_broken, a_file_says_what_is_fused)
{
    char path[] = "/tmp/fathom-lowered-XXXXXX";
    struct error err = {0};
    close(mkstemp(path));
    struct plan *plan = kit_make(.model = "resnet-11", .batch = 4, .gpus = "8GiB", .lowering = LOWER_BN | LOWER_SUMS);
    cr_assert(plan_write(plan, path, &err), "%s", err.text);
    struct plan *again = plan_read(path, &err);
    cr_assert_not_null(again, "%s", err.text);
    cr_expect_eq(again->lowering, LOWER_BN | LOWER_SUMS);
    cr_expect_eq(again->variants[0].graph_hash, plan->variants[0].graph_hash);
    plan_destroy(again);
    plan_destroy(plan);
    size_t size;
    char *text = read_text(path, &size), *word = strstr(text, "\"lowering\": [\"bn\", \"sums\"]");
    cr_assert_not_null(word);
    memcpy(strstr(word, "sums"), "summ", 4);
    write_text(path, text, size);
    cr_expect_null(plan_read(path, &err));
    cr_expect_not_null(strstr(err.text, "lowering"), "%s", err.text);
    free(text);
    plan = kit_make(.model = "resnet-11", .batch = 4, .gpus = "8GiB");
    cr_assert(plan_write(plan, path, &err), "%s", err.text);
    text = read_text(path, &size);
    cr_expect_null(strstr(text, "lowering"), "as before there was any");
    free(text);
    plan_destroy(plan);
    unlink(path);
}
