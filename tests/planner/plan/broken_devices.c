/* Plans whose devices are sound each and do not go together: where they meet, what lies apart for it, their memory. */
#include <string.h>

#include "broken_kit.h"
#include "planner_kit.h"
#include "sharing.h"
#include "verify.h"

/* Two plans of one request but for the number of micro-batches: each device runs a sound program, and with synchronised
 * normalisation one meets the other twice and then waits for it for ever. */
static void take_second_variant(struct plan *plan, struct plan *other)
{
    cr_assert_eq(plan->variant_count, 2);
    cr_assert_eq(other->variant_count, 2);
    struct plan_variant swap = plan->variants[1];
    plan->variants[1] = other->variants[1];
    other->variants[1] = swap;
    struct plan_device device = plan->devices[1];
    plan->devices[1] = other->devices[1];
    other->devices[1] = device;
    plan_destroy(other);
}

Test(broken, devices_that_meet_a_different_number_of_times)
{
    struct plan *plan = divided(4, true);
    take_second_variant(plan, divided(2, true));
    expect(plan, VERIFY_ORDER);
    plan = divided(4, false);
    take_second_variant(plan, divided(2, false));
    expect(plan, VERIFY_ORDER);
    plan = divided(1, true);
    take_second_variant(plan, divided(2, true));
    expect(plan, VERIFY_ORDER);
}

/* Whatever lives or dies among ops [from, to] is declared anew. */
static void find_lifetimes(struct plan_program *program, uint32_t from, uint32_t to)
{
    for (uint32_t t = 0; t < program->tensor_count; t++) {
        struct plan_tensor *tensor = &program->tensors[t];
        bool begins = from <= tensor->first && tensor->first <= to, ends = from <= tensor->last && tensor->last <= to;
        uint32_t first = NO_OP, last = 0;
        for (uint32_t i = 0; (begins || ends) && i < program->op_count; i++)
            for (size_t k = 0; k < OP_MOST_INPUTS + OP_MOST_OUTPUTS + 1; k++) {
                const struct plan_op *op = &program->ops[i];
                uint32_t operand = k < OP_MOST_INPUTS                     ? op->in[k]
                                   : k < OP_MOST_INPUTS + OP_MOST_OUTPUTS ? op->out[k - OP_MOST_INPUTS]
                                                                          : op->workspace;
                if (operand != t) continue;
                if (first == NO_OP) first = i;
                last = i;
            }
        if (begins) tensor->first = first;
        if (ends) tensor->last = last;
    }
}

/* In one variant the branch is normalised after the shortcut and not before: its program is sound, and its devices wait
 * for those of the other. */
Test(broken, normalisations_in_another_order)
{
    struct plan *plan = kit_make(.model = "resnet-50", .image_size = 32, .batch = 8, .gpus = "80GiB,90GiB",
                                 .micro_batches = 1, .sync_bn = true, .sharing = SHARING_NONE);
    cr_assert_eq(plan->variant_count, 2);
    struct plan_program *program = &plan->variants[1].train;
    const struct graph *graph = plan->variants[1].graph;
    uint32_t at = 0;
    while (strcmp(graph->layers[graph->ops[program->ops[at].op].layer].path, "stage1/unit1/bn3") != 0) at++;
    struct plan_op branch = program->ops[at];
    cr_assert_eq(graph->ops[program->ops[at + 1].op].kind, OP_CONV);
    cr_assert_eq(graph->ops[program->ops[at + 2].op].kind, OP_BN);
    program->ops[at] = program->ops[at + 1];
    program->ops[at + 1] = program->ops[at + 2];
    program->ops[at + 2] = branch;
    find_lifetimes(program, at, at + 2);
    enum verify_fault fault;
    struct error err = {0};
    cr_assert_not(plan_verify(plan, &fault, &err));
    cr_assert_eq(fault, VERIFY_ORDER, "%s", err.text);
    cr_assert(strstr(err.text, "shortcut_bn"), "%s", err.text);
    plan_destroy(plan);
}

static struct plan *unequal(uint64_t bucket_bytes, uint32_t micro_batches)
{
    struct plan *plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "16GiB,24GiB", .bucket_bytes = bucket_bytes,
                                 .micro_batches = micro_batches);
    cr_assert_eq(plan->variant_count, 2);
    return plan;
}

/* Each device's program is sound alone, but they reduce in different orders, or one of them on another stream. */
Test(broken, devices_that_wait_for_each_other)
{
    struct plan *plan = unequal(256 << 10, 2);
    struct plan_op *reduce = &plan->variants[1].train.ops[find_op(plan, OP_ALL_REDUCE, PASS_COMM, 0)];
    cr_assert_eq(reduce[1].pass, PASS_COMM);
    struct plan_op first = reduce[0];
    reduce[0] = reduce[1];
    reduce[1] = first;
    expect(plan, VERIFY_ORDER);
    plan = unequal(256 << 10, 1);
    plan->variants[1].train.ops[find_op(plan, OP_ALL_REDUCE, PASS_COMM, 0)].stream = 0;
    expect(plan, VERIFY_ORDER);
}

Test(broken, buckets_of_unequal_size)
{
    struct plan *plan = unequal(256 << 10, 1);
    take_second_variant(plan, unequal(512 << 10, 1));
    expect(plan, VERIFY_SIZE);
}

static struct plan *apart(enum dtype dtype)
{
    struct plan *plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "16GiB,24GiB", .micro_batches = 1,
                                 .bucket_bytes = 256 << 10, .reduce_dtype = dtype, .reduce_apart = true);
    cr_assert_eq(plan->variant_count, 2);
    return plan;
}

static struct plan_tensor *find_apart(const struct plan *plan, unsigned number)
{
    struct plan_program *program = &plan->variants[0].train;
    for (uint32_t t = 0; t < program->tensor_count; t++)
        if (program->tensors[t].origin != NO_TENSOR && origin_of(plan, t)->apart && number-- == 0)
            return &program->tensors[t];
    cr_assert_fail("no such tensor");
    return NULL;
}

/* Two messages of equal size have each other's places. */
Test(broken, gradients_apart_in_another_order)
{
    struct plan *plan = apart(DTYPE_BF16);
    struct plan_tensor *a = find_apart(plan, 0), *b = find_apart(plan, 1);
    uint64_t offset = a->offset;
    a->offset = b->offset;
    b->offset = offset;
    expect(plan, VERIFY_RANGE);
}

Test(broken, gradients_apart_for_a_while_alone)
{
    struct plan *plan = apart(DTYPE_F16);
    find_apart(plan, 0)->first++;
    expect(plan, VERIFY_RANGE);
}

Test(broken, an_activation_in_what_lies_apart)
{
    struct plan *plan = apart(DTYPE_F32);
    struct plan_variant *variant = &plan->variants[0];
    uint32_t conv = find_op(plan, OP_CONV, PASS_FORWARD, 0);
    struct plan_tensor *y = &variant->train.tensors[variant->train.ops[conv].out[0]];
    y->offset = variant->arena_bytes - plan_apart_bytes(variant->graph) - PLAN_ALIGN;
    expect(plan, VERIFY_RANGE);
}

Test(broken, gradients_of_unlike_types_meet)
{
    struct plan *plan = apart(DTYPE_F16);
    take_second_variant(plan, apart(DTYPE_BF16));
    expect(plan, VERIFY_SIZE);
}

Test(broken, larger_than_the_device)
{
    struct plan *plan = sound();
    plan->devices[1].spec.memory_bytes = plan->devices[1].peak_bytes - 1;
    expect(plan, VERIFY_MEMORY);
}
