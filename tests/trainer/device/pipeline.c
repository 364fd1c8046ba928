/* Steps in flight on a device that computes while its host does other things (standin.h): nothing that a run says,
 * saves or computes depends on how many there are, nor on recordings, nor on the order in which streams happen to run.
 */
#define _GNU_SOURCE
#include <criterion/criterion.h>

#include "execute.h"
#include "offload_kit.h"
#include "plan_request.h"
#include "rounds.h"
#include "standin.h"
#include "train_help.h"

static void begin(void)
{
    run_make_data();
    alarm(120); /* a deadlock is a failure, not a hang */
}

TestSuite(pipeline, .init = begin, .fini = run_remove_data);

#define STEPS 6

static void offload_all(struct small_run *run, struct plan *plan, const struct plan_request *request)
{
    (void)run;
    offload_everything(plan, request);
}

/* A run in a folder of its own; its log, without speeds, and its checkpoints are what is compared. */
static void go(struct small_run *run, const char *name)
{
    static char folder[128], log[128];
    snprintf(folder, sizeof folder, "%s/%s", run_data, name);
    snprintf(log, sizeof log, "%s/%s.log", run_data, name);
    run->options.save_folder = folder;
    run->options.log_path = log;
    if (!run->options.iterations) run->options.iterations = STEPS;
    run_go(run);
}

static void shell(const char *what, const char *format, const char *a, const char *b)
{
    char command[1024];
    snprintf(command, sizeof command, format, run_data, a, run_data, b, run_data, b, run_data, b);
    cr_assert_eq(system(command), 0, "%s: %s is not %s", what, b, a);
}

static void check_same(const char *a, const char *b)
{
    shell("log",
          "cd / && sed 's/\"images_per_second\": [^,]*, //' %s/%s.log > /tmp/fathom-log-$$ && "
          "sed 's/\"images_per_second\": [^,]*, //' %s/%s.log | cmp - /tmp/fathom-log-$$; "
          "code=$?; rm -f /tmp/fathom-log-$$; rm -f %s/%s.log; exit $code",
          a, b);
    shell("checkpoints", "diff -r %s/%s %s/%s && rm -r %s/%s", a, b);
}

/* ---- The same bits ---- */

static struct standin_report go_on_standin(struct small_run run, struct standin_options options, uint32_t in_flight)
{
    options.real = &cpu_backend;
    run.backend = standin_begin(&options);
    run.options.in_flight = in_flight;
    go(&run, "other");
    struct standin_report report = standin_end();
    cr_assert(run.ok, "%s", run.err.text);
    cr_assert_str_empty(report.violation, "%s", report.violation);
    cr_assert_eq(report.live, 0);
    check_same("plain", "other");
    return report;
}

/* Of one, two and three steps in flight, under the sanitizers of `./dev test` the last two (rounds.h). */
static uint32_t fewest(void) { return rounds(3) < 3 ? 2 : 1; }

/* Launched and recorded, with from one to three steps in flight. */
static void compare(struct small_run base, uint32_t least)
{
    if (least < fewest()) least = fewest();
    struct small_run plain = base;
    go(&plain, "plain");
    cr_assert(plain.ok, "%s", plain.err.text);
    for (uint32_t i = least; i <= 3; i++) {
        struct small_run more = base;
        more.options.in_flight = i;
        go(&more, "more");
        cr_assert(more.ok, "%s", more.err.text);
        check_same("plain", "more");
        struct standin_report launched = go_on_standin(base, (struct standin_options){.seed = i, .pinned = i != 2}, i);
        cr_assert_eq(launched.replays, 0);
        struct standin_report replayed =
            go_on_standin(base, (struct standin_options){.seed = 9 + i, .pinned = true, .recordings = true}, i);
        cr_assert_gt(replayed.replays, STEPS);
        cr_assert(i == 1 || replayed.most_ahead > 0, "no step was ever given ahead");
        cr_assert_lt(replayed.calls, launched.calls, "recordings spare launches");
    }
    shell("folders", "rm -r %s/%s", "plain", "");
}

Test(pipeline, steps_in_flight_change_nothing) { compare((struct small_run){.batch = 8}, 1); }

