#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "command.h"
#include "export.h"
#include "files.h"
#include "json.h"
#include "mem.h"
#include "outputs.h"
#include "page.h"
#include "printable.h"
#include "summary.h"
#include "units.h"

static const char manual[] = "NAME\n"
                             "    fathom trace - tables, exports, differences and integrity of a run's trace\n"
                             "\n"
                             "SYNOPSIS\n"
                             "    fathom trace stats RUN.trace [--by op|layer|kind|pass] [--sort COLUMN]\n"
                             "                 [--limit N] [--json]\n"
                             "    fathom trace export --chrome|--perfetto|--csv RUN.trace [-o FILE]\n"
                             "                 [--by op|layer|kind|pass]\n"
                             "    fathom trace diff A.trace B.trace [--by op|layer|kind|pass] [--limit N]\n"
                             "                 [--json]\n"
                             "    fathom trace check RUN.trace [--json]\n"
                             "\n"
                             "DESCRIPTION\n"
                             "    `fathom train --trace RUN.trace` writes a trace; `fathom top` shows it while\n"
                             "    it grows. These commands read it, also during the run and after a crash.\n"
                             "    Times are of the steps that were timed in detail.\n"
                             "\n"
                             "    stats    one row for each op, layer, kind or pass, all devices together. Med\n"
                             "             is within 5 % of the true median.\n"
                             "    export   --chrome: trace events as JSON, for chrome://tracing,\n"
                             "             ui.perfetto.dev or Speedscope\n"
                             "             --perfetto: the same in Perfetto's own format, a quarter of the\n"
                             "             size\n"
                             "             --csv: the table of `stats`, with the columns of nsys's kernel\n"
                             "             summary\n"
                             "    diff     how the time of one step changed from A to B, by layer: sums of the\n"
                             "             ops' medians on one device, the largest change first\n"
                             "    check    reads every block: what is damaged, missing, cut off, dropped or\n"
                             "             lost\n"
                             "\n"
                             "OPTIONS\n"
                             "    --by WHAT       op, layer, kind or pass (stats and --csv: op; diff: layer)\n"
                             "    --sort COLUMN   total, instances, avg, med, min, max, stddev or name\n"
                             "                    (default total)\n"
                             "    --limit N       rows shown (default: all)\n"
                             "    --json          one JSON object\n"
                             "    -o FILE         write there instead of to standard output\n"
                             "\n"
                             "EXIT STATUS\n"
                             "    0 done (check: the trace is whole)\n"
                             "    1 check: the trace is damaged or cut off; else the output could not be\n"
                             "      written\n"
                             "    2 the command is wrong, or a file is missing, no trace, or of a newer\n"
                             "      version\n"
                             "\n"
                             "EXAMPLES\n"
                             "    fathom trace stats run.trace --by layer --limit 20\n"
                             "    fathom trace export --chrome run.trace -o run.json\n"
                             "    fathom trace diff before.trace after.trace\n"
                             "    fathom trace check run.trace && echo whole\n";

struct trace_options {
    const char *by_word, *sort_word, *output;
    bool json, chrome, perfetto, csv;
    uint64_t limit;
    enum summary_by by;
    enum summary_sort sort;
};

/* A trace read to its end, and its table. */
struct table {
    struct trace_follower *follower;
    const struct rollup *rollup;
    struct summary summary;
    struct summary_steps steps;
};

static void close_table(struct table *table)
{
    summary_finish(&table->summary);
    trace_unfollow(table->follower);
}

static bool open_table(const char *path, const struct trace_options *options, struct table *table, struct error *err)
{
    uint64_t read;
    TRY(trace_follow(path, &table->follower, err));
    table->rollup = trace_follow_rollup(table->follower);
    if (trace_follow_more(table->follower, 0, &read, err) &&
        summary_make(table->rollup, options->by, options->sort, &table->summary, err) &&
        summary_time_steps(table->rollup, &table->steps, err))
        return true;
    close_table(table);
    *table = (struct table){0};
    return false;
}

static size_t shown_rows(size_t count, uint64_t limit) { return limit && limit < count ? (size_t)limit : count; }

/* Widths in which numbers of nanoseconds stay readable and columns stay aligned. */
static const char *format_ns(double ns, char out[UNITS_TEXT]) { return units_format_seconds(ns * 1e-9, out); }

