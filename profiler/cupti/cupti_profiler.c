#include "cupti_profiler.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "cupti_buffers.h"
#include "cupti_calls.h"
#include "cupti_dump.h"
#include "cupti_records.h"
#include "mem.h"
#include "owners.h"
#include "scopes.h"
#include "sink_forward.h"
#include "thread.h"

#define CLOCK_EVERY_NS  UINT64_C(1000000000)
#define READ_EVERY_NS   50000000ull         /* what is complete is on its way to disk within twice that */
#define FORGET_AFTER_NS (2 * 1000000000ull) /* a record may come as much later than its graph was destroyed */
#define SILENT_STEPS    64                  /* timed steps after which there should have been a record */

struct cupti_profiler {
    struct sink_forward forward; /* comes first (sink_forward.h) */
    struct trace_sink sink;      /* for the run */
    struct cupti_calls calls;
    CUpti_SubscriberHandle subscriber;
    struct owners *owners;
    struct cupti_buffers *buffers;
    size_t buffer_bytes; /* of each */
    struct cupti_reader *reader;
    struct cupti_dump *dump; /* NULL: nobody asked for one */
    pthread_t thread;
    bool has_thread;
    _Atomic bool stop, off;
    bool recording;        /* kinds are switched on; touched by the thread that submits steps alone */
    _Atomic uint64_t step; /* that was submitted last */
    uint64_t timed_steps;
    _Atomic uint64_t seen, dropped;
    pthread_mutex_t fault_lock;
    char fault[256];
};

/* CUPTI hands no context to the two calls for buffers. */
static _Atomic(struct cupti_profiler *) active;

/* ---- Faults ---- */

static void switch_off(struct cupti_profiler *p, const char *what, const char *why)
{
    bool before = false;
    if (!atomic_compare_exchange_strong(&p->off, &before, true)) return;
    pthread_mutex_lock(&p->fault_lock);
    snprintf(p->fault, sizeof p->fault, "%s%s%s", what, why ? ": " : "", why ? why : "");
    pthread_mutex_unlock(&p->fault_lock);
    char text[320];
    snprintf(text, sizeof text, "kernels are no longer recorded: %s", p->fault);
    if (p->sink.mark) p->sink.mark(p->sink.context, clock_now_ns(), text);
}

static const char *words(const struct cupti_profiler *p, CUptiResult result)
{
    const char *text = NULL;
    p->calls.GetResultString(result, &text);
    return text ? text : "unknown";
}

static bool check(struct cupti_profiler *p, CUptiResult result, const char *what)
{
    if (result == CUPTI_SUCCESS) return true;
    switch_off(p, what, words(p, result));
    return false;
}

/* ---- What CUPTI calls ---- */

static uint64_t CUPTIAPI now(void) { return clock_now_ns(); }

static void CUPTIAPI give_buffer(uint8_t **buffer, size_t *size, size_t *most_records)
{
    struct cupti_profiler *p = atomic_load(&active);
    *buffer = p ? cupti_buffers_request(p->buffers) : NULL;
    *size = *buffer ? p->buffer_bytes : 0;
    *most_records = 0;
}

static void CUPTIAPI take_buffer(CUcontext context, uint32_t stream, uint8_t *buffer, size_t size, size_t valid)
{
    struct cupti_profiler *p = atomic_load(&active);
    (void)size;
    if (p && buffer) cupti_buffers_complete(p->buffers, (struct full_buffer){buffer, valid, context, stream});
}

/* A call that starts something, from its beginning to its end, on the thread that makes it. */
static _Thread_local struct {
    bool runtime, driver; /* one of either that has not ended */
    bool owned, told;     /* it is somebody's; of its node the owner is known */
    struct owner owner;
} call_now;

/* A call that is captured is announced as any other, and its node between its beginning and its end (CUPTI's release
 * notes, 11.0): both are one thing in one place. */
static bool find_node_owner(const CUpti_GraphData *graph, const CUpti_ResourceData *data, struct owner *owner)
{
    if (!(call_now.runtime || call_now.driver) || !call_now.owned || call_now.told)
        return scopes_next(graph->graph, data->context, owner);
    scopes_see_graph(graph->graph);
    *owner = call_now.owner;
    return call_now.told = true;
}

