/* Streams, events and memory of the stand-in: whatever events allow happens under some seed, and what they do not order
 * is told under every one. */
#include "host_kernels_broken.h"
#include "runtime_test.h"

#define COUNT 256u
#define BYTES (COUNT * sizeof(uint32_t))

/* ---- Order ---- */

/* What two kernels leave that write one number without an edge between them: either's. */
static uint32_t race(uint64_t seed)
{
    restart_with(seed);
    cudaStream_t a = new_stream(), b = new_stream();
    uint32_t *to = new_memory(BYTES), *low = new_memory(BYTES), *high = new_memory(BYTES), got;
    OK(cudaMemset(low, 0, BYTES));
    OK(cudaMemset(high, 1, BYTES));
    OK(cudaDeviceSynchronize());
    OK(cudaMemcpyAsync(to, low, BYTES, cudaMemcpyDefault, a));
    OK(cudaMemcpyAsync(to, high, BYTES, cudaMemcpyDefault, b));
    OK(cudaDeviceSynchronize());
    expect_violation("nothing between them");
    OK(cudaMemcpy(&got, to, sizeof got, cudaMemcpyDefault));
    OK(cudaStreamDestroy(a));
    OK(cudaStreamDestroy(b));
    return got;
}

Test(streams, order_is_random_where_events_leave_it)
{
    unsigned first = 0, runs = 40;
    for (uint64_t seed = 1; seed <= runs; seed++) first += race(seed) == 0;
    cr_assert(first > 3 && first < runs - 3, "%u of %u", first, runs);
}

/* A chain through three streams, with unrelated work in each. */
static void chain(uint64_t seed)
{
    restart_with(seed);
    cudaKernel_t add = probe_kernel("probe_add_one");
    cudaStream_t streams[3] = {new_stream(), new_stream(), new_stream()};
    uint32_t *at = new_memory(BYTES), got[COUNT];
    OK(cudaMemsetAsync(at, 0, BYTES, streams[0]));
    for (unsigned i = 0; i < 12; i++) {
        OK(launch(add, (struct probe_arguments){at, at, COUNT}, streams[i % 3]));
        order(streams[i % 3], streams[(i + 1) % 3]);
    }
    OK(cudaMemcpyAsync(got, at, BYTES, cudaMemcpyDefault, streams[0]));
    for (unsigned i = 0; i < COUNT; i++) cr_assert_eq(got[i], 12);
    for (unsigned i = 0; i < 3; i++) OK(cudaStreamDestroy(streams[i]));
    expect_clean();
}

Test(streams, what_events_order_is_kept)
{
    for (uint64_t seed = 1; seed <= 30; seed++) chain(seed);
}

Test(streams, nothing_runs_before_it_is_waited_for)
{
    cudaStream_t s = new_stream();
    uint32_t *from = new_pinned(BYTES), *at = new_memory(BYTES), *to = new_pinned(BYTES);
    memset(from, 0, BYTES);
    OK(cudaMemcpyAsync(at, from, BYTES, cudaMemcpyDefault, s));
    OK(cudaMemcpyAsync(to, at, BYTES, cudaMemcpyDefault, s));
    cr_assert_eq(to[0], UINT32_MAX); /* as memory begins */
    OK(cudaStreamSynchronize(s));
    cr_assert_eq(to[0], 0);
    expect_clean();
}

Test(streams, the_legacy_stream_waits_for_blocking_streams_alone)
{
    cudaStream_t blocking, s = new_stream();
    uint32_t *at = new_memory(BYTES), *other = new_memory(BYTES);
    OK(cudaStreamCreateWithFlags(&blocking, cudaStreamDefault));
    OK(cudaMemsetAsync(at, 0, BYTES, blocking));
    OK(cudaMemset(at, 1, BYTES));
    OK(cudaMemsetAsync(at, 2, BYTES, blocking));
    OK(cudaDeviceSynchronize());
    expect_clean();
    OK(cudaMemset(other, 1, BYTES)); /* the host does not wait for it, nor does the stream */
    OK(cudaMemsetAsync(other, 2, BYTES, s));
    OK(cudaDeviceSynchronize());
    expect_violation("nothing between them");
}