static void print_heading(const struct table *table)
{
    const struct rollup *r = table->rollup;
    char median[UNITS_TEXT], p99[UNITS_TEXT], events[UNITS_TEXT];
    if (r->has_run)
        printf("%s on %s, batch %" PRIu32 ", %s, %" PRIu32 " device%s\n", PRINTABLE(r->model), PRINTABLE(r->dataset),
               r->batch, PRINTABLE(r->backend), r->device_count, r->device_count == 1 ? "" : "s");
    if (table->steps.count)
        printf("%" PRIu64 " steps, median %s, p99 %s\n", table->steps.count, format_ns(table->steps.median_ns, median),
               format_ns(table->steps.p99_ns, p99));
    printf("%s events%s", units_format_count(r->events, events),
           r->ended ? "" : ", not closed: still running or killed");
    if (r->dropped) printf(", %" PRIu64 " lost (a larger --trace-queue of `fathom train` holds more)", r->dropped);
    if (r->lost_timestamps) printf(", %" PRIu64 " without times", r->lost_timestamps);
    if (r->unattributed) printf(", %" PRIu64 " of no known op", r->unattributed);
    if (r->damaged_blocks) printf(", %" PRIu64 " damaged places (fathom trace check tells more)", r->damaged_blocks);
    puts("");
}

/* Columns that a table with all numbers takes. */
#define WIDE_TABLE 120

static void print_wide_row(const struct summary_row *row)
{
    char text[6][UNITS_TEXT];
    printf("%6.1f %10s %9" PRIu64 " %10s %10s %10s %10s %10s  %s\n", 100 * row->share,
           format_ns((double)row->total_ns, text[0]), row->instances, format_ns(row->mean_ns, text[1]),
           format_ns(row->median_ns, text[2]), format_ns((double)row->least_ns, text[3]),
           format_ns((double)row->most_ns, text[4]), format_ns(row->deviation_ns, text[5]), PRINTABLE(row->name));
}

static void print_narrow_row(const struct summary_row *row)
{
    char text[4][UNITS_TEXT];
    printf("%6.1f %8s %7s %7s %7s  %s\n", 100 * row->share, format_ns((double)row->total_ns, text[0]),
           format_ns(row->mean_ns, text[1]), format_ns(row->median_ns, text[2]),
           format_ns((double)row->most_ns, text[3]), PRINTABLE(row->name));
}

