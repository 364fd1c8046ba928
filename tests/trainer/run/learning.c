#include <criterion/criterion.h>

#include "json.h"
#include "train_help.h"

TestSuite(learning, .init = run_make_data, .fini = run_remove_data);

Test(learning, the_loss_falls_on_a_repeated_batch)
{
    struct small_run run = {.options = {.iterations = 25, .repeat_batch = true}};
    run_go(&run);
    cr_assert(run.ok, "%s", run.err.text);
    cr_assert_float_eq(run.losses[0], 2.3, 0.8, "an untrained net guesses: %g", run.losses[0]);
    cr_assert_lt(run.losses[24], 0.5 * run.losses[0], "%g after %g", run.losses[24], run.losses[0]);
    cr_assert(isnan(run.result.top1_error), "a run on one batch has nothing to evaluate");
}

Test(learning, inception_modules_learn)
{
    struct small_run run = {
        .model = "bn-inception", .cifar = true, .batch = 8, .options = {.iterations = 12, .repeat_batch = true}};
    run_go(&run);
    cr_assert(run.ok, "%s", run.err.text);
    cr_assert_float_eq(run.losses[0], 2.3, 0.8, "an untrained net guesses: %g", run.losses[0]);
    cr_assert_lt(run.losses[11], 0.5 * run.losses[0], "%g after %g", run.losses[11], run.losses[0]);
}

Test(learning, equal_seeds_give_equal_runs_and_others_do_not)
{
    struct small_run a = {.options = {.iterations = 3, .seed = 3}}, b = a, c = a;
    c.options.seed = 4;
    run_go(&a);
    run_go(&b);
    run_go(&c);
    cr_assert_eq(memcmp(a.losses, b.losses, 3 * sizeof(double)), 0);
    cr_assert_neq(a.losses[0], c.losses[0]);
    cr_assert(a.result.top1_error == b.result.top1_error);
}

/* Two correct implementations differ by rounding alone. */
Test(learning, the_fast_backend_follows_the_reference)
{
    struct small_run fast = {.batch = 4, .options.iterations = 4};
    struct small_run naive = {.batch = 4, .options.iterations = 4, .backend = &cpu_reference_backend};
    fast.options.skip_evaluation = naive.options.skip_evaluation = true;
    run_go(&fast);
    run_go(&naive);
    cr_assert(fast.ok && naive.ok, "%s%s", fast.err.text, naive.err.text);
    cr_assert_float_eq(fast.losses[0], naive.losses[0], 1e-5);
    for (int i = 1; i < 4; i++)
        cr_assert_float_eq(fast.losses[i], naive.losses[i], 5e-3 * naive.losses[i], "step %d: %.9g, %.9g", i,
                           fast.losses[i], naive.losses[i]);
}

Test(learning, the_log_has_a_line_per_step)
{
    struct small_run run = {.options = {.iterations = 4, .evaluate_every = 2}};
    char path[128];
    snprintf(path, sizeof path, "%s/log", run_data);
    run.options.log_path = path;
    run_go(&run);
    cr_assert(run.ok, "%s", run.err.text);
    FILE *stream = fopen(path, "r");
    cr_assert(stream);
    char line[1024];
    for (int step = 1; step <= 4; step++) {
        cr_assert(fgets(line, sizeof line, stream));
        json_t *object = json_loads(line, 0, NULL);
        cr_assert(object, "not JSON: %s", line);
        cr_assert_eq(json_integer_value(json_object_get(object, "step")), step);
        cr_assert(json_real_value(json_object_get(object, "loss")) == run.losses[step - 1]);
        cr_assert(json_is_real(json_object_get(object, "learning_rate")));
        cr_assert(json_real_value(json_object_get(object, "images_per_second")) > 0);
        cr_assert_eq(json_object_get(object, "top1_error") != NULL, step % 2 == 0);
        json_decref(object);
    }
    cr_assert_not(fgets(line, sizeof line, stream));
    fclose(stream);
}

