/* clang-format off */
/* What CUPTI's records cost by themselves, on the GPU here: for gpu.py, one line of JSON.
 *
 *   fathom-records switch            a recorded graph replayed with records off, on, and switched on and off between
 *                                    replays, with the time of the switching alone
 *   fathom-records flush KIB         ActivityFlushAll(0) after each replay, with buffers of that size
 *   fathom-records pool kernels|all  the device's pool limited to 8 buffers, where in CUPTI 13.0 records of kernels alone
 *                                    lost their times after 899,477; `all` records copies and fills too
 *
 *   --nodes N    kernels of the graph (1000); --records N to take (pool; 1200000); --seconds S at most (15) */
/* clang-format on */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "clock.h"
#include "cuda_backend.h"
#include "cuda_device.h"
#include "cupti_calls.h"
#include "kernels.h"
#include "library.h"

#define MOST_SAMPLES 4096
#define REPLAYS      200 /* of each way */
#define POOL_LIMIT   8

static struct {
    uint64_t nodes, records, seconds;
    size_t buffer_bytes;
} options = {1000, 1200000, 15, 1 << 20};

static struct cupti_calls cupti;
static struct device *device;
static struct stream *stream;
static struct recording *recording;
static struct error err;

/* ---- Records ---- */

static struct {
    _Atomic uint64_t records, timeless, first_timeless, buffers, bytes;
    bool unread; /* buffers are counted alone */
} seen;

static void CUPTIAPI give_buffer(uint8_t **buffer, size_t *size, size_t *most)
{
    *buffer = aligned_alloc(8, options.buffer_bytes);
    *size = *buffer ? options.buffer_bytes : 0;
    *most = 0;
}

static void take_record(const CUpti_Activity *record)
{
    const CUpti_ActivityKernel10 *kernel = (const CUpti_ActivityKernel10 *)record;
    if (record->kind != CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) return;
    uint64_t number = atomic_fetch_add(&seen.records, 1) + 1;
    if (kernel->start != 0 && kernel->end >= kernel->start) return;
    if (atomic_fetch_add(&seen.timeless, 1) == 0) atomic_store(&seen.first_timeless, number);
}

static void CUPTIAPI take_buffer(CUcontext context, uint32_t id, uint8_t *buffer, size_t size, size_t valid)
{
    CUpti_Activity *record = NULL;
    (void)context, (void)id, (void)size;
    atomic_fetch_add(&seen.buffers, 1);
    atomic_fetch_add(&seen.bytes, valid);
    while (!seen.unread && valid > 0 && cupti.ActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS)
        take_record(record);
    free(buffer);
}

static uint64_t CUPTIAPI now(void) { return clock_now_ns(); }

static void fail(const char *what)
{
    fprintf(stderr, "fathom-records: %s\n", what);
    exit(1);
}

static void must(CUptiResult result, const char *what)
{
    if (result == CUPTI_SUCCESS) return;
    const char *text = NULL;
    cupti.GetResultString(result, &text);
    fprintf(stderr, "fathom-records: %s: %s\n", what, text ? text : "unknown");
    exit(1);
}

static const CUpti_ActivityKind kinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                                           CUPTI_ACTIVITY_KIND_MEMSET};

/* The first `count` kinds. */
static void record(bool on, size_t count)
{
    for (size_t i = 0; i < count; i++)
        must((on ? cupti.ActivityEnable : cupti.ActivityDisable)(kinds[i]), "switching records");
}

static void set_pool_limit(size_t limit)
{
    char path[4096];
    size_t size = sizeof limit;
    CUptiResult (*set)(CUpti_ActivityAttribute, size_t *, void *) = NULL;
    library_find("libcupti.so.13", CUPTI_LIBRARY, path, sizeof path);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle) *(void **)&set = dlsym(handle, "cuptiActivitySetAttribute");
    if (!set) fail("CUPTI has no cuptiActivitySetAttribute");
    must(set(CUPTI_ACTIVITY_ATTR_DEVICE_BUFFER_POOL_LIMIT, &size, &limit), "limiting the pool");
}

