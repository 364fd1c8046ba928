/* What the import of a trace does when memory ends; the rest is tested from outside (tests/cli/kineto.py). */
#include <criterion/criterion.h>

#include "import_private.h"
#include "mem.h"
#include "rollup_private.h"
#include "trace_samples.h"

static const char text[] =
    "{\"baseTimeNanoseconds\": 1000000, \"traceEvents\": ["
    "{\"ph\":\"X\",\"cat\":\"user_annotation\",\"name\":\"ProfilerStep#1\",\"pid\":1,\"tid\":1,\"ts\":1,\"dur\":99},"
    "{\"ph\":\"X\",\"cat\":\"python_function\",\"name\":\"nn.Module: Net_0\",\"pid\":1,\"tid\":1,\"ts\":2,\"dur\":90},"
    "{\"ph\":\"X\",\"cat\":\"cpu_op\",\"name\":\"aten::conv2d\",\"pid\":1,\"tid\":1,\"ts\":3,\"dur\":20.5,"
    "\"args\":{\"External id\":7,\"Sequence number\":3,\"Fwd thread id\":0,\"Input Dims\":[[1,2],[]]}},"
    "{\"ph\":\"X\",\"cat\":\"cuda_runtime\",\"name\":\"cudaLaunchKernel\",\"pid\":1,\"tid\":1,\"ts\":4,\"dur\":2,"
    "\"args\":{\"correlation\":12}},"
    "{\"ph\":\"X\",\"cat\":\"kernel\",\"name\":\"gemm \\u00e9\",\"pid\":0,\"tid\":7,\"ts\":10.001,\"dur\":5.25,"
    "\"args\":{\"correlation\":12,\"stream\":7,\"grid\":[3,2,1],\"block\":[64,1,1],\"registers per thread\":40}},"
    "{\"ph\":\"X\",\"cat\":\"gpu_memcpy\",\"name\":\"Memcpy\",\"pid\":0,\"tid\":7,\"ts\":20,\"dur\":0.009,"
    "\"args\":{\"External id\":7,\"bytes\":4096}}]}";

static char json[SAMPLE_PATH], path[SAMPLE_PATH];
static void setup(void)
{
    sample_path(json);
    sample_path(path);
    sample_write(json, text, sizeof text - 1);
}
static void teardown(void)
{
    unlink(json);
    unlink(path);
}
TestSuite(trace_import, .init = setup, .fini = teardown);

Test(trace_import, numbers_are_those_of_the_file)
{
    struct error err = {0};
    struct trace_import_stats stats;
    cr_assert(trace_import(json, path, NULL, &stats, &err), "%s", err.text);
    cr_assert(stats.kernels == 1 && stats.copies == 1 && stats.owned == 2 && stats.steps == 1 && stats.devices == 1);
    struct trace_follower *follower = sample_follow(path, &err);
    cr_assert_not_null(follower, "%s", err.text);
    const struct rollup *r = trace_follow_rollup(follower);
    const struct rollup_kernel *gemm = &r->kernels[0], *copy = &r->kernels[1];
    cr_assert_str_eq(gemm->name, "gemm \xc3\xa9");
    cr_assert_eq(gemm->times.total_ns, 5250);
    cr_assert(gemm->grid[0] == 3 && gemm->grid[1] == 2 && gemm->block[0] == 64 && gemm->registers == 40);
    cr_assert_str_eq(gemm->times.layer, "Net_0");
    cr_assert_str_eq(gemm->times.kind, "aten::conv2d");
    cr_assert(copy->work == WORK_COPY && copy->bytes == 4096 && copy->times.total_ns == 9, "by its External id");
    cr_assert_str_eq(copy->times.kind, "aten::conv2d");
    cr_assert_eq(r->steps[0].step, 1);
    cr_assert_eq(r->steps[0].begin_ns, 1000000 + 1000);
    cr_assert_eq(r->steps[0].end_ns, 1000000 + 100000);
    cr_assert(r->wall_offset_ns > 0 && r->wall_offset_ns < 1000000000, "its times are the wall's");
    trace_unfollow(follower);
}

