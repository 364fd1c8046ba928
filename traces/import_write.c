#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "encoder.h"
#include "files.h"
#include "import_private.h"
#include "kernel_ids.h"
#include "mem.h"

#define BATCH 2000 /* kernels of a device that go to the encoder together */

struct batch {
    struct trace_kernel_time *kernels;
    uint32_t count;
};

struct import_writer {
    struct import *import;
    struct tables tables;
    struct trace_output output;
    struct encoder *encoder;
    bool used[TRACE_MOST_DEVICES];
    struct batch batches[TRACE_MOST_DEVICES];
    uint64_t busy_until_ns[TRACE_MOST_DEVICES];
    struct trace_event *events; /* steps and spans, by time */
    size_t event_count, event_capacity, next_event;
    bool broken; /* out of memory where nothing can be returned */
};

/* ---- Tables ---- */

static const char *text_of(const struct import_writer *w, uint32_t name) { return w->import->names.names[name]; }

/* "ResNet" of "ResNet_0", the first module that is in no other. */
static void name_model(const struct import_writer *w, char *out, size_t size)
{
    const struct import *import = w->import;
    snprintf(out, size, "%s", "?");
    for (size_t i = 0; i < import->modules.count; i++) {
        const char *name = text_of(w, import->modules.items[i].name), *end = strrchr(name, '_');
        if (import->modules.items[i].parent != NONE || strncmp(name, "Optimizer.", 10) == 0) continue;
        snprintf(out, size, "%.*s", (int)(end ? (size_t)(end - name) : strlen(name)), name);
        return;
    }
}

static bool set_run(struct import_writer *w)
{
    char model[64];
    const char *slash = strrchr(w->import->path, '/');
    uint32_t devices = 0;
    for (uint32_t d = 0; d < TRACE_MOST_DEVICES; d++)
        if (w->used[d]) devices = d + 1;
    name_model(w, model, sizeof model);
    return tables_set_run(&w->tables, &(struct trace_run){.model = model,
                                                          .dataset = "",
                                                          .backend = "pytorch",
                                                          .host = "",
                                                          .command = slash ? slash + 1 : w->import->path,
                                                          .devices = devices});
}

static bool set_device(struct import_writer *w, uint32_t number)
{
    const struct kineto_head *head = &w->import->head;
    char name[48];
    struct trace_device device = {.device = number, .name = name};
    snprintf(name, sizeof name, "%s", w->import->gpu ? "GPU" : "CPU");
    for (size_t i = 0; i < head->device_count; i++) {
        if (head->devices[i].id != number) continue;
        snprintf(name, sizeof name, "%s", head->devices[i].name);
        device.memory_bytes = head->devices[i].memory_bytes;
    }
    return tables_set_device(&w->tables, &device);
}

static bool set_ops(struct import_writer *w, uint32_t device)
{
    bool ok = true;
    for (uint32_t i = 0; ok && i < w->import->ops.count; i++) {
        const struct import_op *op = &w->import->ops.items[i];
        ok = tables_set_ops(&w->tables,
                            &(struct trace_op){.id = i,
                                               .device = device,
                                               .layer = text_of(w, op->layer),
                                               .kind = text_of(w, op->kind),
                                               .pass = text_of(w, op->pass)},
                            1);
    }
    return ok;
}

static void take_kernel_entry(void *context, const struct trace_kernel *kernels, size_t count)
{
    struct import_writer *w = context;
    if (!tables_set_kernels(&w->tables, kernels, count)) w->broken = true;
}

/* Runs get their kernels' numbers, in place of their correlations. */
static bool number_kernels(struct import_writer *w)
{
    struct trace_sink sink = {.context = w, .kernel_table = take_kernel_entry};
    struct kernel_ids *ids = kernel_ids_create(&sink);
    bool ok = ids != NULL;
    for (size_t i = 0; ok && i < w->import->runs.count; i++) {
        struct import_run *run = &w->import->runs.items[i];
        const struct import_shape *shape = &w->import->shapes.items[run->shape];
        struct trace_kernel kernel = {.device = run->device,
                                      .op = run->op == NONE ? TRACE_NO_OWNER : run->op,
                                      .work = shape->work,
                                      .name = text_of(w, shape->name),
                                      .registers = shape->registers,
                                      .bytes = shape->bytes};
        memcpy(kernel.grid, shape->grid, sizeof kernel.grid);
        memcpy(kernel.block, shape->block, sizeof kernel.block);
        ok = kernel_ids_find(ids, &kernel, run->shape, &run->key);
    }
    kernel_ids_destroy(ids);
    return ok && !w->broken;
}

static bool make_tables(struct import_writer *w, struct trace_import_stats *stats, struct error *err)
{
    const struct import *import = w->import;
    bool ok = true;
    for (size_t i = 0; i < import->runs.count; i++) w->used[import->runs.items[i].device] = true;
    ok = set_run(w);
    for (uint32_t d = 0; ok && d < TRACE_MOST_DEVICES; d++) {
        if (!w->used[d]) continue;
        stats->devices++;
        ok = set_device(w, d) && set_ops(w, d);
    }
    ok = ok && (!import->gpu || number_kernels(w));
    return ok || error_memory(err, sizeof w->tables, "a trace's tables");
}

