#define _GNU_SOURCE
#include "cupti_records.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_ids.h"
#include "mem.h"

#define BATCH 512 /* records read, then joined under one lock: no lock is held across a call of CUPTI's */

/* What this room wants of a record of any kind. */
struct seen {
    enum trace_work work;
    const char *name;
    uint32_t device, stream, correlation;
    uint64_t node, begin, end, bytes;
    uint32_t grid[3], block[3], registers;
};

struct cupti_reader {
    const struct cupti_calls *calls;
    struct owners *owners;
    struct trace_sink *sink;
    struct kernel_ids *ids;
    struct cupti_counts counts;
    struct seen seen[BATCH];
    struct trace_kernel_time times[BATCH];
    uint32_t devices[BATCH];                                  /* of the times */
    char *(*demangle)(const char *, char *, size_t *, int *); /* NULL: names stay as they are */
};

/* ---- Records ---- */

static const char *copy_name(uint8_t kind)
{
    switch (kind) {
    case CUPTI_ACTIVITY_MEMCPY_KIND_HTOD: return "copy HtoD";
    case CUPTI_ACTIVITY_MEMCPY_KIND_DTOH: return "copy DtoH";
    case CUPTI_ACTIVITY_MEMCPY_KIND_DTOD: return "copy DtoD";
    case CUPTI_ACTIVITY_MEMCPY_KIND_HTOH: return "copy HtoH";
    case CUPTI_ACTIVITY_MEMCPY_KIND_PTOP: return "copy PtoP";
    default: return "copy";
    }
}

/* Later versions of a record only grow it: what is read here lies where it always lay. */
static bool see_kernel(const CUpti_Activity *record, struct seen *seen)
{
    const CUpti_ActivityKernel10 *k = (const CUpti_ActivityKernel10 *)record;
    *seen = (struct seen){.work = WORK_KERNEL,
                          .name = k->name ? k->name : "?",
                          .device = k->deviceId,
                          .stream = k->streamId,
                          .correlation = k->correlationId,
                          .node = k->graphNodeId,
                          .begin = k->start,
                          .end = k->end,
                          .bytes = (uint64_t)(k->staticSharedMemory + k->dynamicSharedMemory),
                          .grid = {(uint32_t)k->gridX, (uint32_t)k->gridY, (uint32_t)k->gridZ},
                          .block = {(uint32_t)k->blockX, (uint32_t)k->blockY, (uint32_t)k->blockZ},
                          .registers = k->registersPerThread};
    return true;
}

static bool see_copy(const CUpti_Activity *record, struct seen *seen)
{
    const CUpti_ActivityMemcpy6 *c = (const CUpti_ActivityMemcpy6 *)record;
    *seen = (struct seen){.work = WORK_COPY,
                          .name = copy_name(c->copyKind),
                          .device = c->deviceId,
                          .stream = c->streamId,
                          .correlation = c->correlationId,
                          .node = c->graphNodeId,
                          .begin = c->start,
                          .end = c->end,
                          .bytes = c->bytes};
    return true;
}

static bool see_fill(const CUpti_Activity *record, struct seen *seen)
{
    const CUpti_ActivityMemset4 *f = (const CUpti_ActivityMemset4 *)record;
    *seen = (struct seen){.work = WORK_FILL,
                          .name = "fill",
                          .device = f->deviceId,
                          .stream = f->streamId,
                          .correlation = f->correlationId,
                          .node = f->graphNodeId,
                          .begin = f->start,
                          .end = f->end,
                          .bytes = f->bytes};
    return true;
}

static bool see(const CUpti_Activity *record, struct seen *seen)
{
    switch (record->kind) {
    case CUPTI_ACTIVITY_KIND_KERNEL:
    case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL: return see_kernel(record, seen);
    case CUPTI_ACTIVITY_KIND_MEMCPY: return see_copy(record, seen);
    case CUPTI_ACTIVITY_KIND_MEMSET: return see_fill(record, seen);
    default: return false;
    }
}

/* ---- Joining ---- */

/* cuDNN brings C++'s library, which knows how to write names for people. */
static void find_demangler(struct cupti_reader *reader)
{
    void *library = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_NOLOAD);
    if (library) *(void **)(&reader->demangle) = dlsym(library, "__cxa_demangle");
}

static bool find_id(struct cupti_reader *reader, const struct seen *seen, const struct owner *owner, uint32_t *id)
{
    int status = -1;
    if (!reader->demangle) find_demangler(reader);
    char *readable = reader->demangle && strncmp(seen->name, "_Z", 2) == 0
                         ? reader->demangle(seen->name, NULL, NULL, &status)
                         : NULL;
    struct trace_kernel kernel = {.device = owner->device,
                                  .op = owner->op,
                                  .work = seen->work,
                                  .name = readable ? readable : seen->name,
                                  .registers = seen->registers,
                                  .bytes = seen->bytes};
    memcpy(kernel.grid, seen->grid, sizeof kernel.grid);
    memcpy(kernel.block, seen->block, sizeof kernel.block);
    bool ok = kernel_ids_find(reader->ids, &kernel, owner->place, id);
    (free)(readable); /* the demangler's, not ours */
    return ok;
}