/* Nodes that are made outside of an op's launch are clones, which instantiation announces as created too. */
static void see_node(struct cupti_profiler *p, CUpti_CallbackId id, const CUpti_ResourceData *data)
{
    const CUpti_GraphData *graph = data->resourceDescriptor;
    uint64_t node = 0, original = 0;
    struct owner owner;
    bool ok = true;
    if (p->calls.GetGraphNodeId(graph->node, &node) != CUPTI_SUCCESS) return;
    bool cloned = id == CUPTI_CBID_RESOURCE_GRAPHNODE_CLONED &&
                  p->calls.GetGraphNodeId(graph->originalNode, &original) == CUPTI_SUCCESS;
    cupti_dump_node(p->dump, id, node, original);
    if (id == CUPTI_CBID_RESOURCE_GRAPHNODE_CREATED) {
        ok = !find_node_owner(graph, data, &owner) || owners_add_node(p->owners, node, &owner);
    } else if (cloned) {
        ok = owners_clone_node(p->owners, node, original);
    } else if (id == CUPTI_CBID_RESOURCE_GRAPHNODE_DESTROY_STARTING) {
        ok = owners_retire_node(p->owners, node, clock_now_ns());
    }
    if (!ok) switch_off(p, "out of memory for the nodes of recordings", NULL);
}

/* A runtime call and the driver calls inside it have ids of their own; the record may bear any. Libraries make calls of
 * the driver's outside of the runtime's too. */
static void see_launch(struct cupti_profiler *p, CUpti_CallbackDomain domain, CUpti_CallbackId id,
                       const CUpti_CallbackData *call)
{
    const bool enters = call->callbackSite == CUPTI_API_ENTER, by_driver = domain == CUPTI_CB_DOMAIN_DRIVER_API;
    if (scopes_is_open()) cupti_dump_call(p->dump, domain, id, call);
    const bool was_inside = by_driver && call_now.runtime;
    *(by_driver ? &call_now.driver : &call_now.runtime) = enters;
    if (!enters) return;
    if (!was_inside) {
        call_now.owned = scopes_next(NULL, call->context, &call_now.owner);
        call_now.told = false;
    }
    if (call_now.owned && !owners_add_launch(p->owners, call->correlationId, &call_now.owner))
        switch_off(p, "out of memory for launches", NULL);
}

static void CUPTIAPI see_call(void *context, CUpti_CallbackDomain domain, CUpti_CallbackId id, const void *data)
{
    struct cupti_profiler *p = context;
    if (atomic_load(&p->off)) return;
    if (domain == CUPTI_CB_DOMAIN_RESOURCE)
        see_node(p, id, data);
    else
        see_launch(p, domain, id, data);
}

/* ---- The thread that reads ---- */

static size_t count_dropped(struct cupti_profiler *p, const struct full_buffer *full)
{
    size_t dropped = 0;
    if (p->calls.ActivityGetNumDroppedRecords(full->context, full->stream, &dropped) != CUPTI_SUCCESS || !dropped)
        return 0;
    atomic_fetch_add(&p->dropped, dropped);
    if (p->sink.lost) p->sink.lost(p->sink.context, 0, LOSS_RECORDS, dropped, clock_now_ns());
    return dropped;
}

static void read_buffer(struct cupti_profiler *p, const struct full_buffer *full)
{
    if (!cupti_reader_take(p->reader, full->bytes, full->valid))
        switch_off(p, "out of memory for the table of kernels", NULL);
    cupti_dump_buffer(p->dump, full->bytes, full->valid, count_dropped(p, full));
    cupti_buffers_release(p->buffers, full->bytes);
    atomic_store(&p->seen, cupti_reader_counts(p->reader).records);
}

/* The clock of the records, which is the run's as long as CUPTI asks it: a difference tells that it does not. */
static uint64_t pair_clocks(struct cupti_profiler *p, uint64_t last, uint64_t now)
{
    uint64_t stamp = 0;
    if (!p->sink.clock_pair || (last > 0 && now - last < CLOCK_EVERY_NS)) return last;
    uint64_t before = clock_now_ns();
    bool ok = p->calls.GetTimestamp(&stamp) == CUPTI_SUCCESS && stamp > 0;
    uint64_t middle = before + (clock_now_ns() - before) / 2;
    if (ok) p->sink.clock_pair(p->sink.context, 0, middle, stamp);
    return now;
}

