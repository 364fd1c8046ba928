#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "choice.h"
#include "command.h"
#include "export.h"
#include "files.h"
#include "import.h"
#include "json.h"
#include "json_print.h"
#include "outputs.h"
#include "printable.h"
#include "stop.h"
#include "summary.h"
#include "trace_private.h"

static bool write_export(const char *path, const struct trace_options *options, FILE *out, struct error *err)
{
    if (options->chrome) return trace_export_chrome(path, out, stop_flag(), err);
    if (options->perfetto) return trace_export_perfetto(path, out, stop_flag(), err);
    return trace_write_table(path, options, out, err);
}

static bool run_export(const char *const *paths, const struct trace_options *options, int *code, struct error *err)
{
    if (options->chrome + options->perfetto + options->csv != 1)
        return error_set(err, ERROR_INPUT, "export: give one of --chrome, --perfetto and --csv");
    *code = 0;
    stop_catch();
    if (!options->output) return write_export(paths[0], options, stdout, err);
    struct outputs outputs = {0};
    char path[FILES_PATH];
    struct step_range range;
    TRY(step_range_parse(paths[0], path, sizeof path, &range, err));
    TRY(outputs_reads(&outputs, "fathom trace", path, err) &&
        outputs_writes(&outputs, "--output", options->output, err));
    struct files_writer file;
    TRY(files_begin(&file, options->output, err));
    if (write_export(paths[0], options, file.stream, err)) return files_commit(&file, err);
    files_abandon(&file);
    return false;
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
    return json_print(
        json_pack("{s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "clean",
                  report->clean, "ended", report->ended, "size_bytes", (json_int_t)s->reader.size_bytes, "blocks",
                  (json_int_t)s->reader.blocks, "ops", (json_int_t)report->events[TRACE_OP], "kernels",
                  (json_int_t)report->events[TRACE_KERNEL], "damaged", (json_int_t)s->reader.damaged, "damaged_bytes",
                  (json_int_t)s->reader.damaged_bytes, "tail_bytes", (json_int_t)s->reader.tail_bytes, "malformed",
                  (json_int_t)s->malformed, "undecoded", (json_int_t)s->undecoded, "disordered",
                  (json_int_t)report->disordered, "dropped", (json_int_t)s->dropped, "lost_timestamps",
                  (json_int_t)lost_timestamps(report), "unattributed", (json_int_t)report->unattributed,
                  "dropped_segments", (json_int_t)s->reader.dropped_segments),
        9, stdout, err);
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

static void print_left_out(const struct trace_import_stats *stats)
{
    char count[UNITS_TEXT];
    if (stats->untimed > 0)
        printf("left out: %s events whose ts or dur is missing, negative or too large\n",
               units_format_count(stats->untimed, count));
    if (stats->nowhere > 0)
        printf("left out: %s events of GPUs that tell no device or no stream\n",
               units_format_count(stats->nowhere, count));
}

static bool run_import(const char *const *paths, const struct trace_options *options, int *code, struct error *err)
{
    struct outputs outputs = {0};
    struct trace_import_stats stats;
    char size[UNITS_TEXT], read[UNITS_TEXT], events[UNITS_TEXT], kernels[UNITS_TEXT], copies[UNITS_TEXT];
    if (!options->output) return error_set(err, ERROR_INPUT, "import: -o RUN.trace says where the trace goes");
    TRY(outputs_reads(&outputs, "fathom trace", paths[0], err) &&
        outputs_writes(&outputs, "--output", options->output, err));
    stop_catch();
    TRY(trace_import(paths[0], options->output, stop_flag(), &stats, err));
    *code = 0;
    printf("%s: %s of JSON, %s events; %s: %s\n", PRINTABLE(paths[0]), units_format_bytes(stats.json_bytes, read),
           units_format_count(stats.events, events), PRINTABLE(options->output), units_format_bytes(stats.bytes, size));
    printf("%" PRIu64 " step%s, %" PRIu64 " device%s, %" PRIu64 " ops", stats.steps, stats.steps == 1 ? "" : "s",
           stats.devices, stats.devices == 1 ? "" : "s", stats.ops);
    uint64_t all = stats.kernels + stats.copies;
    if (all > 0)
        printf(", %s kernels, %s copies and fills; %.1f %% of them under an op",
               units_format_count(stats.kernels, kernels), units_format_count(stats.copies, copies),
               100 * (double)stats.owned / (double)all);
    puts(all > 0 ? "" : stats.untimed + stats.nowhere > 0 ? " on the CPU" : " on the CPU: it has no kernels of a GPU");
    print_left_out(&stats);
    return true;
}

struct action {
    const char *name;
    size_t files, most_files;
    const char *usage;
    bool (*run)(const char *const *paths, const struct trace_options *options, int *code, struct error *err);
};

static const struct action actions[] = {
    {"stats", 1, 1, "stats RUN.trace", trace_run_stats},
    {"export", 1, 1, "export --chrome|--perfetto|--csv RUN.trace -o FILE", run_export},
    {"diff", 2, 2, "diff A.trace B.trace", trace_run_diff},
    {"flow", 1, 2, "flow RUN.trace [RUN.trace]", trace_run_flow},
    {"check", 1, 1, "check RUN.trace", run_check},
    {"info", 1, 1, "info RUN.trace", trace_run_info},
    {"import", 1, 1, "import KINETO.json[.gz] -o RUN.trace", run_import},
};

#define ACTIONS (sizeof actions / sizeof actions[0])

/* NULL: none is called so. */
static const struct action *find_action(const char *name, struct error *err)
{
    const char *names[ACTIONS];
    size_t chosen;
    for (size_t i = 0; i < ACTIONS; i++) names[i] = actions[i].name;
    return choice_parse(name, "action", names, ACTIONS, NULL, 0, &chosen, err) ? &actions[chosen] : NULL;
}

static bool parse_words(struct trace_options *options, bool diff, struct error *err)
{
    if (options->gate >= 0 && !diff) return error_set(err, ERROR_INPUT, "--gate: is of diff alone");
    options->by = diff ? SUMMARY_LAYER : SUMMARY_OP;
    options->sort = SUMMARY_TOTAL;
    if (options->by_word) TRY(summary_parse_by(options->by_word, &options->by, err));
    if (options->sort_word) TRY(summary_parse_sort(options->sort_word, &options->sort, err));
    return true;
}

static bool run_action(int argc, char **argv, int *code, struct error *err)
{
    struct trace_options options = {.gate = -1};
    const struct option_spec specs[] = {
        {"by", 0, OPTION_TEXT, &options.by_word, 0, 0},     {"sort", 0, OPTION_TEXT, &options.sort_word, 0, 0},
        {"limit", 0, OPTION_COUNT, &options.limit, 1, 1e9}, {"json", 0, OPTION_FLAG, &options.json, 0, 0},
        {"chrome", 0, OPTION_FLAG, &options.chrome, 0, 0},  {"perfetto", 0, OPTION_FLAG, &options.perfetto, 0, 0},
        {"csv", 0, OPTION_FLAG, &options.csv, 0, 0},        {"output", 'o', OPTION_OUTPUT, &options.output, 0, 0},
        {"gate", 0, OPTION_REAL, &options.gate, 0, 1000},   {"svg", 0, OPTION_OUTPUT, &options.svg, 0, 0},
        {"rms", 0, OPTION_FLAG, &options.rms, 0, 0},
    };
    const char *words[4];
    size_t count;
    TRY(options_parse(argc, argv, specs, sizeof specs / sizeof specs[0], words, 4, &count, err));
    if (count == 0)
        return error_set(err, ERROR_INPUT,
                         "one of stats, export, diff, flow, info, check and import is wanted; --help shows more");
    const struct action *action = find_action(words[0], err);
    if (!action) return false;
    options.files = count - 1;
    if (options.files < action->files || options.files > action->most_files)
        return error_set(err, ERROR_INPUT, "%s: %zu file%s given; usage: fathom trace %s", action->name, count - 1,
                         count == 2 ? " is" : "s are", action->usage);
    TRY(parse_words(&options, action->run == trace_run_diff, err));
    if ((options.svg || options.rms) && action->run != trace_run_flow)
        return error_set(err, ERROR_INPUT, "--%s: is of flow alone", options.svg ? "svg" : "rms");
    return action->run(words + 1, &options, code, err);
}

static int run(int argc, char **argv, struct error *err)
{
    int code = 1;
    return run_action(argc, argv, &code, err) ? code : error_exit_code(err);
}

const struct command command_trace = {"trace", "tables, exports, differences and integrity of a run's trace",
                                      trace_manual, run};
