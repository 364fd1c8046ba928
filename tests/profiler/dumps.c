/* What CUPTI told of a run, in a file and out of it again: the profiler finds the same in it where there is no GPU.
 * Dumps that a GPU's run wrote (`./dev gpu`) are looked at where they lie in tests/profiler/dumps; there are none yet.
 */
#include <dirent.h>
#include <unistd.h>

#include "profiled_gpu.h"

#ifdef FATHOM_CUDA

#define PATH 4096

static char path[PATH];

static void choose_path(void)
{
    snprintf(path, sizeof path, "/tmp/fathom-dump-%ld", (long)getpid());
    setenv("FATHOM_CUPTI_DUMP", path, 1);
}

static void remove_path(void) { unlink(path); }
TestSuite(dumps, .init = choose_path, .fini = remove_path);

/* ---- The run that a dump tells of ---- */

static struct trace_sink *run_sink;

static void tell_step(void *context, uint64_t step, int wanted)
{
    ((struct seen *)context)->timed = wanted;
    run_sink->step_submit(run_sink->context, step);
}

static void tell_launch(void *context, uint32_t device, uint32_t op, const char *pass)
{
    (void)context;
    run_sink->launch_begin(run_sink->context, device, op, pass);
}

static void tell_launched(void *context)
{
    (void)context;
    run_sink->launch_end(run_sink->context, 0);
}

static const struct standin_run run = {&seen, tell_step, tell_launch, tell_launched};

/* What the profiler finds in a dump; `counts`: what it found on the GPU. NULL, or what is wrong with the file. */
static const char *replay_dump(const char *name, struct trace_sink *to, uint64_t counts[4],
                               struct cupti_profiler_report *report)
{
    const char *(*told)(const char *, const struct standin_run *, uint64_t *);
    struct cupti_profiler *profiler;
    struct error err = {0};
    unsetenv("FATHOM_CUPTI_DUMP");
    gpu_choose("seed=1");
    *(void **)&told = standin_symbol("standin_replay");
    cr_assert(cupti_profiler_open(to, &profiler, &err), "%s", err.text);
    run_sink = cupti_profiler_sink(profiler);
    const char *fault = told(name, &run, counts);
    cupti_profiler_close(profiler, report);
    return fault;
}

static void expect_counts(const char *name, const uint64_t counts[4], const struct cupti_profiler_report *report)
{
    cr_expect(report->records == counts[0] && report->unattributed == counts[1] && report->timeless == counts[2] &&
                  report->dropped == counts[3],
              "%s: %llu records, %llu unattributed, %llu timeless, %llu dropped instead of %llu, %llu, %llu, %llu",
              name, (unsigned long long)report->records, (unsigned long long)report->unattributed,
              (unsigned long long)report->timeless, (unsigned long long)report->dropped, (unsigned long long)counts[0],
              (unsigned long long)counts[1], (unsigned long long)counts[2], (unsigned long long)counts[3]);
    cr_expect_str_empty(report->fault, "%s: %s", name, report->fault);
}

/* A recording that is replayed, another one of the same, launches beside them, what the run starts itself, and a fill
 * that nobody started. */
static struct seen dump_run(const char *options, struct cupti_profiler_report *report)
{
    struct profiled p = profiled_begin(options);
    for (uint64_t again = 0; again < 2; again++) {
        struct recording *recording = record(&p);
        for (uint64_t step = 0; step < 20; step++) {
            seen.timed = step % 4 != 3;
            replay(&p, recording, 20 * again + step);
        }
        p.gpu.backend->recording_destroy(recording);
    }
    p.sink->step_submit(p.sink->context, 41);
    launch(&p, OP_A, "forward", p.gpu.stream, 3);
    p.sink->launch_begin(p.sink->context, 0, TRACE_OF_RUN, TRACE_RUN_PASS);
    GPU_OK(&p.gpu, p.gpu.backend->fill(p.gpu.device, p.gpu.stream, 0, 128, 1, &p.gpu.err));
    p.sink->launch_end(p.sink->context, 0);
    launch(&p, OP_B, "evaluate", p.gpu.stream, 2);
    GPU_OK(&p.gpu, p.gpu.backend->fill(p.gpu.device, p.gpu.stream, 0, 64, 1, &p.gpu.err));
    *report = profiled_end(&p);
    return seen;
}