/* What a sink hears of a run. */
struct heard {
    struct trace_run run;
    char model[40];
    uint32_t devices, tables;
    uint64_t table_ops, begins, ends, ops, metrics, gaps, bad;
    uint64_t planned, arena;             /* of all devices, of the last one */
    uint64_t arenas;                     /* samples of what is taken */
    uint64_t most_live;                  /* bytes of any op */
    uint64_t launches, evaluations, own; /* of a step's ops, of evaluations, of the run itself */
    uint64_t spans[TRACE_HOSTS];
    bool launching; /* between the two calls */
};

static void hear_run(void *context, const struct trace_run *run)
{
    struct heard *heard = context;
    heard->run = *run;
    snprintf(heard->model, sizeof heard->model, "%s", run->model);
}

static void hear_device(void *context, const struct trace_device *device)
{
    struct heard *heard = context;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < device->classes; i++) sum += device->class_bytes[i];
    heard->bad += sum != device->planned_bytes;
    heard->planned += device->planned_bytes;
    heard->arena = device->arena_bytes;
    heard->devices++;
}

static void hear_table(void *context, const struct trace_op *ops, size_t count)
{
    struct heard *heard = context;
    heard->tables++;
    heard->table_ops = count;
    for (size_t i = 0; i < count; i++) {
        heard->bad += ops[i].id != i || !ops[i].layer[0];
        heard->bad += ops[i].live_bytes == 0 || ops[i].live_bytes > heard->arena;
        if (ops[i].live_bytes > heard->most_live) heard->most_live = ops[i].live_bytes;
    }
}

static void hear_begin(void *context, uint32_t device, uint64_t step, uint64_t ns)
{
    (void)device;
    (void)step;
    (void)ns;
    ((struct heard *)context)->begins++;
}

static void hear_end(void *context, uint32_t device, uint64_t step, uint64_t ns)
{
    (void)device;
    (void)step;
    (void)ns;
    ((struct heard *)context)->ends++;
}

static bool want_odd(void *context, uint64_t step)
{
    (void)context;
    return step % 2 == 1;
}

static void hear_launch(void *context, uint32_t device, uint32_t id, const char *pass)
{
    struct heard *heard = context;
    bool evaluates = strcmp(pass, "evaluate") == 0;
    bool own = id == TRACE_OF_RUN;
    heard->bad += device != 0 || heard->launching || (id >= heard->table_ops && !own);
    heard->bad += own && !evaluates && strcmp(pass, TRACE_RUN_PASS) != 0;
    heard->launching = true;
    heard->launches += !evaluates && !own;
    heard->own += !evaluates && own;
    heard->evaluations += evaluates;
}

static void hear_launched(void *context, uint32_t device)
{
    struct heard *heard = context;
    heard->bad += device != 0 || !heard->launching;
    heard->launching = false;
}

static void hear_op(void *context, uint32_t device, uint32_t id, uint64_t begin, uint64_t end)
{
    struct heard *heard = context;
    heard->bad += device != 0 || id >= heard->table_ops || end < begin;
    heard->ops++;
}

static void hear_metric(void *context, enum trace_metric metric, uint64_t step, double value)
{
    struct heard *heard = context;
    heard->bad += metric >= TRACE_METRICS || step >= 4 || isnan(value);
    heard->metrics++;
}

static void hear_memory(void *context, uint32_t device, enum trace_sample sample, uint64_t bytes, uint64_t ns)
{
    struct heard *heard = context;
    (void)device;
    (void)ns;
    if (sample != SAMPLE_ARENA) return;
    heard->bad += bytes != heard->arena;
    heard->arenas++;
}

static void hear_gap(void *context, uint32_t device, enum trace_gap gap, uint64_t begin, uint64_t end)
{
    struct heard *heard = context;
    heard->bad += device != 0 || gap >= TRACE_GAPS || end < begin;
    heard->gaps++;
}