/* ---- Steps, and what GPUs waited for ---- */

static bool add_event(struct import_writer *w, struct trace_event event, struct error *err)
{
    void *events = w->events;
    if (!mem_grow(MEM_TRACE, &events, &w->event_capacity, w->event_count + 1, sizeof event))
        return error_memory(err, (w->event_count + 1) * sizeof event, "a trace's steps");
    w->events = events;
    w->events[w->event_count++] = event;
    return true;
}

static bool add_span(struct import_writer *w, uint32_t device, enum trace_host what, uint64_t begin_ns, uint64_t end_ns,
                     struct error *err)
{
    return add_event(w,
                     (struct trace_event){.type = TRACE_SPAN,
                                          .kind = (uint8_t)what,
                                          .device = (uint16_t)device,
                                          .begin_ns = begin_ns,
                                          .end_ns = end_ns},
                     err);
}

static bool add_step(struct import_writer *w, uint32_t device, uint64_t step, uint64_t begin_ns, uint64_t end_ns,
                     struct error *err)
{
    struct trace_event event = {.type = TRACE_STEP_BEGIN, .device = (uint16_t)device, .step = step, .ns = begin_ns};
    TRY(add_event(w, event, err));
    event.type = TRACE_STEP_END;
    event.ns = end_ns;
    return add_event(w, event, err);
}

static bool gpu_tells_steps(const struct import *import, uint32_t device)
{
    for (size_t i = 0; i < import->steps.count; i++)
        if (import->steps.items[i].device == device) return true;
    return false;
}

/* The first step of a trace that counts from 0 is our first one; else both have the same numbers, ours in files less 1.
 */
static uint64_t first_number(const struct import *import)
{
    for (size_t i = 0; i < import->steps.count; i++)
        if (import->steps.items[i].what == 0) return 0;
    return 1;
}

/* Without ProfilerStep# all of it is one step. */
static bool add_whole_step(struct import_writer *w, uint32_t device, struct error *err)
{
    uint64_t begin = UINT64_MAX, end = 0;
    for (size_t i = 0; i < w->import->runs.count; i++) {
        const struct import_run *run = &w->import->runs.items[i];
        if (run->device != device) continue;
        if (run->begin_ns < begin) begin = run->begin_ns;
        if (run->end_ns > end) end = run->end_ns;
    }
    return add_step(w, device, 0, begin, end + 1, err);
}

static bool add_steps(struct import_writer *w, uint32_t device, struct error *err)
{
    const struct import *import = w->import;
    uint32_t teller = gpu_tells_steps(import, device) ? device : NONE;
    uint64_t first = first_number(import), count = 0;
    for (size_t i = 0; i < import->steps.count; i++) {
        const struct import_span *step = &import->steps.items[i];
        if (step->device != teller) continue;
        TRY(add_step(w, device, step->what - first, step->begin_ns, step->end_ns, err));
        count++;
    }
    return count > 0 || add_whole_step(w, device, err);
}

static bool add_hosts(struct import_writer *w, uint32_t device, struct error *err)
{
    for (size_t i = 0; i < w->import->hosts.count; i++) {
        const struct import_span *span = &w->import->hosts.items[i];
        TRY(add_span(w, device, (enum trace_host)span->what, span->begin_ns, span->end_ns, err));
    }
    return true;
}

/* A device with nothing to do until the next kernel was launched waited for that. */
static bool add_launch_gap(struct import_writer *w, const struct import_run *run, struct error *err)
{
    uint64_t busy = w->busy_until_ns[run->device];
    if (run->end_ns > busy) w->busy_until_ns[run->device] = run->end_ns;
    if (busy == 0 || run->launch == NONE) return true;
    uint64_t launched = w->import->launches.items[run->launch].end_ns;
    if (launched > run->begin_ns) launched = run->begin_ns;
    return launched <= busy || add_span(w, run->device, HOST_LAUNCH, busy, launched, err);
}

static uint64_t time_of(const struct trace_event *event)
{
    uint64_t first = 0, last;
    trace_event_time(event, &first, &last);
    return first;
}

/* Of what happens together an end comes first. */
static int compare_events(const void *a, const void *b)
{
    const struct trace_event *x = a, *y = b;
    uint64_t p = time_of(x), q = time_of(y);
    if (p != q) return p < q ? -1 : 1;
    return (x->type == TRACE_STEP_BEGIN) - (y->type == TRACE_STEP_BEGIN);
}

static int by_begin(const void *a, const void *b)
{
    const struct import_run *x = a, *y = b;
    return (x->begin_ns > y->begin_ns) - (x->begin_ns < y->begin_ns);
}

static bool make_events(struct import_writer *w, struct trace_import_stats *stats, struct error *err)
{
    struct import *import = w->import;
    qsort(import->runs.items, import->runs.count, sizeof *import->runs.items, by_begin);
    for (uint32_t d = 0; d < TRACE_MOST_DEVICES; d++)
        if (w->used[d]) TRY(add_steps(w, d, err) && add_hosts(w, d, err));
    for (size_t i = 0; import->gpu && i < import->runs.count; i++) TRY(add_launch_gap(w, &import->runs.items[i], err));
    qsort(w->events, w->event_count, sizeof *w->events, compare_events);
    uint64_t ends = 0;
    for (size_t i = 0; i < w->event_count; i++) ends += w->events[i].type == TRACE_STEP_END;
    stats->steps = ends / stats->devices;
    return true;
}

