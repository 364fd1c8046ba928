/* What the files of `fathom trace` share. */
#ifndef FATHOM_CLI_TRACE_PRIVATE_H
#define FATHOM_CLI_TRACE_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "step_times.h"
#include "json.h"
#include "units.h"

extern const char *const trace_manual[];

struct trace_options {
    const char *by_word, *sort_word, *output, *svg;
    bool json, chrome, perfetto, csv, rms;
    size_t files;
    uint64_t limit;
    double gate; /* percent; below 0: none */
    enum summary_by by;
    enum summary_sort sort;
};

static inline size_t trace_shown_rows(size_t count, uint64_t limit)
{
    return limit && limit < count ? (size_t)limit : count;
}
/* Widths in which numbers of nanoseconds stay readable and columns stay aligned. */
static inline const char *trace_format_ns(double ns, char out[UNITS_TEXT]) { return units_format_seconds(ns * 1e-9, out); }

/* Of each counter that was read: what, of which device (null: of the host), and how much. */
json_t *trace_counters_json(const struct rollup *rollup);
/* For each device the nanoseconds that its thread loaded, launched, waited, ... */
json_t *trace_host_json(const struct rollup *rollup);
/* Means and most, in one line of a paragraph; nothing where no counter was read. */
void trace_print_counters(const struct rollup *rollup);

/* The table as CSV with nsys's columns; `word` as for stats. */
bool trace_write_table(const char *word, const struct trace_options *options, FILE *out, struct error *err);

bool trace_run_stats(const char *const *paths, const struct trace_options *options, int *code, struct error *err);
bool trace_run_info(const char *const *paths, const struct trace_options *options, int *code, struct error *err);
bool trace_run_flow(const char *const *paths, const struct trace_options *options, int *code, struct error *err);
bool trace_run_diff(const char *const *paths, const struct trace_options *options, int *code, struct error *err);

#endif
