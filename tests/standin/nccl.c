/* NCCL among the stand-in's GPUs: ranks are threads of this process, or processes (nccl_far.c), of several hosts too
 * (nccl_net.c). A sum is work in its stream that is done when the streams of all ranks have come to it. Communicators
 * do not block. What a rank gave up ends without a result. */
#include <nccl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nccl_net.h"

#define MOST_RANKS MOST_DEVICES

struct nccl_group {
    struct nccl_group *next;
    uint64_t id;
    int size;
    struct ncclComm *ranks[MOST_RANKS];
};

/* What is summed: of one call. */
struct nccl_sum {
    struct ncclComm *comm;
    const void *in;
    void *out;
    size_t count;
    ncclDataType_t type;
    bool captured; /* of a graph */
    bool known;    /* lies in memory that is registered */
    size_t offset; /* there, of out */
};

/* Memory that a communicator knows. */
struct nccl_known {
    struct nccl_known *next;
    struct ncclComm *comm;
    uint8_t *memory;
    size_t bytes;
    struct allocation *of;
};

struct ncclComm {
    bool alive, gone, leaves; /* gone: given up */
    struct far *far;          /* ranks are processes; else NULL */
    struct nccl_group *group;
    int rank;
    struct device *device;
    const struct nccl_sum *at; /* that its stream has come to; NULL = none */
    bool summed;
    struct clock clock;
    uint8_t lane;
    uint64_t sums, splits;
    uint64_t captured; /* sums in graphs that are there */
};

static struct nccl_group *groups;
static struct nccl_known *known;
static uint64_t last_id;
bool nccl_is_used;

bool nccl_sums_on(const struct device *device)
{
    for (const struct nccl_group *g = groups; g; g = g->next)
        for (int r = 0; g->size > 1 && r < g->size; r++)
            if (g->ranks[r] && g->ranks[r]->alive && g->ranks[r]->device == device) return true;
    return false;
}

/* ---- Sums ---- */

static size_t type_bytes(ncclDataType_t type) { return number_bytes(number_type(type)); }

static void touch(const struct ncclComm *comm, const void *at, bool writes)
{
    access_now = (struct access){
        .clock = &comm->clock, .lane = comm->lane, .what = "a sum over ranks", .thread = pthread_self()};
    memory_touch(at, comm->at->count * type_bytes(comm->at->type), writes);
    access_now = (struct access){0};
}

/* As rings do, each part of the elements begins with another rank. */
static double element(const struct nccl_group *g, size_t i, size_t count)
{
    int first = (int)(i * (size_t)g->size / count);
    double sum = 0;
    for (int r = 0; r < g->size; r++) {
        const struct nccl_sum *s = g->ranks[(first + 1 + r) % g->size]->at;
        sum = number_add(number_type(s->type), sum, s->in, i);
    }
    return sum;
}

static bool all_are_there(const struct nccl_group *g)
{
    for (int r = 0; r < g->size; r++)
        if (!g->ranks[r] || !g->ranks[r]->at || g->ranks[r]->summed || g->ranks[r]->gone) return false;
    return true;
}

static bool all_agree(const struct nccl_group *g)
{
    const struct nccl_sum *first = g->ranks[0]->at;
    for (int r = 1; r < g->size; r++) {
        const struct nccl_sum *s = g->ranks[r]->at;
        if (s->known != first->known || (s->known && s->offset != first->offset)) {
            violate("rank %d sums %s memory at offset %zu and rank 0 %s at %zu: what NCCL knows has one offset on all "
                    "ranks",
                    r, s->known ? "known" : "unknown", s->offset, first->known ? "known" : "unknown", first->offset);
            return false;
        }
        if (s->count == first->count && s->type == first->type) continue;
        violate("rank %d sums %zu elements of %zu bytes where rank 0 sums %zu of %zu", r, s->count, type_bytes(s->type),
                first->count, type_bytes(first->type));
        return false;
    }
    return true;
}

