/* CUPTI's activity records and callbacks, of what the stand-in runs.
 *
 * Nodes are announced as CUPTI does: created while a stream is captured, created and cloned when a graph is
 * instantiated; records of a replay bear the id of the clone. A call of the runtime is announced with its correlation
 * id, which the record bears. Times are those of the work on the host. Faults: FATHOM_STANDIN's cupti=KIND+... */
#include <cupti.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "vendor.h"

#define LOST_EVERY 50u
#define GROWN      64u /* bytes more in each record: a later version's */
#define JUMP_AT    50u /* records, and as many are a second early */
#define JUMP_NS    1000000000ull
#define DROP_EVERY 20u
#define POOL_EACH  100u /* records for each buffer of the device's pool, before kernels alone lose their times */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the buffer; never held while a callback of the user's
                                                          * runs but those for buffers, as in CUPTI */
static CUpti_CallbackFunc callback;
static void *callback_context;
static bool wants_nodes, wants_launches;
static CUpti_TimestampCallbackFunc stamp;
static CUpti_BuffersCallbackRequestFunc request;
static CUpti_BuffersCallbackCompleteFunc complete;
static bool enabled[CUPTI_ACTIVITY_KIND_COUNT];
static struct {
    uint8_t *bytes;
    size_t size, valid;
} buffer;
static size_t dropped;
static uint32_t last_correlation;
static uint64_t written;
static size_t pool_limit = 250;
static struct { /* handed over when it is too late */
    CUpti_BuffersCallbackCompleteFunc complete;
    uint8_t *bytes;
    size_t size, valid;
} late;

/* ---- Announcements ---- */

static void announce(CUpti_CallbackId id, const struct CUgraphNode_st *node, const struct CUgraphNode_st *original,
                     const void *of)
{
    CUpti_GraphData graph = {.graph = (CUgraph)(uintptr_t)of,
                             .node = (CUgraphNode)(uintptr_t)node,
                             .originalNode = (CUgraphNode)(uintptr_t)original};
    CUpti_ResourceData data = {.resourceDescriptor = &graph};
    if (callback && wants_nodes) callback(callback_context, CUPTI_CB_DOMAIN_RESOURCE, id, &data);
}

void cupti_node_created(const struct CUgraphNode_st *node, const struct CUgraph_st *graph)
{
    announce(CUPTI_CBID_RESOURCE_GRAPHNODE_CREATED, node, NULL, graph);
}

void cupti_node_cloned(const struct CUgraphNode_st *node, const struct CUgraphNode_st *original)
{
    announce(CUPTI_CBID_RESOURCE_GRAPHNODE_CREATED, node, NULL, NULL);
    announce(CUPTI_CBID_RESOURCE_GRAPHNODE_CLONED, node, original, NULL);
}

void cupti_node_destroyed(const struct CUgraphNode_st *node)
{
    announce(CUPTI_CBID_RESOURCE_GRAPHNODE_DESTROY_STARTING, node, NULL, NULL);
}

/* The runtime's call, and the driver's that it makes. */
static const struct {
    CUpti_CallbackDomain domain;
    CUpti_CallbackId kernel, together, copy, fill;
} calls_of[] = {{CUPTI_CB_DOMAIN_RUNTIME_API, CUPTI_RUNTIME_TRACE_CBID_cudaLaunchKernel_v7000,
                 CUPTI_RUNTIME_TRACE_CBID_cudaLaunchCooperativeKernel_v9000,
                 CUPTI_RUNTIME_TRACE_CBID_cudaMemcpyAsync_v3020, CUPTI_RUNTIME_TRACE_CBID_cudaMemsetAsync_v3020},
                {CUPTI_CB_DOMAIN_DRIVER_API, CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel,
                 CUPTI_DRIVER_TRACE_CBID_cuLaunchCooperativeKernel, CUPTI_DRIVER_TRACE_CBID_cuMemcpyAsync,
                 CUPTI_DRIVER_TRACE_CBID_cuMemsetD8Async}};

