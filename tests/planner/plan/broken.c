/* Plans broken on purpose, each in one way: the verifier must refuse each by its own rule. */
#include <math.h>
#include <string.h>

#include "broken_kit.h"
#include "mem.h"
#include "planner_kit.h"
#include "sharing.h"
#include "verify.h"

static const struct tensor *origin_of(const struct plan *plan, uint32_t tensor)
{
    return &plan->variants[0].graph->tensors[plan->variants[0].train.tensors[tensor].origin];
}

static void remove_op(struct plan_program *program, uint32_t op)
{
    memmove(&program->ops[op], &program->ops[op + 1], (program->op_count - op - 1) * sizeof program->ops[0]);
    program->op_count--;
    if (op < program->body_count) program->body_count--;
    for (size_t t = 0; t < program->tensor_count; t++) {
        program->tensors[t].first -= program->tensors[t].first > op;
        program->tensors[t].last -= program->tensors[t].last >= op && program->tensors[t].last > 0;
    }
}

Test(broken, another_graph)
{
    struct plan *plan = sound();
    plan->variants[0].graph_hash ^= 1;
    expect(plan, VERIFY_HASH);
    plan = sound();
    plan->batch++;
    expect(plan, VERIFY_HASH);
}

Test(broken, outside_the_arena)
{
    struct plan *plan = sound();
    plan->variants[0].train.tensors[5].offset = plan->variants[0].arena_bytes;
    expect(plan, VERIFY_RANGE);
    plan = sound();
    plan->variants[0].train.tensors[5].offset = UINT64_MAX / 256 * 256;
    expect(plan, VERIFY_RANGE);
}

Test(broken, misaligned)
{
    struct plan *plan = sound();
    const struct plan_op *op = &plan->variants[0].train.ops[3];
    plan->variants[0].train.tensors[op->out[0]].offset += 4;
    expect(plan, VERIFY_RANGE);
}

Test(broken, indices)
{
    struct plan *plan = sound();
    plan->variants[0].train.ops[7].in[0] = 1u << 30;
    expect(plan, VERIFY_RANGE);
    plan = sound();
    plan->variants[0].evaluate.ops[7].op = 1u << 30;
    expect(plan, VERIFY_RANGE);
    plan = sound();
    plan->devices[1].variant = 1;
    expect(plan, VERIFY_RANGE);
    plan = sound();
    plan->variants[0].train.tensors[9].origin = 1u << 30;
    expect(plan, VERIFY_RANGE);
    plan = sound();
    plan->variants[0].peak_op = 1u << 30;
    expect(plan, VERIFY_RANGE);
}

Test(broken, wrong_size)
{
    struct plan *plan = sound();
    plan->variants[0].train.tensors[plan->variants[0].train.ops[3].out[0]].bytes -= 256;
    expect(plan, VERIFY_SIZE);
    plan = sound();
    plan->devices[0].peak_bytes--;
    expect(plan, VERIFY_SIZE);
    plan = sound();
    plan->variants[0].lower_bound_bytes -= 256;
    expect(plan, VERIFY_SIZE);
    plan = sound();
    plan->variants[0].classes[MEMORY_KEPT] -= 256;
    expect(plan, VERIFY_SIZE);
    plan = sound();
    plan->devices[0].images--;
    expect(plan, VERIFY_SIZE);
}

/* A kept activation moved onto another that lives at the same time. */
Test(broken, overlap)
{
    struct plan *plan = sound();
    struct plan_program *program = &plan->variants[0].train;
    uint32_t conv = 1;
    while (plan->variants[0].graph->ops[program->ops[conv].op].kind != OP_CONV) conv++;
    struct plan_tensor *kept = &program->tensors[program->ops[0].out[0]];
    struct plan_tensor *moved = &program->tensors[program->ops[conv].out[0]];
    cr_assert_eq(kept->class, MEMORY_KEPT);
    cr_assert_eq(moved->class, MEMORY_KEPT);
    moved->offset = kept->offset;
    expect(plan, VERIFY_OVERLAP);
}

/* The plan lies about when the first convolution's output is dead, so that nothing overlaps on paper. */
Test(broken, early_reuse)
{
    struct plan *plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "80GiB", .recompute = RECOMPUTE_NONE);
    struct plan_variant *variant = &plan->variants[0];
    struct plan_tensor *kept = &variant->train.tensors[variant->train.ops[0].out[0]];
    cr_assert_eq(kept->class, MEMORY_KEPT);
    kept->last = 1;
    uint32_t later = find_op(plan, OP_ADD, PASS_FORWARD, 0) + 8;
    struct plan_tensor *moved = &variant->train.tensors[variant->train.ops[later].out[0]];
    cr_assert_eq(moved->bytes, kept->bytes);
    moved->offset = kept->offset;
    expect(plan, VERIFY_STALE);
}

