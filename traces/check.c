#include "check.h"

#include <string.h>

#define MOST_BACKWARD_NS 1000000000

struct checker {
    struct trace_report *report;
    uint32_t ops[TRACE_MOST_DEVICES]; /* in the op table */
    uint64_t last_ns[TRACE_MOST_DEVICES];
};

static void check_op(struct checker *checker, const struct trace_event *event)
{
    uint64_t *last = &checker->last_ns[event->device];
    if (event->id >= checker->ops[event->device]) checker->report->unattributed++;
    if (event->begin_ns<*last && * last - event->begin_ns> MOST_BACKWARD_NS) checker->report->disordered++;
    *last = event->begin_ns;
}

static void check_item(struct checker *checker, const struct trace_item *item)
{
    if (item->type == TRACE_ITEM_OP && item->op.id >= checker->ops[item->op.device])
        checker->ops[item->op.device] = item->op.id + 1;
    if (item->type == TRACE_ITEM_END) checker->report->ended = true;
    if (item->type != TRACE_ITEM_EVENT) return;
    checker->report->events[item->event.type]++;
    if (item->event.type == TRACE_OP) check_op(checker, &item->event);
}

bool trace_check(const char *path, struct trace_report *report, struct error *err)
{
    struct trace_stream *stream;
    struct trace_report found = {0};
    struct checker checker = {.report = &found};
    TRY(trace_stream_open(path, &stream, err));
    struct trace_item item;
    bool ok;
    while ((ok = trace_stream_next(stream, &item, err)) && item.type != TRACE_ITEM_NONE) check_item(&checker, &item);
    trace_stream_stats(stream, &found.stats);
    trace_stream_close(stream);
    if (!ok) return false;
    const struct trace_stream_stats *stats = &found.stats;
    found.clean = stats->reader.damaged == 0 && stats->reader.tail_bytes == 0 && stats->malformed == 0 &&
                  stats->undecoded == 0 && found.disordered == 0;
    *report = found;
    return true;
}
