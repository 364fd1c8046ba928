/* Offloading plans broken on purpose, each in one way: the verifier refuses each by its own rule. */
#include <string.h>

#include "keep.h"
#include "offload_kit.h"
#include "plan_request.h"
#include "planner_kit.h"
#include "verify.h"

static void expect(struct plan *plan, enum verify_fault wanted, const char *what)
{
    enum verify_fault fault = VERIFY_OK;
    struct error err = {0};
    cr_assert_not(plan_verify(plan, &fault, &err), "%s: a broken plan verified", what);
    cr_assert_eq(fault, wanted, "%s: found %s instead of %s: %s", what, verify_fault_name(fault),
                 verify_fault_name(wanted), err.text);
    plan_destroy(plan);
}

static uint32_t keep(uint32_t block)
{
    (void)block;
    return KEEP_ALL | KEEP_ON_HOST;
}

static struct plan *sound(void)
{
    struct plan *plan = kit_make(.model = "resnet-20", .batch = 32, .gpus = "16GiB", .recompute = RECOMPUTE_NONE);
    struct plan_request request = {.spec = plan->spec, .batch = plan->batch};
    struct chain_schedule schedule = offload_save_all(plan->variants[0].graph->block_count, keep);
    struct error err = {0};
    offload_follow(plan, &request, &schedule);
    chain_schedule_finish(&schedule);
    cr_assert(plan_verify(plan, NULL, &err), "%s", err.text);
    return plan;
}

static struct plan_program *train_of(struct plan *plan) { return &plan->variants[0].train; }

/* The n-th copy that way. */
static uint32_t find_copy(struct plan *plan, enum op_pass pass, size_t n)
{
    for (uint32_t i = 0; i < train_of(plan)->op_count; i++)
        if (train_of(plan)->ops[i].pass == pass && n-- == 0) return i;
    cr_assert_fail("no such copy");
    return 0;
}

static void remove_op(struct plan_program *program, uint32_t op)
{
    memmove(&program->ops[op], &program->ops[op + 1], (program->op_count - op - 1) * sizeof program->ops[0]);
    program->op_count--;
    program->body_count--;
    for (size_t t = 0; t < program->tensor_count; t++) {
        program->tensors[t].first -= program->tensors[t].first > op;
        program->tensors[t].last -= program->tensors[t].last >= op && program->tensors[t].last > 0;
    }
}

static struct plan_tensor *host_of(struct plan *plan, size_t n)
{
    return &train_of(plan)->tensors[train_of(plan)->ops[find_copy(plan, PASS_OFFLOAD, n)].out[0]];
}

/* Two that are live together and equally large. */
static void find_pair(struct plan *plan, struct plan_tensor **a, struct plan_tensor **b)
{
    for (size_t n = 0;; n++)
        for (size_t m = 0; m < n; m++) {
            *a = host_of(plan, m);
            *b = host_of(plan, n);
            if ((*a)->bytes == (*b)->bytes && (*b)->first <= (*a)->last && (*a)->first <= (*b)->last) return;
        }
}

Test(broken, host_bytes_that_meet)
{
    struct plan *plan = sound();
    struct plan_tensor *a, *b;
    find_pair(plan, &a, &b);
    b->offset = a->offset;
    expect(plan, VERIFY_OVERLAP, "two at the same bytes");
    plan = sound();
    find_pair(plan, &a, &b);
    b->offset = a->offset;
    a->last = a->first;
    expect(plan, VERIFY_STALE, "given to another too early");
}

Test(broken, outside_the_host_memory)
{
    struct plan *plan = sound();
    host_of(plan, 1)->offset = plan->variants[0].host_bytes;
    expect(plan, VERIFY_RANGE, "past the end");
    plan = sound();
    plan->variants[0].host_bytes = 4096;
    expect(plan, VERIFY_RANGE, "too little of it");
    plan = sound();
    plan->variants[0].host_bytes = UINT64_MAX;
    expect(plan, VERIFY_RANGE, "more than there is");
}

Test(broken, a_fetch_of_what_another_offload_wrote)
{
    struct plan *plan = sound();
    struct plan_program *train = train_of(plan);
    struct plan_tensor *a, *b;
    find_pair(plan, &a, &b);
    uint32_t first = (uint32_t)(a - train->tensors), second = (uint32_t)(b - train->tensors);
    for (uint32_t i = 0; i < train->op_count; i++) /* the fetches of the two are exchanged */
        if (train->ops[i].pass == PASS_FETCH && (train->ops[i].in[0] == first || train->ops[i].in[0] == second))
            train->ops[i].in[0] ^= first ^ second;
    expect(plan, VERIFY_OPERAND, "another tensor's bytes");
}