static void call_site(const struct work *work, const struct device *device, int level, CUpti_ApiCallbackSite site)
{
    CUpti_CallbackData data = {
        .callbackSite = site, .context = (CUcontext)(uintptr_t)device, .correlationId = last_correlation};
    CUpti_CallbackId id = calls_of[level].kernel;
    if (work->kind == WORK_COPY) id = calls_of[level].copy;
    if (work->kind == WORK_FILL) id = calls_of[level].fill;
    if (work->launch.together) id = calls_of[level].together;
    if (callback && wants_launches) callback(callback_context, calls_of[level].domain, id, &data);
}

void cupti_call_begins(const struct work *work, const struct device *device)
{
    last_correlation++;
    for (int level = 0; level < 2; level++) call_site(work, device, level, CUPTI_API_ENTER);
}

uint32_t cupti_call_ends(const struct work *work, const struct device *device)
{
    for (int level = 2; level-- > 0;) call_site(work, device, level, CUPTI_API_EXIT);
    return last_correlation;
}

/* ---- Records ---- */

static size_t dumped_bytes[CUPTI_ACTIVITY_KIND_COUNT]; /* of records of a dump; 0 = there was none */

static size_t record_bytes(CUpti_ActivityKind kind)
{
    size_t grown = options.cupti_grows ? GROWN : 0;
    if ((unsigned)kind < CUPTI_ACTIVITY_KIND_COUNT && dumped_bytes[kind]) return dumped_bytes[kind];
    switch (kind) {
    case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL: return sizeof(CUpti_ActivityKernel10) + grown;
    case CUPTI_ACTIVITY_KIND_MEMCPY: return sizeof(CUpti_ActivityMemcpy6) + grown;
    case CUPTI_ACTIVITY_KIND_MEMSET: return sizeof(CUpti_ActivityMemset4) + grown;
    default: return 0;
    }
}

/* The last record first. */
static void reverse_records(void)
{
    uint8_t *copy = malloc(buffer.valid), *to = buffer.bytes + buffer.valid;
    if (!copy) return;
    memcpy(copy, buffer.bytes, buffer.valid);
    for (size_t at = 0; at < buffer.valid;) {
        size_t size = record_bytes(((const CUpti_Activity *)(void *)(copy + at))->kind);
        memcpy(to -= size, copy + at, size);
        at += size;
    }
    free(copy);
}

/* A buffer that is none, and one with nothing in it. */
static void hand_over_nothing(void)
{
    uint8_t *empty = NULL;
    size_t size = 0, most = 0;
    complete(NULL, 0, NULL, 0, 0);
    request(&empty, &size, &most);
    if (empty) complete(NULL, 0, empty, size, 0);
}

static void hand_over(void)
{
    if (!buffer.bytes) return;
    if (options.cupti_disorder) reverse_records();
    if (options.cupti_nulls) hand_over_nothing();
    if (options.cupti_tails && buffer.valid + sizeof(CUpti_Activity) <= buffer.size) {
        memset(buffer.bytes + buffer.valid, 0, sizeof(CUpti_Activity)); /* of no kind */
        buffer.valid += sizeof(CUpti_Activity);
    }
    complete(NULL, 0, buffer.bytes, buffer.size, buffer.valid);
    buffer.bytes = NULL;
}

/* One with so much room. */
static bool find_buffer(size_t bytes)
{
    size_t most = 0;
    if (buffer.bytes && buffer.valid + bytes > buffer.size) hand_over();
    if (!buffer.bytes && request) {
        buffer.valid = 0;
        request(&buffer.bytes, &buffer.size, &most);
    }
    return buffer.bytes;
}

/* Room for a record; NULL: dropped. */
static void *make_room(size_t bytes)
{
    static uint64_t asked;
    if (options.cupti_drops && ++asked % DROP_EVERY == 0) {
        dropped++;
        return NULL;
    }
    if (options.cupti_grows) bytes += GROWN;
    if (!find_buffer(bytes)) {
        dropped++;
        return NULL;
    }
    void *room = buffer.bytes + buffer.valid;
    memset(room, 0, bytes);
    buffer.valid += bytes;
    written++;
    return room;
}