/* Their ops are launched one by one then, and the next step is recorded anew. */
Test(pipeline, nor_when_recordings_are_spoilt)
{
    struct small_run plain = {.batch = 8};
    go(&plain, "plain");
    cr_assert(plain.ok, "%s", plain.err.text);
    for (uint64_t spoil = 2; spoil <= 1000; spoil += 998) {
        struct standin_options options = {.seed = spoil, .pinned = true, .recordings = true, .spoil = spoil};
        struct standin_report report = go_on_standin((struct small_run){.batch = 8}, options, 2);
        cr_expect(spoil == 2 ? report.spoilt == 2 && report.replays > 0 : report.spoilt > 2,
                  "%llu spoilt, %llu replays", (unsigned long long)report.spoilt, (unsigned long long)report.replays);
    }
    shell("folders", "rm -r %s/%s", "plain", "");
}

Test(pipeline, nor_with_micro_batches_on_two_devices)
{
    compare((struct small_run){.gpus = "2xcpu", .micro_batches = 2, .bucket_bytes = 64 << 10}, 2);
}

Test(pipeline, nor_when_activations_wait_in_host_memory)
{
    compare((struct small_run){.batch = 16, .change_plan = offload_all}, 3);
    compare((struct small_run){.batch = 16, .change_plan = offload_all, .options.fill_dead = true}, 3);
}

/* A loss scale that overflows at first, so that steps are skipped while others are in flight. */
Test(pipeline, nor_in_lowered_graphs_nor_in_f16)
{
    compare((struct small_run){.batch = 8, .lowering = LOWER_ALL}, 3);
    compare((struct small_run){.gpus = "2xcpu", .dtype = DTYPE_F16, .options.loss_scale = (double)LOSS_SCALE_MOST}, 3);
}

Test(pipeline, evaluations_checkpoints_and_schedules_come_when_they_do)
{
    struct small_run base = {.batch = 8,
                             .options = {.iterations = 13,
                                         .save_every = 3,
                                         .evaluate_every = 2,
                                         .schedule = {.kind = SCHEDULE_PLATEAU,
                                                      .base = 0.2,
                                                      .factor = 0.1,
                                                      .patience = 1,
                                                      .warm_rate = 0.01,
                                                      .warm_steps = 9,
                                                      .warm_until_error = 0.88}}};
    compare(base, 2);
}

static volatile sig_atomic_t stop;

static void stop_at_four(struct small_run *run, uint64_t step)
{
    (void)run;
    if (step == 4) stop = 1;
}

/* What was in flight is looked at and saved; going on from there gives what an unbroken run does. */
Test(pipeline, a_stop_ends_with_what_is_in_flight)
{
    for (uint32_t in_flight = fewest(); in_flight <= 3; in_flight++) {
        struct small_run whole = {.batch = 8, .options.iterations = 12}, run = whole, rest = whole;
        go(&whole, "plain");
        stop = 0;
        run.options.stop = &stop;
        run.options.in_flight = in_flight;
        run.after_step = stop_at_four;
        go(&run, "more");
        cr_assert(run.ok && run.result.stopped, "%s", run.err.text);
        cr_assert_eq(run.result.steps, in_flight == 1 ? 5 : 3 + in_flight);
        cr_assert_eq(run.result.saved, run.result.steps);
        char command[512];
        rest.options.resume_folder = run.options.save_folder;
        rest.options.in_flight = in_flight;
        go(&rest, "more");
        cr_assert(rest.ok, "%s", rest.err.text);
        snprintf(command, sizeof command,
                 "cd %s && for part in '' .state; do cmp plain/step-000000000012$part.safetensors "
                 "more/step-000000000012$part.safetensors || exit 1; done; rm -r plain more *.log",
                 run_data);
        cr_assert_eq(system(command), 0);
    }
}

/* ---- The last good step ---- */