/* ---- Edges that are missing ---- */

enum gap { NO_GAP, NO_READ_AFTER_WRITE, NO_WRITE_AFTER_READ };

/* A producer, a consumer in another stream, then the producer again. */
static void produce(enum gap gap, uint64_t seed)
{
    restart_with(seed);
    cudaKernel_t add = probe_kernel("probe_add_one");
    cudaStream_t a = new_stream(), b = new_stream();
    uint32_t *at = new_memory(BYTES), *to = new_memory(BYTES);
    OK(cudaMemsetAsync(at, 0, BYTES, a));
    if (gap != NO_READ_AFTER_WRITE) order(a, b);
    OK(launch(add, (struct probe_arguments){to, at, COUNT}, b));
    if (gap != NO_WRITE_AFTER_READ) order(b, a);
    OK(cudaMemsetAsync(at, 1, BYTES, a));
    OK(cudaDeviceSynchronize());
    OK(cudaStreamDestroy(a));
    OK(cudaStreamDestroy(b));
}

Test(clocks, a_missing_event_is_told_under_every_seed)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        produce(NO_GAP, seed);
        expect_clean();
        produce(NO_READ_AFTER_WRITE, seed);
        expect_violation("nothing between them");
        produce(NO_WRITE_AFTER_READ, seed);
        expect_violation("nothing between them");
    }
}

Test(clocks, dropped_records_and_waits_are_told)
{
    static const char *const options[] = {"drop_record=1", "drop_record=2", "drop_wait=1", "drop_wait=2"};
    for (unsigned i = 0; i < 4; i++) {
        standin_restart(options[i]);
        cudaKernel_t add = probe_kernel("probe_add_one");
        cudaStream_t a = new_stream(), b = new_stream();
        uint32_t *at = new_memory(BYTES), *to = new_memory(BYTES);
        OK(cudaMemsetAsync(at, 0, BYTES, a));
        order(a, b);
        OK(launch(add, (struct probe_arguments){to, at, COUNT}, b));
        order(b, a);
        OK(cudaMemsetAsync(at, 1, BYTES, a));
        OK(cudaDeviceSynchronize());
        expect_violation("nothing between them");
    }
}

Test(clocks, readers_need_no_order_among_themselves)
{
    cudaKernel_t add = probe_kernel("probe_add_one");
    cudaStream_t a = new_stream(), b = new_stream(), c = new_stream();
    uint32_t *at = new_memory(BYTES), *left = new_memory(BYTES), *right = new_memory(BYTES);
    OK(cudaMemsetAsync(at, 0, BYTES, a));
    order(a, b);
    order(a, c);
    OK(launch(add, (struct probe_arguments){left, at, COUNT}, b));
    OK(launch(add, (struct probe_arguments){right, at, COUNT}, c));
    order(b, a);
    order(c, a);
    OK(cudaMemsetAsync(at, 1, BYTES, a));
    OK(cudaDeviceSynchronize());
    expect_clean();
}

Test(clocks, a_writer_that_knows_one_of_two_readers_is_told)
{
    cudaKernel_t add = probe_kernel("probe_add_one");
    cudaStream_t a = new_stream(), b = new_stream(), c = new_stream();
    uint32_t *at = new_memory(BYTES), *left = new_memory(BYTES), *right = new_memory(BYTES);
    OK(cudaMemsetAsync(at, 0, BYTES, a));
    order(a, b);
    order(a, c);
    OK(launch(add, (struct probe_arguments){left, at, COUNT}, b));
    OK(launch(add, (struct probe_arguments){right, at, COUNT}, c));
    order(b, a);
    OK(cudaMemsetAsync(at, 1, BYTES, a));
    OK(cudaDeviceSynchronize());
    expect_violation("nothing between them");
}

