/* What a trace does when the disk, the memory or the process ends. */
#include <criterion/criterion.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "check.h"
#include "clock.h"
#include "encoder.h"
#include "mem.h"
#include "stream.h"
#include "trace_samples.h"

static char path[SAMPLE_PATH];
static void setup(void) { sample_path(path); }
static void teardown(void) { unlink(path); }
TestSuite(trace_limits, .init = setup, .fini = teardown);

static struct trace_follower *follow_all(void)
{
    struct error err = {0};
    struct trace_follower *follower = sample_follow(path, &err);
    cr_assert(follower, "%s", err.text);
    return follower;
}

static uint64_t disk_bytes(void)
{
    struct stat info;
    return stat(path, &info) == 0 ? (uint64_t)info.st_blocks * 512 : 0;
}

#define RING_OPS   300
#define RING_STEPS 6000
Test(trace_limits, old_detail_goes_and_steps_stay)
{
    struct error err = {0};
    struct trace_writer *writer;
    struct trace_writer_options options = {.most_bytes = 1 << 20, .seal_ms = 5};
    cr_assert(trace_writer_open(path, &options, &writer, &err), "%s", err.text);
    struct trace_sink *sink = trace_writer_sink(writer);
    sample_tables(sink, 1, RING_OPS);
    for (uint64_t step = 0; step < RING_STEPS; step += 20) {
        sample_steps(sink, 0, RING_OPS, step, 20);
        sample_catch_up(writer, (step + 20) * SAMPLE_REPORTS(RING_OPS));
    }
    trace_writer_close(writer);
    struct stat info;
    cr_assert_eq(stat(path, &info), 0);
    cr_assert_lt(disk_bytes(), 3u << 20, "%llu bytes on disk", (unsigned long long)disk_bytes());

    struct trace_follower *follower = follow_all();
    const struct rollup *r = trace_follow_rollup(follower);
    cr_assert_eq(r->damaged_blocks, 0);
    cr_assert_eq(r->step_count, RING_STEPS);
    for (uint64_t i = 0; i < RING_STEPS; i++) {
        cr_assert_eq(r->steps[i].step, i + 1);
        cr_assert_eq(r->steps[i].end_ns, 1000000 * (i + 1) + 990000);
        cr_assert_float_eq(r->steps[i].metric[METRIC_LOSS], 2.0 / (double)(i + 1), 1e-6);
    }
    cr_assert_eq(r->mark_count, RING_STEPS / 10);
    cr_assert_eq(r->devices[0].gap_ns[GAP_DATA], 5000ull * RING_STEPS);
    cr_assert_eq(r->op_count, RING_OPS);
    cr_assert_str_eq(r->model, "resnet-20");
    cr_assert_gt(r->ops[0].count, 0);
    cr_assert_eq(r->ops[RING_OPS - 1].last_ns > 0, true);
    struct trace_report report;
    cr_assert(trace_check(path, &report, &err), "%s", err.text);
    cr_assert(report.clean);
    cr_assert_lt(r->ops[0].count, RING_STEPS);
    if (r->dropped == 0) cr_assert_gt(report.stats.reader.dropped_segments, 3); /* else the file system has no holes */
    trace_unfollow(follower);
}

/* A device has no holes to punch: op times end at the limit, and the rest goes on. */
Test(trace_limits, without_holes_detail_ends_at_the_limit)
{
    struct error err = {0};
    struct trace_writer *writer;
    struct trace_writer_options options = {.most_bytes = 1 << 20, .seal_ms = 5};
    cr_assert(trace_writer_open("/dev/null", &options, &writer, &err), "%s", err.text);
    struct trace_sink *sink = trace_writer_sink(writer);
    sample_tables(sink, 1, RING_OPS);
    struct trace_writer_stats stats = {0};
    for (uint64_t step = 0; step < 20 * RING_STEPS && stats.dropped == 0; step += 20) {
        sample_steps(sink, 0, RING_OPS, step, 20);
        usleep(1000);
        trace_writer_stats(writer, &stats);
    }
    cr_assert_gt(stats.dropped, 0);
    cr_assert_lt(stats.bytes, 3u << 20);
    cr_assert_not(stats.failed);
    uint64_t events = stats.events;
    for (int i = 0; i < 12000 && stats.events == events; i++) {
        sink->metric(sink->context, METRIC_LOSS, 1, 1);
        usleep(5000);
        trace_writer_stats(writer, &stats);
    }
    cr_assert_gt(stats.events, events);
    trace_writer_close(writer);
}

