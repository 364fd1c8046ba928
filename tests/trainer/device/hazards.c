/* What follows from a program's byte ranges, on a small program made by hand, and on real ones. */
#include <criterion/criterion.h>

#include "hazards.h"
#include "init.h"
#include "train_help.h"

/* conv -> relu in place on stream 0, a reduction on stream 1 of what the conv made, then an op that takes its bytes. */
static struct tensor tensors[4];
static struct op ops[4] = {
    {.inputs = 1, .outputs = 1}, {.inputs = 1, .outputs = 1}, {.inputs = 1, .outputs = 1}, {.inputs = 1, .outputs = 1}};
static struct plan_tensor places[4] = {{.origin = 0, .offset = 0, .bytes = 100, .first = 0, .last = 1},
                                       {.origin = 1, .offset = 100, .bytes = 100, .first = 0, .last = 2},
                                       {.origin = 2, .offset = 0, .bytes = 60, .first = 1, .last = 3},
                                       {.origin = 3, .offset = 150, .bytes = 100, .first = 3, .last = 3}};
static struct plan_op steps[4] = {{.op = 0, .in = {0}, .out = {1}, .workspace = NO_TENSOR},
                                  {.op = 1, .in = {0}, .out = {2}, .workspace = NO_TENSOR},
                                  {.op = 2, .stream = 1, .in = {1}, .out = {1}, .workspace = NO_TENSOR},
                                  {.op = 3, .in = {2}, .out = {3}, .workspace = NO_TENSOR}};
static struct graph graph = {.tensors = tensors, .tensor_count = 4, .ops = ops, .op_count = 4, .metrics = NO_TENSOR};
static struct plan_program program = {steps, 4, 4, places, 4};

static void reset(void)
{
    for (int i = 0; i < 4; i++) tensors[i] = (struct tensor){.view_of = NO_TENSOR};
}

TestSuite(lifetime, .init = reset);

Test(lifetime, bytes_die_with_their_last_reader_unless_another_tensor_has_them)
{
    struct dead_bytes dead;
    struct error err = {0};
    cr_assert(dead_bytes_find(&graph, &program, &dead, &err), "%s", err.text);
    const uint32_t first[5] = {0, 0, 1, 2, 4};
    cr_assert_eq(memcmp(dead.first, first, sizeof first), 0);
    cr_assert_eq(dead.ranges[0].offset, 60, "the first 60 bytes go on as tensor 2");
    cr_assert_eq(dead.ranges[0].bytes, 40);
    cr_assert_eq(dead.ranges[1].offset, 100);
    cr_assert_eq(dead.ranges[1].bytes, 100);
    dead_bytes_finish(&dead);
    tensors[1].persistent = true; /* now nothing of it may die, and it cuts the last op's bytes */
    cr_assert(dead_bytes_find(&graph, &program, &dead, &err));
    cr_assert_eq(dead.first[2], dead.first[3]);
    cr_assert_eq(dead.ranges[dead.first[4] - 1].offset, 200);
    dead_bytes_finish(&dead);
}

Test(lifetime, streams_wait_where_they_share_bytes)
{
    struct stream_waits waits[4];
    struct error err = {0};
    cr_assert(stream_waits_find(&graph, &program, NULL, waits, &err));
    cr_assert_eq(waits[0].op[1], NO_OP);
    cr_assert_eq(waits[1].op[1], NO_OP);
    cr_assert_eq(waits[2].op[0], 0, "the reduction waits for the op that made its input");
    cr_assert_eq(waits[3].op[1], 2, "its bytes are written again only after the reduction");
    places[3].offset = 300;
    cr_assert(stream_waits_find(&graph, &program, NULL, waits, &err));
    cr_assert_eq(waits[3].op[1], NO_OP);
}

/* Two ops of another stream read what the first op made; the last one's workspace lies over it. */
Test(lifetime, readers_wait_for_writers_once_and_workspaces_for_readers)
{
    static struct plan_tensor made[] = {{.origin = 0, .offset = 0, .bytes = 100, .first = 0, .last = 1},
                                        {.origin = 1, .offset = 100, .bytes = 100, .first = 0, .last = 3},
                                        {.origin = 2, .offset = 0, .bytes = 60, .first = 1, .last = 4},
                                        {.origin = 3, .offset = 300, .bytes = 50, .first = 2, .last = 4},
                                        {.origin = 3, .offset = 400, .bytes = 50, .first = 3, .last = 3},
                                        {.origin = NO_TENSOR, .offset = 150, .bytes = 10, .first = 4, .last = 4},
                                        {.origin = 3, .offset = 500, .bytes = 10, .first = 4, .last = 4}};
    struct plan_op run[] = {{.op = 0, .in = {0}, .out = {1}, .workspace = NO_TENSOR},
                            {.op = 1, .in = {0}, .out = {2}, .workspace = NO_TENSOR},
                            {.op = 2, .stream = 1, .in = {1}, .out = {3}, .workspace = NO_TENSOR},
                            {.op = 2, .stream = 1, .in = {1}, .out = {4}, .workspace = NO_TENSOR},
                            {.op = 3, .in = {2}, .out = {6}, .workspace = 5}};
    struct plan_program two_readers = {run, 5, 5, made, 7};
    struct stream_waits waits[5];
    struct error err = {0};
    cr_assert(stream_waits_find(&graph, &two_readers, NULL, waits, &err), "%s", err.text);
    cr_expect_eq(waits[2].op[0], 0);
    cr_expect_eq(waits[3].op[0], NO_OP, "its stream has waited for that already");
    cr_expect_eq(waits[4].op[1], 3, "the last of both");
    run[4].workspace = NO_TENSOR;
    cr_assert(stream_waits_find(&graph, &two_readers, NULL, waits, &err), "%s", err.text);
    cr_expect_eq(waits[4].op[1], NO_OP);
}

