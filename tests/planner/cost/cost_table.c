/* Measured times: learnt from runs that are made up here by a law, asked for other models and batches. */
#include <stdlib.h>
#include <string.h>

#include "cost_kit.h"
#include "mem.h"

static void learn(struct cost_table *table, const char *model, uint32_t batch, const struct law *law)
{
    struct error err = {0};
    struct graph *graph = make_graph(model, batch, DTYPE_F32);
    struct cost_run run = make_run(graph, model, batch, law);
    cr_assert(cost_table_learn(table, &run, NULL, &err), "%s", err.text);
    free((void *)(uintptr_t)run.samples);
    graph_destroy(graph);
}

Test(costs, the_same_run_is_predicted_exactly)
{
    const struct law law = {1e-5, 1e-11};
    size_t sources[COST_SOURCES] = {0};
    struct cost_table *table = new_table();
    learn(table, "resnet-20", 8, &law);
    cr_assert_float_eq(compare(table, "resnet-20", 8, &law, sources), 1, 1e-9);
    cr_assert_eq(sources[COST_SCALED] + sources[COST_ROOFLINE], 0);
    cost_table_destroy(table);
}

Test(costs, deeper_nets_of_the_same_shapes_are_known_and_others_are_scaled)
{
    const struct law law = {0, 1e-11};
    size_t deeper[COST_SOURCES] = {0}, other[COST_SOURCES] = {0};
    struct cost_table *table = new_table();
    learn(table, "resnet-20", 8, &law);
    cr_assert_float_eq(compare(table, "resnet-56", 8, &law, deeper), 1, 0.01);
    cr_assert_lt(deeper[COST_SCALED], 3); /* the update: its bucket has another size */
    double ratio = compare(table, "resnet-164", 8, &law, other);
    cr_assert_gt(other[COST_SCALED], 100);
    cr_assert(ratio > 0.4 && ratio < 2.5, "%g", ratio);
    cost_table_destroy(table);
}

/* Which buckets there are is the plan's choice, for its devices; what an update of one takes goes by its bytes. */
Test(costs, updates_of_buckets_that_no_graph_has_are_known_by_their_bytes)
{
    const struct law law = {0, 1e-11};
    struct model_spec spec;
    struct error err = {0};
    const struct graph_options options = {.batch = 8, .micro_batches = 1, .bucket_bytes = 200000};
    cr_assert(model_parse("resnet-20", &MODEL_OPTIONS_DEFAULT, &spec, &err), "%s", err.text);
    struct graph *graph = graph_build(&spec, &options, &err);
    cr_assert(graph, "%s", err.text);
    struct cost_run run = make_run(graph, "resnet-20", 8, &law);
    struct cost_sample *samples = (struct cost_sample *)(uintptr_t)run.samples;
    struct cost_table *table = new_table();
    size_t updates = 0;
    for (size_t i = 0; i < graph->op_count; i++)
        if (graph->ops[i].kind == OP_UPDATE) samples[i].seconds = 7e-9 * (double)graph->ops[i].bytes_moved;
    cr_assert(cost_table_learn(table, &run, NULL, &err), "%s", err.text);
    struct cost_speed speed = cost_speed_of(&cpu, DTYPE_F32, table);
    for (size_t i = 0; i < graph->op_count; i++) {
        if (graph->ops[i].kind != OP_UPDATE) continue;
        double seconds = cost_op_seconds(&speed, graph, &graph->ops[i]);
        cr_expect_float_eq(seconds, samples[i].seconds, 0.01 * samples[i].seconds, "%g instead of %g", seconds,
                           samples[i].seconds);
        updates++;
    }
    cr_expect_gt(updates, 3);
    cost_table_destroy(table);
    free(samples);
    graph_destroy(graph);
}

Test(costs, one_batch_is_taken_in_proportion_and_two_as_a_line)
{
    const struct law law = {1e-4, 1e-11};
    size_t sources[COST_SOURCES] = {0};
    struct cost_table *one = new_table(), *two = new_table();
    learn(one, "resnet-20", 4, &law);
    cr_assert_gt(compare(one, "resnet-20", 16, &law, sources), 1.5);
    learn(two, "resnet-20", 4, &law);
    learn(two, "resnet-20", 8, &law);
    cr_assert_float_eq(compare(two, "resnet-20", 16, &law, sources), 1, 1e-6);
    cr_assert_float_eq(compare(two, "resnet-20", 6, &law, sources), 1, 1e-6);
    cost_table_destroy(one);
    cost_table_destroy(two);
}

