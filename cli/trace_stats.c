/* fathom trace stats: the table of ops, layers, kernels, and where a step's time goes. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "export.h"
#include "files.h"
#include "json_print.h"
#include "mem.h"
#include "op_bounds.h"
#include "page.h"
#include "printable.h"
#include "summary.h"
#include "trace_private.h"

/* A trace read to its end, and its table. */
struct table {
    char path[FILES_PATH];
    struct step_times times; /* of the same steps */
    struct trace_follower *follower;
    const struct rollup *rollup;
    struct summary summary;
    struct summary_steps steps;
};

static void close_table(struct table *table)
{
    summary_finish(&table->summary);
    trace_unfollow(table->follower);
    step_times_finish(&table->times);
}

static bool has_kernels(const struct table *table, const struct trace_options *options, struct error *err)
{
    if (!summary_is_of_kernels(options->by) || table->rollup->kernel_count > 0) return true;
    return error_set(err, ERROR_INPUT, "%s: has no kernels, so that --by %s has nothing to show; --by op shows its ops",
                     table->path, options->by_word);
}

/* Of "RUN.trace@100-200" only those steps. */
static bool fill_table(const char *word, const struct trace_options *options, struct table *table, struct error *err)
{
    struct step_range range;
    uint64_t read;
    TRY(step_range_parse(word, table->path, sizeof table->path, &range, err));
    TRY(step_times_read(table->path, options->by, range, &table->times, err));
    if (range.first > 0 && table->times.to_ns == 0) return error_set(err, ERROR_INPUT, "%s: has no such steps", word);
    TRY(trace_follow(table->path, &table->follower, err));
    table->rollup = trace_follow_rollup(table->follower);
    if (range.first > 0) trace_follow_window(table->follower, table->times.from_ns, table->times.to_ns);
    return trace_follow_more(table->follower, 0, &read, err) && has_kernels(table, options, err) &&
           summary_make(table->rollup, options->by, options->sort, &table->summary, err) &&
           summary_time_steps(table->rollup, &table->steps, err);
}

static bool open_table(const char *word, const struct trace_options *options, struct table *table, struct error *err)
{
    if (fill_table(word, options, table, err)) return true;
    close_table(table);
    *table = (struct table){0};
    return false;
}

/* Of a step that was timed, on one device; NAN when none was. */
static double step_ns(const struct table *table, const struct summary_row *row)
{
    const struct step_times_group *group = step_times_find(&table->times, row->name);
    return group ? step_times_estimate(&table->times, group).median_ns : NAN;
}

static double mean_part(const struct step_times *b, int part)
{
    double sum = 0;
    for (size_t i = 0; i < b->step_count; i++) sum += part < STEP_PARTS ? b->steps[i].part_ns[part] : b->steps[i].ns;
    return b->step_count ? sum / (double)b->step_count : NAN;
}

/* Where a timed step's time goes, each nanosecond once. */
static void print_parts(const struct step_times *b)
{
    char text[UNITS_TEXT];
    struct text line = {0};
    double all = mean_part(b, STEP_PARTS);
    if (b->step_count == 0) return;
    text_add(&line, "timed step %s:", trace_format_ns(all, text));
    for (int part = 0; part < STEP_PARTS; part++) {
        double ns = mean_part(b, part);
        if (ns > 0)
            text_add(&line, " %s %s (%.1f %%)", step_part_name((enum step_part)part), trace_format_ns(ns, text),
                     100 * ns / all);
    }
    page_text(stdout, 0, 4, &line);
}

static void print_peaks(const struct rollup *r)
{
    char flops[UNITS_TEXT], bytes[UNITS_TEXT];
    const struct rollup_device *d = &r->devices[0];
    if (d->peak_flops <= 0 && d->peak_bandwidth <= 0) return;
    printf("a device does at most %s FLOP/s, and moves %s bytes/s\n",
           d->peak_flops > 0 ? units_format_si(d->peak_flops, flops) : "(unknown)",
           d->peak_bandwidth > 0 ? units_format_si(d->peak_bandwidth, bytes) : "(unknown)");
}

static void print_heading(const struct table *table)
{
    const struct rollup *r = table->rollup;
    char median[UNITS_TEXT], p99[UNITS_TEXT], events[UNITS_TEXT];
    if (r->has_run) {
        printf("%s", PRINTABLE(r->model));
        if (r->dataset[0]) printf(" on %s, batch %" PRIu32, PRINTABLE(r->dataset), r->batch); /* else it was imported */
        printf(", %s, %" PRIu32 " device%s\n", PRINTABLE(r->backend), r->device_count, r->device_count == 1 ? "" : "s");
    }
    if (table->steps.count)
        printf("%" PRIu64 " steps, median %s, p99 %s\n", table->steps.count,
               trace_format_ns(table->steps.median_ns, median), trace_format_ns(table->steps.p99_ns, p99));
    print_parts(&table->times);
    print_peaks(r);
    trace_print_counters(r);
    printf("%s events%s", units_format_count(r->events, events),
           r->ended ? "" : ", not closed: still running or killed");
    if (r->dropped) printf(", %" PRIu64 " lost (a larger --trace-queue of `fathom train` holds more)", r->dropped);
    if (r->lost_timestamps) printf(", %" PRIu64 " without times", r->lost_timestamps);
    if (r->unattributed) printf(", %" PRIu64 " of no known op", r->unattributed);
    if (r->damaged_blocks) printf(", %" PRIu64 " damaged places (fathom trace check tells more)", r->damaged_blocks);
    puts("");
}