static void write_kernel(const struct work *work, const struct cupti_run *run)
{
    CUpti_ActivityKernel10 *k = make_room(sizeof *k);
    if (!k) return;
    k->kind = CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL;
    k->name = work->name;
    k->start = run->begin, k->end = run->end;
    k->deviceId = run->device, k->streamId = run->stream;
    k->correlationId = run->correlation, k->graphNodeId = run->node;
    k->gridX = (int32_t)work->launch.grid_x, k->gridY = (int32_t)work->launch.grid_y, k->gridZ = 1;
    k->blockX = (int32_t)work->launch.threads, k->blockY = k->blockZ = 1;
    k->dynamicSharedMemory = (int32_t)work->launch.shared_bytes;
}

static void write_copy(const struct work *work, const struct cupti_run *run)
{
    CUpti_ActivityMemcpy6 *c = make_room(sizeof *c);
    if (!c) return;
    bool from = memory_is_device(work->copy.from), to = memory_is_device(work->copy.to);
    c->kind = CUPTI_ACTIVITY_KIND_MEMCPY;
    c->copyKind =
        from ? to ? CUPTI_ACTIVITY_MEMCPY_KIND_DTOD : CUPTI_ACTIVITY_MEMCPY_KIND_DTOH : CUPTI_ACTIVITY_MEMCPY_KIND_HTOD;
    c->bytes = work->copy.bytes;
    c->start = run->begin, c->end = run->end;
    c->deviceId = run->device, c->streamId = run->stream;
    c->correlationId = run->correlation, c->graphNodeId = run->node;
}

static void write_fill(const struct work *work, const struct cupti_run *run)
{
    CUpti_ActivityMemset4 *f = make_room(sizeof *f);
    if (!f) return;
    f->kind = CUPTI_ACTIVITY_KIND_MEMSET;
    f->bytes = work->copy.bytes;
    f->start = run->begin, f->end = run->end;
    f->deviceId = run->device, f->streamId = run->stream;
    f->correlationId = run->correlation, f->graphNodeId = run->node;
}

uint64_t cupti_now(void) { return stamp ? stamp() : 0; }

void cupti_ran(const struct work *work, const struct cupti_run *ran)
{
    struct cupti_run run = *ran;
    pthread_mutex_lock(&lock);
    if (options.cupti_lost && written % LOST_EVERY == 0) run.begin = run.end = 0;
    if (options.cupti_pool && written >= pool_limit * POOL_EACH && !enabled[CUPTI_ACTIVITY_KIND_MEMCPY])
        run.begin = run.end = 0;
    if (options.cupti_jumps && written >= JUMP_AT && written < 2 * JUMP_AT) run.begin -= JUMP_NS, run.end -= JUMP_NS;
    if (options.cupti_misjoins && run.node) run.node ^= 1;
    if (!options.cupti_silent && request) {
        if ((work->kind == WORK_KERNEL || work->kind == WORK_CALL || work->kind == WORK_SUM) &&
            enabled[CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL])
            write_kernel(work, &run);
        if (work->kind == WORK_COPY && enabled[CUPTI_ACTIVITY_KIND_MEMCPY]) write_copy(work, &run);
        if (work->kind == WORK_FILL && enabled[CUPTI_ACTIVITY_KIND_MEMSET]) write_fill(work, &run);
    }
    pthread_mutex_unlock(&lock);
}

/* ---- What a dump tells ---- */

void cupti_tell_node(uint32_t id, uint64_t node, uint64_t original)
{
    const struct CUgraphNode_st told = {.id = node}, from = {.id = original};
    announce((CUpti_CallbackId)id, &told, &from, NULL);
}

void cupti_tell_call(uint32_t domain, uint32_t id, uint32_t site, uint32_t correlation)
{
    CUpti_CallbackData data = {.callbackSite = (CUpti_ApiCallbackSite)site, .correlationId = correlation};
    if (callback && wants_launches) callback(callback_context, (CUpti_CallbackDomain)domain, id, &data);
}