Test(dumps, the_profiler_finds_the_same_in_them)
{
    const char *const options[] = {"seed=1", "cupti=grows+tails", "cupti=drops", "cupti=lost+nulls"};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        struct cupti_profiler_report was, is;
        uint64_t counts[4] = {0};
        gpu_choose(options[i]);
        choose_path();
        if (i > 0) gpu_restart(options[i]);
        struct seen before = dump_run(options[i], &was);
        seen = (struct seen){0};
        gpu_restart("seed=1");
        const char *fault = replay_dump(path, &sink, counts, &is);
        cr_assert_null(fault, "%s: %s", options[i], fault);
        expect_counts(options[i], counts, &is);
        cr_expect(was.records == is.records && was.dropped == is.dropped && was.unattributed == is.unattributed);
        cr_expect_geq(is.records, 100, "%s", options[i]);
        for (uint32_t id = 0; id < MOST_IDS; id++)
            cr_expect(before.times[id] == seen.times[id] && before.table[id].op == seen.table[id].op &&
                          before.table[id].bytes == seen.table[id].bytes,
                      "%s: id %u: %llu of op %u instead of %llu of %u", options[i], (unsigned)id,
                      (unsigned long long)seen.times[id], (unsigned)seen.table[id].op,
                      (unsigned long long)before.times[id], (unsigned)before.table[id].op);
    }
}

/* ---- Of GPUs ---- */

/* Any number of kernels, in any order. */
static struct trace_sink open_sink = {.context = &seen, .wants_ops = wants};

/* FATHOM_TEST_DUMPS: another folder (tests/structure/gpu.py). */
Test(dumps, of_gpus_are_read_as_they_were_there)
{
    char folder[PATH / 2], name[PATH];
    const char *chosen = getenv("FATHOM_TEST_DUMPS"), *source = getenv("FATHOM_SOURCE");
    snprintf(folder, sizeof folder, "%s%s",
             chosen   ? chosen
             : source ? source
                      : ".",
             chosen ? "" : "/tests/profiler/dumps");
    DIR *entries = opendir(folder);
    size_t count = 0;
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        size_t length = strlen(entry->d_name);
        if (length < 6 || strcmp(entry->d_name + length - 5, ".dump") != 0) continue;
        struct cupti_profiler_report report;
        uint64_t counts[4] = {0};
        snprintf(name, sizeof name, "%s/%s", folder, entry->d_name);
        const char *fault = replay_dump(name, &open_sink, counts, &report);
        cr_expect_null(fault, "%s: %s", name, fault);
        expect_counts(name, counts, &report);
        cr_expect_gt(report.records, 0, "%s", name);
        count++;
    }
    if (entries) closedir(entries);
    if (chosen) cr_expect_gt(count, 0, "%s: no dump", folder);
}

/* ---- Bad files ---- */

Test(dumps, what_is_no_dump_is_said_to_be_none)
{
    static const char *const whole = "FATHOMCD\1\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0";
    struct cupti_profiler_report report;
    uint64_t counts[4];
    const struct {
        size_t length;
        const char *words;
    } cases[] = {{0, "cannot be read"}, {12, "no dump"}, {20, "within an entry"}, {24, "no end"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        FILE *file = fopen(path, "wb");
        cr_assert(file && fwrite(whole, 1, cases[i].length, file) == cases[i].length && fclose(file) == 0);
        const char *fault = replay_dump(path, &open_sink, counts, &report);
        cr_expect(fault && strstr(fault, cases[i].words), "%zu bytes: %s", cases[i].length, fault ? fault : "whole");
    }
}

Test(dumps, one_that_cannot_be_written_switches_the_profiler_off)
{
    struct cupti_profiler *profiler;
    struct error err = {0};
    gpu_choose("seed=1");
    setenv("FATHOM_CUPTI_DUMP", "/tmp/no-such-folder/dump", 1);
    cr_assert_not(cupti_profiler_open(&sink, &profiler, &err));
    cr_expect(strstr(err.text, "/tmp/no-such-folder"), "%s", err.text);
}
#else
Test(dumps, without_cuda) { gpu_choose(""); }
#endif