static void check_divergence(const char *gpus, uint32_t micro_batches, uint32_t in_flight, bool standin)
{
    struct standin_options options = {.real = &cpu_backend, .seed = in_flight, .pinned = true, .recordings = true};
    struct small_run run = {
        .gpus = gpus,
        .micro_batches = micro_batches,
        .backend = standin ? standin_begin(&options) : &cpu_backend,
        .options = {.schedule = {.kind = SCHEDULE_CONSTANT, .base = 1e20}, .skip_evaluation = true}};
    struct small_run whole = run;
    run.options.in_flight = in_flight;
    go(&run, "other");
    if (standin) cr_assert_str_empty(standin_end().violation);
    cr_assert_not(run.ok);
    cr_assert(strstr(run.err.text, "diverged"), "%s", run.err.text);
    if (standin || in_flight == 1)
        cr_assert(strstr(run.err.text, "was made by conv of stage1/unit1"), "%s", run.err.text);
    cr_assert_eq(run.result.saved, run.result.steps);
    whole.backend = &cpu_backend;
    whole.options.iterations = run.result.steps;
    go(&whole, "plain");
    check_same("plain", "other");
    shell("folders", "rm -r %s/%s", "plain", "");
}

Test(pipeline, a_run_that_diverges_with_steps_in_flight_saves_its_last_good_step)
{
    for (uint32_t in_flight = fewest(); in_flight <= 3; in_flight++) {
        check_divergence("cpu", 0, in_flight, false);
        check_divergence("cpu", 0, in_flight, true);
        check_divergence("2xcpu", 2, in_flight, true);
    }
}

Test(pipeline, steps_in_flight_end_before_images_that_go_away)
{
    struct small_run whole = {.options = {.iterations = 9, .save_every = 1, .skip_evaluation = true}};
    struct small_run run = whole;
    char plain[128], other[128];
    go(&whole, "plain");
    run.options.iterations = 100;
    run.options.save_every = 0;
    run.options.in_flight = 3;
    run.after_step = run_cut_data;
    go(&run, "other");
    cr_assert_not(run.ok);
    cr_assert(strstr(run.err.text, "data_batch_"), "%s", run.err.text);
    cr_assert_eq(run.result.saved, run.result.steps);
    snprintf(plain, sizeof plain, "%s/plain", run_data);
    snprintf(other, sizeof other, "%s/other", run_data);
    cr_assert(run_same_checkpoints(plain, other, run.result.saved));
}

/* ---- Failures ---- */

static uint64_t project_bytes(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < MEM_PURPOSES; i++) sum += mem_current_bytes((enum mem_purpose)i);
    return sum;
}

static struct standin_report fail(const char *gpus, struct standin_options options, struct small_run *run)
{
    options.real = &cpu_backend;
    options.pinned = options.recordings = true;
    *run = (struct small_run){.gpus = gpus, .batch = 4, .bucket_bytes = 64 << 10, .options.iterations = 4};
    run->options.evaluate_images = 4;
    run->options.in_flight = 2;
    if (options.hang_command) run->options.wait_seconds = 0.2;
    run->backend = standin_begin(&options);
    uint64_t before = project_bytes();
    run_go(run);
    cr_assert_eq(project_bytes(), before, "bytes leak");
    struct standin_report report = standin_end();
    cr_assert_str_empty(report.violation, "%s", report.violation);
    cr_assert_eq(report.live, 0);
    return report;
}

/* At so many points of a run. The first error is the one told; nobody calls the device again, nothing leaks, and peers
 * do not wait for it. */
static void fail_at_points(const char *gpus, bool calls, uint64_t points)
{
    struct small_run run;
    struct standin_report sound = fail(gpus, (struct standin_options){0}, &run);
    cr_assert(run.ok, "%s", run.err.text);
    uint64_t all = calls ? sound.calls : sound.commands;
    points = rounds(points);
    for (uint64_t i = 0; i < points; i++) {
        uint64_t n = 1 + i * (all - 1) / points;
        struct standin_options options = {.seed = i};
        *(calls ? &options.fail_call : &options.fail_command) = n;
        fail(gpus, options, &run);
        cr_assert_not(run.ok, "%s: call or command %llu failed unnoticed", gpus, (unsigned long long)n);
        cr_assert_eq(run.err.kind, ERROR_FAILED);
        cr_assert(strstr(run.err.text, "the device is lost"), "%llu: %s", (unsigned long long)n, run.err.text);
    }
}

Test(pipeline, a_call_that_fails_is_told_once) { fail_at_points("cpu", true, 24); }

Test(pipeline, a_call_that_fails_frees_the_other_devices) { fail_at_points("2xcpu", true, 24); }

Test(pipeline, what_fails_later_is_told_too)
{
    fail_at_points("cpu", false, 8);
    fail_at_points("2xcpu", false, 8);
}