/* ---- Writing ---- */

static void send_batch(struct import_writer *w, uint32_t device)
{
    struct batch *batch = &w->batches[device];
    struct trace_event event = {.type = TRACE_BATCH, .device = (uint16_t)device, .id = batch->count};
    event.kernels = batch->kernels;
    if (batch->count > 0) encoder_take(w->encoder, &event);
    *batch = (struct batch){0};
}

static bool send_run(struct import_writer *w, const struct import_run *run, struct error *err)
{
    struct batch *batch = &w->batches[run->device];
    if (!w->import->gpu) {
        encoder_take(w->encoder, &(struct trace_event){.type = TRACE_OP,
                                                       .device = (uint16_t)run->device,
                                                       .id = run->op,
                                                       .begin_ns = run->begin_ns,
                                                       .end_ns = run->end_ns});
        return true;
    }
    if (!batch->kernels) batch->kernels = mem_alloc(MEM_TRACE, BATCH, sizeof *batch->kernels);
    if (!batch->kernels) return error_memory(err, BATCH * sizeof *batch->kernels, "a trace's kernels");
    batch->kernels[batch->count++] = (struct trace_kernel_time){run->key, run->stream, run->begin_ns, run->end_ns};
    if (batch->count == BATCH) send_batch(w, run->device);
    return true;
}

static void send_events(struct import_writer *w, uint64_t until_ns)
{
    while (w->next_event < w->event_count && time_of(&w->events[w->next_event]) <= until_ns)
        encoder_take(w->encoder, &w->events[w->next_event++]);
}

static bool write_all(struct import_writer *w, struct error *err)
{
    const struct import *import = w->import;
    encoder_write_head(w->encoder, &w->tables);
    for (size_t i = 0; i < import->runs.count; i++) {
        if (i % BATCH == 0) {
            if (import->stop && *import->stop)
                return error_set(err, ERROR_FAILED, "%s: stopped; nothing was written", import->path);
            encoder_flush(w->encoder, &w->tables);
        }
        send_events(w, import->runs.items[i].begin_ns);
        TRY(send_run(w, &import->runs.items[i], err));
    }
    for (uint32_t d = 0; d < TRACE_MOST_DEVICES; d++) send_batch(w, d);
    send_events(w, UINT64_MAX);
    encoder_flush(w->encoder, &w->tables);
    encoder_end(w->encoder);
    if (w->output.failed) return error_set(err, ERROR_FAILED, "%s", w->output.failure);
    return w->output.dropped == 0 || error_memory(err, TRACE_BLOCK_MOST, "a trace's blocks");
}

static void count(const struct import *import, struct trace_import_stats *stats)
{
    stats->ops = import->ops.count;
    for (size_t i = 0; i < import->runs.count; i++) {
        const struct import_run *run = &import->runs.items[i];
        bool kernel = import->gpu && import->shapes.items[run->shape].work == WORK_KERNEL;
        stats->kernels += kernel;
        stats->copies += import->gpu && !kernel;
        stats->owned += import->gpu && run->op != NONE;
    }
}

/* Times stay those of the file: the trace's clock is the wall's, but for a nanosecond (0 would be no difference known).
 */
static bool write_file(struct import_writer *w, const char *out, struct trace_import_stats *stats, struct error *err)
{
    struct files_writer file;
    TRY(files_begin(&file, out, err));
    bool ok = trace_output_begin(&w->output, fileno(file.stream), UINT64_MAX / 4);
    w->output.shift_ns = clock_wall_ns() - clock_now_ns() - 1;
    if (!ok) error_set(err, ERROR_FAILED, "%s: %s", out, w->output.failure);
    encoder_init(w->encoder, &w->output);
    ok = ok && write_all(w, err);
    stats->bytes = w->output.bytes;
    encoder_finish(w->encoder);
    if (ok) return files_commit(&file, err);
    files_abandon(&file);
    return false;
}

bool import_write(struct import *import, const char *out, struct trace_import_stats *stats, struct error *err)
{
    struct import_writer *w = mem_zalloc(MEM_TRACE, 1, sizeof *w);
    if (!w) return error_memory(err, sizeof *w, out);
    w->import = import;
    w->encoder = mem_zalloc(MEM_TRACE, 1, sizeof *w->encoder);
    bool ok = w->encoder || error_memory(err, sizeof *w->encoder, out);
    if (ok) count(import, stats);
    ok = ok && make_tables(w, stats, err) && make_events(w, stats, err) && write_file(w, out, stats, err);
    for (size_t d = 0; d < TRACE_MOST_DEVICES; d++) mem_free(w->batches[d].kernels);
    tables_finish(&w->tables);
    mem_free(w->events);
    mem_free(w->encoder);
    mem_free(w);
    return ok;
}