Test(broken, copies_that_are_missing)
{
    struct plan *plan = sound();
    remove_op(train_of(plan), find_copy(plan, PASS_OFFLOAD, 3));
    expect(plan, VERIFY_MISSING, "nothing was offloaded");
    plan = sound();
    remove_op(train_of(plan), find_copy(plan, PASS_FETCH, 3));
    expect(plan, VERIFY_MISSING, "nothing was fetched");
}

Test(broken, a_fetch_after_its_reader)
{
    struct plan *plan = sound();
    struct plan_program *train = train_of(plan);
    uint32_t at = find_copy(plan, PASS_FETCH, 2), end = (uint32_t)train->body_count - 1;
    struct plan_op fetch = train->ops[at];
    train->tensors[fetch.in[0]].last = train->tensors[fetch.out[0]].last = end;
    memmove(&train->ops[at], &train->ops[at + 1], (end - at) * sizeof fetch);
    train->ops[end] = fetch;
    for (size_t t = 0; t < train->tensor_count; t++) /* everything lives long: only the order is wrong */
        if (train->tensors[t].first > at) train->tensors[t].first--;
    enum verify_fault fault;
    struct error err = {0};
    cr_assert_not(plan_verify(plan, &fault, &err));
    cr_assert(fault == VERIFY_MISSING || fault == VERIFY_OVERLAP, "%s: %s", verify_fault_name(fault), err.text);
    plan_destroy(plan);
}

/* The bytes that a copy still reads are given to another before the copy's place. */
Test(broken, reuse_before_the_copy_has_its_place)
{
    struct plan *plan = sound();
    struct plan_program *train = train_of(plan);
    uint32_t at = find_copy(plan, PASS_OFFLOAD, 4);
    struct plan_tensor *leaving = &train->tensors[train->ops[at].in[0]];
    struct plan_tensor *other = NULL;
    for (size_t t = 0; t < train->tensor_count && !other; t++)
        if (!train->tensors[t].host && train->tensors[t].first > leaving->first + 1 && train->tensors[t].first < at &&
            train->tensors[t].last > at && train->tensors[t].bytes <= leaving->bytes)
            other = &train->tensors[t];
    cr_assert(other);
    other->offset = leaving->offset;
    expect(plan, VERIFY_OVERLAP, "as declared");
    plan = sound();
    train = train_of(plan);
    leaving = &train->tensors[train->ops[at].in[0]];
    leaving->last = leaving->first + 1;
    expect(plan, VERIFY_RANGE, "given up before it has left");
}

Test(broken, copies_of_the_wrong_kind)
{
    struct plan *plan = sound();
    uint32_t at = find_copy(plan, PASS_OFFLOAD, 0);
    train_of(plan)->ops[at].stream = STREAM_COMPUTE;
    expect(plan, VERIFY_ORDER, "on the compute stream");
    plan = sound();
    train_of(plan)->ops[find_copy(plan, PASS_FETCH, 0)].stream = STREAM_TO_HOST;
    expect(plan, VERIFY_ORDER, "on the stream of the other direction");
    plan = sound();
    train_of(plan)->ops[at].in[1] = train_of(plan)->ops[at].in[0];
    expect(plan, VERIFY_OPERAND, "of two tensors");
    plan = sound();
    train_of(plan)->ops[at].op++;
    expect(plan, VERIFY_OPERAND, "of another op's result");
    plan = sound();
    train_of(plan)->tensors[train_of(plan)->ops[at].out[0]].host = false;
    cr_assert_not(plan_verify(plan, NULL, &(struct error){0}), "within the arena");
    plan_destroy(plan);
    plan = sound();
    train_of(plan)->tensors[train_of(plan)->ops[at].in[0]].host = true;
    cr_assert_not(plan_verify(plan, NULL, &(struct error){0}), "a convolution writes to host memory");
    plan_destroy(plan);
}

Test(broken, evaluation_does_not_copy)
{
    struct plan *plan = sound();
    struct plan_program *evaluate = &plan->variants[0].evaluate;
    evaluate->ops[5].pass = PASS_OFFLOAD;
    expect(plan, VERIFY_ORDER, "in the evaluation");
}
