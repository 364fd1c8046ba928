/* What goes wrong with a GPU, over the stand-in for CUDA: every call may fail, and what is refused is one sentence. */
#include "gpu_help.h"

#include "mem.h"
#ifdef FATHOM_CUDA
#include "cuda_probe.h"
#endif

static void refused(const char *options, const struct device_options *o, uint64_t arena, struct error *err)
{
    struct device *device = NULL;
    gpu_choose(options);
    gpu_restart(options);
    cr_assert_not(CUDA_BACKEND->device_create(o, arena, &device, err), "%s", options);
    cr_expect_eq(err->kind, ERROR_FAILED, "%s", err->text);
    cr_expect_null(strchr(err->text, '\n'), "%s", err->text);
    gpu_expect_clean();
}

Test(cuda_device_faults, a_gpu_that_cannot_run_the_plan_is_refused_in_one_sentence)
{
    const struct device_options first = {0}, third = {.number = 2, .ordinal = 2};
    struct error err;
    refused("driver=0", &first, MIB, &err);
    EXPECT_WORDS(err.text, "no NVIDIA driver", "13.0");
    refused("driver=12080", &first, MIB, &err);
    EXPECT_WORDS(err.text, "too old", "12.8", "13.0");
    refused("gpus=0", &first, MIB, &err);
    EXPECT_WORDS(err.text, "GPU 0", "0 are here");
    refused("gpus=2", &third, MIB, &err);
    EXPECT_WORDS(err.text, "device 2", "GPU 2", "only 2 are here");
    refused("capability=7.0,name=Tesla V100", &first, MIB, &err);
    EXPECT_WORDS(err.text, "Tesla V100", "7.0", "7.5");
    refused("memory=2GiB", &first, 3000 * MIB, &err);
    EXPECT_WORDS(err.text, "too little memory", "2.94 GiB", "of 2.00 GiB");
}

Test(cuda_device_faults, bf16_wants_a_gpu_that_has_it)
{
    struct gpu g = gpu_begin("capability=7.5,name=Tesla T4", MIB);
    const struct tensor tensor = {.dtype = DTYPE_BF16, .dims = {1, 1, 1, 8}, .bytes = 16};
    const struct op op = {.kind = OP_RELU, .inputs = 1, .outputs = 1};
    const struct op_call call = {.op = &op, .in_tensor = {&tensor}, .out_tensor = {&tensor}};
    struct prepared *prepared;
    cr_expect_not(g.backend->op_prepare(g.device, &call, &prepared, &g.err));
    EXPECT_WORDS(g.err.text, "bf16", "Tesla T4", "7.5", "8.0", "--dtype f16");
    gpu_end(&g);
}

Test(cuda_device_faults, a_group_of_one_sums_nothing)
{
    struct gpu g = gpu_begin("", MIB);
    struct group_id id;
    struct group *group;
    GPU_OK(&g, g.backend->group_name(&id, &g.err));
    GPU_OK(&g, g.backend->group_create(&id, 0, 1, NULL, &group, &g.err));
    GPU_OK(&g, g.backend->group_join(group, g.device, &g.err));
    gpu_give_back(&g);
    g.backend->group_destroy(group);
    gpu_expect_clean();
}

