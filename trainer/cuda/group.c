#define _GNU_SOURCE
/* GPUs that reduce together, through NCCL: each rank's communicators, which never block a call, so that every wait has
 * an end. */
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "cuda_group.h"
#include "cuda_slots.h"
#include "mem.h"
#include "nccl_calls.h"
#include "thread.h"

#define NAP_NS           100000
#define LONGEST_END_NS   UINT64_C(10000000000) /* of a group that is left */
#define LONGEST_ABORT_NS UINT64_C(3000000000)  /* of one that is given up: what hangs then goes with the process */

/* Giving communicators up, which may take for ever, is done by a thread of its own; whoever is last frees this. */
struct abort {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool done;
    unsigned users;
    uint64_t begun_ns;
    const struct nccl_calls *nccl;
    ncclComm_t comms[GROUP_PURPOSES];
};

struct group {
    uint32_t rank, size;
    ncclUniqueId id;
    const struct nccl_calls *nccl; /* NULL: a device by itself */
    struct device *device;         /* NULL before group_join */
    pthread_mutex_t lock;          /* of all that follows: any thread may abort */
    ncclComm_t comms[GROUP_PURPOSES];
    bool aborted;
    struct abort *abort;
    bool summed[GROUP_PURPOSES]; /* since when NCCL has its connections, for which the first sum waits */
    uint64_t total;              /* group_total's; 0 = not known yet */
    void *registered;            /* NCCL's handle of device->apart; NULL = none */
};

/* ---- Giving up ---- */

static void abort_give(struct abort *a)
{
    pthread_mutex_lock(&a->lock);
    bool last = --a->users == 0;
    pthread_mutex_unlock(&a->lock);
    if (!last) return;
    pthread_cond_destroy(&a->ended);
    pthread_mutex_destroy(&a->lock);
    mem_free(a);
}

/* The last first: it was split from the one before. */
static void *abort_main(void *context)
{
    struct abort *a = context;
    for (int i = GROUP_PURPOSES; i-- > 0;)
        if (a->comms[i]) a->nccl->CommAbort(a->comms[i]);
    pthread_mutex_lock(&a->lock);
    a->done = true;
    pthread_cond_broadcast(&a->ended);
    pthread_mutex_unlock(&a->lock);
    abort_give(a);
    return NULL;
}

static struct abort *abort_start(const struct nccl_calls *nccl, ncclComm_t comms[GROUP_PURPOSES])
{
    pthread_t thread;
    struct abort *a = mem_zalloc(MEM_GENERAL, 1, sizeof *a);
    if (!a) return NULL; /* their work is left as it is */
    a->users = 2;
    a->begun_ns = clock_now_ns();
    a->nccl = nccl;
    memcpy(a->comms, comms, sizeof a->comms);
    pthread_mutex_init(&a->lock, NULL);
    thread_cond_init(&a->ended);
    if (thread_start(&thread, 0, "nccl abort", abort_main, a) == 0)
        pthread_detach(thread);
    else
        abort_main(a);
    return a;
}

/* At most so long, and no longer than the run waits for anything. */
static uint64_t limited(const struct group *group, uint64_t most_ns)
{
    uint64_t limit = group->device ? group->device->options.wait_limit_ns : 0;
    return limit > 0 && limit < most_ns ? limit : most_ns;
}

/* From its beginning on: those of several devices began together and are waited for one after the other. */
static bool abort_wait(struct abort *a, uint64_t limit_ns)
{
    uint64_t passed = clock_now_ns() - a->begun_ns;
    const struct timespec until = thread_deadline(passed < limit_ns ? limit_ns - passed : 0);
    int status = 0;
    pthread_mutex_lock(&a->lock);
    while (!a->done && status == 0) status = pthread_cond_timedwait(&a->ended, &a->lock, &until);
    bool done = a->done;
    pthread_mutex_unlock(&a->lock);
    return done;
}

/* It waits for nobody: peers' aborts may be what this one needs. */
void cuda_group_abort(struct group *group)
{
    if (!group->nccl) return;
    pthread_mutex_lock(&group->lock);
    bool any = !group->aborted && (group->comms[GROUP_GRADIENTS] || group->comms[GROUP_STATISTICS]);
    group->aborted = true;
    if (any) group->abort = abort_start(group->nccl, group->comms);
    memset(group->comms, 0, sizeof group->comms);
    pthread_mutex_unlock(&group->lock);
}

/* ---- Errors ---- */

