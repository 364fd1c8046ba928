/* `fathom train --trace`: the file that a run reports to. */
#define _GNU_SOURCE
#include "train_trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "printable.h"
#include "train_goes_on.h"
#include "train_profile.h"
#include "units.h"
#include "writer.h"

bool train_trace_name(const char *trace, uint32_t rank, char out[TRAIN_PATH], struct error *err)
{
    const char *name = strrchr(trace, '/'), *dot = strrchr(name ? name : trace, '.');
    int stem = (int)(dot ? (size_t)(dot - trace) : strlen(trace));
    int length = rank == 0 ? snprintf(out, TRAIN_PATH, "%s", trace)
                           : snprintf(out, TRAIN_PATH, "%.*s.rank%" PRIu32 "%s", stem, trace, rank, trace + stem);
    if (length >= 0 && length < TRAIN_PATH) return true;
    return error_set(err, ERROR_INPUT, "--trace: the name is too long");
}

bool train_trace_choose(struct train_command *c, struct error *err)
{
    uint32_t rank = ranks_place(c->ranks).rank;
    if (!c->trace || rank == 0) return true;
    TRY(train_trace_name(c->trace, rank, c->trace_path, err));
    c->trace = c->trace_path;
    return true;
}

/* A name that nothing has. */
static bool name_aside(const char *path, size_t devices, char aside[TRAIN_PATH + 48])
{
    struct stat info;
    for (int i = 1; i < 1000; i++) {
        int length = snprintf(aside, TRAIN_PATH + 48, "%s.of-%zu-ranks", path, devices);
        if (i > 1) snprintf(aside + length, (size_t)(TRAIN_PATH + 48 - length), "-%d", i);
        if (lstat(aside, &info) != 0) return true;
    }
    return false;
}

void train_trace_put_aside(struct train_command *c, size_t devices)
{
    char path[TRAIN_PATH], aside[TRAIN_PATH + 48];
    for (uint32_t i = 0; c->trace && i < devices; i++) {
        if (!train_trace_name(c->trace, i, path, NULL) || !name_aside(path, devices, aside)) continue;
        if (rename(path, aside) != 0 || i > 0) continue;
        const char *name = strrchr(aside, '/');
        snprintf(c->trace_note, sizeof c->trace_note, "what is there of %zu devices is kept as %.160s", devices,
                 name ? name + 1 : aside);
    }
}

/* The trace that a resumed run goes on in; NULL when there is none yet. */
static bool find_history(struct train_command *c, const struct plan *plan, struct trace_history **history,
                         struct error *err)
{
    struct stat info;
    *history = NULL;
    bool there = stat(c->trace, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0;
    if (!there) return true;
    snprintf(c->trace_note, sizeof c->trace_note, "%s",
             c->options.resume_folder ? "the trace goes on" : "the trace of an earlier run is replaced");
    if (!c->options.resume_folder) return true;
    if (!trace_history_read(c->trace, history, err)) return error_prefix(err, "--trace");
    if (!train_describe(plan, c->runs_on, &c->options, trace_history_sink(*history), err)) return false;
    if (!trace_history_agrees(*history, err))
        return error_prefix(err, "--trace") || (c->run_folder && train_goes_on_refuse(c->run_folder, plan, err));
    uint64_t steps = trace_history_steps(*history);
    if (steps > c->resumed)
        snprintf(c->trace_note, sizeof c->trace_note,
                 "the trace goes on; what it tells of steps %" PRIu64 " to %" PRIu64 " is replaced", c->resumed + 1,
                 steps);
    return true;
}

static bool open_trace(struct train_command *c, const struct plan *plan, train_trace_begin *begin,
                       struct trace_writer **writer, struct error *err)
{
    struct trace_history *history;
    bool ok = find_history(c, plan, &history, err) && begin(c, plan, err) &&
              trace_writer_open(
                  c->trace,
                  &(struct trace_writer_options){.history = history, .done = c->resumed, .queue_bytes = c->trace_queue},
                  writer, err);
    trace_history_close(history);
    return ok;
}

/* What the trace lacks, if anything, and what would help. */
static void say_traced(const struct trace_writer_stats *stats)
{
    char lost[UNITS_TEXT], all[UNITS_TEXT], held[UNITS_TEXT];
    if (stats->failed) fprintf(stderr, "fathom train: the trace ends early: %s\n", PRINTABLE(stats->failure));
    if (stats->queue_dropped == 0) return;
    fprintf(
        stderr,
        "fathom train: the trace lost %s of %s reports, as its writer waited for a processor: --trace-queue %" PRIu64
        "KiB would hold four times as many (it was %s for each thread)\n",
        units_format_count(stats->queue_dropped, lost), units_format_count(stats->events + stats->dropped, all),
        stats->queue_bytes * 4 >> 10, units_format_bytes(stats->queue_bytes, held));
}

bool train_trace_run(struct train_command *c, const struct plan *plan, train_trace_begin *begin,
                     bool (*train)(void *context, struct trace_sink *sink, struct error *err), void *context,
                     struct error *err)
{
    if (!c->trace) return begin(c, plan, err) && train(context, NULL, err);
    struct trace_writer *writer;
    TRY(open_trace(c, plan, begin, &writer, err));
    c->options.time_ops = true;
    bool ok = train_profile_run(c, writer, train, context, err);
    struct trace_writer_stats stats;
    trace_writer_stop(writer);
    trace_writer_stats(writer, &stats);
    trace_writer_close(writer);
    say_traced(&stats);
    return ok;
}
