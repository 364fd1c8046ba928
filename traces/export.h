/* A trace in other programs' words. */
#ifndef FATHOM_EXPORT_H
#define FATHOM_EXPORT_H

#include <stdio.h>

#include "summary.h"

/* Chrome's trace event JSON (chrome://tracing, ui.perfetto.dev, Speedscope): ops and steps as complete events, a
 * process for each device; metrics and memory as counters; marks as instants. Times are microseconds from the trace's
 * start. What the file does not take shows in ferror(out). */
bool trace_export_chrome(const char *path, FILE *out, struct error *err);

/* Perfetto's own format (ui.perfetto.dev, trace_processor), a quarter of the size: a track for each device's steps, ops
 * and gaps, counters and marks. As above. */
bool trace_export_perfetto(const char *path, FILE *out, struct error *err);

/* The columns of nsys's kernel summary: Time (%), Total Time (ns), Instances, Avg, Med, Min, Max, StdDev (ns), Name; then,
 * where it is given, what each row takes in a step (NAN = unknown). */
void trace_export_csv(const struct summary *summary, const double *step_ns, FILE *out);

const char *trace_metric_name(enum trace_metric metric);
const char *trace_sample_name(enum trace_sample sample);
const char *trace_gap_name(enum trace_gap gap);

#endif