static bool say_aborted(const struct group *group, struct error *err)
{
    return error_set(err, ERROR_PEER, "device %" PRIu32 " has nobody to reduce with: another device has failed",
                     group->device->options.number);
}

static bool check(const struct group *group, ncclResult_t status, const char *what, struct error *err)
{
    if (status == ncclSuccess) return true;
    const char *more = group->nccl->GetLastError(NULL);
    bool said = more && *more;
    enum error_kind kind = status == ncclRemoteError ? ERROR_PEER : ERROR_FAILED; /* a peer's end, or the network's */
    return error_set(err, kind, "device %" PRIu32 ": %s: NCCL: %s%s%s", group->device->options.number, what,
                     group->nccl->GetErrorString(status), said ? ": " : "", said ? more : "");
}

/* What NCCL says of a communicator. False: it is given up. */
static bool ask(struct group *group, enum group_purpose purpose, ncclResult_t *state)
{
    pthread_mutex_lock(&group->lock);
    bool there = !group->aborted;
    *state = ncclSuccess;
    if (there && group->comms[purpose]) {
        ncclResult_t status = group->nccl->CommGetAsyncError(group->comms[purpose], state);
        if (status != ncclSuccess) *state = status;
    }
    pthread_mutex_unlock(&group->lock);
    return there;
}

bool group_is_well(struct group *group, struct error *err)
{
    if (!group || !group->nccl) return true;
    for (int i = 0; i < GROUP_PURPOSES; i++) {
        ncclResult_t state;
        if (!ask(group, (enum group_purpose)i, &state)) return say_aborted(group, err);
        if (state != ncclInProgress) TRY(check(group, state, "a sum over devices", err));
    }
    return true;
}

/* A call that NCCL has not ended goes on without the caller. limit_ns 0: for ever. */
static bool finish_call(struct group *group, enum group_purpose purpose, ncclResult_t status, uint64_t limit_ns,
                        const char *what, struct error *err)
{
    uint64_t begin = clock_now_ns();
    while (status == ncclInProgress) {
        if (!ask(group, purpose, &status)) return say_aborted(group, err);
        if (status != ncclInProgress) break;
        if (limit_ns > 0 && clock_now_ns() - begin >= limit_ns)
            return error_set(err, ERROR_FAILED, "device %" PRIu32 ": %s has not ended within %g s",
                             group->device->options.number, what, (double)limit_ns * 1e-9);
        nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
    }
    return check(group, status, what, err);
}

/* ---- Making, joining ---- */

bool cuda_group_name(struct group_id *id, struct error *err)
{
    _Static_assert(sizeof *id == sizeof(ncclUniqueId), "a group's id is NCCL's");
    const struct nccl_calls *nccl = nccl_load(err);
    ncclUniqueId unique;
    if (!nccl) return false;
    ncclResult_t status = nccl->GetUniqueId(&unique);
    if (status != ncclSuccess)
        return error_set(err, ERROR_FAILED, "the devices' group: NCCL: %s", nccl->GetErrorString(status));
    memcpy(id, &unique, sizeof *id);
    return true;
}

bool cuda_group_create(const struct group_id *id, uint32_t rank, uint32_t size, struct ranks *ranks,
                       struct group **group, struct error *err)
{
    (void)ranks; /* the id leads NCCL's processes together */
    const struct nccl_calls *nccl = size > 1 ? nccl_load(err) : NULL;
    if (size > 1 && !nccl) return false;
    struct group *made = mem_zalloc(MEM_GENERAL, 1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "a group");
    made->rank = rank;
    made->size = size;
    made->nccl = nccl;
    memcpy(&made->id, id, sizeof made->id);
    pthread_mutex_init(&made->lock, NULL);
    *group = made;
    return true;
}

static bool join(struct group *group, struct error *err)
{
    const struct vendor *vendor = group->device->vendor;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    TRY(cuda_check(vendor, vendor->cuda.SetDevice((int)group->device->options.ordinal), err, "GPU %" PRIu32,
                   group->device->options.ordinal));
    pthread_mutex_lock(&group->lock);
    ncclResult_t status = ncclSuccess;
    if (!group->aborted)
        status = group->nccl->CommInitRankConfig(&group->comms[GROUP_GRADIENTS], (int)group->size, group->id,
                                                 (int)group->rank, &config);
    bool aborted = group->aborted;
    pthread_mutex_unlock(&group->lock);
    if (aborted) return say_aborted(group, err);
    return finish_call(group, GROUP_GRADIENTS, status, group->device->options.meet_limit_ns,
                       "the meeting of all devices of the plan", err);
}