static void sum(struct nccl_group *g)
{
    size_t count = g->ranks[0]->at->count;
    for (int r = 0; r < g->size; r++) touch(g->ranks[r], g->ranks[r]->at->in, false);
    for (int r = 0; r < g->size; r++) touch(g->ranks[r], g->ranks[r]->at->out, true);
    for (size_t i = 0; i < count; i++) {
        double value = element(g, i, count);
        for (int r = 0; r < g->size; r++) {
            const struct nccl_sum *s = g->ranks[r]->at;
            number_store(number_type(s->type), value, s->out, i);
        }
    }
    for (int r = 0; r < g->size; r++) {
        g->ranks[r]->summed = true;
        g->ranks[r]->sums++;
    }
}

static bool sum_far(struct ncclComm *comm, struct nccl_sum *s, const struct clock *clock, uint8_t lane)
{
    const struct far_sum sum = {s->in, s->out, s->count, number_type(s->type), s->known, s->offset};
    int size = comm->group->size;
    if (!comm->at) {
        if (!far_bring(comm->far, comm->rank, size, comm->sums, &sum)) return false;
        comm->at = s;
        comm->clock = *clock;
        comm->lane = lane;
        touch(comm, s->in, false);
    }
    if (!far_sum_up(comm->far, comm->rank, size, comm->sums, &sum)) return false;
    touch(comm, s->out, true);
    comm->sums++;
    comm->at = NULL;
    return true;
}

void nccl_sum_free(struct nccl_sum *s)
{
    if (s) s->comm->captured -= s->captured;
    free(s);
}

/* Sums of one communicator are one after the other. */
bool nccl_sum_run(struct nccl_sum *s, const struct clock *clock, uint8_t lane)
{
    struct ncclComm *comm = s->comm;
    if (comm->gone) return true;
    if (comm->device->sticky || (comm->at && comm->at != s)) return false;
    if (comm->far) return sum_far(comm, s, clock, lane);
    if (!comm->at) {
        comm->at = s;
        comm->summed = false;
        comm->clock = *clock;
        comm->lane = lane;
        progress++;
    }
    if (!comm->summed && all_are_there(comm->group) && all_agree(comm->group)) sum(comm->group);
    if (!comm->summed) return false;
    comm->at = NULL;
    return true;
}

/* ---- Calls ---- */

/* As cudaError_t, whose codes mean nothing here. */
#define ENTER(text)                                                                                                    \
    static struct call call = {.name = text};                                                                          \
    lock_take();                                                                                                       \
    const int failure = call_count(&call);                                                                             \
    if (failure) return leave((ncclResult_t)failure)

static ncclResult_t leave(ncclResult_t status)
{
    lock_give();
    return status;
}