/* In a child process: its file size limit, its signals. Returns its exit code. */
static int in_child(int (*body)(void))
{
    pid_t child = fork();
    if (child == 0) _exit(body());
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

static int write_past_limit(void)
{
    struct error err = {0};
    struct trace_writer *writer;
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){20000, 20000});
    if (!trace_writer_open(path, &(struct trace_writer_options){.seal_ms = 5}, &writer, &err)) return 1;
    struct trace_sink *sink = trace_writer_sink(writer);
    sample_tables(sink, 1, 20);
    struct trace_writer_stats stats = {0};
    for (uint64_t step = 0; step < 400000 && !stats.failed; step += 20) {
        sample_steps(sink, 0, 20, step, 20);
        usleep(2000);
        trace_writer_stats(writer, &stats);
    }
    bool said = stats.failed && strstr(stats.failure, "trace ends") && stats.bytes <= 20000;
    sample_steps(sink, 0, 20, 5000, 20); /* the run goes on */
    trace_writer_close(writer);
    return said ? 0 : 2;
}

Test(trace_limits, a_full_disk_ends_the_trace_and_not_the_run)
{
    cr_assert_eq(in_child(write_past_limit), 0);
    struct trace_follower *follower = follow_all();
    const struct rollup *r = trace_follow_rollup(follower);
    cr_assert_eq(r->damaged_blocks, 0);
    cr_assert_gt(r->step_count, 0);
    cr_assert_not(r->ended);
    trace_unfollow(follower);
}

