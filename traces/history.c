#include "history_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "mem.h"

/* ---- Where the file ends, and which parts of it may be given back to the disk ---- */

/* Where there are more segments than can be counted, the last ones are taken as one. */
static void end_segment(struct trace_output_end *end, uint64_t begin, uint64_t at)
{
    if (at <= begin) return;
    if (end->closed_count == OUTPUT_MOST_SEGMENTS)
        end->closed[OUTPUT_MOST_SEGMENTS - 1].end = at;
    else
        end->closed[end->closed_count++] = (struct trace_span){begin, at};
}

/* A segment as its blocks pass by. */
struct segment {
    uint64_t number, begin;
};

static void take_block(struct trace_output_end *end, struct segment *segment, const struct trace_block *block,
                       uint64_t offset)
{
    if (block->segment != segment->number) {
        end_segment(end, segment->begin, offset);
        *segment = (struct segment){.number = block->segment, .begin = offset};
    }
    end->sequence = block->sequence + 1;
    end->segment = block->segment + 1;
    end->dropped = block->dropped;
    if (block->last_ns > end->last_ns) end->last_ns = block->last_ns;
}

static bool find_end(const char *path, struct trace_output_end *end, struct error *err)
{
    struct trace_reader *reader;
    struct segment segment = {.begin = TRACE_FILE_HEADER};
    struct trace_reader_stats stats;
    struct trace_block block;
    const uint8_t *payload;
    bool ok = true, found = true;
    TRY(trace_reader_open(path, &reader, err));
    while (ok && found) {
        ok = trace_reader_next(reader, &block, &payload, &found, err);
        trace_reader_stats(reader, &stats);
        if (ok && found) take_block(end, &segment, &block, stats.end_offset - TRACE_BLOCK_HEADER - block.length);
    }
    end->offset = stats.end_offset;
    end->file_bytes = stats.size_bytes;
    end_segment(end, segment.begin, end->offset);
    trace_reader_close(reader);
    return ok;
}

/* ---- What it tells ---- */

static bool take_op(struct trace_history *history, const struct trace_op *op, struct error *err)
{
    struct history_ops *device = &history->devices[op->device];
    void *ops = device->ops;
    size_t count = (size_t)op->id + 1 > device->count ? (size_t)op->id + 1 : device->count;
    if (!mem_grow(MEM_TRACE, &ops, &device->capacity, count, sizeof *op))
        return error_memory(err, count * sizeof *op, "a trace's op table");
    device->ops = ops;
    for (; device->count < count; device->count++)
        device->ops[device->count] = (struct trace_op){.layer = "", .kind = "", .pass = ""};
    device->ops[op->id] = *op;
    return true;
}

/* What goes on beside ops and kernels is told again, in short, at the head of each later segment. */
static bool is_past(const struct trace_item *item)
{
    if (item->type == TRACE_ITEM_EVENT) return item->event.type != TRACE_OP && item->event.type != TRACE_KERNEL;
    return item->type == TRACE_ITEM_PAST || item->type == TRACE_ITEM_PART;
}

#define NORMS_BYTES (1u << 20) /* as many as any trace keeps of them */

/* Each segment says again which part it is of. */
static void take_part(struct trace_history *history, const struct trace_part *part)
{
    if (part->begun_ns != history->begun_ns) norm_store_go_on(&history->norms, part->done, NORMS_BYTES);
    history->begun_ns = part->begun_ns;
}

static bool take_item(struct trace_history *history, const struct trace_item *item, struct error *err)
{
    if (item->type == TRACE_ITEM_PART) take_part(history, &item->part);
    if (is_past(item)) return rollup_take_item(&history->past, item, err);
    if (item->type == TRACE_ITEM_OP) return take_op(history, &item->op, err);
    if (item->type == TRACE_ITEM_NORMS)
        return norm_store_read(&history->norms, &item->norms, NORMS_BYTES) ||
               error_memory(err, item->norms.total * sizeof item->norms.norms, "a trace's norms");
    if (item->type != TRACE_ITEM_RUN) return true;
    return tables_set_run(&history->tables, &item->run) || error_memory(err, sizeof item->run, "a trace's run");
}

/* Names that the writer gives out later are numbered after the file's, which hold through the whole of it. */
static bool take_names(struct trace_history *history, struct tables *tables, struct error *err)
{
    const char *name;
    for (size_t i = 0; trace_stream_name(history->stream, i, &name); i++) {
        char lost[32];
        uint32_t number;
        snprintf(lost, sizeof lost, "?%zu", i);
        if (!tables_add_name(tables, name ? name : lost, &number))
            return error_memory(err, TRACE_TEXT_MOST, "a name of a trace");
        if (number != i)
            return error_set(err, ERROR_INPUT, "%s: its names are damaged, so that nothing can be added to it",
                             history->path);
    }
    return true;
}

static bool read_items(struct trace_history *history, struct error *err)
{
    struct trace_item item = {0};
    do {
        TRY(trace_stream_next(history->stream, &item, err));
        TRY(take_item(history, &item, err));
    } while (item.type != TRACE_ITEM_NONE);
    return true;
}