/* A read outside the declared life of a tensor whose bytes are still there. */
Test(broken, lifetime)
{
    struct plan *plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "80GiB", .sharing = SHARING_NONE);
    struct plan_variant *variant = &plan->variants[0];
    struct plan_tensor *mask = &variant->train.tensors[variant->train.ops[1].out[1]];
    cr_assert_gt(mask->last, 60);
    mask->last = 2;
    enum verify_fault fault;
    cr_assert_not(plan_verify(plan, &fault, NULL));
    cr_assert(fault == VERIFY_RANGE || fault == VERIFY_SIZE);
    plan_destroy(plan);
}

Test(broken, missing_recompute)
{
    struct plan *plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "80GiB", .recompute = RECOMPUTE_ELEMENTWISE,
                                 .sharing = SHARING_NONE);
    struct plan_program *program = &plan->variants[0].train;
    uint32_t again = find_op(plan, OP_BN, PASS_RECOMPUTE, 0);
    remove_op(program, again);
    expect(plan, VERIFY_MISSING);
}

Test(broken, swapped_operands)
{
    struct plan *plan = sound();
    struct plan_op *add = &plan->variants[0].train.ops[find_op(plan, OP_ADD, PASS_FORWARD, 0)];
    uint32_t a = add->in[0];
    add->in[0] = add->in[1];
    add->in[1] = a;
    expect(plan, VERIFY_OPERAND);
    plan = sound();
    plan->variants[0].train.ops[find_op(plan, OP_CONV, PASS_FORWARD, 0)].in[4] = 0;
    expect(plan, VERIFY_OPERAND);
}

Test(broken, missing_op)
{
    struct plan *plan = sound();
    remove_op(&plan->variants[0].train, (uint32_t)plan->variants[0].train.op_count - 1);
    expect(plan, VERIFY_ORDER);
    plan = sound();
    remove_op(&plan->variants[0].train, find_op(plan, OP_ALL_REDUCE, PASS_COMM, 0));
    expect(plan, VERIFY_ORDER);
}

Test(broken, order_of_the_update)
{
    struct plan *plan = sound();
    struct plan_program *program = &plan->variants[0].train;
    uint32_t reduce = find_op(plan, OP_ALL_REDUCE, PASS_COMM, 0), update = find_op(plan, OP_UPDATE, PASS_UPDATE, 0);
    struct plan_op swap = program->ops[reduce];
    program->ops[reduce] = program->ops[update];
    program->ops[update] = swap;
    expect(plan, VERIFY_ORDER);
}

/* The loss scale: read by the loss's gradient, written by the checks, read by the updates, moved at the end. */
Test(broken, order_around_the_loss_scale)
{
    static const enum op_kind pairs[][2] = {{OP_GRADIENT_CHECK, OP_UPDATE}, {OP_UPDATE, OP_LOSS_SCALE_UPDATE}};
    for (size_t i = 0; i < 4; i++) {
        struct plan *plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "16GiB", .dtype = DTYPE_F16,
                                     .micro_batches = i < 2 ? 1 : 2);
        cr_assert(plan_verify(plan, NULL, NULL));
        struct plan_program *program = &plan->variants[0].train;
        uint32_t a = find_op(plan, pairs[i % 2][0], PASS_UPDATE, 0), b = find_op(plan, pairs[i % 2][1], PASS_UPDATE, 0);
        struct plan_op swap = program->ops[a];
        program->ops[a] = program->ops[b];
        program->ops[b] = swap;
        expect(plan, VERIFY_ORDER);
    }
    struct plan *plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "16GiB", .dtype = DTYPE_F16);
    remove_op(&plan->variants[0].train, find_op(plan, OP_GRADIENT_CHECK, PASS_UPDATE, 0));
    expect(plan, VERIFY_ORDER);
}

Test(broken, passes)
{
    struct plan *plan = sound();
    plan->variants[0].train.ops[0].pass = PASS_RECOMPUTE;
    expect(plan, VERIFY_ORDER);
    plan = sound();
    plan->variants[0].train.ops[find_op(plan, OP_BN, PASS_RECOMPUTE, 0)].pass = PASS_FORWARD;
    expect(plan, VERIFY_ORDER);
    plan = sound();
    plan->variants[0].evaluate.ops[0].pass = PASS_FORWARD;
    expect(plan, VERIFY_ORDER);
    plan = sound();
    plan->variants[0].train.ops[0].stream = 1;
    expect(plan, VERIFY_ORDER);
}

/* With micro-batches: a bucket that is reduced inside the repeated body. */
Test(broken, reduction_of_half_the_gradients)
{
    struct plan *plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "2x16GiB", .micro_batches = 2);
    plan->variants[0].train.body_count++;
    expect(plan, VERIFY_ORDER);
}

/* What only a second round can show: images of the next micro-batch over bytes that must survive the first. */
Test(broken, a_bucket_that_dies_between_micro_batches)
{
    struct plan *plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "16GiB", .micro_batches = 2);
    struct plan_program *program = &plan->variants[0].train;
    for (uint32_t t = 0; t < program->tensor_count; t++)
        if (program->tensors[t].origin != NO_TENSOR && origin_of(plan, t)->role == ROLE_BUCKET &&
            origin_of(plan, t)->class == CLASS_GRADIENT && origin_of(plan, t)->persistent)
            program->tensors[t].first = 1;
    expect(plan, VERIFY_RANGE);
}

