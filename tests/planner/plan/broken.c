/* Plans broken on purpose, each in one way: the verifier must refuse each by its own rule. */
#include "broken_kit.h"
#include "mem.h"
#include "planner_kit.h"
#include "sharing.h"
#include "verify.h"

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