Test(clocks, pinned_memory_is_watched_as_well)
{
    cudaStream_t a = new_stream(), b = new_stream();
    uint32_t *at = new_memory(BYTES), *other = new_memory(BYTES), *host = new_pinned(BYTES);
    OK(cudaMemsetAsync(at, 0, BYTES, a));
    OK(cudaMemcpyAsync(host, at, BYTES, cudaMemcpyDefault, a));
    OK(cudaMemcpyAsync(other, host, BYTES, cudaMemcpyDefault, b));
    OK(cudaDeviceSynchronize());
    expect_violation("pinned");
}

Test(clocks, a_host_that_writes_what_is_still_to_be_copied_is_told)
{
    cudaStream_t s = new_stream();
    uint32_t *at = new_memory(BYTES), *host = new_pinned(BYTES);
    memset(host, 0, BYTES);
    OK(cudaMemcpyAsync(at, host, BYTES, cudaMemcpyDefault, s));
    host[5] = 1;
    OK(cudaStreamSynchronize(s));
    expect_violation("changed before");
}

/* cudaMemcpy of memory that is not pinned may return before the device has it, and no stream but blocking ones waits.
 */
Test(clocks, a_copy_of_pageable_memory_is_not_over_when_its_call_returns)
{
    cudaStream_t s = new_stream();
    uint32_t *at = new_memory(BYTES), *to = new_memory(BYTES), *fixed = new_pinned(BYTES), host[COUNT] = {0};
    memset(fixed, 0, BYTES);
    OK(cudaMemcpy(at, fixed, BYTES, cudaMemcpyHostToDevice)); /* that is */
    OK(cudaMemcpyAsync(to, at, BYTES, cudaMemcpyDefault, s));
    OK(cudaDeviceSynchronize());
    expect_clean();
    OK(cudaMemcpy(at, host, BYTES, cudaMemcpyHostToDevice));
    OK(cudaMemcpyAsync(to, at, BYTES, cudaMemcpyDefault, s));
    OK(cudaDeviceSynchronize());
    expect_violation("nothing between them");
}

/* ---- Memory ---- */

Test(memory, begins_as_nan_and_ends_as_nan)
{
    float *memory = new_memory(64), got[16];
    OK(cudaMemcpy(got, memory, sizeof got, cudaMemcpyDeviceToHost));
    for (unsigned i = 0; i < 16; i++) cr_assert(got[i] != got[i]);
}

Test(memory, is_limited_and_counted)
{
    size_t free_bytes, total;
    void *memory;
    standin_restart("memory=64MiB");
    OK(cudaMemGetInfo(&free_bytes, &total));
    cr_assert_eq(total, 64u << 20);
    IS(cudaMalloc(&memory, free_bytes + 1), cudaErrorMemoryAllocation);
    OK(cudaMalloc(&memory, 32u << 20));
    cr_assert_eq(standin_report().device_bytes, 32u << 20);
    IS(cudaMalloc(&memory, 33u << 20), cudaErrorMemoryAllocation);
    IS(cudaGetLastError(), cudaErrorMemoryAllocation);
    IS(cudaGetLastError(), cudaSuccess);
}

Test(memory, a_kernel_past_an_allocation_is_told)
{
    cudaKernel_t add = probe_kernel("probe_add_one");
    cudaStream_t s = new_stream();
    uint32_t *from = new_memory(BYTES), *to = new_memory(BYTES + 4);
    OK(cudaMemsetAsync(from, 0, BYTES, s));
    OK(launch(add, (struct probe_arguments){to, from, COUNT}, s));
    OK(cudaStreamSynchronize(s));
    expect_clean();
    OK(launch(add, (struct probe_arguments){to, from, COUNT + 1}, s));
    OK(cudaStreamSynchronize(s));
    expect_violation("probe_add_one reads 4 bytes");
}

Test(memory, a_kernel_in_freed_memory_is_told)
{
    cudaKernel_t add = probe_kernel("probe_add_one");
    cudaStream_t s = new_stream();
    uint32_t *from = new_memory(BYTES), *to = new_memory(BYTES);
    OK(cudaMemsetAsync(from, 0, BYTES, s));
    OK(cudaFree(to));
    OK(launch(add, (struct probe_arguments){to, from, COUNT}, s));
    OK(cudaStreamSynchronize(s));
    expect_violation("in no allocation");
}