/* ---- The work ---- */

#define OK(call) ((call) ? (void)0 : fail(err.text))

static void wait_for_all(void)
{
    struct event *event;
    bool done;
    OK(cuda_backend.event_create(device, &event, &err));
    OK(cuda_backend.event_record(event, stream, &err));
    OK(cuda_backend.event_synchronize(event, UINT64_C(10000000000), &done, &err));
    cuda_backend.event_destroy(event);
    if (!done) fail("the GPU did not come in 10 s");
}

static void begin(void)
{
    const struct device_options made = {.fill = 0};
    const struct launch_shape small = {.blocks = 1, .threads = KERNEL_THREADS};
    OK(cupti_load(&cupti, &err));
    must(cupti.ActivityRegisterTimestampCallback(now), "its clock");
    must(cupti.ActivityRegisterCallbacks(give_buffer, take_buffer), "its buffers");
    OK(cuda_backend.device_create(&made, 1 << 20, &device, &err));
    OK(cuda_backend.stream_create(device, &stream, &err));
    const struct elementwise_arguments arguments = {
        .a = device_at(device, 0), .out = device_at(device, 0), .count = KERNEL_THREADS};
    OK(cuda_launch(device, KERNEL_relu_f32, small, &arguments, stream->handle, &err)); /* loads its code */
    wait_for_all();
    OK(cuda_backend.record_begin(device, stream, &recording, &err));
    for (uint64_t i = 0; i < options.nodes; i++)
        OK(cuda_launch(device, KERNEL_relu_f32, small, &arguments, stream->handle, &err));
    OK(cuda_backend.record_end(recording, &err));
    for (int i = 0; i < 3; i++) OK(cuda_backend.replay(recording, stream, &err)); /* warm */
    wait_for_all();
}

static void end(void)
{
    cupti.ActivityFlushAll(1);
    cuda_backend.recording_destroy(recording);
    cuda_backend.stream_destroy(stream);
    cuda_backend.device_destroy(device);
    cupti.Finalize();
}

/* ---- Samples ---- */

struct samples {
    uint64_t ns[MOST_SAMPLES];
    size_t count;
};

