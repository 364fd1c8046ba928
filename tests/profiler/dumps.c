/* What CUPTI told of a run, in a file and out of it again: the profiler finds the same in it where there is no GPU.
 * Dumps that a GPU's run wrote (`./dev gpu`) are looked at where they lie in tests/profiler/dumps; there are none yet.
 */
#include <dirent.h>
#include <glob.h>
#include <unistd.h>

#include "profiled_gpu.h"

#ifdef FATHOM_CUDA
#include "cupti_dump.h"
#include "files.h"
#include "mem.h"

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

/* Any number of kernels, in any order. */
static struct trace_sink open_sink = {.context = &seen, .wants_ops = wants};

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

/* ---- Records ---- */

#define LONG_RECORD 3000u

/* As of a later CUPTI, which has grown them. */
static CUptiResult CUPTIAPI next_long(uint8_t *bytes, size_t valid, CUpti_Activity **record)
{
    uint8_t *at = *record ? (uint8_t *)*record + LONG_RECORD : bytes;
    if (at + LONG_RECORD > bytes + valid) return CUPTI_ERROR_MAX_LIMIT_REACHED;
    *record = (CUpti_Activity *)(void *)at;
    return CUPTI_SUCCESS;
}

static CUptiResult CUPTIAPI tell_version(uint32_t *version)
{
    *version = 140000;
    return CUPTI_SUCCESS;
}

static void dump_records(uint8_t *bytes, size_t length)
{
    const struct cupti_calls calls = {.ActivityGetNextRecord = next_long, .GetVersion = tell_version};
    struct cupti_dump *dump;
    struct error err = {0};
    cr_assert(cupti_dump_open(path, &calls, &dump, &err), "%s", err.text);
    cupti_dump_buffer(dump, bytes, length, 0);
    cr_assert(cupti_dump_close(dump, (struct cupti_dump_counts){.records = 2, .unattributed = 2}, &err), "%s",
              err.text);
}

Test(dumps, records_of_any_length_are_whole)
{
    static _Alignas(8) uint8_t records[2 * LONG_RECORD];
    const char *name = "a_kernel";
    for (size_t i = 0; i < sizeof records; i++) records[i] = (uint8_t)(i * 7 + i / 251);
    for (size_t i = 0; i < 2; i++) {
        CUpti_ActivityKernel10 *kernel = (void *)(records + i * LONG_RECORD);
        *kernel = (CUpti_ActivityKernel10){.kind = CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, .name = name, .start = 5};
        kernel->end = 9 + i;
    }
    dump_records(records, sizeof records);
    struct cupti_profiler_report report;
    struct error err = {0};
    uint64_t counts[4] = {0};
    char *file;
    size_t length;
    cr_assert(files_read(path, 1 << 20, &file, &length, &err), "%s", err.text);
    const size_t at = offsetof(CUpti_ActivityKernel10, name), end = at + sizeof name;
    const char *entry = file + 16;
    for (size_t i = 0; i < 2; i++) {
        const uint8_t *record = records + i * LONG_RECORD;
        uint32_t head[2];
        uint64_t bytes, no_name;
        memcpy(head, entry, sizeof head);
        memcpy(&bytes, entry + 8, sizeof bytes);
        memcpy(&no_name, entry + 16 + at, sizeof no_name);
        cr_assert(head[0] == CUPTI_DUMP_RECORD && head[1] == 8 + LONG_RECORD + strlen(name) + 1);
        cr_expect_eq(bytes, LONG_RECORD);
        cr_expect_arr_eq(entry + 16, record, at);
        cr_expect_eq(no_name, 0, "a pointer of this process");
        cr_expect_arr_eq(entry + 16 + end, record + end, LONG_RECORD - end);
        cr_expect_str_eq(entry + 16 + LONG_RECORD, name);
        entry += 8 + (head[1] + 7) / 8 * 8;
    }
    mem_free(file);
    const char *fault = replay_dump(path, &open_sink, counts, &report);
    cr_expect_null(fault, "%s", fault);
    expect_counts(path, counts, &report);
}