Test(costs, noise_never_makes_a_time_negative)
{
    const struct law slow = {1e-3, 0}, fast = {1e-5, 0};
    size_t sources[COST_SOURCES] = {0};
    struct cost_table *table = new_table();
    learn(table, "resnet-20", 4, &slow);
    learn(table, "resnet-20", 8, &fast);
    struct graph *graph = make_graph("resnet-20", 512, DTYPE_F32);
    struct cost_speed speed = cost_speed_of(&cpu, DTYPE_F32, table);
    for (size_t i = 0; i < graph->op_count; i++) cr_expect_gt(cost_op_seconds(&speed, graph, &graph->ops[i]), 0);
    compare(table, "resnet-20", 1, &slow, sources);
    graph_destroy(graph);
    cost_table_destroy(table);
}

Test(costs, what_a_step_takes_beside_its_ops_is_shared_among_them)
{
    const struct law law = {1e-4, 0};
    struct error err = {0};
    size_t sources[COST_SOURCES] = {0};
    struct cost_table *table = new_table();
    struct graph *graph = make_graph("resnet-20", 4, DTYPE_F32);
    struct cost_run run = make_run(graph, "resnet-20", 4, &law);
    run.step_seconds *= 1.5;
    cr_assert(cost_table_learn(table, &run, NULL, &err), "%s", err.text);
    cr_assert_float_eq(compare(table, "resnet-20", 4, &law, sources), 1.5, 1e-9);
    free((void *)(uintptr_t)run.samples);
    graph_destroy(graph);
    cost_table_destroy(table);
}

Test(costs, micro_batches_and_16_bit_runs_are_recognised)
{
    const struct law law = {1e-5, 1e-11};
    struct error err = {0};
    size_t sources[COST_SOURCES] = {0};
    struct cost_table *table = new_table();
    struct graph *graph = make_graph("resnet-20", 4, DTYPE_BF16);
    struct cost_run run = make_run(graph, "resnet-20", 4, &law);
    run.images = 16; /* four parts of 4 */
    run.step_seconds = 0;
    cr_assert(cost_table_learn(table, &run, NULL, &err), "%s", err.text);
    struct graph *half = make_graph("resnet-20", 4, DTYPE_F16);
    struct cost_speed speed = cost_speed_of(&cpu, DTYPE_F16, table);
    size_t shared = 0; /* ops that the bf16 run has too: it needs no loss scale */
    for (size_t i = 0; i < half->op_count; i++) {
        enum op_kind kind = half->ops[i].kind;
        enum cost_source source;
        double seconds = cost_table_seconds(table, &speed, half, &half->ops[i], &source);
        if (kind == OP_GRADIENT_CHECK || kind == OP_LOSS_SCALE_UPDATE) continue;
        shared++;
        sources[source]++;
        cr_expect_gt(seconds, 0);
    }
    cr_assert_eq(shared, graph->op_count);
    cr_assert_eq(sources[COST_MEASURED], shared);
    free((void *)(uintptr_t)run.samples);
    graph_destroy(graph);
    graph_destroy(half);
    cost_table_destroy(table);
}