/* Flushing hands over what is complete, on this thread; nothing of ours is locked meanwhile. */
static void *read_records(void *context)
{
    struct cupti_profiler *p = context;
    struct full_buffer full;
    uint64_t flushed = clock_now_ns(), paired = 0;
    while (!atomic_load(&p->stop)) {
        bool found = cupti_buffers_take(p->buffers, READ_EVERY_NS, &full);
        if (found) read_buffer(p, &full);
        if (clock_now_ns() - flushed < READ_EVERY_NS) continue;
        p->calls.ActivityFlushAll(0);
        flushed = clock_now_ns();
        paired = pair_clocks(p, paired, flushed);
        if (flushed > FORGET_AFTER_NS) owners_forget(p->owners, flushed - FORGET_AFTER_NS);
    }
    return NULL;
}

/* ---- What the run says ---- */

static const CUpti_ActivityKind kinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                                           CUPTI_ACTIVITY_KIND_MEMSET};
#define KINDS (sizeof kinds / sizeof *kinds)

static void record(struct cupti_profiler *p, bool on)
{
    if (p->recording == on) return;
    p->recording = on;
    for (size_t i = 0; i < KINDS; i++)
        if (!check(p, (on ? p->calls.ActivityEnable : p->calls.ActivityDisable)(kinds[i]), "switching records")) return;
}

/* In CUPTI 13.0 sessions were seen that never gave a record: better said than shown as a GPU that does nothing. */
static bool is_silent(struct cupti_profiler *p)
{
    p->timed_steps++;
    return p->timed_steps > SILENT_STEPS && atomic_load(&p->seen) == 0;
}

static bool is_wanted(const struct cupti_profiler *p, uint64_t step)
{
    const struct trace_sink *next = p->forward.next;
    return !next->wants_ops || next->wants_ops(next->context, step);
}

/* The executor times no op itself as long as records come. */
static bool wants_ops(void *context, uint64_t step)
{
    struct cupti_profiler *p = context;
    return atomic_load(&p->off) && is_wanted(p, step);
}

static bool records_step(void *context, uint64_t step)
{
    struct cupti_profiler *p = context;
    if (atomic_load(&p->off)) return false;
    return step == atomic_load_explicit(&p->step, memory_order_relaxed) ? p->recording : is_wanted(p, step);
}

/* Nothing is in flight where recording changes, so records are of whole steps. */
static void submit_step(void *context, uint64_t step)
{
    struct cupti_profiler *p = context;
    const struct trace_sink *next = p->forward.next;
    bool wanted = is_wanted(p, step);
    atomic_store_explicit(&p->step, step, memory_order_relaxed);
    cupti_dump_step(p->dump, step, wanted);
    if (!atomic_load(&p->off)) record(p, wanted);
    if (wanted && !atomic_load(&p->off) && is_silent(p)) switch_off(p, "CUPTI gave no records", NULL);
    if (next->step_submit) next->step_submit(next->context, step);
}

static void launch_begin(void *context, uint32_t device, uint32_t id, const char *pass)
{
    struct cupti_profiler *p = context;
    const struct trace_sink *next = p->forward.next;
    const bool evaluates = strcmp(pass, "evaluate") == 0;
    scopes_open(device, evaluates ? OWNER_EVALUATION : id, atomic_load_explicit(&p->step, memory_order_relaxed));
    cupti_dump_launch(p->dump, device, id, pass);
    if (next->launch_begin) next->launch_begin(next->context, device, id, pass);
}

static void launch_end(void *context, uint32_t device)
{
    struct cupti_profiler *p = context;
    const struct trace_sink *next = p->forward.next;
    scopes_close();
    cupti_dump_launched(p->dump);
    if (next->launch_end) next->launch_end(next->context, device);
}

/* ---- Opening and closing ---- */