static CUptiResult CUPTIAPI next_kernel(uint8_t *bytes, size_t valid, CUpti_Activity **record)
{
    (void)valid;
    if (*record) return CUPTI_ERROR_MAX_LIMIT_REACHED;
    *record = (CUpti_Activity *)(void *)bytes;
    return CUPTI_SUCCESS;
}

static void dump_call(struct cupti_dump *dump, CUpti_CallbackDomain domain, CUpti_CallbackId id, uint32_t correlation)
{
    CUpti_CallbackData data = {.correlationId = correlation};
    for (int site = CUPTI_API_ENTER; site <= CUPTI_API_EXIT; site++) {
        data.callbackSite = (CUpti_ApiCallbackSite)site;
        cupti_dump_call(dump, domain, id, &data);
    }
}

/* A copy by the runtime, whose own call of the driver is none of those asked for, then a kernel by the driver alone. */
Test(dumps, a_kernel_that_the_driver_launches_belongs_to_its_op)
{
    const struct cupti_calls calls = {.ActivityGetNextRecord = next_kernel, .GetVersion = tell_version};
    static CUpti_ActivityKernel10 kernel;
    struct cupti_profiler_report report;
    struct cupti_dump *dump;
    struct error err = {0};
    uint64_t counts[4];
    uint32_t ids;
    kernel = (CUpti_ActivityKernel10){.kind = CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, .name = "k", .correlationId = 2};
    kernel.start = 5, kernel.end = 9;
    cr_assert(cupti_dump_open(path, &calls, &dump, &err), "%s", err.text);
    cupti_dump_step(dump, 0, true);
    cupti_dump_launch(dump, 0, OP_A, "forward");
    dump_call(dump, CUPTI_CB_DOMAIN_RUNTIME_API, CUPTI_RUNTIME_TRACE_CBID_cudaMemcpyAsync_v3020, 1);
    cupti_dump_launched(dump);
    cupti_dump_launch(dump, 0, OP_B, "forward");
    dump_call(dump, CUPTI_CB_DOMAIN_DRIVER_API, CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel, 2);
    cupti_dump_launched(dump);
    cupti_dump_buffer(dump, (uint8_t *)&kernel, sizeof kernel, 0);
    cr_assert(cupti_dump_close(dump, (struct cupti_dump_counts){.records = 1}, &err), "%s", err.text);
    seen = (struct seen){0};
    const char *fault = replay_dump(path, &sink, counts, &report);
    cr_expect_null(fault, "%s", fault);
    expect_counts(path, counts, &report);
    cr_expect_eq(records_of(OP_B, &ids), 1);
    cr_expect_eq(records_of(OP_A, &ids), 0);
}

/* ---- Of GPUs ---- */

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

/* The one of a run before stays, and nothing lies beside it. */
static void expect_refused(const char *words)
{
    struct cupti_profiler *profiler;
    struct error err = {0};
    char pattern[PATH + 8], *file;
    size_t length;
    glob_t found;
    cr_assert(files_write(path, "whole", 5, &err), "%s", err.text);
    cr_assert_not(cupti_profiler_open(&sink, &profiler, &err));
    cr_expect(strstr(err.text, words), "%s", err.text);
    cr_assert(files_read(path, 100, &file, &length, &err), "%s", err.text);
    cr_expect_str_eq(file, "whole");
    mem_free(file);
    snprintf(pattern, sizeof pattern, "%s*", path);
    cr_assert_eq(glob(pattern, GLOB_PERIOD, NULL, &found), 0);
    cr_expect_eq(found.gl_pathc, 1, "%s", found.gl_pathv[0]);
    globfree(&found);
}

Test(dumps, a_run_that_is_refused_leaves_the_one_before)
{
    gpu_choose("cupti=taken");
    expect_refused("another profiler");
}

Test(dumps, so_does_a_second_one_in_a_process)
{
    unsetenv("FATHOM_CUPTI_DUMP");
    struct profiled p = profiled_begin("seed=1");
    choose_path();
    expect_refused("profiled already");
    profiled_end(&p);
}
#else
Test(dumps, without_cuda) { gpu_choose(""); }
#endif