Test(cuda_device_faults, the_first_error_stays)
{
    struct gpu g = gpu_begin("illegal=1", MIB);
    struct event *event, *more;
    struct stream *stream;
    struct recording *recording;
    struct error first;
    uint8_t host[16] = {0};
    bool done;
    GPU_OK(&g, g.backend->event_create(g.device, &event, &g.err));
    GPU_OK(&g, g.backend->set_step(g.device, g.stream, &(struct step){0}, &g.err));
    GPU_OK(&g, g.backend->event_record(event, g.stream, &g.err));
    cr_assert_not(g.backend->event_synchronize(event, UINT64_MAX, &done, &first));
    EXPECT_WORDS(first.text, "device 0", "cudaErrorIllegalAddress");
#define SAME(call)                                                                                                     \
    cr_expect_not(call);                                                                                               \
    cr_expect_str_eq(g.err.text, first.text)
    SAME(g.backend->copy_in(g.device, g.stream, 0, host, 16, &g.err));
    SAME(g.backend->copy_out(g.device, g.stream, host, 0, 16, &g.err));
    SAME(g.backend->fill(g.device, g.stream, 0, 16, 0, &g.err));
    SAME(g.backend->set_step(g.device, g.stream, &(struct step){0}, &g.err));
    SAME(g.backend->event_record(event, g.stream, &g.err));
    SAME(g.backend->event_wait(event, g.stream, &g.err));
    SAME(g.backend->event_synchronize(event, 0, &done, &g.err));
    SAME(g.backend->event_create(g.device, &more, &g.err));
    SAME(g.backend->stream_create(g.device, &stream, &g.err));
    SAME(g.backend->record_begin(g.device, g.stream, &recording, &g.err));
    SAME(g.backend->memory_used(g.device, &(struct device_memory){0}, &g.err));
#undef SAME
    g.backend->event_destroy(event);
    gpu_give_back(&g);
}

/* Whatever call of CUDA fails: one sentence with its name, and nothing is left. */
Test(cuda_device_faults, each_call_of_a_device_may_fail)
{
    static const char *const calls[] = {"RuntimeGetVersion:1",
                                        "DriverGetVersion:1",
                                        "GetDeviceCount:1",
                                        "GetDeviceProperties:1",
                                        "SetDevice:1",
                                        "MemGetInfo:1",
                                        "StreamCreateWithFlags:1",
                                        "MemGetInfo:2",
                                        "Malloc:1",
                                        "MemsetAsync:1",
                                        "MemsetAsync:2",
                                        "EventCreateWithFlags:1",
                                        "HostAlloc:1",
                                        "LibraryLoadData:1",
                                        "LibraryGetKernel:1",
                                        "StreamSynchronize:1"};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        char options[64];
        struct error err;
        struct device *device = NULL;
        snprintf(options, sizeof options, "fail=%s:2", calls[i]);
        gpu_choose(options);
        gpu_restart(options);
        bool ok = CUDA_BACKEND->device_create(&(struct device_options){0}, MIB, &device, &err);
        if (ok) CUDA_BACKEND->device_destroy(device); /* the first look at free memory is once in a process */
        cr_expect(!ok || strstr(calls[i], "MemGetInfo:2"), "%s", calls[i]);
        if (!ok) EXPECT_WORDS(err.text, "cudaErrorMemoryAllocation");
        gpu_expect_clean();
    }
}

/* Copies of both kinds, a fill, a step, a recording that is replayed: as a step of training has them. */
static bool work(struct gpu *g, struct recording **recording, void *pinned)
{
    const struct backend *b = g->backend;
    uint8_t host[100] = {1};
    return b->copy_in(g->device, g->stream, 0, host, 100, &g->err) &&
           b->copy_in(g->device, g->stream, 256, pinned, 100, &g->err) &&
           b->set_step(g->device, g->stream, &(struct step){0}, &g->err) &&
           b->record_begin(g->device, g->stream, recording, &g->err) &&
           b->fill(g->device, g->stream, 512, 100, 1, &g->err) &&
           b->copy_out(g->device, g->stream, pinned, 256, 100, &g->err) && b->record_end(*recording, &g->err) &&
           b->replay(*recording, g->stream, &g->err) && b->copy_out(g->device, g->stream, host, 0, 100, &g->err);
}

static bool work_and_wait(struct gpu *g, struct event **event, void **pinned, struct recording **recording)
{
    const struct backend *b = g->backend;
    bool done;
    return b->event_create(g->device, event, &g->err) && b->pinned_create(g->device, 100, pinned, &g->err) &&
           work(g, recording, *pinned) && b->event_record(*event, g->stream, &g->err) &&
           b->event_wait(*event, g->other, &g->err) && b->fill(g->device, g->other, 0, 256, 3, &g->err) &&
           b->event_record(*event, g->other, &g->err) && b->event_synchronize(*event, UINT64_MAX, &done, &g->err) &&
           done;
}