Test(costs, times_hold_for_the_device_they_were_taken_on)
{
    const struct law law = {1e-5, 1e-11};
    struct error err = {0};
    struct cost_table *host = new_table(), *gpu = new_table();
    uint32_t devices;
    learn(host, "resnet-20", 4, &law);
    cr_assert(cost_table_applies(host, &cpu));
    cr_assert_not(cost_table_applies(host, catalogue_find("h100")));
    cr_assert_str_eq(cost_table_device(host, &devices), "cpu");
    cr_assert_eq(devices, 1);
    struct graph *graph = make_graph("resnet-20", 4, DTYPE_F32);
    struct cost_run run = make_run(graph, "resnet-20", 4, &law);
    run.on_cpu = false;
    run.device = "NVIDIA H100 80GB HBM3";
    cr_assert(cost_table_learn(gpu, &run, NULL, &err), "%s", err.text);
    cr_assert(cost_table_applies(gpu, catalogue_find("h100")));
    cr_assert_not(cost_table_applies(gpu, catalogue_find("h200")));
    cr_assert_not(cost_table_applies(gpu, &cpu));
    cr_assert_null(cost_speed_of(catalogue_find("h200"), DTYPE_F32, gpu).measured);
    cr_assert_not(cost_table_learn(host, &run, NULL, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    free((void *)(uintptr_t)run.samples);
    graph_destroy(graph);
    cost_table_destroy(host);
    cost_table_destroy(gpu);
}

Test(costs, all_reduces_tell_the_speed_of_links)
{
    const struct law law = {1e-5, 1e-11};
    struct error err = {0};
    struct cost_table *table = new_table();
    struct graph *graph = make_graph("resnet-8", 4, DTYPE_F32);
    struct cost_run run = make_run(graph, "resnet-8", 4, &law);
    cr_assert(cost_table_learn(table, &run, NULL, &err), "%s", err.text);
    cr_assert_eq(cost_table_link(table), 0);
    cost_table_destroy(table);
    table = new_table();
    struct cost_sample *last = &((struct cost_sample *)(uintptr_t)run.samples)[run.count - 1];
    *last = (struct cost_sample){"gradients", "all_reduce", "comm", 0, 2000000000, 0.5}; /* 1 GB, read and written */
    run.devices = 4;
    cr_assert(cost_table_learn(table, &run, NULL, &err), "%s", err.text);
    cr_assert_float_eq(cost_table_link(table), 3e9, 1); /* 2 x 3/4 of it in half a second */
    free((void *)(uintptr_t)run.samples);
    graph_destroy(graph);
    cost_table_destroy(table);
}

static void refuse_beside(struct cost_run run, const struct model_spec *planned, const char *part)
{
    struct error err = {0};
    struct cost_table *table = new_table();
    cr_expect_not(cost_table_learn(table, &run, planned, &err), "%s", part);
    cr_expect_eq(err.kind, ERROR_INPUT);
    cr_expect(strstr(err.text, "run.trace") && strstr(err.text, part), "'%s' lacks '%s'", err.text, part);
    cr_expect_not(cost_table_applies(table, &cpu));
    cost_table_destroy(table);
}

static void refuse(struct cost_run run, const char *part) { refuse_beside(run, NULL, part); }

/* A trace of what is planned would do too, where that has images or classes of its own. */
static void refuse_images(struct cost_run run)
{
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    struct model_spec planned;
    cr_assert(model_parse(run.model, &options, &planned, NULL));
    refuse_beside(run, &planned, "a trace of its usual images and classes is wanted");
    options.classes = 7;
    cr_assert(model_parse(run.model, &options, &planned, NULL));
    refuse_beside(run, &planned, "a trace of the images and classes that are planned, or of its usual ones, is wanted");
    refuse(run, "a trace of its usual images and classes is wanted");
}

Test(costs, wrong_runs_are_refused)
{
    const struct law law = {1e-5, 1e-11}, never = {0, 0};
    struct graph *graph = make_graph("resnet-20", 4, DTYPE_F32), *other = make_graph("resnet-164", 4, DTYPE_F32);
    struct cost_run run = make_run(graph, "resnet-20", 4, &law), wrong = run;
    wrong.model = "lenet";
    refuse(wrong, "lenet");
    wrong = run;
    wrong.dataset = "mnist";
    refuse(wrong, "mnist");
    wrong = run;
    wrong.images = 2; /* fewer than an op has */
    refuse(wrong, "convolutions");
    refuse_images(wrong);
    struct cost_run huge = make_run(graph, "resnet-20", 4, &law);
    for (size_t i = 0; i < huge.count; i++) ((struct cost_sample *)(uintptr_t)huge.samples)[i].flops <<= 28;
    huge.images = UINT32_MAX;
    refuse(huge, "convolutions");
    free((void *)(uintptr_t)huge.samples);
    wrong = run;
    wrong.count = 0;
    refuse(wrong, "resnet-20");
    struct cost_run untimed = make_run(graph, "resnet-20", 4, &never);
    untimed.step_seconds = 1;
    refuse(untimed, "timed");
    struct cost_run confused = make_run(other, "resnet-20", 4, &law);
    refuse(confused, "resnet-20");
    free((void *)(uintptr_t)run.samples);
    free((void *)(uintptr_t)untimed.samples);
    free((void *)(uintptr_t)confused.samples);
    graph_destroy(graph);
    graph_destroy(other);
}

Test(costs, a_failed_allocation_leaves_the_table_as_it_was)
{
    const struct law law = {1e-5, 1e-11};
    struct error err = {0};
    size_t sources[COST_SOURCES] = {0};
    struct cost_table *table = new_table();
    learn(table, "resnet-8", 2, &law);
    struct graph *graph = make_graph("resnet-8", 4, DTYPE_F32);
    struct cost_run run = make_run(graph, "resnet-8", 4, &law);
    uint64_t before = mem_current_bytes(MEM_PLAN) + mem_current_bytes(MEM_GRAPH);
    bool done = false;
    for (uint64_t n = 1; !done && n < 10000; n += n < 64 ? 1 : 7) {
        mem_fail_at(n);
        done = cost_table_learn(table, &run, NULL, &err);
        mem_fail_at(0);
        if (done) break;
        cr_assert_eq(err.kind, ERROR_MEMORY, "%s", err.text);
        cr_assert_float_eq(compare(table, "resnet-8", 2, &law, sources), 1, 1e-9);
        cr_assert_geq(before + 65536, mem_current_bytes(MEM_PLAN) + mem_current_bytes(MEM_GRAPH));
    }
    cr_assert(done);
    free((void *)(uintptr_t)run.samples);
    graph_destroy(graph);
    cost_table_destroy(table);
}

static void check_all_known(const struct cost_table *table, const struct graph *graph, const struct law *law)
{
    struct cost_speed speed = cost_speed_of(&cpu, DTYPE_F32, table);
    for (size_t k = 0; k < graph->op_count; k++) {
        enum cost_source source;
        double seconds = cost_table_seconds(table, &speed, graph, &graph->ops[k], &source);
        cr_expect_eq(source, COST_MEASURED, "%s of %s", op_kind_name(graph->ops[k].kind),
                     graph->layers[graph->ops[k].layer].path);
        cr_expect_float_eq(seconds, law_seconds(law, &graph->ops[k]), 1e-9);
    }
}

/* A trace names the model and not its form, by which the ops at a place differ. */
Test(cost_table, runs_of_another_form_than_is_planned)
{
    static const struct {
        enum unit_kind unit;
        enum shortcut_kind shortcut;
        uint32_t lowering;
    } forms[] = {{UNIT_PREACT, SHORTCUT_A, 0},
                 {UNIT_ORIGINAL, SHORTCUT_C, 0},
                 {UNIT_RELU_ONLY_PREACT, SHORTCUT_A, 0},
                 {UNIT_PREACT, SHORTCUT_EXCLUSIVE_GATE, 0},
                 {UNIT_PREACT, SHORTCUT_B, LOWER_ALL}};
    const struct law law = {1e-5, 1e-11};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct cost_table *table = new_table();
        struct error err = {0};
        struct model_options form = MODEL_OPTIONS_DEFAULT;
        form.unit = (int)forms[i].unit;
        form.shortcut = (int)forms[i].shortcut;
        struct graph *graph = make_form("resnet-8", &form, 8, DTYPE_F32, forms[i].lowering);
        struct cost_run run = make_run(graph, "resnet-8", 8, &law);
        cr_assert(cost_table_learn(table, &run, NULL, &err), "%s", err.text);
        check_all_known(table, graph, &law);
        free((void *)(uintptr_t)run.samples);
        graph_destroy(graph);
        cost_table_destroy(table);
    }
}

/* A trace of a lowered program is known by its ops, and its times are of what those ops do besides. */
Test(cost_table, runs_of_lowered_programs)
{
    static const uint32_t lowerings[] = {LOWER_ALL, LOWER_ALL & ~LOWER_ADD,
                                         LOWER_ALL & ~(LOWER_GRADIENT | LOWER_WEIGHTS)};
    const struct law law = {1e-5, 1e-11};
    for (size_t i = 0; i < sizeof lowerings / sizeof lowerings[0]; i++) {
        struct cost_table *table = cost_table_create(NULL);
        struct error err = {0};
        struct graph *graph = make_lowered("resnet-29", 8, DTYPE_F32, lowerings[i]);
        struct cost_run run = make_run(graph, "resnet-29", 8, &law);
        cr_assert(cost_table_learn(table, &run, NULL, &err), "%s", err.text);
        check_all_known(table, graph, &law);
        free((void *)(uintptr_t)run.samples);
        graph_destroy(graph);
        cost_table_destroy(table);
    }
}
