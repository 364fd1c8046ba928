#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "encoder.h"
#include "files.h"
#include "import_private.h"
#include "mem.h"

#define BATCH 2000 /* kernels of a device that go to the encoder together */

struct batch {
    struct trace_kernel_time *kernels;
    uint32_t count;
};

/* What is written beside the runs. */
struct written_event {
    uint64_t ns; /* by which it is sorted */
    uint64_t begin_ns, end_ns, step;
    uint16_t device, type;
    uint32_t kind; /* no byte is left unwritten */
};

struct import_writer {
    struct import *import;
    struct trace_output output;
    struct encoder *encoder;
    struct batch batches[TRACE_MOST_DEVICES];
    uint64_t busy_until_ns[TRACE_MOST_DEVICES];
    struct spill events; /* steps and spans, by time */
    const void *next_event;
    uint64_t step_ends;
};

/* ---- Tables ---- */

static const char *text_of(const struct import_writer *w, uint32_t name) { return w->import->names.names[name]; }

/* "ResNet" of "ResNet_0". */
static void name_model(const struct import_writer *w, char *out, size_t size)
{
    const char *name = w->import->model == NONE ? "?" : text_of(w, w->import->model), *end = strrchr(name, '_');
    snprintf(out, size, "%.*s", (int)(end ? (size_t)(end - name) : strlen(name)), name);
}