/* Numbers that are the same but for what is above 32 bits are two. */
Test(trace_import, correlations_of_64_bits_are_told_apart)
{
    static const char two[] =
        "[{\"ph\":\"X\",\"cat\":\"cpu_op\",\"name\":\"aten::first\",\"pid\":1,\"tid\":1,\"ts\":1,\"dur\":5,\"args\":{}}"
        ","
        "{\"ph\":\"X\",\"cat\":\"cpu_op\",\"name\":\"aten::second\",\"pid\":1,\"tid\":1,\"ts\":11,\"dur\":5,\"args\":"
        "{\"External id\":4294967301}},"
        "{\"ph\":\"X\",\"cat\":\"cuda_runtime\",\"name\":\"cudaLaunchKernel\",\"pid\":1,\"tid\":1,\"ts\":2,\"dur\":1,"
        "\"args\":{\"correlation\":7}},"
        "{\"ph\":\"X\",\"cat\":\"cuda_runtime\",\"name\":\"cudaLaunchKernel\",\"pid\":1,\"tid\":1,\"ts\":12,\"dur\":1,"
        "\"args\":{\"correlation\":4294967303}},"
        "{\"ph\":\"X\",\"cat\":\"kernel\",\"name\":\"a\",\"pid\":0,\"tid\":7,\"ts\":20,\"dur\":1,"
        "\"args\":{\"correlation\":4294967303}},"
        "{\"ph\":\"X\",\"cat\":\"kernel\",\"name\":\"b\",\"pid\":0,\"tid\":7,\"ts\":30,\"dur\":1,"
        "\"args\":{\"correlation\":7}},"
        "{\"ph\":\"X\",\"cat\":\"kernel\",\"name\":\"c\",\"pid\":0,\"tid\":7,\"ts\":40,\"dur\":1,\"args\":{\"External "
        "id\":5}}]";
    struct error err = {0};
    struct trace_import_stats stats;
    sample_write(json, two, sizeof two - 1);
    cr_assert(trace_import(json, path, NULL, &stats, &err), "%s", err.text);
    cr_assert(stats.kernels == 3 && stats.owned == 2, "%llu", (unsigned long long)stats.owned);
    struct trace_follower *follower = sample_follow(path, &err);
    cr_assert_not_null(follower, "%s", err.text);
    const struct rollup *r = trace_follow_rollup(follower);
    for (size_t i = 0; i < r->kernel_count; i++) {
        const char *wanted = r->kernels[i].name[0] == 'a' ? "aten::second" : "aten::first";
        if (r->kernels[i].name[0] != 'c') cr_expect_str_eq(r->kernels[i].times.kind, wanted);
    }
    trace_unfollow(follower);
}

/* So many layers' calls, each with an op, its launch and its kernel, the newest first. */
static uint64_t write_many(unsigned count)
{
    uint64_t sum = 0;
    FILE *file = fopen(json, "w");
    cr_assert_not_null(file);
    fputs("[", file);
    for (unsigned n = count; n-- > 0;) {
        unsigned at = 20 * n, ns = 1000 + n * 7919 % 8000;
        sum += ns;
        fprintf(
            file,
            "{\"ph\":\"X\",\"cat\":\"kernel\",\"name\":\"k%u\",\"pid\":0,\"tid\":7,\"ts\":%u.5,\"dur\":%u.%03u,"
            "\"args\":{\"correlation\":%u,\"grid\":[1,1,1]}},"
            "{\"ph\":\"X\",\"cat\":\"cuda_runtime\",\"name\":\"cudaLaunchKernel\",\"pid\":1,\"tid\":1,\"ts\":%u,"
            "\"dur\":1,"
            "\"args\":{\"correlation\":%u}},"
            "{\"ph\":\"X\",\"cat\":\"cpu_op\",\"name\":\"op%u\",\"pid\":1,\"tid\":1,\"ts\":%u,\"dur\":5,\"args\":{}},"
            "{\"ph\":\"X\",\"cat\":\"python_function\",\"name\":\"nn.Module: "
            "L_%u\",\"pid\":1,\"tid\":1,\"ts\":%u,\"dur\":9}%s",
            n % 5, at + 6, ns / 1000, ns % 1000, n + 1, at + 3, n + 1, n % 3, at + 2, n % 4, at + 1, n ? "," : "]");
    }
    cr_assert_eq(fclose(file), 0);
    return sum;
}

/* What is read of the events goes to disk: sums, owners and layers are right all the same, and memory does not grow. */
Test(trace_import, memory_does_not_grow_with_the_file)
{
    struct error err = {0};
    struct trace_import_stats stats;
    const unsigned count = 60000;
    uint64_t before = mem_current_bytes(MEM_TRACE), sum = write_many(count), found = 0;
    cr_assert(trace_import(json, path, NULL, &stats, &err), "%s", err.text);
    cr_expect_eq(stats.kernels, count);
    cr_expect_eq(stats.owned, count);
    cr_expect_eq(stats.ops, 12, "of 3 names in 4 layers");
    cr_expect_leq(mem_peak_bytes(MEM_TRACE) - before, 14u << 20, "%llu bytes for %llu of JSON",
                  (unsigned long long)(mem_peak_bytes(MEM_TRACE) - before), (unsigned long long)stats.json_bytes);
    cr_expect_eq(mem_current_bytes(MEM_TRACE), before);
    struct trace_follower *follower = sample_follow(path, &err);
    cr_assert_not_null(follower, "%s", err.text);
    const struct rollup *r = trace_follow_rollup(follower);
    cr_expect_eq(r->kernel_count, 60, "of 5 names in 12 ops");
    for (size_t i = 0; i < r->kernel_count; i++) {
        found += r->kernels[i].times.total_ns;
        cr_expect_eq(r->kernels[i].times.count, count / 60);
    }
    cr_expect_eq(found, sum, "%llu ns, not %llu", (unsigned long long)found, (unsigned long long)sum);
    trace_unfollow(follower);
}

