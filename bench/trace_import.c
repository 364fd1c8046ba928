/* What importing a trace of PyTorch's profiler costs: megabytes of JSON a second of processor time, and memory, which
 * is not to grow with the file. The trace has shapes and Python's stack, 14 events around each kernel, and comes
 * through a pipe; what is imported has to add up to what was written, to the nanosecond.
 *
 *   bench_trace_import [KERNELS, 100000 if not given, of 4.2 kB each] [FILE to write] */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "import.h"
#include "process.h"
#include "rollup.h"

/* 11 us and so much. */
static uint64_t kernel_ns(uint64_t i) { return 11000 + i % 1000; }

static void write_event(FILE *file, const char *category, const char *name, int thread, uint64_t ns,
                        uint64_t duration_ns, const char *args)
{
    fprintf(file,
            "  {\n    \"ph\": \"X\", \"cat\": \"%s\", \"name\": \"%s\", \"pid\": %d, \"tid\": %d,\n"
            "    \"ts\": %" PRIu64 ".%03d, \"dur\": %" PRIu64 ".%03d,\n    \"args\": {\n      %s\n    }\n  },\n",
            category, name, thread == 7 ? 0 : thread, thread, ns / 1000, (int)(ns % 1000), duration_ns / 1000,
            (int)(duration_ns % 1000), args);
}

static void write_kernel(FILE *file, uint64_t i)
{
    uint64_t at = 1000000000 + 20000 * i;
    char args[512];
    for (unsigned k = 0; k < 8; k++)
        write_event(file, "python_function", "torch/nn/modules/module.py(1520): _call_impl", 4711, at + k, 18000 + k,
                    "\"Python parent id\": 170, \"Python id\": 171, \"Ev Idx\": 1002");
    write_event(file, "python_function", "nn.Module: Conv2d_0", 4711, at + 9, 18000, "\"Python id\": 172");
    for (unsigned k = 0; k < 3; k++) {
        snprintf(args, sizeof args,
                 "\"External id\": %" PRIu64 ",\"Sequence number\": %" PRIu64
                 ", \"Fwd thread id\": 0, \"Record function id\": 0, "
                 "\"Input type\": [\"float\", \"float\", \"Scalar\"], \"Input Strides\": [[16384, 256, 16, 1], "
                 "[576, 9, 3, 1], []], \"Input Dims\": [[128, 64, 16, 16], [64, 64, 3, 3], []], \"Ev Idx\": %" PRIu64,
                 4 * i + k, i, 8 * i + k);
        write_event(file, "cpu_op", "aten::cudnn_convolution", 4711, at + 1010 + k, 10500 - 1000 * k, args);
    }
    snprintf(args, sizeof args, "\"External id\": %" PRIu64 ", \"cbid\": 211, \"correlation\": %" PRIu64, 4 * i + 2,
             i + 1);
    write_event(file, "cuda_runtime", "cudaLaunchKernel", 4711, at + 3000, 4125, args);
    snprintf(args, sizeof args,
             "\"External id\": %" PRIu64
             ", \"queued\": 0, \"device\": 0, \"context\": 1, \"stream\": 7, \"correlation\": %" PRIu64
             ",\n      \"registers per thread\": 168, \"shared memory\": 65536, \"blocks per SM\": 2.4, \"warps per "
             "SM\": 19.4,"
             "\n      \"grid\": [%d, 2, 1], \"block\": [256, 1, 1], \"est. achieved occupancy %%\": 13",
             4 * i + 2, i + 1, (int)(1 + i % 40));
    write_event(file, "kernel", "void cutlass__5x_cudnn::Kernel<cutlass_tensorop_s1688fprop_optimized_tf32>(Params)", 7,
                at + 8250, kernel_ns(i), args);
}

/* As another process, whose memory is not this one's. */
static pid_t begin_writing(uint64_t kernels, int *from)
{
    int ends[2];
    if (pipe(ends) != 0) return -1;
    pid_t writer = fork();
    if (writer == 0) {
        close(ends[0]);
        FILE *file = fdopen(ends[1], "w");
        if (!file) _exit(1);
        fputs("{\"schemaVersion\": 1, \"baseTimeNanoseconds\": 1700000000000000000, \"traceEvents\": [\n", file);
        for (uint64_t i = 0; i < kernels; i++) write_kernel(file, i);
        fputs("  {\"ph\": \"M\", \"name\": \"end\"}\n]}\n", file);
        _exit(fclose(file) != 0);
    }
    close(ends[1]);
    *from = ends[0];
    return writer;
}

static bool check_sums(const char *path, uint64_t kernels)
{
    struct error err = {0};
    struct trace_follower *follower;
    uint64_t read, wanted = 0, found = 0;
    if (!trace_follow(path, &follower, &err) || !trace_follow_more(follower, 0, &read, &err)) return false;
    const struct rollup *rollup = trace_follow_rollup(follower);
    for (uint64_t i = 0; i < kernels; i++) wanted += kernel_ns(i);
    for (size_t i = 0; i < rollup->kernel_count; i++) found += rollup->kernels[i].times.total_ns;
    trace_unfollow(follower);
    if (found != wanted) fprintf(stderr, "bench_trace_import: %" PRIu64 " ns, not %" PRIu64 "\n", found, wanted);
    return found == wanted;
}

int main(int argc, char **argv)
{
    uint64_t kernels = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000, resident = 0, peak = 0;
    const char *path = argc > 2 ? argv[2] : "/tmp/fathom-bench.trace";
    struct error err = {0};
    struct trace_import_stats stats;
    char from[32];
    int fd;
    pid_t writer = begin_writing(kernels, &fd);
    if (writer < 0) return 1;
    snprintf(from, sizeof from, "/dev/fd/%d", fd);
    uint64_t start = clock_thread_cpu_ns();
    bool ok = trace_import(from, path, NULL, &stats, &err);
    double ns = (double)(clock_thread_cpu_ns() - start);
    close(fd);
    waitpid(writer, NULL, 0);
    if (!ok) {
        fprintf(stderr, "bench_trace_import: %s\n", err.text);
        return 1;
    }
    process_memory_read(&resident, &peak);
    printf(
        "import  %6.0f MB/s of %.0f MB of a Kineto trace, by this thread's time (goal 150); %.1f MiB of memory at most "
        "(goal 64)\n",
        (double)stats.json_bytes * 1000 / ns, (double)stats.json_bytes / 1e6, (double)peak / (1 << 20));
    ok = stats.kernels == kernels && stats.owned == kernels && check_sums(path, kernels);
    unlink(path);
    return ok ? 0 : 1;
}