Test(memory, copies_outside_allocations_are_refused)
{
    char host[64];
    char *at = new_memory(32);
    IS(cudaMemcpy(host, at, 33, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    expect_violation("in no allocation");
    IS(cudaMemcpy(host, at, 32, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    IS(cudaFree(at + 1), cudaErrorInvalidValue);
}

/* ---- Failures on demand ---- */

Test(faults, a_call_fails_when_it_is_told_to)
{
    void *memory;
    standin_restart("fail=Malloc:2:2,fail=StreamCreateWithFlags:1:999");
    OK(cudaMalloc(&memory, 64));
    IS(cudaMalloc(&memory, 64), cudaErrorMemoryAllocation);
    OK(cudaMalloc(&memory, 64));
    cudaStream_t s;
    IS(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), cudaErrorUnknown);
}

Test(faults, no_driver_and_an_old_one)
{
    int count = 5, version;
    void *memory;
    standin_restart("driver=0");
    IS(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
    cr_assert_eq(count, 0);
    OK(cudaDriverGetVersion(&version));
    cr_assert_eq(version, 0);
    standin_restart("driver=12040");
    IS(cudaMalloc(&memory, 64), cudaErrorInsufficientDriver);
    standin_restart("gpus=0");
    IS(cudaGetDeviceCount(&count), cudaErrorNoDevice);
    standin_restart("gpus=3");
    OK(cudaGetDeviceCount(&count));
    cr_assert_eq(count, 3);
    IS(cudaSetDevice(3), cudaErrorInvalidDevice);
}

/* Kernels go to streams of the thread's device alone, and events to streams of their own. Copies may go anywhere. */
Test(faults, what_is_of_another_device_is_refused)
{
    standin_restart("gpus=2");
    cudaKernel_t add = probe_kernel("probe_add_one");
    cudaStream_t s = new_stream();
    cudaEvent_t event = new_event();
    uint32_t *at = new_memory(BYTES), *host = new_pinned(BYTES);
    const struct probe_arguments arguments = {.count = 0};
    OK(cudaSetDevice(1));
    IS(launch(add, arguments, s), cudaErrorInvalidResourceHandle);
    IS(cudaEventRecord(event, new_stream()), cudaErrorInvalidResourceHandle);
    OK(cudaEventRecord(event, s));
    OK(cudaMemsetAsync(at, 0, BYTES, s));
    OK(cudaMemcpyAsync(host, at, BYTES, cudaMemcpyDefault, s));
    OK(cudaSetDevice(0));
    OK(launch(add, arguments, s));
    OK(cudaDeviceSynchronize());
    expect_clean();
}

/* Of a cooperative launch all blocks run at a time: two a processor. */
Test(faults, a_cooperative_launch_of_too_many_blocks_is_refused)
{
    standin_restart("processors=4");
    float *memory;
    OK(cudaMalloc((void **)&memory, 256));
    struct probe_arguments arguments = {.count = 0};
    void *parameters[] = {&arguments};
    const void *kernel = (const void *)probe_kernel("probe_add_one");
    const dim3 one = {1, 1, 1};
    int blocks = 0;
    OK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, 256, 0));
    cr_assert_eq(blocks, 2);
    OK(cudaLaunchCooperativeKernel(kernel, (dim3){4, 2, 1}, one, parameters, 0, NULL));
    cr_expect_eq(cudaLaunchCooperativeKernel(kernel, (dim3){9, 1, 1}, one, parameters, 0, NULL),
                 cudaErrorCooperativeLaunchTooLarge);
    OK(cudaDeviceSynchronize());
    expect_clean();
}

/* ---- Threads of a kernel ---- */

/* A kernel of broken.cpp, of 256 threads. */
static void shift(const char *name, uint64_t seed)
{
    restart_with(seed);
    float *in = new_memory(256 * sizeof *in), *out = new_memory(256 * sizeof *out);
    void *parameters[] = {&(struct shift_arguments){in, out}};
    OK(cudaMemset(in, 0, 256 * sizeof *in));
    OK(cudaLaunchKernel((const void *)probe_kernel(name), (dim3){1, 1, 1}, (dim3){256, 1, 1}, parameters, 0, NULL));
    OK(cudaDeviceSynchronize());
    OK(cudaFree(in));
    OK(cudaFree(out));
}

Test(threads, a_missing_barrier_is_told_under_every_seed)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        shift("shift_right", seed);
        expect_clean();
        shift("shift_without_barrier", seed);
        expect_violation("with no barrier between them");
    }
}