Test(trace_limits, a_device_without_room_is_refused_at_once)
{
    struct error err = {0};
    struct trace_writer *writer;
    cr_assert_not(trace_writer_open("/dev/full", NULL, &writer, &err));
    cr_assert_eq(err.kind, ERROR_FAILED);
    cr_assert_not(trace_writer_open("/nonexistent/folder/x.trace", NULL, &writer, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
}

/* What a run that is to be killed has seen of its writer. */
struct seen {
    _Atomic uint64_t steps, seals; /* done; how often there were new blocks after one */
    _Atomic uint64_t last_seal_ns; /* of the step after which there were the last ones */
    _Atomic uint64_t sealed_ns;    /* the same of those before: all up to there is in the file */
};

static void look_at_writer(const struct trace_writer *writer, uint64_t now, struct seen *seen)
{
    static uint64_t blocks, before_ns;
    struct trace_writer_stats stats;
    trace_writer_stats(writer, &stats);
    if (stats.blocks != blocks) {
        seen->sealed_ns = seen->last_seal_ns;
        seen->last_seal_ns = before_ns;
        seen->seals++;
    }
    blocks = stats.blocks;
    before_ns = now;
    seen->steps++;
}

/* Reports at most every 2 ms, into a queue that holds many seconds of that. */
static int write_until_killed(struct seen *seen)
{
    struct error err = {0};
    struct trace_writer *writer;
    if (!trace_writer_open(path, &(struct trace_writer_options){.queue_bytes = 32 << 20}, &writer, &err)) return 1;
    struct trace_sink *sink = trace_writer_sink(writer);
    sample_tables(sink, 1, 20);
    for (uint64_t step = 0;; step++) {
        sample_steps(sink, 0, 20, step, 1);
        uint64_t now = clock_now_ns();
        sink->mark(sink->context, now, "alive");
        sink->kernels(sink->context, 0, &(struct trace_kernel_time){0, 7, now, now + 1000}, 1);
        usleep(2000);
        look_at_writer(writer, now, seen);
    }
}

static uint64_t last_kernel_ns(void)
{
    struct error err = {0};
    struct trace_stream *stream;
    struct trace_item item;
    uint64_t last = 0;
    cr_assert(trace_stream_open(path, &stream, &err), "%s", err.text);
    while (trace_stream_next(stream, &item, &err) && item.type != TRACE_ITEM_NONE)
        if (item.type == TRACE_ITEM_EVENT && item.event.type == TRACE_KERNEL) last = item.event.begin_ns;
    trace_stream_close(stream);
    return last;
}

#define KILLED_STEPS 400

/* Runs it for so many steps and kills it; all that was sealed by then is to be in the file. */
static void kill_run(struct seen *seen)
{
    pid_t child = fork();
    if (child == 0) _exit(write_until_killed(seen));
    for (int i = 0; i < 12000 && seen->steps < KILLED_STEPS; i++) usleep(5000);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    cr_assert_geq(seen->steps, KILLED_STEPS);
    struct trace_follower *follower = follow_all();
    const struct rollup *r = trace_follow_rollup(follower);
    cr_assert_eq(r->damaged_blocks, 0);
    cr_assert_gt(r->step_count, 10);
    cr_assert_not(r->ended);
    uint64_t mark = r->marks[r->mark_count - 1].ns, kernel = last_kernel_ns(), last = kernel < mark ? kernel : mark;
    cr_assert_geq(last, seen->sealed_ns, "%llu ms of what was sealed are lost",
                  (unsigned long long)(seen->sealed_ns - last) / 1000000);
    trace_unfollow(follower);
}

/* What is sealed stays, and there are seals, on average, within as many steps as fit in 100 ms: a busy machine, which
 * slows the steps too, may take a run's processor from the writer alone, but not from that of several. */
Test(trace_limits, a_killed_run_leaves_all_but_its_last_100_ms)
{
    struct seen *seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(seen, MAP_FAILED);
    bool often = false;
    for (int i = 0; i < 10 && !often; i++) {
        memset(seen, 0, sizeof *seen);
        kill_run(seen);
        often = seen->seals * 50 >= seen->steps;
    }
    cr_assert(often, "%llu seals in %llu steps of 2 ms or more", (unsigned long long)seen->seals,
              (unsigned long long)seen->steps);
    munmap(seen, sizeof *seen);
}

Test(trace_limits, following_survives_any_failed_allocation)
{
    struct error err = {0};
    struct trace_writer *writer;
    cr_assert(trace_writer_open(path, &(struct trace_writer_options){.seal_ms = 20}, &writer, &err), "%s", err.text);
    struct trace_sink *sink = trace_writer_sink(writer);
    sample_tables(sink, 2, 40);
    sample_steps(sink, 0, 40, 0, 50);
    trace_writer_close(writer);
    uint64_t before = mem_current_bytes(MEM_TRACE), n = 0;
    for (bool done = false; !done; n++) {
        struct trace_follower *follower = NULL;
        uint64_t read;
        err = (struct error){0};
        mem_fail_at(n + 1);
        done = trace_follow(path, &follower, &err);
        bool opened = done;
        done = done && trace_follow_more(follower, 0, &read, &err);
        mem_fail_at(0);
        if (!done) cr_assert_eq(err.kind, ERROR_MEMORY, "allocation %llu: %s", (unsigned long long)n, err.text);
        if (!opened) cr_assert_null(follower);
        trace_unfollow(follower);
        cr_assert_eq(mem_current_bytes(MEM_TRACE), before, "allocation %llu leaks", (unsigned long long)n);
    }
    cr_assert_gt(n, 20);
}

/* Faults are of the calling thread, so this is what the sink's calls allocate: tables, rings, marks. */
Test(trace_limits, reporting_survives_any_failed_allocation)
{
    uint64_t before = mem_current_bytes(MEM_TRACE);
    bool fired = true;
    for (uint64_t n = 1; fired; n++) {
        struct error err = {0};
        struct trace_writer *writer = NULL;
        mem_fail_at(n);
        bool opened = trace_writer_open(path, NULL, &writer, &err);
        if (opened) {
            struct trace_sink *sink = trace_writer_sink(writer);
            sample_tables(sink, 1, 10);
            sample_steps(sink, 0, 10, 0, 3);
        } else {
            cr_assert_eq(err.kind, ERROR_MEMORY);
        }
        fired = mem_fail_at(0);
        trace_writer_close(writer);
        cr_assert_eq(mem_current_bytes(MEM_TRACE), before, "allocation %llu leaks", (unsigned long long)n);
        if (!opened) continue;
        struct trace_follower *follower = follow_all();
        if (fired) cr_assert_gt(trace_follow_rollup(follower)->dropped, 0, "allocation %llu", (unsigned long long)n);
        trace_unfollow(follower);
    }
}

/* ---- A day of steps ---- */

#define DAY_STEPS   250000
#define DAY_KERNELS 40
#define DAY_LIMIT   (4u << 20)

static void tell_day_step(struct encoder *encoder, uint64_t step)
{
    uint64_t at = 1000000 * (step + 1);
    struct trace_kernel_time *kernels = mem_alloc(MEM_TRACE, DAY_KERNELS, sizeof *kernels);
    for (uint32_t i = 0; i < DAY_KERNELS; i++) {
        uint64_t begin = at + 20000ull * i, lasts = 15000 + (step * 37 + i * 11) % 300;
        kernels[i] = (struct trace_kernel_time){i, 7, begin, begin + lasts};
    }
    encoder_take(encoder, &(struct trace_event){.type = TRACE_STEP_BEGIN, .step = step, .ns = at});
    struct trace_event batch = {.type = TRACE_BATCH, .id = DAY_KERNELS};
    batch.kernels = kernels;
    encoder_take(encoder, &batch);
    encoder_take(encoder, &(struct trace_event){.type = TRACE_STEP_END, .step = step, .ns = at + 900000});
    for (uint8_t metric = 0; metric < 3; metric++)
        encoder_take(encoder,
                     &(struct trace_event){.type = TRACE_METRIC,
                                           .kind = metric,
                                           .step = step,
                                           .value = metric == 1 ? 0.1 : (double)metric + 5.0 / (double)(step + 7)});
    encoder_take(encoder, &(struct trace_event){.type = TRACE_GAP, .begin_ns = at + 900000, .end_ns = at + 900100});
    encoder_take(encoder, &(struct trace_event){.type = TRACE_COUNTER, .id = 3, .at_ns = at, .value = (double)step});
    encoder_take(encoder,
                 &(struct trace_event){.type = TRACE_SPAN, .kind = HOST_LAUNCH, .begin_ns = at, .end_ns = at + 50});
}

static void write_day(struct tables *tables)
{
    struct error err = {0};
    static struct trace_output output;
    static struct encoder encoder;
    cr_assert(trace_output_open(&output, path, DAY_LIMIT, &err), "%s", err.text);
    encoder_init(&encoder, &output);
    encoder_write_head(&encoder, tables);
    uint64_t most = 0;
    for (uint64_t step = 0; step < DAY_STEPS; step++) {
        tell_day_step(&encoder, step);
        if (step % 50 != 49) continue;
        encoder_flush(&encoder, tables);
        if (step % 1000 == 999 && disk_bytes() > most) most = disk_bytes();
    }
    encoder_flush(&encoder, tables);
    encoder_end(&encoder);
    cr_assert_not(output.failed);
    bool holes = !output.limit_reached;
    if (holes) cr_assert_leq(most, DAY_LIMIT / 100 * 105, "%llu bytes on disk", (unsigned long long)most);
    cr_assert_gt(output.bytes, 8 * DAY_LIMIT);
    encoder_finish(&encoder);
    trace_output_close(&output);
    if (!holes) cr_skip("the file system of /tmp cannot give back a part of a file");
}

/* Steps are thinned, detail goes, sums stay: what is on disk does not grow. */
Test(trace_limits, a_day_of_steps_stays_within_the_limit)
{
    static struct tables tables;
    for (uint32_t i = 0; i < DAY_KERNELS; i++)
        tables_set_kernels(&tables, &(struct trace_kernel){.id = i, .op = TRACE_NO_OWNER, .name = "kernel"}, 1);
    tables_set_counters(&tables, &(struct trace_counter){3, "clock", "Hz"}, 1);
    write_day(&tables);
    tables_finish(&tables);
    struct trace_follower *follower = follow_all();
    const struct rollup *r = trace_follow_rollup(follower);
    cr_assert_eq(r->damaged_blocks, 0);
    cr_assert_eq(rollup_steps_done(r), DAY_STEPS);
    cr_assert(r->step_count > 2000 && r->step_count < DAY_STEPS, "%zu", r->step_count);
    uint64_t last_gap = 0;
    for (size_t i = 0; i < r->step_count; i++) {
        const struct rollup_step *step = &r->steps[i];
        cr_assert_eq(step->begin_ns, 1000000 * step->step);
        cr_assert_eq(step->end_ns, 1000000 * step->step + 900000);
        cr_assert_eq(step->metric[METRIC_LOSS], (float)(5.0 / (double)(step->step + 6)));
        cr_assert_eq(step->metric[METRIC_LEARNING_RATE], 0.1f);
        last_gap = step->step - (i ? r->steps[i - 1].step : 0);
        cr_assert_leq(last_gap, DAY_STEPS / 1000, "step %llu", (unsigned long long)step->step);
    }
    cr_assert_eq(last_gap, 1, "the newest steps are all there");
    cr_assert_eq(r->devices[0].gap_ns[GAP_DATA], 100ull * DAY_STEPS, "sums are of the whole run");
    cr_assert_eq(r->devices[0].host_ns[HOST_LAUNCH], 50ull * DAY_STEPS);
    const struct rollup_value *clock = &r->counters[3].devices[0];
    cr_assert(clock->count == DAY_STEPS && clock->least == 0 && clock->most == DAY_STEPS - 1);
    cr_assert_str_eq(r->counters[3].unit, "Hz");
    cr_assert_gt(r->kernels[0].times.count, 2 * DAY_LIMIT / 4 / DAY_KERNELS / 5, "%llu steps are whole",
                 (unsigned long long)r->kernels[0].times.count);
    trace_unfollow(follower);
}