ncclResult_t EXPORTED ncclGetVersion(int *version)
{
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

EXPORTED const char *ncclGetErrorString(ncclResult_t status)
{
    static const char *const texts[] = {"no error",
                                        "unhandled cuda error",
                                        "unhandled system error",
                                        "internal error",
                                        "invalid argument",
                                        "invalid usage",
                                        "remote process exited or there was a network error",
                                        "NCCL operation in progress"};
    return (unsigned)status < sizeof texts / sizeof texts[0] ? texts[status] : "unknown result code";
}

EXPORTED const char *ncclGetLastError(ncclComm_t comm)
{
    (void)comm;
    return "";
}

ncclResult_t EXPORTED ncclGetUniqueId(ncclUniqueId *id)
{
    ENTER("GetUniqueId");
    uint64_t number = ++last_id + ((uint64_t)getpid() << 16);
    memset(id, 0, sizeof *id);
    memcpy(id, &number, sizeof number);
    return leave(options.nccl_sockets && !net_listen(id) ? ncclSystemError : ncclSuccess);
}

static struct nccl_group *find_group(uint64_t id, int size)
{
    for (struct nccl_group *g = groups; g; g = g->next)
        if (g->id == id) return g->size == size ? g : NULL;
    struct nccl_group *made = NEW(struct nccl_group);
    *made = (struct nccl_group){.next = groups, .id = id, .size = size};
    return groups = made;
}

static bool is_taken(const struct nccl_group *g, const struct device *device)
{
    for (int r = 0; r < g->size; r++)
        if (g->ranks[r] && g->ranks[r]->device == device) return true;
    return false;
}

/* The last of all stays away where it is asked to. */
static ncclResult_t add_rank(struct nccl_group *g, int rank, struct net *net, struct ncclComm **out)
{
    if (!g || rank < 0 || rank >= g->size || g->ranks[rank]) return ncclInvalidArgument;
    if (is_taken(g, device_now())) return ncclInvalidUsage;
    struct ncclComm *comm = NEW(struct ncclComm);
    *comm = (struct ncclComm){.alive = true, .group = g, .rank = rank, .device = device_now()};
    if (options.nccl_processes && !(comm->far = far_join(net, g->id, rank, g->size))) return ncclSystemError;
    if (!options.nccl_absent || rank < g->size - 1) g->ranks[rank] = comm;
    *out = comm;
    nccl_is_used = true;
    counts.handles++;
    return ncclInProgress;
}

ncclResult_t EXPORTED ncclCommInitRankConfig(ncclComm_t *comm, int size, ncclUniqueId id, int rank,
                                             ncclConfig_t *config)
{
    ENTER("CommInitRankConfig");
    uint64_t number;
    memcpy(&number, &id, sizeof number);
    if (!config || config->blocking != 0 || size < 1 || size > (int)MOST_RANKS) {
        violate("a communicator of %d ranks that %s", size,
                config && config->blocking == 0 ? "are too many" : "blocks");
        return leave(ncclInvalidArgument);
    }
    struct net *net = options.nccl_sockets ? net_join(&id, rank, size) : NULL;
    return leave(add_rank(find_group(number, size), rank, net, comm));
}

static bool is_whole(const struct nccl_group *g)
{
    for (int r = 0; r < g->size; r++)
        if (g->ranks[r] && g->ranks[r]->far) return far_is_whole(g->ranks[r]->far, g->size);
    for (int r = 0; r < g->size; r++)
        if (!g->ranks[r]) return false;
    return true;
}

static bool is_comm(const struct ncclComm *comm, const char *what)
{
    if (comm && comm->alive) return true;
    violate("%s of a communicator that is none any more", what);
    return false;
}

ncclResult_t EXPORTED ncclCommSplit(ncclComm_t comm, int color, int key, ncclComm_t *out, ncclConfig_t *config)
{
    ENTER("CommSplit");
    (void)config;
    if (!is_comm(comm, "a split") || color != 0 || key != comm->rank) return leave(ncclInvalidArgument);
    if (!is_whole(comm->group)) return leave(ncclInvalidUsage);
    uint64_t id = (comm->group->id << 8) + ++comm->splits;
    struct net *net = comm->far ? comm->far->net : NULL;
    return leave(add_rank(find_group(id | UINT64_C(1) << 63, comm->group->size), key, net, out));
}

static bool have_left(const struct nccl_group *g)
{
    for (int r = 0; r < g->size; r++)
        if (g->ranks[r] && !g->ranks[r]->leaves) return false;
    return true;
}

ncclResult_t EXPORTED ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *state)
{
    ENTER("CommGetAsyncError");
    if (!is_comm(comm, "the state")) return leave(ncclInvalidArgument);
    bool left = comm->far ? far_have_left(comm->far, comm->group->size) : have_left(comm->group);
    /* The end polls until graphs with sums of the communicator are gone (commDestroySync in NCCL's init.cc). */
    bool waits = !is_whole(comm->group) || (comm->leaves && (!left || comm->captured > 0));
    bool lost = (options.nccl_async && comm->sums >= 3) || (comm->far && !left && far_has_lost(comm->far));
    *state = lost ? ncclRemoteError : waits ? ncclInProgress : ncclSuccess;
    return leave(ncclSuccess);
}