/* Without the counts, the least times and the deviations where the terminal is narrow, or there is none. */
static void print_rows(const struct summary *summary, uint64_t limit)
{
    size_t rows = shown_rows(summary->count, limit);
    bool wide = page_columns() >= WIDE_TABLE;
    if (wide)
        printf("\n%6s %10s %9s %10s %10s %10s %10s %10s  %s\n", "Time %", "Total", "Instances", "Avg", "Med", "Min",
               "Max", "StdDev", "Name");
    else
        printf("\n%6s %8s %7s %7s %7s  %s\n", "Time %", "Total", "Avg", "Med", "Max", "Name");
    for (size_t i = 0; i < rows; i++) (wide ? print_wide_row : print_narrow_row)(&summary->rows[i]);
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

static json_t *row_json(const struct summary_row *row)
{
    return json_pack("{s:o, s:f, s:I, s:I, s:f, s:f, s:I, s:I, s:f, s:f, s:I, s:I}", "name", json_text(row->name),
                     "time_percent", 100 * row->share, "total_ns", (json_int_t)row->total_ns, "instances",
                     (json_int_t)row->instances, "avg_ns", row->mean_ns, "med_ns", row->median_ns, "min_ns",
                     (json_int_t)row->least_ns, "max_ns", (json_int_t)row->most_ns, "stddev_ns", row->deviation_ns,
                     "step_ns", row->step_ns, "flops", (json_int_t)row->flops, "bytes_moved",
                     (json_int_t)row->bytes_moved);
}

static bool print_json(json_t *object, struct error *err)
{
    bool ok = json_write(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    if (ok) puts("");
    json_decref(object);
    return ok || error_set(err, ERROR_FAILED, "the JSON could not be written");
}

static bool print_stats_json(const struct table *table, uint64_t limit, struct error *err)
{
    const struct rollup *r = table->rollup;
    json_t *object = json_object(), *rows = json_array();
    add_texts(object, r);
    json_object_set_new(object, "steps", json_integer((json_int_t)table->steps.count));
    json_object_set_new(object, "step_seconds", json_real(table->steps.median_ns * 1e-9));
    json_object_set_new(object, "step_p99_seconds", json_real(table->steps.p99_ns * 1e-9));
    json_object_set_new(object, "events", json_integer((json_int_t)r->events));
    json_object_set_new(object, "dropped", json_integer((json_int_t)r->dropped));
    json_object_set_new(object, "lost_timestamps", json_integer((json_int_t)r->lost_timestamps));
    json_object_set_new(object, "unattributed", json_integer((json_int_t)r->unattributed));
    json_object_set_new(object, "damaged", json_integer((json_int_t)r->damaged_blocks));
    json_object_set_new(object, "ended", json_boolean(r->ended));
    for (size_t i = 0; i < shown_rows(table->summary.count, limit); i++)
        json_array_append_new(rows, row_json(&table->summary.rows[i]));
    json_object_set_new(object, "rows", rows);
    return print_json(object, err);
}

static bool run_stats(const char *const *paths, const struct trace_options *options, int *code, struct error *err)
{
    struct table table = {0};
    TRY(open_table(paths[0], options, &table, err));
    bool ok = true;
    if (options->json) {
        ok = print_stats_json(&table, options->limit, err);
    } else {
        print_heading(&table);
        print_rows(&table.summary, options->limit);
    }
    close_table(&table);
    *code = 0;
    return ok;
}

static bool write_export(const char *path, const struct trace_options *options, FILE *out, struct error *err)
{
    if (options->chrome) return trace_export_chrome(path, out, err);
    if (options->perfetto) return trace_export_perfetto(path, out, err);
    struct table table = {0};
    TRY(open_table(path, options, &table, err));
    trace_export_csv(&table.summary, out);
    close_table(&table);
    return true;
}

static bool run_export(const char *const *paths, const struct trace_options *options, int *code, struct error *err)
{
    if (options->chrome + options->perfetto + options->csv != 1)
        return error_set(err, ERROR_INPUT, "export: give one of --chrome, --perfetto and --csv");
    *code = 0;
    if (!options->output) return write_export(paths[0], options, stdout, err);
    struct outputs outputs = {0};
    TRY(outputs_reads(&outputs, "fathom trace", paths[0], err) &&
        outputs_writes(&outputs, "--output", options->output, err));
    struct files_writer file;
    TRY(files_begin(&file, options->output, err));
    if (write_export(paths[0], options, file.stream, err)) return files_commit(&file, err);
    files_abandon(&file);
    return false;
}

struct change {
    const char *name;
    double before_ns, after_ns; /* of a step; 0 = not in that trace */
};

static int compare_changes(const void *a, const void *b)
{
    const struct change *x = a, *y = b;
    double p = fabs(x->after_ns - x->before_ns), q = fabs(y->after_ns - y->before_ns);
    if (p != q) return p < q ? 1 : -1;
    return strcmp(x->name, y->name);
}

/* Every row of A with its like in B, then the rows that only B has. */
static size_t find_changes(const struct summary *a, const struct summary *b, struct change *changes)
{
    size_t count = 0;
    for (size_t i = 0; i < a->count; i++) {
        const struct summary_row *like = summary_find(b, a->rows[i].name);
        changes[count++] = (struct change){a->rows[i].name, a->rows[i].step_ns, like ? like->step_ns : 0};
    }
    for (size_t i = 0; i < b->count; i++)
        if (!summary_find(a, b->rows[i].name))
            changes[count++] = (struct change){b->rows[i].name, 0, b->rows[i].step_ns};
    qsort(changes, count, sizeof *changes, compare_changes);
    return count;
}

static void print_change(const char *name, double before_ns, double after_ns)
{
    char before[UNITS_TEXT], after[UNITS_TEXT], change[UNITS_TEXT] = "";
    double difference = after_ns - before_ns;
    format_ns(fabs(difference), change);
    printf("%10s %10s %c%-10s ", before_ns > 0 ? format_ns(before_ns, before) : "-",
           after_ns > 0 ? format_ns(after_ns, after) : "-", difference < 0 ? '-' : '+', change);
    if (before_ns > 0 && after_ns > 0)
        printf("%+7.1f %%  %s\n", 100 * difference / before_ns, PRINTABLE(name));
    else
        printf("%9s  %s\n", before_ns > 0 ? "gone" : "new", PRINTABLE(name));
}

static void print_changes(const struct change *changes, size_t count, const struct table *a, const struct table *b,
                          uint64_t limit)
{
    if (strcmp(a->rollup->model, b->rollup->model) != 0 || a->rollup->batch != b->rollup->batch)
        printf("A is %s with batch %" PRIu32 ", B is %s with batch %" PRIu32 "\n", PRINTABLE(a->rollup->model),
               a->rollup->batch, PRINTABLE(b->rollup->model), b->rollup->batch);
    printf("%10s %10s %-11s %9s  %s\n", "A", "B", "Change", "", "Name");
    print_change("(step)", a->steps.median_ns, b->steps.median_ns);
    size_t rows = shown_rows(count, limit);
    for (size_t i = 0; i < rows; i++) print_change(changes[i].name, changes[i].before_ns, changes[i].after_ns);
    if (rows < count) printf("%zu more; --limit %zu shows all\n", count - rows, count);
}

static bool print_changes_json(const struct change *changes, size_t count, const struct table *a, const struct table *b,
                               uint64_t limit, struct error *err)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < shown_rows(count, limit); i++)
        json_array_append_new(rows, json_pack("{s:o, s:f, s:f, s:f}", "name", json_text(changes[i].name), "before_ns",
                                              changes[i].before_ns, "after_ns", changes[i].after_ns, "change_ns",
                                              changes[i].after_ns - changes[i].before_ns));
    return print_json(json_pack("{s:f, s:f, s:o}", "step_before_ns", a->steps.median_ns, "step_after_ns",
                                b->steps.median_ns, "rows", rows),
                      err);
}