Test(lifetime, host_memory_and_what_is_empty_stand_in_nobodys_way)
{
    struct stream_waits waits[4];
    struct error err = {0};
    places[1].host = true;
    cr_assert(stream_waits_find(&graph, &program, NULL, waits, &err), "%s", err.text);
    cr_expect_eq(waits[2].op[0], 0);
    cr_expect_eq(waits[3].op[1], NO_OP, "the same numbers in another memory");
    places[1].host = false;
    places[3].bytes = 0;
    cr_assert(stream_waits_find(&graph, &program, NULL, waits, &err), "%s", err.text);
    cr_expect_eq(waits[3].op[1], NO_OP, "no bytes among others");
}

/* What is made later in the same bytes does not keep them alive; the metrics are read after the last op. */
Test(lifetime, bytes_are_dead_until_others_are_made_there_and_metrics_never)
{
    struct dead_bytes dead;
    struct error err = {0};
    places[2].bytes = 100;
    cr_assert(dead_bytes_find(&graph, &program, &dead, &err), "%s", err.text);
    cr_expect_eq(dead.first[2], dead.first[1], "tensor 2 has them all");
    dead_bytes_finish(&dead);
    places[2].bytes = 60;
    places[2].first = 2;
    cr_assert(dead_bytes_find(&graph, &program, &dead, &err), "%s", err.text);
    cr_expect(dead.first[2] == dead.first[1] + 1 && dead.ranges[dead.first[1]].bytes == 100);
    dead_bytes_finish(&dead);
    graph.metrics = 3;
    cr_assert(dead_bytes_find(&graph, &program, &dead, &err), "%s", err.text);
    cr_expect_eq(dead.first[4], dead.first[3] + 1, "tensor 2 alone");
    dead_bytes_finish(&dead);
}

Test(lifetime, no_allocation_failure_leaks)
{
    uint64_t before = mem_current_bytes(MEM_KERNEL);
    bool ok = false;
    for (uint64_t n = 1; !ok; n++) {
        struct dead_bytes dead;
        struct error err = {0};
        mem_fail_at(n);
        ok = dead_bytes_find(&graph, &program, &dead, &err);
        mem_fail_at(0);
        cr_assert(ok || err.kind == ERROR_MEMORY);
        dead_bytes_finish(&dead);
        cr_assert_eq(mem_current_bytes(MEM_KERNEL), before);
    }
}

/* The first weights: their spread is He's, they depend on seed and place alone. */
Test(lifetime, weights_begin_as_the_papers_say)
{
    struct model_spec spec;
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    struct graph_options small = {.batch = 2}, large = {.batch = 6, .micro_batches = 2};
    struct error err = {0};
    cr_assert(model_parse("resnet-20", &options, &spec, &err), "%s", err.text);
    struct graph *a = graph_build(&spec, &small, &err), *b = graph_build(&spec, &large, &err);
    cr_assert(a && b, "%s", err.text);
    static float x[64 * 64 * 9], y[64 * 64 * 9];
    for (uint32_t i = 0; i < a->parameter_count; i++) {
        const struct tensor *t = &a->tensors[a->parameters[i]];
        uint64_t count = tensor_elements(t);
        double sum = 0, squares = 0;
        init_parameter(a, i, INIT_HE, 7, x);
        init_parameter(b, i, INIT_HE, 7, y);
        cr_assert_eq(memcmp(x, y, count * sizeof *x), 0, "parameter %u depends on the plan", i);
        init_parameter(a, i, INIT_HE, 8, y);
        bool random = t->role == ROLE_WEIGHT;
        cr_assert_eq(memcmp(x, y, count * sizeof *x) != 0, random);
        for (uint64_t k = 0; k < count; k++) {
            sum += x[k];
            squares += (double)x[k] * x[k];
        }
        double mean = sum / (double)count, variance = squares / (double)count;
        if (!random) cr_assert(mean == (t->role == ROLE_GAMMA ? 1 : 0));
        if (!random || t->dims[1] != 3) continue;
        double wanted = 2.0 / (9.0 * t->dims[0]), error = 5 * wanted * sqrt(2.0 / (double)count);
        cr_assert_float_eq(variance, wanted, error, "parameter %u: variance %g, %g is right", i, variance, wanted);
        cr_assert_float_eq(mean, 0, 5 * sqrt(wanted / (double)count));
    }
    graph_destroy(a);
    graph_destroy(b);
}