/* ---- Memory that communicators know ---- */

static struct nccl_known *find_known(const struct ncclComm *comm, const void *at, size_t bytes)
{
    for (struct nccl_known *k = known; k; k = k->next) {
        uintptr_t from = (uintptr_t)at - (uintptr_t)k->memory;
        if (k->comm == comm && from < k->bytes && bytes <= k->bytes - from) return k;
    }
    return NULL;
}

ncclResult_t EXPORTED ncclMemAlloc(void **memory, size_t bytes)
{
    ENTER("MemAlloc");
    struct region *region = &device_now()->memory;
    *memory = bytes == 0 || capture_forbids() ? NULL : region_take(region, bytes, options.memory_bytes);
    if (!*memory) return leave(ncclUnhandledCudaError);
    region_find(region, *memory, 1)->of_nccl = true;
    return leave(ncclSuccess);
}

ncclResult_t EXPORTED ncclMemFree(void *memory)
{
    ENTER("MemFree");
    struct region *region = memory_is_device(memory) ? region_of(memory) : NULL;
    struct allocation *a = region ? region_find(region, memory, 1) : NULL;
    if (!a || !a->of_nccl) {
        violate("ncclMemFree of memory that ncclMemAlloc did not give");
        return leave(ncclInvalidArgument);
    }
    if (a->registered) violate("ncclMemFree of memory that %u communicators still know", a->registered);
    if (capture_forbids() || device_wait(device_now())) return leave(ncclUnhandledCudaError);
    region_give(region, memory);
    return leave(ncclSuccess);
}

ncclResult_t EXPORTED ncclCommRegister(const ncclComm_t comm, void *memory, size_t bytes, void **handle)
{
    ENTER("CommRegister");
    struct allocation *a = memory_is_device(memory) ? region_find(region_of(memory), memory, bytes) : NULL;
    if (!is_comm(comm, "a registration")) return leave(ncclInvalidArgument);
    if (!is_whole(comm->group)) return leave(ncclInvalidUsage);
    if (!a || !a->of_nccl || region_of(memory) != &comm->device->memory || find_known(comm, memory, bytes)) {
        violate("a registration of %zu bytes %s", bytes,
                a && a->of_nccl ? "that are known already, or another device's" : "that ncclMemAlloc did not give");
        return leave(ncclInvalidArgument);
    }
    struct nccl_known *made = NEW(struct nccl_known);
    *made = (struct nccl_known){.next = known, .comm = comm, .memory = memory, .bytes = bytes, .of = a};
    known = made;
    a->registered++;
    *handle = made;
    return leave(ncclSuccess);
}

static bool forget(struct nccl_known *which)
{
    for (struct nccl_known **at = &known; *at; at = &(*at)->next) {
        if (*at != which) continue;
        *at = which->next;
        which->of->registered--;
        free(which);
        return true;
    }
    return false;
}

ncclResult_t EXPORTED ncclCommDeregister(const ncclComm_t comm, void *handle)
{
    ENTER("CommDeregister");
    if (!is_comm(comm, "a deregistration")) return leave(ncclInvalidArgument);
    if (forget(handle)) return leave(ncclSuccess);
    violate("a deregistration of memory that is not known");
    return leave(ncclInvalidArgument);
}

/* What a communicator knew goes with it. */
static void forget_all(const struct ncclComm *comm, bool told)
{
    for (struct nccl_known *k = known, *next; k; k = next) {
        next = k->next;
        if (k->comm != comm) continue;
        if (told) violate("an end of a communicator that still knows %zu bytes of memory", k->bytes);
        forget(k);
    }
}