static bool show_changes(const struct table *a, const struct table *b, const struct trace_options *options,
                         struct error *err)
{
    size_t most = a->summary.count + b->summary.count;
    struct change *changes = mem_alloc(MEM_GENERAL, most, sizeof *changes);
    if (!changes) return error_memory(err, most * sizeof *changes, "the changes");
    size_t count = find_changes(&a->summary, &b->summary, changes);
    bool ok = true;
    if (options->json)
        ok = print_changes_json(changes, count, a, b, options->limit, err);
    else
        print_changes(changes, count, a, b, options->limit);
    mem_free(changes);
    return ok;
}

static bool run_diff(const char *const *paths, const struct trace_options *options, int *code, struct error *err)
{
    struct table a = {0}, b = {0};
    bool ok = open_table(paths[0], options, &a, err) && open_table(paths[1], options, &b, err) &&
              show_changes(&a, &b, options, err);
    close_table(&a);
    close_table(&b);
    *code = 0;
    return ok;
}

static uint64_t lost_timestamps(const struct trace_report *report)
{
    return report->events[TRACE_LOST] + report->lost[LOSS_TIMESTAMPS];
}

static void print_report(const char *path, const struct trace_report *report)
{
    const struct trace_stream_stats *s = &report->stats;
    char text[UNITS_TEXT];
    printf("%s: %s\n", PRINTABLE(path), report->clean ? "whole" : "damaged");
    printf("  %-22s %s\n", "size", units_format_bytes(s->reader.size_bytes, text));
    printf("  %-22s %s\n", "blocks", units_format_count(s->reader.blocks, text));
    printf("  %-22s %s\n", "op times", units_format_count(report->events[TRACE_OP], text));
    if (report->events[TRACE_KERNEL])
        printf("  %-22s %s\n", "kernel times", units_format_count(report->events[TRACE_KERNEL], text));
    printf("  %-22s %s\n", "steps ended", units_format_count(report->events[TRACE_STEP_END], text));
    printf("  %-22s %s\n", "closed by the run", report->ended ? "yes" : "no: still running or killed");
    const struct {
        const char *what;
        uint64_t count;
    } faults[] = {{"damaged places", s->reader.damaged},
                  {"damaged bytes", s->reader.damaged_bytes},
                  {"bytes of a cut tail", s->reader.tail_bytes},
                  {"malformed blocks", s->malformed},
                  {"ops not decodable", s->undecoded},
                  {"ops out of order", report->disordered},
                  {"unknown blocks", s->unknown},
                  {"reports dropped", s->dropped},
                  {"lost timestamps", lost_timestamps(report)},
                  {"unattributed", report->unattributed},
                  {"old segments let go", s->reader.dropped_segments}};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        if (faults[i].count) printf("  %-22s %s\n", faults[i].what, units_format_count(faults[i].count, text));
}