/* The n-th of these calls fails. True: there are not so many. */
static bool fail_at(const char *call, unsigned n)
{
    char options[64];
    snprintf(options, sizeof options, "fail=%s:%u:999", call, n); /* unknown error */
    gpu_choose("seed=1");
    gpu_restart("seed=1");
    struct gpu g = gpu_begin("seed=1", MIB);
    struct event *event = NULL;
    struct recording *recording = NULL;
    void *pinned = NULL;
    gpu_restart(options);
    bool ok = work_and_wait(&g, &event, &pinned, &recording);
    if (!ok) {
        struct error again;
        EXPECT_WORDS(g.err.text, "cudaErrorUnknown");
        cr_expect_not(g.backend->fill(g.device, g.stream, 0, 1, 0, &again));
        cr_expect_str_eq(again.text, g.err.text);
    }
    g.backend->recording_destroy(recording);
    g.backend->event_destroy(event);
    if (pinned) g.backend->pinned_destroy(g.device, pinned);
    gpu_end(&g);
    return ok;
}

Test(cuda_device_faults, each_call_of_a_step_may_fail)
{
    static const char *const calls[] = {"EventCreateWithFlags", "HostAlloc",        "MemcpyAsync",      "MemsetAsync",
                                        "LaunchKernel",         "EventRecord",      "StreamWaitEvent",  "EventQuery",
                                        "StreamBeginCapture",   "StreamEndCapture", "GraphInstantiate", "GraphUpload",
                                        "GraphLaunch"};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        unsigned n = 1;
        while (!fail_at(calls[i], n)) cr_assert_lt(n++, 20, "%s", calls[i]);
        cr_expect_gt(n, 1, "%s is not called", calls[i]);
    }
}

Test(cuda_device_faults, each_allocation_of_the_host_may_fail)
{
    bool ok = false;
    for (uint64_t n = 1; !ok; n++) {
        struct error err = {0};
        struct device *device = NULL;
        struct stream *stream = NULL;
        struct event *event = NULL;
        struct recording *recording = NULL;
        void *pinned = NULL;
        gpu_choose("seed=1");
        gpu_restart("seed=1");
        const struct backend *b = CUDA_BACKEND;
        mem_fail_at(n);
        ok = b->device_create(&(struct device_options){0}, MIB, &device, &err) &&
             b->stream_create(device, &stream, &err) && b->event_create(device, &event, &err) &&
             b->pinned_create(device, 100, &pinned, &err) && b->record_begin(device, stream, &recording, &err);
        mem_fail_at(0);
        cr_expect(ok || err.kind == ERROR_MEMORY, "%s", err.text);
        cr_assert_lt(n, 50);
        b->recording_destroy(recording);
        if (pinned) b->pinned_destroy(device, pinned);
        b->event_destroy(event);
        b->stream_destroy(stream);
        b->device_destroy(device);
        gpu_expect_clean();
    }
}

Test(cuda_device_faults, a_probe_says_what_is_here)
{
    gpu_choose("gpus=2,name=NVIDIA H100 PCIe,capability=9.0,memory=4GiB,processors=114");
#ifdef FATHOM_CUDA
    struct cuda_probe_device found[1];
    struct error err;
    size_t count;
    cr_assert(cuda_probe(found, 1, &count, &err), "%s", err.text);
    cr_expect_eq(count, 2);
    cr_expect_str_eq(found[0].name, "NVIDIA H100 PCIe");
    cr_expect_eq(found[0].major * 10 + found[0].minor, 90);
    cr_expect_eq(found[0].total_bytes, 4096 * MIB);
    cr_expect(found[0].has_free && found[0].free_bytes > 0 && found[0].free_bytes <= 4096 * MIB);
    cr_expect_eq(found[0].multiprocessors, 114);
    cr_expect_str_eq(found[0].bus_id, "0000:10:00.0");
    gpu_expect_clean();
    gpu_restart("gpus=0");
    cr_assert(cuda_probe(found, 1, &count, &err), "%s", err.text);
    cr_expect_eq(count, 0);
    gpu_restart("driver=0");
    cr_expect_not(cuda_probe(found, 1, &count, &err));
    EXPECT_WORDS(err.text, "no NVIDIA driver");
#endif
}