static void copy_vectors(size_t first)
{
    float *in = new_memory(1032 * sizeof *in), *out = new_memory(1032 * sizeof *out);
    void *parameters[] = {&(struct shift_arguments){in + first, out}};
    OK(cudaMemset(in, 0, 1032 * sizeof *in));
    OK(cudaLaunchKernel((const void *)probe_kernel("copy_vectors"), (dim3){1, 1, 1}, (dim3){256, 1, 1}, parameters, 0,
                        NULL));
    OK(cudaDeviceSynchronize());
    expect_clean();
}

Test(threads, vectors_are_read_where_16_divides_the_address) { copy_vectors(4); }
Test(threads, vectors_elsewhere_end_the_process, .exit_code = 70) { copy_vectors(5); }

Test(faults, an_illegal_access_stays)
{
    standin_restart("illegal=2");
    cudaKernel_t add = probe_kernel("probe_add_one");
    cudaStream_t s = new_stream();
    uint32_t *at = new_memory(BYTES);
    void *memory;
    OK(cudaMemsetAsync(at, 0, BYTES, s));
    OK(launch(add, (struct probe_arguments){at, at, COUNT}, s));
    OK(cudaStreamSynchronize(s));
    OK(launch(add, (struct probe_arguments){at, at, COUNT}, s));
    IS(cudaStreamSynchronize(s), cudaErrorIllegalAddress);
    IS(cudaMalloc(&memory, 64), cudaErrorIllegalAddress);
    IS(launch(add, (struct probe_arguments){at, at, COUNT}, s), cudaErrorIllegalAddress);
}

Test(faults, a_kernel_that_hangs_is_never_done)
{
    standin_restart("hang=1");
    cudaKernel_t add = probe_kernel("probe_add_one");
    cudaStream_t s = new_stream(), other = new_stream();
    cudaEvent_t event = new_event();
    uint32_t *at = new_memory(BYTES);
    OK(cudaMemsetAsync(at, 0, BYTES, s));
    OK(launch(add, (struct probe_arguments){at, at, COUNT}, s));
    OK(cudaEventRecord(event, s));
    for (unsigned i = 0; i < 20; i++) IS(cudaEventQuery(event), cudaErrorNotReady);
    OK(cudaStreamSynchronize(other));
    expect_clean();
    IS(cudaEventSynchronize(event), cudaErrorLaunchTimeout);
    expect_violation("never ends");
}

Test(faults, memory_is_refused_after_a_number_of_calls)
{
    void *memory;
    standin_restart("refuse=3");
    OK(cudaMalloc(&memory, 64));
    OK(cudaMalloc(&memory, 64));
    OK(cudaMalloc(&memory, 64));
    IS(cudaMalloc(&memory, 64), cudaErrorMemoryAllocation);
}

Test(report, counts_what_is_alive)
{
    struct standin_vendor_report before = standin_report(), after;
    cudaStream_t s = new_stream();
    cudaEvent_t event = new_event();
    after = standin_report();
    cr_assert_eq(after.streams, before.streams + 1);
    cr_assert_eq(after.events, before.events + 1);
    OK(cudaStreamDestroy(s));
    OK(cudaEventDestroy(event));
    IS(cudaEventDestroy(event), cudaErrorInvalidResourceHandle);
    after = standin_report();
    cr_assert_eq(after.streams, before.streams);
    cr_assert_eq(after.events, before.events);
}