static bool same_name(const char *a, const char *b) { return a == b || strcmp(a, b) == 0; }

/* The kernel's id, and of which device it is reported. *id stays OWNER_NO_KERNEL where it is not to be: an
 * evaluation's. */
static bool join(struct cupti_reader *reader, const struct seen *seen, uint32_t *device, uint32_t *id)
{
    struct owner nobody = {.device = seen->device, .op = TRACE_NO_OWNER, .kernel = OWNER_NO_KERNEL};
    struct owner *owner = seen->node ? owners_find_node(reader->owners, seen->node)
                                     : owners_find_launch(reader->owners, seen->correlation);
    *id = OWNER_NO_KERNEL;
    if (owner && owner->op == OWNER_EVALUATION) return true;
    if (owner && owner->name && seen->node && !same_name(owner->name, seen->name)) {
        reader->counts.misjoined++;
        owner = NULL;
    }
    reader->counts.unattributed += !owner || owner->op == TRACE_NO_OWNER;
    if (!owner) owner = &nobody;
    if (owner->kernel == OWNER_NO_KERNEL && !find_id(reader, seen, owner, &owner->kernel)) return false;
    owner->name = seen->name;
    *device = owner->device;
    *id = owner->kernel;
    return true;
}

/* ---- Reporting ---- */

static int compare_ends(const void *a, const void *b)
{
    uint64_t x = ((const struct trace_kernel_time *)a)->end_ns, y = ((const struct trace_kernel_time *)b)->end_ns;
    return (x > y) - (x < y);
}

static bool in_order(const struct trace_kernel_time *times, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (times[i].end_ns < times[i - 1].end_ns) return false;
    return true;
}

/* Runs of one device: records of several come mixed only where one process drives several. */
static void report(struct cupti_reader *reader, size_t count)
{
    for (size_t from = 0, to; from < count; from = to) {
        for (to = from + 1; to < count && reader->devices[to] == reader->devices[from];) to++;
        struct trace_kernel_time *times = &reader->times[from];
        if (!in_order(times, to - from)) qsort(times, to - from, sizeof *times, compare_ends);
        if (reader->sink->kernels)
            reader->sink->kernels(reader->sink->context, reader->devices[from], times, to - from);
    }
}

static bool take_batch(struct cupti_reader *reader, size_t seen_count)
{
    size_t count = 0;
    bool ok = true;
    owners_lock(reader->owners);
    for (size_t i = 0; ok && i < seen_count; i++) {
        const struct seen *seen = &reader->seen[i];
        bool timeless = seen->begin == 0 || seen->end < seen->begin;
        uint32_t id;
        ok = join(reader, seen, &reader->devices[count], &id);
        if (!ok || id == OWNER_NO_KERNEL) continue;
        reader->counts.timeless += timeless;
        reader->times[count++] =
            (struct trace_kernel_time){id, seen->stream, timeless ? 0 : seen->begin, timeless ? 0 : seen->end};
    }
    owners_unlock(reader->owners);
    reader->counts.records += seen_count;
    report(reader, count);
    return ok;
}

bool cupti_reader_take(struct cupti_reader *reader, uint8_t *bytes, size_t valid)
{
    CUpti_Activity *record = NULL;
    size_t count = 0;
    while (reader->calls->ActivityGetNextRecord(bytes, valid, &record) == CUPTI_SUCCESS) {
        count += see(record, &reader->seen[count]);
        if (count < BATCH) continue;
        if (!take_batch(reader, count)) return false;
        count = 0;
    }
    return take_batch(reader, count);
}

struct cupti_counts cupti_reader_counts(const struct cupti_reader *reader) { return reader->counts; }

struct cupti_reader *cupti_reader_create(const struct cupti_calls *calls, struct owners *owners,
                                         struct trace_sink *sink)
{
    struct cupti_reader *reader = mem_zalloc(MEM_TRACE, 1, sizeof *reader);
    if (!reader) return NULL;
    *reader = (struct cupti_reader){.calls = calls, .owners = owners, .sink = sink, .ids = kernel_ids_create(sink)};
    if (reader->ids) return reader;
    mem_free(reader);
    return NULL;
}

void cupti_reader_destroy(struct cupti_reader *reader)
{
    if (!reader) return;
    kernel_ids_destroy(reader->ids);
    mem_free(reader);
}