/* Handed over now, with so many that were dropped before. */
void cupti_tell_buffer(uint64_t dropped_before)
{
    pthread_mutex_lock(&lock);
    dropped += dropped_before;
    hand_over();
    pthread_mutex_unlock(&lock);
}

/* False: the profiler had no buffer for it. */
bool cupti_tell_record(const void *record, size_t bytes, const char *name)
{
    CUpti_ActivityKind kind;
    memcpy(&kind, record, sizeof kind);
    pthread_mutex_lock(&lock);
    if ((unsigned)kind < CUPTI_ACTIVITY_KIND_COUNT) dumped_bytes[kind] = bytes;
    bool given = find_buffer(bytes);
    void *room = given ? make_room(bytes) : NULL;
    if (room) memcpy(room, record, bytes);
    CUpti_ActivityKernel10 *kernel = kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL ? room : NULL;
    if (kernel && bytes >= offsetof(CUpti_ActivityKernel10, name) + sizeof name) kernel->name = name;
    pthread_mutex_unlock(&lock);
    return given;
}

/* ---- The library's calls ---- */

CUptiResult EXPORTED CUPTIAPI cuptiGetVersion(uint32_t *version)
{
    *version = 130000;
    return CUPTI_SUCCESS;
}

CUptiResult EXPORTED CUPTIAPI cuptiGetTimestamp(uint64_t *timestamp)
{
    *timestamp = cupti_now();
    return CUPTI_SUCCESS;
}

CUptiResult EXPORTED CUPTIAPI cuptiGetResultString(CUptiResult result, const char **text)
{
    *text = result == CUPTI_ERROR_NOT_INITIALIZED ? "CUPTI_ERROR_NOT_INITIALIZED" : "CUPTI_ERROR_UNKNOWN";
    return CUPTI_SUCCESS;
}

CUptiResult EXPORTED CUPTIAPI cuptiSubscribe(CUpti_SubscriberHandle *subscriber, CUpti_CallbackFunc call, void *context)
{
    lock_take();
    if (late.complete) late.complete(NULL, 0, late.bytes, late.size, late.valid);
    late.complete = NULL;
    bool taken = callback || options.cupti_taken;
    if (!taken) {
        memset(dumped_bytes, 0, sizeof dumped_bytes);
        callback = call;
        callback_context = context;
        *subscriber = (CUpti_SubscriberHandle)&callback;
    }
    lock_give();
    return taken ? CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED : CUPTI_SUCCESS;
}

CUptiResult EXPORTED CUPTIAPI cuptiUnsubscribe(CUpti_SubscriberHandle subscriber)
{
    if (!subscriber || !callback) return CUPTI_ERROR_INVALID_PARAMETER;
    lock_take();
    callback = NULL;
    wants_nodes = wants_launches = false;
    lock_give();
    return CUPTI_SUCCESS;
}

CUptiResult EXPORTED CUPTIAPI cuptiEnableCallback(uint32_t enable, CUpti_SubscriberHandle subscriber,
                                                  CUpti_CallbackDomain domain, CUpti_CallbackId id)
{
    (void)id;
    if (!subscriber) return CUPTI_ERROR_INVALID_PARAMETER;
    if (domain == CUPTI_CB_DOMAIN_RESOURCE) wants_nodes = enable;
    if (domain == CUPTI_CB_DOMAIN_RUNTIME_API) wants_launches = enable;
    return CUPTI_SUCCESS;
}

CUptiResult EXPORTED CUPTIAPI cuptiActivityRegisterTimestampCallback(CUpti_TimestampCallbackFunc call)
{
    for (size_t i = 0; i < CUPTI_ACTIVITY_KIND_COUNT; i++)
        if (enabled[i]) return CUPTI_ERROR_INVALID_OPERATION; /* before any kind */
    stamp = call;
    return CUPTI_SUCCESS;
}

