/* What commands do: kernels, copies, fills, plans of cuDNN. */
#include <stdlib.h>
#include <string.h>

#include "vendor.h"

static uint64_t kernels_begun;

void work_restart(void) { kernels_begun = 0; }

struct work *work_new(enum work_kind kind, const char *name)
{
    struct work *work = NEW(struct work);
    *work = (struct work){.kind = kind, .users = 1, .name = name};
    return work;
}

void work_give(struct work *work)
{
    if (!work || --work->users > 0) return;
    free(work->launch.arguments);
    free(work->copy.owned);
    nccl_sum_free(work->sum);
    if (work->call.release) work->call.release(work->call.context);
    free(work);
}

/* FNV-1a over words. */
static uint64_t digest(const uint8_t *at, uint64_t bytes)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325), word;
    for (; bytes >= 8; at += 8, bytes -= 8) {
        memcpy(&word, at, 8);
        hash = (hash ^ word) * UINT64_C(0x100000001b3);
    }
    while (bytes-- > 0) hash = (hash ^ *at++) * UINT64_C(0x100000001b3);
    return hash;
}

static struct allocation *pinned_source(const struct work *work)
{
    return memory_is_pinned(work->copy.from) ? region_find(&pinned, work->copy.from, work->copy.bytes) : NULL;
}

void work_note_source(struct work *work)
{
    const struct allocation *a = pinned_source(work);
    if (!a) return;
    work->copy.device_writes = a->device_writes;
    work->copy.digest = digest(work->copy.from, work->copy.bytes);
}

/* The host has changed what a copy that it has asked for has not read yet. */
static void check_source(const struct work *work)
{
    const struct allocation *a = pinned_source(work);
    if (!a || !work->copy.digest || a->device_writes != work->copy.device_writes) return;
    if (digest(work->copy.from, work->copy.bytes) != work->copy.digest)
        violate("%llu bytes of pinned memory were changed before %s had read them",
                (unsigned long long)work->copy.bytes, work->name);
}

static void run_kernel(const struct work *work, struct device *device)
{
    const struct host_kernel *host = work->launch.kernel->host;
    instrument_begin(&device->memory);
    host_kernel_memory(work->launch.arguments, host->argument_bytes);
    host->run(work->launch.arguments, work->launch.grid_x, work->launch.grid_y, work->launch.threads,
              work->launch.shared_bytes, work->launch.together, draw(UINT64_MAX));
    instrument_end();
    counts.kernels++;
}

static void run(struct work *work, struct device *device)
{
    switch (work->kind) {
    case WORK_KERNEL: run_kernel(work, device); break;
    case WORK_COPY:
        check_source(work);
        memory_touch(work->copy.from, work->copy.bytes, false);
        memory_touch(work->copy.to, work->copy.bytes, true);
        memmove(work->copy.to, work->copy.owned ? work->copy.owned : work->copy.from, work->copy.bytes);
        break;
    case WORK_FILL:
        memory_touch(work->copy.to, work->copy.bytes, true);
        memset(work->copy.to, work->byte, work->copy.bytes);
        break;
    case WORK_CALL:
        work->call.run(work->call.context);
        counts.executes++;
        break;
    case WORK_SUM: break; /* was done by whoever came last */
    }
}

enum outcome work_run(struct work *work, const struct CUgraphNode_st *node, struct device *device,
                      const struct clock *clock, uint8_t lane)
{
    bool computes = work->kind == WORK_KERNEL || work->kind == WORK_CALL;
    if (work->kind == WORK_SUM && !nccl_sum_run(work->sum, clock, lane)) return WAITS;
    if (device->sticky) return DONE;
    kernels_begun += computes;
    if (computes && kernels_begun == options.hang) return HANGS;
    if (computes && kernels_begun == options.illegal) {
        device->sticky = cudaErrorIllegalAddress;
        return DONE;
    }
    access_now = (struct access){.clock = clock, .lane = lane, .what = work->name, .thread = pthread_self()};
    struct cupti_run ran = {.node = node ? node->id : 0,
                            .device = (uint32_t)(device - devices),
                            .stream = lane,
                            .correlation = work->correlation,
                            .begin = cupti_now()};
    if (options.pace)
        pace_run(work, device, &ran);
    else
        run(work, device);
    if (!options.pace) ran.end = cupti_now();
    cupti_ran(work, &ran);
    access_now = (struct access){0};
    return DONE;
}