/* The run's own names come after the file's. */
static bool number_names(struct trace_history *history, struct error *err)
{
    struct tables numbered = {0}, *found = &history->tables;
    bool ok = take_names(history, &numbered, err);
    if (ok && found->has_run) {
        const struct trace_run run = {.model = found->names[found->model],
                                      .dataset = found->names[found->dataset],
                                      .backend = found->names[found->backend],
                                      .host = found->names[found->host],
                                      .command = found->names[found->command],
                                      .batch = found->batch,
                                      .iterations = found->iterations,
                                      .parameters = found->parameters,
                                      .devices = found->device_count};
        ok = tables_set_run(&numbered, &run) || error_memory(err, sizeof run, "a trace's run");
    }
    tables_finish(ok ? found : &numbered);
    if (ok) *found = numbered;
    return ok;
}

/* ---- Comparing ---- */

static void differ(struct trace_history *history, const char *what, const char *there, const char *here)
{
    if (history->difference.kind != ERROR_NONE) return;
    error_set(&history->difference, ERROR_INPUT,
              "%s: is the trace of another run (%s %s; this run's is %s): name another file", history->path, what,
              there, here);
}

static void compare_names(struct trace_history *history, const char *what, uint32_t there, const char *here)
{
    const char *name = history->tables.names[there];
    if (strcmp(name, here) != 0) differ(history, what, name, here);
}

static void compare_counts(struct trace_history *history, const char *what, uint64_t there, uint64_t here)
{
    char text[2][24];
    snprintf(text[0], sizeof text[0], "%" PRIu64, there);
    snprintf(text[1], sizeof text[1], "%" PRIu64, here);
    if (there != here) differ(history, what, text[0], text[1]);
}

static void compare_run(void *context, const struct trace_run *run)
{
    struct trace_history *history = context;
    const struct tables *tables = &history->tables;
    if (!tables->has_run) return;
    compare_names(history, "model", tables->model, run->model);
    compare_names(history, "dataset", tables->dataset, run->dataset);
    compare_names(history, "backend", tables->backend, run->backend);
    compare_counts(history, "parameters", tables->parameters, run->parameters);
    compare_counts(history, "batch", tables->batch, run->batch);
    compare_counts(history, "devices", tables->device_count, run->devices);
}

/* Ops are told by their positions alone: another program's would be taken for this one's. */
static void compare_ops(void *context, const struct trace_op *ops, size_t count)
{
    struct trace_history *history = context;
    if (count == 0 || ops[0].device >= TRACE_MOST_DEVICES) return;
    const struct history_ops *there = &history->devices[ops[0].device];
    if (there->count == 0) return;
    compare_counts(history, "ops in a step", there->count, count);
    for (size_t i = 0; i < count && history->difference.kind == ERROR_NONE; i++) {
        const struct trace_op *a = &there->ops[i], *b = &ops[i];
        if (strcmp(a->layer, b->layer) != 0) differ(history, "another plan: an op of", a->layer, b->layer);
        if (strcmp(a->kind, b->kind) != 0) differ(history, "another plan: an op", a->kind, b->kind);
        if (strcmp(a->pass, b->pass) != 0) differ(history, "another plan: a pass", a->pass, b->pass);
    }
}

/* ---- The part's face ---- */

bool trace_history_read(const char *path, struct trace_history **out, struct error *err)
{
    struct trace_history *history = mem_zalloc(MEM_TRACE, 1, sizeof *history);
    if (!history) return error_memory(err, sizeof *history, path);
    rollup_begin(&history->past, ROLLUP_MOST_STEPS);
    history->path = mem_strdup(MEM_TRACE, path);
    history->sink = (struct trace_sink){.context = history, .run = compare_run, .op_table = compare_ops};
    bool ok = history->path || error_memory(err, strlen(path), path);
    ok = ok && find_end(path, &history->end, err) && trace_stream_open(path, &history->stream, err) &&
         read_items(history, err) && number_names(history, err);
    if (ok)
        *out = history;
    else
        trace_history_close(history);
    return ok;
}

void trace_history_close(struct trace_history *history)
{
    if (!history) return;
    for (size_t i = 0; i < TRACE_MOST_DEVICES; i++) mem_free(history->devices[i].ops);
    rollup_finish(&history->past);
    norm_store_finish(&history->norms);
    tables_finish(&history->tables);
    trace_stream_close(history->stream);
    mem_free(history->path);
    mem_free(history);
}

struct trace_sink *trace_history_sink(struct trace_history *history) { return &history->sink; }

bool trace_history_agrees(const struct trace_history *history, struct error *err)
{
    if (history->difference.kind == ERROR_NONE) return true;
    return error_set(err, history->difference.kind, "%s", history->difference.text);
}

uint64_t trace_history_steps(const struct trace_history *history)
{
    const struct rollup *past = &history->past.rollup;
    return past->step_count > 0 ? past->steps[past->step_count - 1].step : 0;
}