static void hear_span(void *context, uint32_t device, enum trace_host what, uint64_t begin, uint64_t end)
{
    struct heard *heard = context;
    heard->bad += device != 0 || what >= TRACE_HOSTS || end < begin;
    heard->spans[what]++;
}

Test(learning, a_sink_hears_every_step_and_the_ops_it_wants)
{
    struct heard heard = {0};
    struct trace_sink sink = {.context = &heard,
                              .run = hear_run,
                              .device = hear_device,
                              .op_table = hear_table,
                              .step_begin = hear_begin,
                              .step_end = hear_end,
                              .wants_ops = want_odd,
                              .launch_begin = hear_launch,
                              .launch_end = hear_launched,
                              .op_time = hear_op,
                              .metric = hear_metric,
                              .memory = hear_memory,
                              .gap = hear_gap,
                              .span = hear_span};
    struct small_run run = {.sink = &sink, .options = {.iterations = 4, .time_ops = true}};
    run_go(&run);
    cr_assert(run.ok, "%s", run.err.text);
    cr_assert_str_eq(heard.model, "resnet-8");
    cr_assert_eq(heard.run.iterations, 4);
    cr_assert_eq(heard.devices, 1);
    cr_assert_eq(heard.tables, 1);
    cr_assert_eq(heard.begins, 4);
    cr_assert_eq(heard.ends, 4);
    cr_assert_eq(heard.ops, 2 * heard.table_ops);
    cr_assert_eq(heard.launches, 4 * heard.table_ops, "timed or not, every op of every step");
    cr_assert_geq(heard.own, 4 * 2, "what goes up and what comes down, every step");
    cr_assert_gt(heard.evaluations, 0);
    cr_assert_not(heard.launching);
    cr_assert_eq(heard.metrics, 4 * 4 + 3);
    cr_assert_geq(heard.gaps, 1);
    cr_assert(heard.spans[HOST_LOAD] == 4 && heard.spans[HOST_WAIT] == 4 && heard.spans[HOST_EVALUATE] == 1);
    cr_assert_eq(heard.spans[HOST_LAUNCH], 0, "a virtual device computes where it is launched");
    cr_assert_eq(heard.arenas, 1);
    cr_assert_eq(heard.planned, run.result.planned_bytes);
    cr_assert_eq(heard.bad, 0);
}

static uint64_t planned_peak;

static void note_peak(struct small_run *run, struct plan *plan, const struct plan_request *request)
{
    (void)run;
    (void)request;
    planned_peak = plan->variants[0].lower_bound_bytes;
}

Test(learning, the_trace_has_the_plans_live_bytes)
{
    const char *models[] = {"resnet-20", "resnet-29"};
    for (int i = 0; i < 2; i++) {
        struct heard heard = {0};
        struct trace_sink sink = {.context = &heard, .device = hear_device, .op_table = hear_table};
        struct small_run run = {.model = models[i],
                                .sink = &sink,
                                .change_plan = note_peak,
                                .options = {.iterations = 1, .skip_evaluation = true}};
        run_go(&run);
        cr_assert(run.ok, "%s", run.err.text);
        cr_assert_eq(heard.bad, 0);
        cr_assert_eq(heard.most_live, planned_peak, "%s", models[i]);
    }
}

Test(learning, a_sink_hears_what_all_devices_will_hold)
{
    struct heard heard = {0};
    struct trace_sink sink = {.context = &heard, .device = hear_device, .op_table = hear_table, .memory = hear_memory};
    struct small_run run = {.gpus = "2xcpu", .sink = &sink, .options = {.iterations = 1, .skip_evaluation = true}};
    run_go(&run);
    cr_assert(run.ok, "%s", run.err.text);
    cr_assert_eq(heard.devices, 2);
    cr_assert_eq(heard.arenas, 2);
    cr_assert_eq(heard.planned, run.result.planned_bytes);
    cr_assert_eq(heard.bad, 0);
}
