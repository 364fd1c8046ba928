/* A trace in other programs' words. */
#ifndef FATHOM_EXPORT_H
#define FATHOM_EXPORT_H

#include <signal.h>
#include <stdio.h>

#include "summary.h"

/* Chrome's trace event JSON (chrome://tracing, ui.perfetto.dev, Speedscope): ops, kernels and steps as complete events, a
 * process for each device with a thread for each stream; metrics, memory and counters as counters; marks as instants. Times
 * are microseconds from the trace's start. What the file does not take shows in ferror(out). When *stop (which may be NULL)
 * is not 0 any more it ends with ERROR_FAILED, in the middle of what it writes. */
bool trace_export_chrome(const char *path, FILE *out, const volatile sig_atomic_t *stop, struct error *err);

/* Perfetto's own format (ui.perfetto.dev, trace_processor), a quarter of the size: a track for each device's steps, ops,
 * streams and gaps, counters and marks; a kernel's category is its layer. As above. */
bool trace_export_perfetto(const char *path, FILE *out, const volatile sig_atomic_t *stop, struct error *err);

/* The columns of nsys's kernel summary: Time (%), Total Time (ns), Instances, Avg, Med, Min, Max, StdDev (ns), Name; then,
 * where it is given, what each row takes in a step (NAN = unknown). */
void trace_export_csv(const struct summary *summary, const double *step_ns, FILE *out);

const char *trace_metric_name(enum trace_metric metric);
const char *trace_sample_name(enum trace_sample sample);
const char *trace_gap_name(enum trace_gap gap);
const char *trace_host_name(enum trace_host what);

/* Every few thousand items: true, with the error, when *stop says so. */
bool trace_export_is_stopped(const char *path, const volatile sig_atomic_t *stop, uint64_t items, struct error *err);

#endif
