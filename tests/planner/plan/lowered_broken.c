/* Lowered plans: their file, and ones broken on purpose, which the verifier refuses by the rule that they break. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broken_kit.h"
#include "lower.h"
#include "plan_file.h"
#include "sharing.h"

/* In which convolutions and BN_APPLYs run again. */
static struct plan *sound_lowered(void)
{
    struct plan *plan = kit_make(.model = "resnet-56", .unit = UNIT_PREACT + 1, .batch = 16, .gpus = "2x16GiB",
                                 .recompute = RECOMPUTE_BUDGET, .budget = 20000000, .lowering = LOWER_ALL);
    cr_assert(plan_verify(plan, NULL, NULL));
    return plan;
}

static struct plan_op *op_at(struct plan *plan, uint32_t i) { return &plan->variants[0].train.ops[i]; }

static const struct op *graph_op_at(const struct plan *plan, uint32_t i)
{
    return &plan->variants[0].graph->ops[plan->variants[0].train.ops[i].op];
}

Test(lowered_broken, another_lowering)
{
    struct plan *plan = sound_lowered();
    plan->lowering = LOWER_ALL & ~LOWER_ADD;
    expect(plan, VERIFY_HASH);
}

/* A convolution that runs again and writes its sums once more, over what others may hold by then. */
Test(lowered_broken, sums_written_again)
{
    struct plan *plan = sound_lowered();
    uint32_t again = find_op(plan, OP_CONV, PASS_RECOMPUTE, 0), first = 0;
    while (op_at(plan, first)->op != op_at(plan, again)->op) first++;
    cr_assert_eq(op_at(plan, again)->out[1], NO_TENSOR);
    cr_assert(graph_op_at(plan, again)->attr.conv.fused & CONV_SUMS);
    op_at(plan, again)->out[1] = op_at(plan, first)->out[1];
    expect(plan, VERIFY_OPERAND);
}

Test(lowered_broken, sums_not_written)
{
    struct plan *plan = sound_lowered();
    uint32_t conv = find_op(plan, OP_CONV, PASS_FORWARD, 0);
    op_at(plan, conv)->out[1] = NO_TENSOR;
    expect(plan, VERIFY_RANGE);
}

/* Statistics are made once: made again they would move the running ones twice. */
Test(lowered_broken, statistics_made_again)
{
    struct plan *plan = sound_lowered();
    uint32_t again = find_op(plan, OP_CONV, PASS_RECOMPUTE, 0),
             finalize = find_op(plan, OP_BN_FINALIZE, PASS_FORWARD, 0);
    struct plan_op *op = op_at(plan, again);
    *op = *op_at(plan, finalize);
    op->pass = PASS_RECOMPUTE;
    expect(plan, VERIFY_ORDER);
}