/* Columns that a table with all numbers takes. */
#define WIDE_TABLE 140

static const char *format_step(const struct table *table, const struct summary_row *row, char out[UNITS_TEXT])
{
    double ns = step_ns(table, row);
    return isnan(ns) ? "-" : trace_format_ns(ns, out);
}

/* At the processor's or the memory's peak: "87 % flops", "41 % bytes". */
static const char *format_bound(const struct roofline *r, char out[UNITS_TEXT])
{
    static const char *const words[] = {[ROOFLINE_FLOPS] = "flops", [ROOFLINE_BYTES] = "bytes"};
    if (r->bound == ROOFLINE_UNKNOWN) return "-";
    snprintf(out, UNITS_TEXT, "%.0f%% %s", 100 * r->share, words[r->bound]);
    return out;
}

static struct roofline row_roofline(const struct table *table, const struct summary_row *row)
{
    double ns = step_ns(table, row);
    return roofline_of(table->rollup, row, isnan(ns) ? row->step_ns : ns);
}

static const char *format_rate(double rate, char out[UNITS_TEXT])
{
    return isnan(rate) ? "-" : units_format_si(rate, out);
}

static void print_wide_row(const struct table *table, const struct summary_row *row)
{
    char text[10][UNITS_TEXT];
    struct roofline roofline = row_roofline(table, row);
    printf("%6.1f %9s %9s %9" PRIu64 " %9s %9s %9s %9s %9s %7s %7s %10s  %s\n", 100 * row->share,
           trace_format_ns((double)row->total_ns, text[0]), format_step(table, row, text[6]), row->instances,
           trace_format_ns(row->mean_ns, text[1]), trace_format_ns(row->median_ns, text[2]),
           trace_format_ns((double)row->least_ns, text[3]), trace_format_ns((double)row->most_ns, text[4]),
           trace_format_ns(row->deviation_ns, text[5]), format_rate(roofline.flops_per_second, text[7]),
           format_rate(roofline.bytes_per_second, text[8]), format_bound(&roofline, text[9]), PRINTABLE(row->name));
}

static void print_narrow_row(const struct table *table, const struct summary_row *row)
{
    char text[4][UNITS_TEXT];
    struct roofline roofline = row_roofline(table, row);
    printf("%6.1f %8s %7s %7s %10s  %s\n", 100 * row->share, trace_format_ns((double)row->total_ns, text[0]),
           format_step(table, row, text[1]), trace_format_ns(row->median_ns, text[2]), format_bound(&roofline, text[3]),
           PRINTABLE(row->name));
}

/* Without the counts, the means, extremes and deviations, and rates, where the terminal is narrow, or there is none. */
static void print_rows(const struct table *table, uint64_t limit)
{
    const struct summary *summary = &table->summary;
    size_t rows = trace_shown_rows(summary->count, limit);
    bool wide = page_columns() >= WIDE_TABLE;
    if (wide)
        printf("\n%6s %9s %9s %9s %9s %9s %9s %9s %9s %7s %7s %10s  %s\n", "Time %", "Total", "A step", "Instances",
               "Avg", "Med", "Min", "Max", "StdDev", "FLOP/s", "Bytes/s", "Of peak", "Name");
    else
        printf("\n%6s %8s %7s %7s %10s  %s\n", "Time %", "Total", "A step", "Med", "Of peak", "Name");
    for (size_t i = 0; i < rows; i++) (wide ? print_wide_row : print_narrow_row)(table, &summary->rows[i]);
    if (rows < summary->count) printf("%zu more; --limit %zu shows all\n", summary->count - rows, summary->count);
}

static void add_texts(json_t *object, const struct rollup *r)
{
    json_object_set_new(object, "model", r->has_run ? json_text(r->model) : json_null());
    json_object_set_new(object, "dataset", r->has_run ? json_text(r->dataset) : json_null());
    json_object_set_new(object, "backend", r->has_run ? json_text(r->backend) : json_null());
    json_object_set_new(object, "batch", json_integer(r->batch));
    json_object_set_new(object, "devices", json_integer(r->device_count));
}