static bool set_run(struct import_writer *w)
{
    char model[64];
    const char *slash = strrchr(w->import->path, '/');
    uint32_t devices = 0;
    for (uint32_t d = 0; d < TRACE_MOST_DEVICES; d++)
        if (w->import->devices[d].used) devices = d + 1;
    name_model(w, model, sizeof model);
    return tables_set_run(&w->import->tables, &(struct trace_run){.model = model,
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
    return tables_set_device(&w->import->tables, &device);
}

static bool set_ops(struct import_writer *w, uint32_t device)
{
    bool ok = true;
    for (uint32_t i = 0; ok && i < w->import->ops.count; i++) {
        const struct import_op *op = &w->import->ops.items[i];
        ok = tables_set_ops(&w->import->tables,
                            &(struct trace_op){.id = i,
                                               .device = device,
                                               .layer = text_of(w, op->layer),
                                               .kind = text_of(w, op->kind),
                                               .pass = text_of(w, op->pass)},
                            1);
    }
    return ok;
}

static bool make_tables(struct import_writer *w, struct error *err)
{
    bool ok = set_run(w);
    for (uint32_t d = 0; ok && d < TRACE_MOST_DEVICES; d++) {
        if (!w->import->devices[d].used) continue;
        w->import->stats->devices++;
        ok = set_device(w, d) && set_ops(w, d);
    }
    w->import->stats->ops = w->import->ops.count;
    return ok || error_memory(err, sizeof w->import->tables, "a trace's tables");
}

/* ---- Steps, and what GPUs waited for ---- */

static bool add_span(struct import_writer *w, uint32_t device, enum trace_host what, uint64_t begin_ns, uint64_t end_ns,
                     struct error *err)
{
    struct written_event event = {.ns = begin_ns,
                                  .type = TRACE_SPAN,
                                  .kind = (uint8_t)what,
                                  .device = (uint16_t)device,
                                  .begin_ns = begin_ns,
                                  .end_ns = end_ns};
    return spill_add(&w->events, &event, err);
}

static bool add_step(struct import_writer *w, uint32_t device, uint64_t step, uint64_t begin_ns, uint64_t end_ns,
                     struct error *err)
{
    struct written_event event = {.ns = begin_ns, .type = TRACE_STEP_BEGIN, .device = (uint16_t)device, .step = step};
    TRY(spill_add(&w->events, &event, err));
    event.type = TRACE_STEP_END;
    event.ns = end_ns;
    w->step_ends++;
    return spill_add(&w->events, &event, err);
}

/* The first step of a trace that counts from 0 is our first one; else both have the same numbers, ours in files less 1.
 * Where a GPU tells no steps of its own the host's are its steps; without ProfilerStep# all of it is one step. */
static bool add_steps(struct import_writer *w, uint32_t device, struct error *err)
{
    struct import *import = w->import;
    uint32_t teller = import->devices[device].tells_steps ? device : NONE;
    uint64_t count = 0;
    const void *next;
    TRY(spill_rewind(&import->steps, err));
    for (;; count++) {
        TRY(spill_next(&import->steps, &next, err));
        const struct import_span *step = next;
        if (!step) break;
        if (step->device != teller) continue;
        TRY(add_step(w, device, step->what - !import->from_zero, step->begin_ns, step->end_ns, err));
    }
    return count > 0 ||
           add_step(w, device, 0, import->devices[device].first_ns, import->devices[device].last_ns + 1, err);
}

static bool add_hosts(struct import_writer *w, uint32_t device, struct error *err)
{
    const void *next;
    TRY(spill_rewind(&w->import->hosts, err));
    for (;;) {
        TRY(spill_next(&w->import->hosts, &next, err));
        const struct import_span *span = next;
        if (!span) return true;
        TRY(add_span(w, device, (enum trace_host)span->what, span->begin_ns, span->end_ns, err));
    }
}

/* A device with nothing to do until the next kernel was launched waited for that. */
static bool add_launch_gap(struct import_writer *w, const struct import_placed *run, struct error *err)
{
    uint64_t busy = w->busy_until_ns[run->device], launched = run->launched_ns;
    if (run->end_ns > busy) w->busy_until_ns[run->device] = run->end_ns;
    if (launched > run->begin_ns) launched = run->begin_ns;
    return busy == 0 || launched <= busy || add_span(w, run->device, HOST_LAUNCH, busy, launched, err);
}

static bool add_launch_gaps(struct import_writer *w, struct error *err)
{
    const void *next;
    TRY(spill_rewind(&w->import->placed, err));
    for (;;) {
        if (import_is_stopped(w->import, err)) return false;
        TRY(spill_next(&w->import->placed, &next, err));
        if (!next) return true;
        TRY(add_launch_gap(w, next, err));
    }
}

/* Of what happens together an end comes first. */
static int by_time(const void *a, const void *b)
{
    const struct written_event *x = a, *y = b;
    if (x->ns != y->ns) return import_compare(x->ns, y->ns);
    int begins = (x->type == TRACE_STEP_BEGIN) - (y->type == TRACE_STEP_BEGIN);
    if (begins) return begins;
    return x->device != y->device ? import_compare(x->device, y->device) : import_compare(x->end_ns, y->end_ns);
}

static bool make_events(struct import_writer *w, struct error *err)
{
    spill_begin(&w->events, sizeof(struct written_event), by_time, w->import->out, 0);
    for (uint32_t d = 0; d < TRACE_MOST_DEVICES; d++)
        if (w->import->devices[d].used) TRY(add_steps(w, d, err) && add_hosts(w, d, err));
    if (w->import->gpu) TRY(add_launch_gaps(w, err));
    w->import->stats->steps = w->step_ends / w->import->stats->devices;
    spill_finish(&w->import->steps);
    spill_finish(&w->import->hosts);
    return spill_rewind(&w->events, err) && spill_next(&w->events, &w->next_event, err);
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

static bool send_run(struct import_writer *w, const struct import_placed *run, struct error *err)
{
    struct batch *batch = &w->batches[run->device];
    if (!w->import->gpu) {
        encoder_take(w->encoder, &(struct trace_event){.type = TRACE_OP,
                                                       .device = (uint16_t)run->device,
                                                       .id = run->id,
                                                       .begin_ns = run->begin_ns,
                                                       .end_ns = run->end_ns});
        return true;
    }
    if (!batch->kernels) batch->kernels = mem_alloc(MEM_TRACE, BATCH, sizeof *batch->kernels);
    if (!batch->kernels) return error_memory(err, BATCH * sizeof *batch->kernels, "a trace's kernels");
    batch->kernels[batch->count++] = (struct trace_kernel_time){run->id, run->stream, run->begin_ns, run->end_ns};
    if (batch->count == BATCH) send_batch(w, run->device);
    return true;
}

static bool send_events(struct import_writer *w, uint64_t until_ns, struct error *err)
{
    for (const struct written_event *e = w->next_event; e && e->ns <= until_ns; e = w->next_event) {
        struct trace_event event = {.type = (uint8_t)e->type, .kind = (uint8_t)e->kind, .device = e->device};
        if (e->type == TRACE_SPAN) {
            event.begin_ns = e->begin_ns;
            event.end_ns = e->end_ns;
        } else {
            event.step = e->step;
            event.ns = e->ns;
        }
        encoder_take(w->encoder, &event);
        TRY(spill_next(&w->events, &w->next_event, err));
    }
    return true;
}

static bool send_all(struct import_writer *w, struct error *err)
{
    struct import *import = w->import;
    const void *next;
    TRY(spill_rewind(&import->placed, err));
    for (uint64_t i = 0;; i++) {
        TRY(spill_next(&import->placed, &next, err));
        const struct import_placed *run = next;
        if (!run) break;
        if (import_is_stopped(import, err)) return false;
        if (i % BATCH == 0) encoder_flush(w->encoder, &import->tables);
        TRY(send_events(w, run->begin_ns, err) && send_run(w, run, err));
    }
    for (uint32_t d = 0; d < TRACE_MOST_DEVICES; d++) send_batch(w, d);
    return send_events(w, UINT64_MAX, err);
}

static bool write_all(struct import_writer *w, struct error *err)
{
    encoder_write_head(w->encoder, &w->import->tables);
    TRY(send_all(w, err));
    encoder_flush(w->encoder, &w->import->tables);
    encoder_end(w->encoder);
    if (w->output.failed) return error_set(err, ERROR_FAILED, "%s", w->output.failure);
    return w->output.dropped == 0 || error_memory(err, TRACE_BLOCK_MOST, "a trace's blocks");
}

/* Times stay those of the file: the trace's clock is the wall's, but for a nanosecond (0 would be no difference known).
 */
static bool write_file(struct import_writer *w, struct error *err)
{
    struct files_writer file;
    TRY(files_begin(&file, w->import->out, err));
    bool ok = trace_output_begin(&w->output, fileno(file.stream), UINT64_MAX / 4);
    w->output.shift_ns = clock_wall_ns() - clock_now_ns() - 1;
    if (!ok) error_set(err, ERROR_FAILED, "%s: %s", w->import->out, w->output.failure);
    encoder_init(w->encoder, &w->output);
    ok = ok && write_all(w, err);
    w->import->stats->bytes = w->output.bytes;
    encoder_finish(w->encoder);
    if (ok) return files_commit(&file, err);
    files_abandon(&file);
    return false;
}

bool import_write(struct import *import, struct error *err)
{
    struct import_writer *w = mem_zalloc(MEM_TRACE, 1, sizeof *w);
    if (!w) return error_memory(err, sizeof *w, import->out);
    w->import = import;
    w->encoder = mem_zalloc(MEM_TRACE, 1, sizeof *w->encoder);
    bool ok = w->encoder || error_memory(err, sizeof *w->encoder, import->out);
    ok = ok && make_tables(w, err) && make_events(w, err) && write_file(w, err);
    for (size_t d = 0; d < TRACE_MOST_DEVICES; d++) mem_free(w->batches[d].kernels);
    spill_finish(&w->events);
    mem_free(w->encoder);
    mem_free(w);
    return ok;
}