Test(broken, reduction_given_up_before_it_ends)
{
    struct plan *plan = sound();
    struct plan_program *program = &plan->variants[0].train;
    uint32_t reduce = find_op(plan, OP_ALL_REDUCE, PASS_COMM, 0);
    program->tensors[program->ops[reduce].in[0]].last = reduce;
    for (uint32_t t = 0; t < program->tensor_count; t++)
        if (program->tensors[t].origin != NO_TENSOR && origin_of(plan, t)->class == CLASS_GRADIENT)
            program->tensors[t].last = reduce;
    expect(plan, VERIFY_OVERLAP);
}

/* Two places for the images, of which the loader would fill one. */
Test(broken, images_in_two_places)
{
    struct plan *plan = sound();
    struct plan_variant *variant = &plan->variants[0];
    for (uint32_t t = 0; t < variant->train.tensor_count; t++) {
        struct plan_tensor *tensor = &variant->train.tensors[t];
        if (tensor->origin != variant->graph->labels) continue;
        tensor->origin = variant->graph->images;
        tensor->bytes = variant->graph->tensors[tensor->origin].bytes;
    }
    expect(plan, VERIFY_RANGE);
}

/* Nothing makes the communication stream wait for whoever had these bytes before. */
Test(broken, scratch_on_the_communication_stream)
{
    struct plan *plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "2x16GiB");
    struct plan_program *program = &plan->variants[0].train;
    uint32_t reduce = find_op(plan, OP_ALL_REDUCE, PASS_COMM, 0), conv = find_op(plan, OP_CONV, PASS_FORWARD, 0);
    cr_assert_neq(program->ops[conv].workspace, NO_TENSOR);
    program->ops[reduce].workspace = program->ops[conv].workspace;
    expect(plan, VERIFY_ORDER);
}

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

/* ---- What lies apart ---- */

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

Test(broken, persistent_tensors_elsewhere_in_the_evaluation)
{
    struct plan *plan = kit_make(.model = "resnet-20", .batch = 16, .gpus = "80GiB");
    struct plan_program *program = &plan->variants[0].evaluate;
    uint32_t a = 0;
    while (program->tensors[a].bytes != program->tensors[a + 1].bytes || program->tensors[a].bytes > 1000) a++;
    uint64_t offset = program->tensors[a].offset;
    program->tensors[a].offset = program->tensors[a + 1].offset;
    program->tensors[a + 1].offset = offset;
    expect(plan, VERIFY_RANGE);
}

/* Every single change of one tensor's offset to another's must be found, unless the two never live together. */
Test(broken, any_tensor_moved_onto_any_other)
{
    struct plan *plan = kit_make(.model = "resnet-20", .batch = 4, .gpus = "80GiB", .recompute = RECOMPUTE_ELEMENTWISE);
    struct plan_program *program = &plan->variants[0].train;
    size_t found = 0, tried = 0;
    for (uint32_t a = 0; a < program->tensor_count; a += 3)
        for (uint32_t b = 1; b < program->tensor_count; b += 7) {
            struct plan_tensor *t = &program->tensors[a], *u = &program->tensors[b];
            if (t->first > u->last || u->first > t->last || t->offset == u->offset || u->offset % PLAN_ALIGN) continue;
            if (t->first == u->last || u->first == t->last) continue;
            if (t->offset % PLAN_ALIGN || u->offset + t->bytes > plan->variants[0].arena_bytes) continue;
            bool view = (t->origin != NO_TENSOR && origin_of(plan, a)->view_of != NO_TENSOR) ||
                        (u->origin != NO_TENSOR && origin_of(plan, b)->view_of != NO_TENSOR);
            uint64_t offset = t->offset;
            t->offset = u->offset;
            tried++;
            found += !plan_verify(plan, NULL, NULL);
            if (view) cr_assert_eq(found, tried);
            t->offset = offset;
        }
    cr_assert_gt(tried, 1000);
    cr_assert_eq(found, tried, "%zu of %zu", found, tried);
    cr_assert(plan_verify(plan, NULL, NULL));
    plan_destroy(plan);
}

Test(broken, verifying_without_memory_leaks_nothing)
{
    struct plan *plan = sound();
    uint64_t before = mem_current_bytes(MEM_PLAN);
    struct error err = {0};
    uint64_t n = 0;
    do {
        mem_fail_at(++n);
        err = (struct error){0};
        bool ok = plan_verify(plan, NULL, &err);
        bool fired = mem_fail_at(0);
        cr_assert_eq(ok, !fired);
        cr_assert_eq(mem_current_bytes(MEM_PLAN), before);
        if (ok) break;
        cr_assert_eq(err.kind, ERROR_MEMORY, "%s", err.text);
    } while (true);
    cr_assert_gt(n, 10);
    plan_destroy(plan);
}

/* ---- Additions turned round ---- */

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