static const struct {
    CUpti_CallbackDomain domain;
    CUpti_CallbackId id;
} callbacks[] = {
    {CUPTI_CB_DOMAIN_RESOURCE, CUPTI_CBID_RESOURCE_GRAPHNODE_CREATED},
    {CUPTI_CB_DOMAIN_RESOURCE, CUPTI_CBID_RESOURCE_GRAPHNODE_CLONED},
    {CUPTI_CB_DOMAIN_RESOURCE, CUPTI_CBID_RESOURCE_GRAPHNODE_DESTROY_STARTING},
    {CUPTI_CB_DOMAIN_RUNTIME_API, CUPTI_RUNTIME_TRACE_CBID_cudaLaunchKernel_v7000},
    {CUPTI_CB_DOMAIN_RUNTIME_API, CUPTI_RUNTIME_TRACE_CBID_cudaLaunchKernelExC_v11060},
    {CUPTI_CB_DOMAIN_RUNTIME_API, CUPTI_RUNTIME_TRACE_CBID_cudaLaunchCooperativeKernel_v9000},
    {CUPTI_CB_DOMAIN_RUNTIME_API, CUPTI_RUNTIME_TRACE_CBID_cudaMemcpyAsync_v3020},
    {CUPTI_CB_DOMAIN_RUNTIME_API, CUPTI_RUNTIME_TRACE_CBID_cudaMemsetAsync_v3020},
    {CUPTI_CB_DOMAIN_DRIVER_API, CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel},
    {CUPTI_CB_DOMAIN_DRIVER_API, CUPTI_DRIVER_TRACE_CBID_cuLaunchKernelEx},
    {CUPTI_CB_DOMAIN_DRIVER_API, CUPTI_DRIVER_TRACE_CBID_cuLaunchCooperativeKernel},
    {CUPTI_CB_DOMAIN_DRIVER_API, CUPTI_DRIVER_TRACE_CBID_cuMemcpyAsync},
    {CUPTI_CB_DOMAIN_DRIVER_API, CUPTI_DRIVER_TRACE_CBID_cuMemcpyDtoDAsync_v2},
    {CUPTI_CB_DOMAIN_DRIVER_API, CUPTI_DRIVER_TRACE_CBID_cuMemsetD8Async},
    {CUPTI_CB_DOMAIN_DRIVER_API, CUPTI_DRIVER_TRACE_CBID_cuMemsetD32Async},
};
#define CALLBACKS (sizeof callbacks / sizeof *callbacks)

static bool try_call(const struct cupti_profiler *p, CUptiResult result, const char *what, struct error *err)
{
    if (result == CUPTI_SUCCESS) return true;
    if (result == CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED)
        return error_set(err, ERROR_FAILED, "another profiler has this process's CUPTI, which serves one at a time");
    return error_set(err, ERROR_FAILED, "CUPTI, %s: %s", what, words(p, result));
}

/* One subscription for the whole run, before the first recording; the clock before any kind. */
static bool subscribe(struct cupti_profiler *p, struct error *err)
{
    TRY(try_call(p, p->calls.Subscribe(&p->subscriber, see_call, p), "subscribing", err));
    for (size_t i = 0; i < CALLBACKS; i++)
        TRY(try_call(p, p->calls.EnableCallback(1, p->subscriber, callbacks[i].domain, callbacks[i].id), "a callback",
                     err));
    TRY(try_call(p, p->calls.ActivityRegisterTimestampCallback(now), "its clock", err));
    return try_call(p, p->calls.ActivityRegisterCallbacks(give_buffer, take_buffer), "its buffers", err);
}

/* For measuring what size serves best (bench/gpu): FATHOM_CUPTI_BUFFER_KIB, 64 to 8192. */
static size_t choose_buffer_bytes(void)
{
    const char *text = getenv("FATHOM_CUPTI_BUFFER_KIB");
    unsigned long kib = text ? strtoul(text, NULL, 10) : 0;
    return kib >= 64 && kib <= 8192 ? kib << 10 : CUPTI_BUFFER_BYTES;
}

/* FATHOM_CUPTI_DUMP=FILE, for tests where there is no GPU. */
static bool open_dump(struct cupti_profiler *p, struct error *err)
{
    const char *path = getenv("FATHOM_CUPTI_DUMP");
    return !path || !path[0] || cupti_dump_open(path, &p->calls, &p->dump, err);
}