static bool print_report_json(const struct trace_report *report, struct error *err)
{
    const struct trace_stream_stats *s = &report->stats;
    return print_json(
        json_pack("{s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "clean",
                  report->clean, "ended", report->ended, "size_bytes", (json_int_t)s->reader.size_bytes, "blocks",
                  (json_int_t)s->reader.blocks, "ops", (json_int_t)report->events[TRACE_OP], "kernels",
                  (json_int_t)report->events[TRACE_KERNEL], "damaged", (json_int_t)s->reader.damaged, "damaged_bytes",
                  (json_int_t)s->reader.damaged_bytes, "tail_bytes", (json_int_t)s->reader.tail_bytes, "malformed",
                  (json_int_t)s->malformed, "undecoded", (json_int_t)s->undecoded, "disordered",
                  (json_int_t)report->disordered, "dropped", (json_int_t)s->dropped, "lost_timestamps",
                  (json_int_t)lost_timestamps(report), "unattributed", (json_int_t)report->unattributed,
                  "dropped_segments", (json_int_t)s->reader.dropped_segments),
        err);
}

static bool run_check(const char *const *paths, const struct trace_options *options, int *code, struct error *err)
{
    struct trace_report report;
    TRY(trace_check(paths[0], &report, err));
    *code = report.clean ? 0 : 1;
    if (options->json) return print_report_json(&report, err);
    print_report(paths[0], &report);
    return true;
}

struct action {
    const char *name;
    size_t files;
    const char *usage;
    bool (*run)(const char *const *paths, const struct trace_options *options, int *code, struct error *err);
};

static const struct action actions[] = {
    {"stats", 1, "stats RUN.trace", run_stats},
    {"export", 1, "export --chrome|--perfetto|--csv RUN.trace -o FILE", run_export},
    {"diff", 2, "diff A.trace B.trace", run_diff},
    {"check", 1, "check RUN.trace", run_check},
};

static const struct action *find_action(const char *name)
{
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++)
        if (strcmp(actions[i].name, name) == 0) return &actions[i];
    return NULL;
}

static bool parse_words(struct trace_options *options, bool diff, struct error *err)
{
    options->by = diff ? SUMMARY_LAYER : SUMMARY_OP;
    options->sort = SUMMARY_TOTAL;
    if (options->by_word && !summary_parse_by(options->by_word, &options->by))
        return error_set(err, ERROR_INPUT, "--by: '%s' is none of op, layer, kind and pass", options->by_word);
    if (options->sort_word && !summary_parse_sort(options->sort_word, &options->sort))
        return error_set(err, ERROR_INPUT,
                         "--sort: '%s' is none of total, instances, avg, med, min, max, stddev and name",
                         options->sort_word);
    return true;
}

static bool run_action(int argc, char **argv, int *code, struct error *err)
{
    struct trace_options options = {0};
    const struct option_spec specs[] = {
        {"by", 0, OPTION_TEXT, &options.by_word, 0, 0},     {"sort", 0, OPTION_TEXT, &options.sort_word, 0, 0},
        {"limit", 0, OPTION_COUNT, &options.limit, 1, 1e9}, {"json", 0, OPTION_FLAG, &options.json, 0, 0},
        {"chrome", 0, OPTION_FLAG, &options.chrome, 0, 0},  {"perfetto", 0, OPTION_FLAG, &options.perfetto, 0, 0},
        {"csv", 0, OPTION_FLAG, &options.csv, 0, 0},        {"output", 'o', OPTION_OUTPUT, &options.output, 0, 0},
    };
    const char *words[3];
    size_t count;
    TRY(options_parse(argc, argv, specs, sizeof specs / sizeof specs[0], words, 3, &count, err));
    if (count == 0)
        return error_set(err, ERROR_INPUT, "one of stats, export, diff and check is wanted; --help shows more");
    const struct action *action = find_action(words[0]);
    if (!action)
        return error_set(err, ERROR_INPUT, "'%s' is none of stats, export, diff and check; --help shows more",
                         words[0]);
    if (count - 1 != action->files)
        return error_set(err, ERROR_INPUT, "%s: %zu file%s given; usage: fathom trace %s", action->name, count - 1,
                         count == 2 ? " is" : "s are", action->usage);
    TRY(parse_words(&options, action->run == run_diff, err));
    return action->run(words + 1, &options, code, err);
}

static int run(int argc, char **argv, struct error *err)
{
    int code = 1;
    return run_action(argc, argv, &code, err) ? code : error_exit_code(err);
}

const struct command command_trace = {"trace", "tables, exports, differences and integrity of a run's trace", manual,
                                      run};