static void add(struct samples *samples, uint64_t begin_ns)
{
    if (samples->count < MOST_SAMPLES) samples->ns[samples->count++] = clock_now_ns() - begin_ns;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* "NAME_us": [median, most] */
static void tell(const char *name, struct samples *samples)
{
    if (samples->count == 0) return;
    qsort(samples->ns, samples->count, sizeof samples->ns[0], compare);
    printf(", \"%s_us\": [%.3f, %.3f]", name, (double)samples->ns[samples->count / 2] / 1e3,
           (double)samples->ns[samples->count - 1] / 1e3);
}

static void replay(struct samples *samples)
{
    uint64_t began = clock_now_ns();
    OK(cuda_backend.replay(recording, stream, &err));
    wait_for_all();
    add(samples, began);
}

/* ---- Parts ---- */

static bool in_time(uint64_t began) { return clock_now_ns() - began < options.seconds * UINT64_C(1000000000); }

/* The three ways in turn, so that a drift of clocks falls out. */
static void time_switching(void)
{
    static struct samples off, on, switched, enable, disable;
    uint64_t began = clock_now_ns();
    begin();
    for (int i = 0; i < REPLAYS && in_time(began); i++) {
        replay(&off);
        record(true, 3);
        replay(&switched); /* the first one after switching on */
        replay(&on);
        uint64_t at = clock_now_ns();
        record(false, 3);
        add(&disable, at);
        at = clock_now_ns();
        record(true, 3);
        add(&enable, at);
        record(false, 3);
    }
    cupti.ActivityFlushAll(1);
    printf("{\"part\": \"switch\", \"nodes\": %" PRIu64 ", \"replays\": %zu", options.nodes, on.count);
    tell("replay_off", &off);
    tell("replay_first_on", &switched);
    tell("replay_on", &on);
    tell("enable", &enable);
    tell("disable", &disable);
    printf(", \"records\": %" PRIu64 "}\n", atomic_load(&seen.records));
    end();
}

static void time_flushes(void)
{
    static struct samples replays, flushes;
    uint64_t began = clock_now_ns();
    seen.unread = true; /* the flush is timed, not what is done with it */
    begin();
    record(true, 3);
    for (int i = 0; i < REPLAYS && in_time(began); i++) {
        replay(&replays);
        uint64_t at = clock_now_ns();
        cupti.ActivityFlushAll(0);
        add(&flushes, at);
    }
    uint64_t buffers = atomic_load(&seen.buffers), bytes = atomic_load(&seen.bytes);
    record(false, 3);
    printf("{\"part\": \"flush\", \"buffer_bytes\": %zu, \"replays\": %zu", options.buffer_bytes, replays.count);
    tell("replay_on", &replays);
    tell("flush", &flushes);
    end();
    printf(", \"buffers\": %" PRIu64 ", \"bytes\": %" PRIu64 "}\n", buffers, bytes);
}

static uint64_t free_bytes(const struct vendor *vendor)
{
    size_t free_now = 0, total = 0;
    vendor->cuda.MemGetInfo(&free_now, &total);
    return free_now;
}

static void fill_the_pool(bool all)
{
    static struct samples replays;
    size_t count = all ? 3 : 1;
    const struct vendor *vendor = vendor_load(&err);
    if (!vendor) fail(err.text);
    OK(cupti_load(&cupti, &err));
    set_pool_limit(POOL_LIMIT);
    uint64_t began = clock_now_ns();
    begin();
    uint64_t before = free_bytes(vendor), replayed = 0;
    record(true, count);
    for (; replayed * options.nodes < options.records && in_time(began); replayed++) {
        replay(&replays);
        if (replayed % 10 == 9) cupti.ActivityFlushAll(0);
    }
    cupti.ActivityFlushAll(1);
    uint64_t after = free_bytes(vendor);
    record(false, count);
    printf("{\"part\": \"pool\", \"kinds\": \"%s\", \"replayed\": %" PRIu64 ", \"records\": %" PRIu64
           ", \"timeless\": %" PRIu64 ", \"first_timeless\": %" PRIu64 ", \"grown_bytes\": %" PRIu64 "}\n",
           all ? "all" : "kernels", replayed * options.nodes, atomic_load(&seen.records), atomic_load(&seen.timeless),
           atomic_load(&seen.first_timeless), before > after ? before - after : 0);
    end();
}

/* ---- Words ---- */

static bool take_option(const char *name, const char *value)
{
    uint64_t number = strtoull(value, NULL, 10);
    if (strcmp(name, "--nodes") == 0) options.nodes = number;
    if (strcmp(name, "--records") == 0) options.records = number;
    if (strcmp(name, "--seconds") == 0) options.seconds = number;
    return number > 0;
}

int main(int argc, char **argv)
{
    const char *part = argc > 1 ? argv[1] : "", *what = argc > 2 ? argv[2] : "";
    bool timed = strcmp(part, "flush") == 0, pool = strcmp(part, "pool") == 0;
    for (int i = timed || pool ? 3 : 2; i + 1 < argc; i += 2)
        if (!take_option(argv[i], argv[i + 1])) fail("a number above 0 is wanted behind each option");
    if (timed) options.buffer_bytes = (size_t)strtoull(what, NULL, 10) << 10;
    if (timed && options.buffer_bytes > 0)
        time_flushes();
    else if (pool && (strcmp(what, "kernels") == 0 || strcmp(what, "all") == 0))
        fill_the_pool(strcmp(what, "all") == 0);
    else if (strcmp(part, "switch") == 0)
        time_switching();
    else
        fail("switch, flush KIB, pool kernels or pool all is wanted");
    return 0;
}
