/* Live bytes, as the arena has them: the same figure in plans, pictures and traces. */
#include <criterion/criterion.h>

#include "mem.h"
#include "occupancy.h"

/* conv -> relu in place, a reduction of what the conv made, then an op with an output of its own. */
static struct tensor tensors[4] = {
    {.view_of = NO_TENSOR}, {.view_of = NO_TENSOR}, {.view_of = NO_TENSOR}, {.view_of = NO_TENSOR}};
static struct op ops[4] = {
    {.inputs = 1, .outputs = 1}, {.inputs = 1, .outputs = 1}, {.inputs = 1, .outputs = 1}, {.inputs = 1, .outputs = 1}};
static struct plan_tensor places[4] = {{.origin = 0, .offset = 0, .bytes = 1000, .first = 0, .last = 1},
                                       {.origin = 1, .offset = 1024, .bytes = 100, .first = 0, .last = 2},
                                       {.origin = 2, .offset = 0, .bytes = 600, .first = 1, .last = 3},
                                       {.origin = 3, .offset = 1024, .bytes = 256, .first = 3, .last = 3}};
#define NONE NO_TENSOR, NO_TENSOR
static struct plan_op steps[4] = {{.op = 0, .in = {0}, .out = {1, NONE}, .workspace = NO_TENSOR},
                                  {.op = 1, .in = {0}, .out = {2, NONE}, .workspace = NO_TENSOR},
                                  {.op = 2, .stream = 1, .in = {1}, .out = {1, NONE}, .workspace = NO_TENSOR},
                                  {.op = 3, .in = {2}, .out = {3, NONE}, .workspace = NO_TENSOR}};
static struct graph graph = {.tensors = tensors, .tensor_count = 4, .ops = ops, .op_count = 4, .metrics = NO_TENSOR};
static struct plan_program program = {steps, 4, 4, places, 4};

static void check_curve(const uint64_t wanted[4])
{
    struct error err = {0};
    uint64_t *live = occupancy_curve(&graph, &program, &err);
    cr_assert(live, "%s", err.text);
    for (int i = 0; i < 4; i++) cr_expect_eq(live[i], wanted[i], "op %d: %d", i, (int)live[i]);
    mem_free(live);
}

Test(occupancy, what_is_handed_over_counts_once_and_sizes_as_they_are_placed)
{
    check_curve((const uint64_t[4]){1024 + 256, 256 + 768, 256 + 768, 768 + 256});
}

Test(occupancy, views_and_host_memory_take_nothing)
{
    tensors[3].view_of = 2;
    places[1].host = true;
    check_curve((const uint64_t[4]){1024, 768, 768, 768});
}

Test(occupancy, a_tensor_holds_its_bytes_to_its_last_op_unless_that_gives_them_away)
{
    static const bool held[4][4] = {/* by op */
                                    {true, false, false, false},
                                    {true, true, true, false},
                                    {false, true, true, true},
                                    {false, false, false, true}};
    for (uint32_t t = 0; t < 4; t++)
        for (uint32_t op = 0; op < 4; op++)
            cr_expect_eq(occupancy_holds(&graph, &program, t, op), held[t][op], "tensor %u at op %u", t, op);
}

/* A copy in host memory may have the number of the offset that it is copied from. */
Test(occupancy, what_lies_in_host_memory_takes_no_bytes_over)
{
    places[2].host = true;
    cr_expect(occupancy_holds(&graph, &program, 0, 1));
    check_curve((const uint64_t[4]){1024 + 256, 1024 + 256, 256, 256});
}