static bool create_parts(struct cupti_profiler *p, struct error *err)
{
    p->buffer_bytes = choose_buffer_bytes();
    p->owners = owners_create();
    p->buffers = cupti_buffers_create(p->buffer_bytes);
    p->reader = p->owners ? cupti_reader_create(&p->calls, p->owners, p->forward.next) : NULL;
    return (p->owners && p->buffers && p->reader) ||
           error_memory(err, CUPTI_BUFFERS * p->buffer_bytes, "records of kernels");
}

static bool start(struct cupti_profiler *p, struct error *err)
{
    TRY(cupti_load(&p->calls, err));
    TRY(create_parts(p, err));
    struct cupti_profiler *none = NULL;
    if (!atomic_compare_exchange_strong(&active, &none, p))
        return error_set(err, ERROR_FAILED, "this process is profiled already");
    TRY(open_dump(p, err) && subscribe(p, err));
    int failed = thread_start(&p->thread, 0, "cupti", read_records, p);
    if (failed) return error_set(err, ERROR_FAILED, "no thread for records of kernels: %s", strerror(failed));
    p->has_thread = true;
    return true;
}

/* A run whose dump could not be written has its trace all the same: the fault is told with the others. */
static void close_dump(struct cupti_profiler *p)
{
    struct error err = {0};
    struct cupti_counts counts = p->reader ? cupti_reader_counts(p->reader) : (struct cupti_counts){0};
    struct cupti_dump_counts told = {counts.records, counts.unattributed, counts.timeless, atomic_load(&p->dropped)};
    if (!cupti_dump_close(p->dump, told, &err)) switch_off(p, "the dump", err.text);
    p->dump = NULL;
}

static void unsubscribe(struct cupti_profiler *p)
{
    if (!p->subscriber) return;
    p->calls.Unsubscribe(p->subscriber);
    p->calls.Finalize();
    p->subscriber = NULL;
}

static void finish(struct cupti_profiler *p)
{
    struct cupti_profiler *self = p;
    unsubscribe(p);
    atomic_compare_exchange_strong(&active, &self, NULL);
    cupti_dump_abandon(p->dump); /* of a run that never began */
    cupti_reader_destroy(p->reader);
    owners_destroy(p->owners);
    cupti_buffers_destroy(p->buffers);
    pthread_mutex_destroy(&p->fault_lock);
    mem_free(p);
}

bool cupti_profiler_open(struct trace_sink *sink, struct cupti_profiler **out, struct error *err)
{
    struct cupti_profiler *p = mem_zalloc(MEM_TRACE, 1, sizeof *p);
    if (!p) return error_memory(err, sizeof *p, "a profiler");
    p->forward.next = sink;
    p->sink = sink_forward_to(&p->forward);
    p->sink.wants_ops = wants_ops;
    p->sink.records_step = records_step;
    p->sink.step_submit = submit_step;
    atomic_init(&p->step, UINT64_MAX);
    p->sink.launch_begin = launch_begin;
    p->sink.launch_end = launch_end;
    pthread_mutex_init(&p->fault_lock, NULL);
    if (!start(p, err)) {
        finish(p);
        return false;
    }
    *out = p;
    return true;
}

struct trace_sink *cupti_profiler_sink(struct cupti_profiler *profiler) { return &profiler->sink; }

static void tell(const struct cupti_profiler *p, struct cupti_profiler_report *report)
{
    struct cupti_counts counts = cupti_reader_counts(p->reader);
    *report = (struct cupti_profiler_report){.records = counts.records,
                                             .unattributed = counts.unattributed,
                                             .timeless = counts.timeless,
                                             .dropped = atomic_load(&p->dropped)};
    snprintf(report->fault, sizeof report->fault, "%s", p->fault);
}

void cupti_profiler_close(struct cupti_profiler *p, struct cupti_profiler_report *report)
{
    struct full_buffer full;
    if (!p) return;
    if (!atomic_load(&p->off)) record(p, false);
    atomic_store(&p->stop, true);
    cupti_buffers_stop(p->buffers);
    pthread_join(p->thread, NULL);
    p->calls.ActivityFlushAll(1); /* also what is not complete: nothing runs any more */
    while (cupti_buffers_take(p->buffers, 0, &full)) read_buffer(p, &full);
    unsubscribe(p); /* callbacks write to the dump */
    close_dump(p);
    if (report) tell(p, report);
    finish(p);
}