Test(pipeline, a_device_that_hangs_is_given_up)
{
    static const char *const gpus[] = {"cpu", "2xcpu"};
    for (int i = 0; i < 2; i++) {
        struct small_run run;
        struct standin_report sound = fail(gpus[i], (struct standin_options){0}, &run);
        for (uint64_t n = 1; n < sound.commands; n += sound.commands / 4) {
            fail(gpus[i], (struct standin_options){.hang_command = n}, &run);
            cr_assert_not(run.ok, "it was waited for");
            bool late = strstr(run.err.text, "has not finished step");
            cr_assert_eq(run.err.kind, late ? ERROR_LATE : ERROR_FAILED, "%s", run.err.text);
            cr_assert(strstr(run.err.text, "0.2 s"), "%s", run.err.text);
        }
    }
}

/* Whatever is asked of a device that failed, the answer is what it failed with. */
Test(pipeline, the_first_error_sticks)
{
    struct small_run run = {.batch = 4};
    struct error err = {0};
    struct executor *executor;
    struct metrics metrics;
    float values[4096], *images = calloc(4 * 32 * 32 * 3, sizeof *images);
    const int32_t labels[4] = {0};
    const struct step_input input = {.images = images, .labels = labels};
    const struct step step = {.learning_rate = 0.1f};
    uint64_t until = 0;
    for (int round = 0; round < 2; round++) {
        const struct standin_options options = {.real = &cpu_backend, .pinned = true, .fail_call = until};
        run.backend = standin_begin(&options);
        run_fill_defaults(&run);
        run.lowering &= ~(uint32_t)LOWER_INPUT; /* images come in f32 */
        struct plan *plan = run_plan(&run);
        struct executor_options o = {.plan = plan, .backend = run.backend, .in_flight = 2, .keep_statistics = true};
        cr_assert(executor_create(&o, &executor, &err), "%s", err.text);
        for (size_t i = 0; i < executor_state_count(executor); i++) {
            for (uint64_t k = 0; k < executor_state_elements(executor, i) && k < 4096; k++) values[k] = 0.01f;
            if (executor_state_elements(executor, i) <= 4096)
                cr_assert(executor_state_in(executor, i, values, &err), "%s", err.text);
        }
        bool ok = executor_submit(executor, &step, &input, &err);
        if (round == 0) {
            cr_assert(ok && executor_collect(executor, &metrics, &err), "%s", err.text);
            until = standin_end().calls - 20;
        } else {
            cr_assert_not(ok);
            struct error again[5] = {{0}};
            cr_expect_not(executor_submit(executor, &step, &input, &again[0]));
            cr_expect_not(executor_collect(executor, &metrics, &again[1]));
            cr_expect_not(executor_evaluate(executor, &step, &input, &metrics, &again[2]));
            cr_expect_not(executor_state_in(executor, 0, values, &again[3]));
            cr_expect_not(executor_undo_statistics(executor, 0, &again[4]));
            for (int i = 0; i < 5; i++) cr_expect_str_eq(again[i].text, "the device is lost", "%s", again[i].text);
            cr_expect_str_empty(standin_end().violation);
        }
        executor_destroy(executor);
        plan_destroy(plan);
    }
    free(images);
}

/* ---- The stand-in sees what is wrong ---- */

/* Whatever wait is left out: it is either noticed, or another one makes up for it. */
Test(pipeline, a_wait_that_is_missing_is_noticed)
{
    struct small_run base = {.batch = 4, .change_plan = offload_all};
    struct standin_options options = {.real = &cpu_backend, .pinned = true};
    uint64_t noticed = 0, tried = 0;
    base.options.iterations = base.options.in_flight = 2;
    base.options.skip_evaluation = true;
    struct small_run sound = base;
    sound.backend = standin_begin(&options);
    run_go(&sound);
    uint64_t waits = standin_end().waits;
    cr_assert_gt(waits, 20);
    for (uint64_t n = 2; n <= waits; n += 3, tried++) {
        struct small_run run = base;
        options.drop_wait = n;
        options.recordings = n % 2;
        options.seed = n;
        run.backend = standin_begin(&options);
        run_go(&run);
        bool seen = standin_end().violation[0] != '\0';
        noticed += seen;
        cr_assert(seen || (run.ok && memcmp(run.losses, sound.losses, 2 * sizeof(double)) == 0), "wait %llu",
                  (unsigned long long)n);
    }
    cr_assert_gt(noticed, tried / 2, "%llu of %llu", (unsigned long long)noticed, (unsigned long long)tried);
}