/* ---- Memory that NCCL gives and knows ---- */

/* Whatever NCCL gives is rounded up to pages of 2 MiB; a build or an NCCL without it is no failure. */
bool group_take_memory(struct device *device, uint64_t bytes, struct error *err)
{
    struct error unsaid = {0};
    const struct nccl_calls *nccl = nccl_load(&unsaid);
    void *block = NULL;
    if (!nccl || !nccl->MemAlloc) {
        TRY(cuda_check(device->vendor, device->vendor->cuda.Malloc(&block, bytes), err,
                       "the gradients' %" PRIu64 " bytes on GPU %" PRIu32, bytes, device->options.ordinal));
        device->apart = block;
        return true;
    }
    ncclResult_t status = nccl->MemAlloc(&block, bytes);
    if (status != ncclSuccess)
        return error_set(err, ERROR_FAILED, "device %" PRIu32 ": the gradients' %" PRIu64 " bytes: NCCL: %s",
                         device->options.number, bytes, nccl->GetErrorString(status));
    device->apart = block;
    device->apart_of_nccl = true;
    return true;
}

void group_give_memory(struct device *device)
{
    struct error unsaid = {0};
    if (device->apart_of_nccl)
        nccl_load(&unsaid)->MemFree(device->apart);
    else
        device->vendor->cuda.Free(device->apart);
}

/* The whole of what lies apart under one head, so that each bucket has the same offset from it on all ranks, as NCCL
 * wants of buffers that its kernels and switches reach in place (User's Guide, "User Buffer Registration"). All ranks
 * do so or none. */
static bool make_known(struct group *group, struct error *err)
{
    const struct device *device = group->device;
    if (!device->apart_of_nccl) return true;
    pthread_mutex_lock(&group->lock);
    ncclResult_t status = ncclSuccess;
    bool aborted = group->aborted;
    if (!aborted)
        status = group->nccl->CommRegister(group->comms[GROUP_GRADIENTS], device->apart,
                                           (size_t)device->options.apart_bytes, &group->registered);
    pthread_mutex_unlock(&group->lock);
    if (aborted) return say_aborted(group, err);
    return finish_call(group, GROUP_GRADIENTS, status, device->options.meet_limit_ns, "the gradients' registration",
                       err);
}

/* Of a group that is well. */
static void make_unknown(struct group *group)
{
    pthread_mutex_lock(&group->lock);
    if (group->registered && group->comms[GROUP_GRADIENTS])
        group->nccl->CommDeregister(group->comms[GROUP_GRADIENTS], group->registered);
    group->registered = NULL;
    pthread_mutex_unlock(&group->lock);
}

bool cuda_group_join(struct group *group, struct device *device, struct error *err)
{
    TRY(device_usable(device, err));
    group->device = device;
    device->group = group;
    device->has_peers = group->size > 1;
    bool ok = !group->nccl || (join(group, &device->first) && make_known(group, &device->first));
    return device_settle(device, ok, err);
}

static bool split(struct group *group, struct error *err)
{
    pthread_mutex_lock(&group->lock);
    ncclResult_t status = ncclSuccess;
    bool aborted = group->aborted;
    if (!aborted)
        status = group->nccl->CommSplit(group->comms[GROUP_GRADIENTS], 0, (int)group->rank,
                                        &group->comms[GROUP_STATISTICS], NULL);
    pthread_mutex_unlock(&group->lock);
    if (aborted) return say_aborted(group, err);
    const char *what = "the meeting of all devices for synchronised BN";
    uint64_t limit = group->device->options.meet_limit_ns;
    return finish_call(group, GROUP_GRADIENTS, status, limit, what, err) &&
           finish_call(group, GROUP_STATISTICS, ncclInProgress, limit, what, err);
}

bool group_prepare(struct group *group, enum group_purpose purpose, struct error *err)
{
    pthread_mutex_lock(&group->lock);
    bool there = group->comms[purpose] != NULL;
    pthread_mutex_unlock(&group->lock);
    return there || split(group, err);
}

/* ---- Sums ---- */

static ncclDataType_t type_of(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_F64: return ncclFloat64;
    case DTYPE_F16: return ncclFloat16;
    case DTYPE_BF16: return ncclBfloat16;
    default: return ncclFloat32;
    }
}