Test(lowered_broken, another_norm)
{
    struct plan *plan = sound_lowered();
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

/* ---- Copied weights ---- */

/* In which blocks run again. */
static struct plan *copying(void)
{
    struct plan *plan =
        kit_make(.model = "resnet-56", .unit = UNIT_PREACT + 1, .batch = 16, .gpus = "16GiB", .dtype = DTYPE_F16,
                 .recompute = RECOMPUTE_BUDGET, .budget = 17000000, .lowering = LOWER_WEIGHTS);
    cr_assert(plan_verify(plan, NULL, NULL));
    return plan;
}

static struct plan_tensor *tensor_at(struct plan *plan, uint32_t t) { return &plan->variants[0].train.tensors[t]; }

/* Their bytes are there for others as soon as the last data gradient has read them, and all runs again read them. */
Test(lowered_broken, copied_weights_live_until_their_last_reader)
{
    struct plan *plan = copying();
    uint32_t copy = find_op(plan, OP_WEIGHTS_COPY, PASS_FORWARD, 0), last = 0;
    const struct plan_tensor *made = tensor_at(plan, op_at(plan, copy)->out[0]);
    for (uint32_t i = 0; i < plan->variants[0].train.op_count; i++) {
        const struct op *op = graph_op_at(plan, i);
        bool reads =
            op->kind == OP_CONV || op->kind == OP_CONV_BWD_DATA || op->kind == OP_FC || op->kind == OP_FC_BWD_DATA;
        if (reads) cr_expect_eq(plan->variants[0].graph->tensors[op->in[1]].role, ROLE_WEIGHT_COPY);
        if (reads) last = i;
    }
    find_op(plan, OP_CONV, PASS_RECOMPUTE, 0);
    cr_expect_eq(made->first, copy);
    cr_expect_eq(made->last, last);
    cr_expect_lt(made->last, find_op(plan, OP_UPDATE, PASS_UPDATE, 0));
    cr_expect_eq(made->class, MEMORY_WEIGHTS);
    cr_expect_eq(made->bytes * 2,
                 plan->variants[0].graph->tensors[plan->variants[0].graph->tensors[made->origin].of].bytes);
    plan_destroy(plan);
}

Test(lowered_broken, copied_weights_made_again)
{
    struct plan *plan = copying();
    struct plan_op *op = op_at(plan, find_op(plan, OP_CONV, PASS_RECOMPUTE, 0));
    *op = *op_at(plan, find_op(plan, OP_WEIGHTS_COPY, PASS_FORWARD, 0));
    op->pass = PASS_RECOMPUTE;
    expect(plan, VERIFY_ORDER);
}

Test(lowered_broken, copied_weights_given_up_too_soon)
{
    struct plan *plan = copying();
    struct plan_program *program = &plan->variants[0].train;
    uint32_t copy = op_at(plan, find_op(plan, OP_WEIGHTS_COPY, PASS_FORWARD, 0))->out[0];
    uint32_t last = tensor_at(plan, copy)->last - 1;
    for (uint32_t t = 0; t < program->tensor_count; t++) {
        uint32_t origin = program->tensors[t].origin;
        if (origin != NO_TENSOR && plan->variants[0].graph->tensors[origin].role == ROLE_WEIGHT_COPY)
            program->tensors[t].last = last;
    }
    expect(plan, VERIFY_RANGE);
}

Test(lowered_broken, copied_weights_under_something_else)
{
    struct plan *plan = copying();
    uint32_t conv = find_op(plan, OP_CONV, PASS_FORWARD, 0);
    struct plan_tensor *made = tensor_at(plan, op_at(plan, conv)->out[0]);
    made->offset = tensor_at(plan, op_at(plan, 0)->out[0])->offset;
    expect(plan, VERIFY_OVERLAP);
}

Test(lowered_broken, weights_at_another_place_of_their_copy)
{
    struct plan *plan = copying();
    struct plan_tensor *view = tensor_at(plan, op_at(plan, find_op(plan, OP_CONV, PASS_FORWARD, 0))->in[1]);
    cr_assert_gt(view->offset, 0);
    view->offset -= 64;
    expect(plan, VERIFY_RANGE);
}

Test(lowered_broken, weights_of_another_layer)
{
    struct plan *plan = copying();
    uint32_t first = find_op(plan, OP_CONV, PASS_FORWARD, 0), second = find_op(plan, OP_CONV, PASS_FORWARD, first + 1);
    op_at(plan, second)->in[1] = op_at(plan, first)->in[1];
    expect(plan, VERIFY_OPERAND);
}

/* A convolution before the copy: it reads what the step before left there. */
Test(lowered_broken, weights_that_are_not_copied_yet)
{
    struct plan *plan = kit_make(.model = "resnet-29", .batch = 16, .gpus = "16GiB", .recompute = RECOMPUTE_NONE,
                                 .dtype = DTYPE_F16, .sharing = SHARING_NONE, .lowering = LOWER_WEIGHTS);
    struct plan_program *program = &plan->variants[0].train;
    for (uint32_t t = 0; t < program->tensor_count; t++)
        if (program->tensors[t].first == 1) program->tensors[t].first = 0;
    swap_ops(plan, 0, 1);
    expect(plan, VERIFY_MISSING);
}

/* ---- Images of bytes ---- */

static struct plan *making(enum recompute_policy recompute)
{
    struct plan *plan =
        kit_make(.model = "resnet-29", .batch = 16, .gpus = "16GiB", .recompute = recompute, .lowering = LOWER_INPUT);
    cr_assert(plan_verify(plan, NULL, NULL));
    return plan;
}

static uint32_t instance_of(struct plan *plan, uint32_t origin)
{
    for (uint32_t t = 0; t < plan->variants[0].train.tensor_count; t++)
        if (tensor_at(plan, t)->origin == origin) return t;
    cr_assert_fail("no such tensor");
    return NO_TENSOR;
}

/* Kept images need no bytes any more; bytes that are kept stand for images, until the stem's weights want them. */
Test(lowered_broken, either_images_or_their_bytes_are_kept)
{
    struct plan *kept = making(RECOMPUTE_NONE), *again = making(RECOMPUTE_ELEMENTWISE);
    const struct graph *graph = kept->variants[0].graph;
    cr_expect_eq(tensor_at(kept, instance_of(kept, graph->pixels))->last, 0);
    cr_expect_eq(tensor_at(kept, instance_of(kept, graph->images))->class, MEMORY_KEPT);
    uint32_t made = find_op(again, OP_INPUT, PASS_RECOMPUTE, 0);
    cr_expect_eq(tensor_at(again, instance_of(again, graph->pixels))->last, made);
    cr_expect_eq(tensor_at(again, instance_of(again, graph->pixels))->class, MEMORY_INPUT);
    cr_expect_eq(tensor_at(again, instance_of(again, graph->images))->class, MEMORY_TRANSIENT);
    cr_expect_eq(graph_op_at(again, made + 1)->kind, OP_CONV_BWD_WEIGHTS);
    plan_destroy(kept);
    plan_destroy(again);
}

Test(lowered_broken, bytes_that_are_gone_when_images_are_made_again)
{
    struct plan *plan = making(RECOMPUTE_ELEMENTWISE);
    tensor_at(plan, instance_of(plan, plan->variants[0].graph->pixels))->last = 0;
    expect(plan, VERIFY_RANGE);
}

Test(lowered_broken, bytes_that_come_too_late)
{
    struct plan *plan = making(RECOMPUTE_ELEMENTWISE);
    tensor_at(plan, instance_of(plan, plan->variants[0].graph->placements))->first = 1;
    expect(plan, VERIFY_RANGE);
}

Test(lowered_broken, images_over_their_bytes)
{
    struct plan *plan = making(RECOMPUTE_ELEMENTWISE);
    const struct graph *graph = plan->variants[0].graph;
    tensor_at(plan, instance_of(plan, graph->images))->offset =
        tensor_at(plan, instance_of(plan, graph->pixels))->offset;
    expect(plan, VERIFY_OVERLAP);
}

/* The gradient of the stem's weights reads images that were dropped and not made again. */
Test(lowered_broken, images_that_are_not_made_again)
{
    struct plan *plan = making(RECOMPUTE_ELEMENTWISE);
    uint32_t made = find_op(plan, OP_INPUT, PASS_RECOMPUTE, 0);
    swap_ops(plan, made, made + 1);
    enum verify_fault fault = VERIFY_OK;
    cr_assert_not(plan_verify(plan, &fault, NULL));
    cr_expect(fault == VERIFY_MISSING || fault == VERIFY_STALE || fault == VERIFY_RANGE, "%s",
              verify_fault_name(fault));
    plan_destroy(plan);
}

Test(lowered_broken, pixels_for_placements)
{
    struct plan *plan = making(RECOMPUTE_NONE);
    op_at(plan, 0)->in[1] = op_at(plan, 0)->in[0];
    expect(plan, VERIFY_OPERAND);
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

/* ---- Gradients in 16 bits ---- */

static struct plan *widening(void)
{
    struct plan *plan = kit_make(.model = "resnet-56", .unit = UNIT_PREACT + 1, .batch = 16, .gpus = "2x16GiB",
                                 .dtype = DTYPE_F16, .lowering = LOWER_ALL);
    cr_assert(plan_verify(plan, NULL, NULL));
    return plan;
}

/* Their bucket lives from the first to the widening, which comes as soon as the last gradient is made, and before the
 * reduction. */
Test(lowered_broken, gradients_are_widened_when_all_are_made)
{
    struct plan *plan = widening();
    const struct plan_program *program = &plan->variants[0].train;
    uint32_t widen = find_op(plan, OP_GRADIENTS_WIDEN, PASS_BACKWARD, 0), first = 0, last = 0;
    uint32_t bucket = op_at(plan, widen)->in[0];
    for (uint32_t i = 0; i < program->op_count; i++) {
        const struct op *op = graph_op_at(plan, i);
        for (uint32_t k = 0; k < op->outputs && op->pass == PASS_BACKWARD; k++) {
            uint32_t base = plan->variants[0].graph->tensors[op->out[k]].view_of;
            if (base == NO_TENSOR) continue;
            last = i;
            if (!first && base == program->tensors[bucket].origin) first = i;
        }
    }
    cr_expect_eq(widen, last + 1);
    cr_expect_eq(program->tensors[bucket].first, first);
    cr_expect_eq(program->tensors[bucket].last, widen);
    cr_expect_eq(program->tensors[bucket].class, MEMORY_GRADIENTS);
    cr_expect_lt(widen, find_op(plan, OP_ALL_REDUCE, PASS_COMM, 0));
    plan_destroy(plan);
}

Test(lowered_broken, gradients_widened_before_the_last_is_made)
{
    struct plan *plan = widening();
    uint32_t widen = find_op(plan, OP_GRADIENTS_WIDEN, PASS_BACKWARD, 0);
    struct plan_op moved = *op_at(plan, widen);
    *op_at(plan, widen) = *op_at(plan, widen - 1);
    *op_at(plan, widen - 1) = moved;
    expect(plan, VERIFY_ORDER);
}

Test(lowered_broken, gradients_that_are_never_widened)
{
    struct plan *plan = widening();
    uint32_t widen = find_op(plan, OP_GRADIENTS_WIDEN, PASS_BACKWARD, 0);
    *op_at(plan, widen) = *op_at(plan, widen - 1);
    expect(plan, VERIFY_ORDER);
}
