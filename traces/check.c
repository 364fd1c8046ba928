#include "check.h"

#include "mem.h"

#define MOST_BACKWARD_NS 1000000000

struct owned {
    bool *kernels; /* by id */
    size_t count, capacity;
};

struct checker {
    struct trace_report *report;
    uint32_t ops[TRACE_MOST_DEVICES]; /* in the op table */
    uint64_t last_ns[TRACE_MOST_DEVICES];
    struct owned owned[TRACE_MOST_DEVICES];
};

static void check_op(struct checker *checker, const struct trace_event *event)
{
    uint64_t *last = &checker->last_ns[event->device];
    if (event->id >= checker->ops[event->device]) checker->report->unattributed++;
    if (event->begin_ns<*last && * last - event->begin_ns> MOST_BACKWARD_NS) checker->report->disordered++;
    *last = event->begin_ns;
}

/* Whose kernels are owned is told by a table of their own. */
static bool note_kernel(struct checker *checker, const struct trace_kernel *kernel, struct error *err)
{
    struct owned *owned = &checker->owned[kernel->device];
    void *kernels = owned->kernels;
    size_t wanted = (size_t)kernel->id + 1;
    if (!mem_grow(MEM_TRACE, &kernels, &owned->capacity, wanted, sizeof *owned->kernels))
        return error_memory(err, wanted, "a trace's kernels");
    owned->kernels = kernels;
    while (owned->count < wanted) owned->kernels[owned->count++] = false;
    owned->kernels[kernel->id] = kernel->op != TRACE_NO_OWNER;
    return true;
}

static void check_event(struct checker *checker, const struct trace_event *event)
{
    const struct owned *owned = &checker->owned[event->device];
    checker->report->events[event->type]++;
    if (event->type == TRACE_OP) check_op(checker, event);
    if (event->type == TRACE_LOSS && event->kind < TRACE_LOSSES) checker->report->lost[event->kind] += event->count;
    if (event->type == TRACE_KERNEL && (event->id >= owned->count || !owned->kernels[event->id]))
        checker->report->unattributed++;
}

static bool check_item(struct checker *checker, const struct trace_item *item, struct error *err)
{
    if (item->type == TRACE_ITEM_OP && item->op.id >= checker->ops[item->op.device])
        checker->ops[item->op.device] = item->op.id + 1;
    if (item->type == TRACE_ITEM_END) checker->report->ended = true;
    if (item->type == TRACE_ITEM_EVENT) check_event(checker, &item->event);
    return item->type != TRACE_ITEM_KERNEL || note_kernel(checker, &item->kernel, err);
}

bool trace_check(const char *path, struct trace_report *report, struct error *err)
{
    struct trace_stream *stream;
    struct trace_report found = {0};
    struct checker checker = {.report = &found};
    TRY(trace_stream_open(path, &stream, err));
    struct trace_item item = {.type = TRACE_ITEM_CLOCK};
    bool ok = true;
    while (ok && item.type != TRACE_ITEM_NONE)
        ok = trace_stream_next(stream, &item, err) && check_item(&checker, &item, err);
    for (size_t i = 0; i < TRACE_MOST_DEVICES; i++) mem_free(checker.owned[i].kernels);
    trace_stream_stats(stream, &found.stats);
    trace_stream_close(stream);
    if (!ok) return false;
    const struct trace_stream_stats *stats = &found.stats;
    found.clean = stats->reader.damaged == 0 && stats->reader.tail_bytes == 0 && stats->malformed == 0 &&
                  stats->undecoded == 0 && found.disordered == 0;
    *report = found;
    return true;
}