bool group_sum(struct group *group, enum group_purpose purpose, const void *in, void *out, uint64_t count,
               enum dtype dtype, struct stream *stream, struct error *err)
{
    pthread_mutex_lock(&group->lock);
    ncclResult_t status = ncclSuccess;
    bool aborted = group->aborted;
    if (!aborted)
        status = group->nccl->AllReduce(in, out, (size_t)count, type_of(dtype), ncclSum, group->comms[purpose],
                                        stream->handle);
    pthread_mutex_unlock(&group->lock);
    if (aborted) return say_aborted(group, err);
    const struct device_options *options = &group->device->options;
    const uint64_t limit = group->summed[purpose] ? options->wait_limit_ns : options->meet_limit_ns;
    TRY(finish_call(group, purpose, status, limit, "a sum over devices", err));
    return group->summed[purpose] = true;
}

/* Through the device's scratch, which nobody uses yet. */
static bool sum_number(struct group *group, cudaEvent_t event, double *number, struct error *err)
{
    struct device *device = group->device;
    const struct vendor *vendor = device->vendor;
    struct stream own = {.device = device, .handle = device->own};
    uint64_t limit = device->options.meet_limit_ns ? device->options.meet_limit_ns : UINT64_MAX;
    const char *what = "the number of images of all devices";
    bool done = false;
    TRY(cuda_check(vendor,
                   vendor->cuda.MemcpyAsync(device->scratch, number, sizeof *number, cudaMemcpyDefault, own.handle),
                   err, "%s", what));
    TRY(group_sum(group, GROUP_STATISTICS, device->scratch, device->scratch, 1, DTYPE_F64, &own, err));
    TRY(cuda_check(vendor, vendor->cuda.EventRecord(event, own.handle), err, "%s", what));
    TRY(cuda_wait(device, event, limit, &done, err));
    if (!done)
        return error_set(err, ERROR_FAILED, "device %" PRIu32 ": %s: other devices do not come to it",
                         device->options.number, what);
    return cuda_check(vendor,
                      vendor->cuda.MemcpyAsync(number, device->scratch, sizeof *number, cudaMemcpyDefault, own.handle),
                      err, "%s", what);
}

bool group_total(struct group *group, uint64_t own, uint64_t *total, struct error *err)
{
    const struct vendor *vendor = group->device->vendor;
    double number = (double)own;
    cudaEvent_t event;
    if (group->total == 0) {
        TRY(group_prepare(group, GROUP_STATISTICS, err));
        TRY(cuda_check(vendor, vendor->cuda.EventCreateWithFlags(&event, cudaEventDisableTiming), err, "an event"));
        bool ok = sum_number(group, event, &number, err);
        vendor->cuda.EventDestroy(event);
        TRY(ok);
        group->total = (uint64_t)number;
    }
    *total = group->total;
    return true;
}

/* ---- Leaving ---- */

/* NCCL ends a communicator when all of its ranks do. */
static bool part(struct group *group)
{
    struct error ignored = {0};
    bool ok = true;
    make_unknown(group);
    for (int i = GROUP_PURPOSES; ok && i-- > 0;) {
        pthread_mutex_lock(&group->lock);
        ncclComm_t comm = group->comms[i];
        ncclResult_t status = comm ? group->nccl->CommFinalize(comm) : ncclSuccess;
        pthread_mutex_unlock(&group->lock);
        if (!comm) continue;
        ok = finish_call(group, (enum group_purpose)i, status, limited(group, LONGEST_END_NS), "an end", &ignored);
        pthread_mutex_lock(&group->lock);
        comm = ok ? group->comms[i] : NULL;
        if (ok) group->comms[i] = NULL;
        pthread_mutex_unlock(&group->lock);
        if (comm) group->nccl->CommDestroy(comm);
    }
    return ok;
}

bool group_leave(struct group *group, bool lost)
{
    if (!group || !group->nccl) return true;
    if (lost || !part(group)) cuda_group_abort(group);
    pthread_mutex_lock(&group->lock);
    struct abort *abort = group->abort;
    pthread_mutex_unlock(&group->lock);
    return !abort || abort_wait(abort, limited(group, LONGEST_ABORT_NS));
}

void cuda_group_destroy(struct group *group)
{
    if (!group) return;
    if (group->nccl) cuda_group_abort(group);
    if (group->abort) abort_give(group->abort);
    pthread_mutex_destroy(&group->lock);
    mem_free(group);
}