static json_t *row_json(const struct table *table, const struct summary_row *row)
{
    static const char *const bounds[] = {NULL, "flops", "bytes"};
    struct roofline r = row_roofline(table, row);
    json_t *object =
        json_pack("{s:o, s:o, s:I, s:I, s:o, s:o, s:I, s:I, s:o, s:o, s:o, s:I, s:I}", "name", json_text(row->name),
                  "time_percent", json_real_or_null(100 * row->share), "total_ns", (json_int_t)row->total_ns,
                  "instances", (json_int_t)row->instances, "avg_ns", json_real_or_null(row->mean_ns), "med_ns",
                  json_real_or_null(row->median_ns), "min_ns", (json_int_t)row->least_ns, "max_ns",
                  (json_int_t)row->most_ns, "stddev_ns", json_real_or_null(row->deviation_ns), "step_ns",
                  json_real_or_null(row->step_ns), "timed_step_ns", json_real_or_null(step_ns(table, row)), "flops",
                  (json_int_t)row->flops, "bytes_moved", (json_int_t)row->bytes_moved);
    json_object_set_new(object, "flops_per_second", json_real_or_null(r.flops_per_second));
    json_object_set_new(object, "bytes_per_second", json_real_or_null(r.bytes_per_second));
    json_object_set_new(object, "bound", r.bound == ROOFLINE_UNKNOWN ? json_null() : json_string(bounds[r.bound]));
    json_object_set_new(object, "bound_percent", json_real_or_null(100 * r.share));
    return object;
}

/* What devices do at most; of one of which nothing is known, null twice. */
static json_t *peaks_json(const struct rollup *r)
{
    json_t *peaks = json_array();
    for (uint32_t i = 0; i < r->device_count && i < ROLLUP_MOST_DEVICES; i++) {
        const struct rollup_device *d = &r->devices[i];
        json_array_append_new(peaks,
                              json_pack("{s:o, s:o}", "flops_per_second",
                                        json_real_or_null(d->peak_flops > 0 ? d->peak_flops : NAN), "bytes_per_second",
                                        json_real_or_null(d->peak_bandwidth > 0 ? d->peak_bandwidth : NAN)));
    }
    return peaks;
}

/* Null where no step was timed. */
static json_t *parts_json(const struct step_times *b)
{
    if (b->step_count == 0) return json_null();
    json_t *parts = json_object();
    for (int part = 0; part < STEP_PARTS; part++)
        json_object_set_new(parts, step_part_name((enum step_part)part), json_real(mean_part(b, part)));
    return parts;
}

static bool print_stats_json(const struct table *table, uint64_t limit, struct error *err)
{
    const struct rollup *r = table->rollup;
    json_t *object = json_object(), *rows = json_array();
    add_texts(object, r);
    json_object_set_new(object, "steps", json_integer((json_int_t)table->steps.count));
    json_object_set_new(object, "step_seconds", json_real(table->steps.median_ns * 1e-9));
    json_object_set_new(object, "step_p99_seconds", json_real(table->steps.p99_ns * 1e-9));
    json_object_set_new(object, "timed_steps", json_integer((json_int_t)table->times.timed_steps));
    json_object_set_new(object, "timed_step_parts_ns", parts_json(&table->times));
    json_object_set_new(object, "events", json_integer((json_int_t)r->events));
    json_object_set_new(object, "dropped", json_integer((json_int_t)r->dropped));
    json_object_set_new(object, "lost_timestamps", json_integer((json_int_t)r->lost_timestamps));
    json_object_set_new(object, "unattributed", json_integer((json_int_t)r->unattributed));
    json_object_set_new(object, "damaged", json_integer((json_int_t)r->damaged_blocks));
    json_object_set_new(object, "ended", json_boolean(r->ended));
    for (size_t i = 0; i < trace_shown_rows(table->summary.count, limit); i++)
        json_array_append_new(rows, row_json(table, &table->summary.rows[i]));
    json_object_set_new(object, "peaks", peaks_json(r));
    json_object_set_new(object, "counters", trace_counters_json(r));
    json_object_set_new(object, "host_ns", trace_host_json(r));
    json_object_set_new(object, "rows", rows);
    return json_print(object, 9, stdout, err);
}

/* The columns of nsys's kernel summary, and what a step takes. */
static void write_csv(const struct table *table, FILE *out)
{
    double *steps = mem_alloc(MEM_GENERAL, table->summary.count, sizeof *steps);
    for (size_t i = 0; steps && i < table->summary.count; i++) steps[i] = step_ns(table, &table->summary.rows[i]);
    trace_export_csv(&table->summary, steps, out);
    mem_free(steps);
}

bool trace_run_stats(const char *const *paths, const struct trace_options *options, int *code, struct error *err)
{
    struct table table = {0};
    TRY(open_table(paths[0], options, &table, err));
    bool ok = true;
    if (options->json) {
        ok = print_stats_json(&table, options->limit, err);
    } else if (options->csv) {
        write_csv(&table, stdout);
    } else {
        print_heading(&table);
        print_rows(&table, options->limit);
    }
    close_table(&table);
    *code = 0;
    return ok;
}

bool trace_write_table(const char *word, const struct trace_options *options, FILE *out, struct error *err)
{
    struct table table = {0};
    TRY(open_table(word, options, &table, err));
    trace_export_csv(&table.summary, NULL, out);
    close_table(&table);
    return true;
}