static bool is_inside(const struct ncclComm *comm, const void *at, size_t bytes)
{
    return memory_is_device(at) && region_of(at) == &comm->device->memory && region_find(region_of(at), at, bytes);
}

/* A communicator that does not block launches from a thread of its own, for which its caller waits
 * (groupLaunchNonBlocking in NCCL's group.cc): what CUPTI tells of it, it tells there. */
struct launching {
    struct CUstream_st *stream;
    struct work *work;
    cudaError_t status;
};

static void *launch_main(void *context)
{
    struct launching *l = context;
    l->status = stream_work(l->stream, l->work);
    return NULL;
}

static cudaError_t launch(struct CUstream_st *s, struct work *work)
{
    struct launching l = {.stream = s, .work = work};
    pthread_t thread;
    if (pthread_create(&thread, NULL, launch_main, &l)) abort();
    pthread_join(thread, NULL);
    return l.status;
}

ncclResult_t EXPORTED ncclAllReduce(const void *in, void *out, size_t count, ncclDataType_t type, ncclRedOp_t op,
                                    ncclComm_t comm, cudaStream_t handle)
{
    ENTER("AllReduce");
    struct CUstream_st *s = stream_find(handle);
    if (!is_comm(comm, "a sum") || !s || s->device != comm->device || op != ncclSum ||
        (type != ncclFloat32 && type != ncclFloat64 && type != ncclFloat16 && type != ncclBfloat16))
        return leave(ncclInvalidArgument);
    if (!is_whole(comm->group) || comm->leaves) return leave(ncclInvalidUsage);
    if (!is_inside(comm, in, count * type_bytes(type)) || !is_inside(comm, out, count * type_bytes(type))) {
        violate("a sum over ranks of %zu elements that are not all in memory of the rank's device", count);
        return leave(ncclInvalidArgument);
    }
    struct work *work = work_new(WORK_SUM, "a sum over ranks");
    struct nccl_sum *made = NEW(struct nccl_sum);
    *made = (struct nccl_sum){
        .comm = comm, .in = in, .out = out, .count = count, .type = type, .captured = s->capture != NULL};
    comm->captured += made->captured;
    const struct nccl_known *from = find_known(comm, in, count * type_bytes(type));
    const struct nccl_known *to = find_known(comm, out, count * type_bytes(type));
    made->known = from && to;
    made->offset = made->known ? (size_t)((uint8_t *)out - to->memory) : 0;
    counts.known_sums += made->known;
    counts.sums++;
    work->sum = made;
    return leave(launch(s, work) ? ncclUnhandledCudaError : ncclSuccess);
}

/* ---- Ends ---- */

ncclResult_t EXPORTED ncclCommFinalize(ncclComm_t comm)
{
    ENTER("CommFinalize");
    if (!is_comm(comm, "an end")) return leave(ncclInvalidArgument);
    if (comm->at) violate("an end of a communicator that still sums");
    forget_all(comm, true);
    comm->leaves = true;
    if (comm->far) far_leave(comm->far, comm->rank);
    return leave(ncclInProgress);
}

ncclResult_t EXPORTED ncclCommDestroy(ncclComm_t comm)
{
    ENTER("CommDestroy");
    if (!is_comm(comm, "a second end")) return leave(ncclInvalidArgument);
    if (!comm->leaves) violate("a communicator is destroyed before it was finalized");
    comm->alive = false;
    counts.handles--;
    return leave(ncclSuccess);
}

ncclResult_t EXPORTED ncclCommAbort(ncclComm_t comm)
{
    ENTER("CommAbort");
    if (!is_comm(comm, "an abort")) return leave(ncclInvalidArgument);
    while (options.nccl_stuck) {
        lock_give();
        sleep(1000);
        lock_take();
    }
    comm->alive = false;
    comm->gone = true;
    forget_all(comm, false);
    if (comm->far) far_give_up(comm->far, comm->rank);
    progress++;
    counts.handles--;
    return leave(ncclSuccess);
}