CUptiResult EXPORTED CUPTIAPI cuptiActivityRegisterCallbacks(CUpti_BuffersCallbackRequestFunc give,
                                                             CUpti_BuffersCallbackCompleteFunc take)
{
    if (!give || !take) return CUPTI_ERROR_INVALID_PARAMETER;
    request = give;
    complete = take;
    return CUPTI_SUCCESS;
}

static CUptiResult switch_kind(CUpti_ActivityKind kind, bool on)
{
    if (on && options.cupti_fails) return CUPTI_ERROR_NOT_INITIALIZED;
    if (on && !request) return CUPTI_ERROR_INVALID_OPERATION;
    pthread_mutex_lock(&lock);
    enabled[kind] = on;
    pthread_mutex_unlock(&lock);
    return CUPTI_SUCCESS;
}

CUptiResult EXPORTED CUPTIAPI cuptiActivityEnable(CUpti_ActivityKind kind) { return switch_kind(kind, true); }
CUptiResult EXPORTED CUPTIAPI cuptiActivityDisable(CUpti_ActivityKind kind) { return switch_kind(kind, false); }

CUptiResult EXPORTED CUPTIAPI cuptiActivitySetAttribute(CUpti_ActivityAttribute attribute, size_t *size, void *value)
{
    if (attribute != CUPTI_ACTIVITY_ATTR_DEVICE_BUFFER_POOL_LIMIT || !size || *size != sizeof(size_t))
        return CUPTI_ERROR_INVALID_PARAMETER;
    memcpy(&pool_limit, value, sizeof pool_limit);
    return CUPTI_SUCCESS;
}

CUptiResult EXPORTED CUPTIAPI cuptiActivityFlushAll(uint32_t flag)
{
    (void)flag;
    pthread_mutex_lock(&lock);
    if (buffer.valid > 0) hand_over();
    pthread_mutex_unlock(&lock);
    return CUPTI_SUCCESS;
}

CUptiResult EXPORTED CUPTIAPI cuptiActivityGetNextRecord(uint8_t *bytes, size_t valid, CUpti_Activity **record)
{
    uint8_t *at = bytes;
    if (*record) {
        size_t size = record_bytes((*record)->kind);
        if (size == 0) return CUPTI_ERROR_INVALID_KIND;
        at = (uint8_t *)*record + size;
    }
    if (at + sizeof(CUpti_Activity) > bytes + valid) return CUPTI_ERROR_MAX_LIMIT_REACHED;
    if (record_bytes(((const CUpti_Activity *)(void *)at)->kind) == 0) return CUPTI_ERROR_INVALID_KIND;
    *record = (CUpti_Activity *)(void *)at;
    return CUPTI_SUCCESS;
}

CUptiResult EXPORTED CUPTIAPI cuptiActivityGetNumDroppedRecords(CUcontext context, uint32_t stream, size_t *count)
{
    (void)context;
    (void)stream;
    pthread_mutex_lock(&lock);
    *count = dropped;
    dropped = 0;
    pthread_mutex_unlock(&lock);
    return CUPTI_SUCCESS;
}

CUptiResult EXPORTED CUPTIAPI cuptiGetGraphNodeId(CUgraphNode node, uint64_t *id)
{
    *id = ((const struct CUgraphNode_st *)(const void *)node)->id;
    return CUPTI_SUCCESS;
}

CUptiResult EXPORTED CUPTIAPI cuptiFinalize(void)
{
    pthread_mutex_lock(&lock);
    memset(enabled, 0, sizeof enabled);
    if (options.cupti_late && request) { /* one more is on its way, and comes when the next session begins */
        size_t most = 0;
        late.complete = complete;
        request(&late.bytes, &late.size, &most);
        late.valid = sizeof(CUpti_ActivityKernel10);
        if (!late.bytes) late.complete = NULL;
    }
    buffer.bytes = NULL;
    request = NULL;
    complete = NULL;
    stamp = NULL;
    pthread_mutex_unlock(&lock);
    return CUPTI_SUCCESS;
}