/* ---- What a recording forbids ---- */

struct bench {
    const struct backend *backend;
    struct device *device;
    struct stream *streams[2];
    struct event *event;
    struct recording *recording;
    struct error err;
};

static void set_up(struct bench *b)
{
    const struct standin_options options = {.real = &cpu_backend, .recordings = true, .pinned = true};
    const struct device_options device = {.threads = 1};
    *b = (struct bench){.backend = standin_begin(&options)};
    cr_assert(b->backend->device_create(&device, 4096, &b->device, &b->err));
    for (int i = 0; i < 2; i++) cr_assert(b->backend->stream_create(b->device, &b->streams[i], &b->err));
    cr_assert(b->backend->event_create(b->device, &b->event, &b->err));
}

static void expect_violation(struct bench *b, bool ok, const char *words)
{
    cr_expect_not(ok, "%s", words);
    if (b->recording) b->backend->recording_destroy(b->recording);
    b->backend->event_destroy(b->event);
    for (int i = 0; i < 2; i++) b->backend->stream_destroy(b->streams[i]);
    b->backend->device_destroy(b->device);
    struct standin_report report = standin_end();
    if (!words[0]) cr_expect_str_empty(report.violation, "%s", report.violation);
    cr_expect(strstr(report.violation, words), "\"%s\" should speak of \"%s\"", report.violation, words);
    cr_expect_eq(report.live, 0);
}

static bool begin_recording(struct bench *b)
{
    return b->backend->record_begin(b->device, b->streams[0], &b->recording, &b->err);
}

static bool fork_second(struct bench *b)
{
    return b->backend->event_record(b->event, b->streams[0], &b->err) &&
           b->backend->event_wait(b->event, b->streams[1], &b->err);
}

Test(pipeline, the_stand_in_refuses_what_a_recording_forbids)
{
    struct bench b;
    const struct step step = {0};
    float unpinned[4] = {0};
    set_up(&b);
    expect_violation(&b, begin_recording(&b) && b.backend->set_step(b.device, b.streams[0], &step, &b.err),
                     "step block");
    set_up(&b);
    expect_violation(&b, begin_recording(&b) && b.backend->copy_in(b.device, b.streams[0], 0, unpinned, 16, &b.err),
                     "not pinned");
    set_up(&b);
    expect_violation(&b,
                     b.backend->event_record(b.event, b.streams[1], &b.err) && begin_recording(&b) &&
                         b.backend->event_wait(b.event, b.streams[0], &b.err),
                     "from outside");
    set_up(&b);
    expect_violation(&b,
                     begin_recording(&b) && fork_second(&b) &&
                         b.backend->fill(b.device, b.streams[1], 0, 64, 1, &b.err) &&
                         b.backend->record_end(b.recording, &b.err),
                     "joined");
    set_up(&b);
    cr_assert(begin_recording(&b) && fork_second(&b) && b.backend->fill(b.device, b.streams[1], 0, 64, 1, &b.err) &&
              b.backend->event_record(b.event, b.streams[1], &b.err) &&
              b.backend->event_wait(b.event, b.streams[0], &b.err) && b.backend->record_end(b.recording, &b.err));
    expect_violation(&b, b.backend->replay(b.recording, b.streams[0], &b.err) && false, "");
}

/* What is never ordered is noticed, whatever order it was run in. */
Test(pipeline, the_stand_in_sees_accesses_without_order)
{
    struct bench b;
    set_up(&b);
    cr_assert(b.backend->fill(b.device, b.streams[0], 0, 256, 1, &b.err) && fork_second(&b) &&
              b.backend->fill(b.device, b.streams[1], 0, 256, 2, &b.err));
    expect_violation(&b, false, "");
    set_up(&b);
    expect_violation(&b,
                     b.backend->fill(b.device, b.streams[0], 0, 256, 1, &b.err) &&
                         b.backend->fill(b.device, b.streams[1], 192, 256, 2, &b.err) && false,
                     "nothing between");
}