#define ROWS  60000
#define LANES 20000

/* Each row is of another thread and another stream than the one before. */
static void write_lanes(void)
{
    FILE *file = fopen(json, "w");
    cr_assert_not_null(file);
    for (unsigned i = 0; i < ROWS; i++)
        fprintf(file,
                "%c{\"ph\":\"X\",\"cat\":\"cuda_runtime\",\"name\":\"cudaLaunchKernel\",\"pid\":1,\"tid\":%u,\"ts\":%u,"
                "\"dur\":1,\"args\":{\"correlation\":%u}},\n"
                "{\"ph\":\"X\",\"cat\":\"kernel\",\"name\":\"k\",\"pid\":0,\"tid\":0,\"ts\":%u.5,\"dur\":1.%u,"
                "\"args\":{\"correlation\":%u,\"stream\":%u}}",
                i ? ',' : '[', i % LANES, 4 * i, i + 1, 4 * i + 2, i % LANES % 9, i + 1, i % LANES * 1024);
    fputs("]", file);
    cr_assert_eq(fclose(file), 0);
}

/* Counted, not timed: to find the thread or the stream of an event takes a look or two, however many there are. */
Test(trace_import, threads_and_streams_by_the_thousand_cost_no_more_each)
{
    struct error err = {0};
    struct trace_import_stats stats = {0};
    struct import import = {.path = json, .out = path, .stats = &stats, .model = NONE};
    write_lanes();
    cr_assert(import_read(&import, &err), "%s", err.text);
    cr_expect_eq(import.threads.count, LANES);
    cr_expect_leq(import.threads.looks, 4 * ROWS, "%llu", (unsigned long long)import.threads.looks);
    import_finish(&import);

    uint64_t before = mem_current_bytes(MEM_TRACE);
    cr_assert(trace_import(json, path, NULL, &stats, &err), "%s", err.text);
    cr_expect_eq(stats.kernels, ROWS);
    cr_expect_leq(mem_peak_bytes(MEM_TRACE) - before, 40u << 20, "%llu bytes", (unsigned long long)mem_peak_bytes(MEM_TRACE));
    struct trace_follower *follower = sample_follow(path, &err);
    cr_assert_not_null(follower, "%s", err.text);
    const struct rollup *r = trace_follow_rollup(follower);
    cr_expect_eq(r->kernel_count, LANES, "one of each stream");
    for (size_t i = 0; i < r->kernel_count; i++) {
        const struct rollup_kernel *k = &r->kernels[i];
        cr_assert_eq(k->times.count, ROWS / LANES);
        cr_assert_eq(k->times.total_ns, (ROWS / LANES) * (1000 + k->stream / 1024 % 9 * 100));
    }
    const uint64_t looks = follower->open[0].by_stream.looks + follower->kernel_streams.looks;
    cr_expect_leq(looks, 12 * ROWS, "%llu", (unsigned long long)looks);
    trace_unfollow(follower);
}

/* It was said to be out of memory. */
Test(trace_import, more_ops_than_a_trace_has_room_for_are_told)
{
    struct error err = {0};
    struct trace_import_stats stats = {0};
    struct import import = {.path = "many.json", .out = path, .stats = &stats, .model = NONE};
    struct import_owner owner = {.begin_ns = 1, .end_ns = 2};
    for (; owner.op < TRACE_MOST_OPS; owner.op++)
        if (!import_place_itself(&import, &owner, &err)) cr_assert_fail("op %u: %s", (unsigned)owner.op, err.text);
    owner.op = 0;
    cr_expect(import_place_itself(&import, &owner, &err), "one that it has: %s", err.text);
    owner.op = TRACE_MOST_OPS;
    cr_expect_not(import_place_itself(&import, &owner, &err));
    cr_expect_eq(err.kind, ERROR_INPUT);
    cr_expect_str_eq(err.text, "many.json: has more than 1048576 different ops, the most that a trace can have");
    import_finish(&import);
    cr_expect_eq(mem_current_bytes(MEM_TRACE), 0);
}

Test(trace_import, every_failed_allocation_is_an_error_without_a_leak)
{
    uint64_t before = mem_current_bytes(MEM_TRACE), general = mem_current_bytes(MEM_GENERAL);
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        struct error err = {0};
        struct trace_import_stats stats;
        unlink(path);
        mem_fail_at(n);
        done = trace_import(json, path, NULL, &stats, &err);
        mem_fail_at(0);
        cr_assert(done || err.kind == ERROR_MEMORY, "allocation %d: %s", (int)n, err.text);
        cr_assert_eq(access(path, F_OK) == 0, done, "allocation %d: a part is left", (int)n);
        cr_assert_eq(mem_current_bytes(MEM_TRACE), before, "allocation %d leaks", (int)n);
        cr_assert_eq(mem_current_bytes(MEM_GENERAL), general, "allocation %d leaks", (int)n);
    }
}
