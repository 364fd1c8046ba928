/* `fathom runs`: run folders beside each other. */
#define _GNU_SOURCE
#include "command.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "curves_draw.h"
#include "json.h"
#include "json_print.h"
#include "mem.h"
#include "outputs.h"
#include "page.h"
#include "printable.h"
#include "run_table.h"
#include "units.h"

#define MOST_FOLDERS 256
#define NAME_CELLS   30 /* at most, of a run's name */

static const char *const manual[] = {
    "NAME\n"
    "    fathom runs - compare runs that were kept in folders\n"
    "\n"
    "SYNOPSIS\n"
    "    fathom runs DIR... [--json] [--svg FILE]\n"
    "\n",

    "DESCRIPTION\n"
    "    Reads the folders that `fathom train --run DIR` writes, while their runs go\n"
    "    on, too. Of a DIR without a run the runs below it are taken, three folders\n"
    "    deep: a folder of runs, or a sweep's (`fathom help sweep`).\n"
    "\n"
    "    The run with the fewest errors in a test comes first, then the one with the\n"
    "    lowest loss; what is not known is a dash.\n"
    "\n"
    "COLUMNS\n"
    "    run, model, recipe    the folder, from where the folders differ; the net and\n"
    "                          the recipe that it is trained by\n"
    "    batch, steps          images of a step; steps that are done\n"
    "    state                 running, finished, stopped after a step (by whoever\n"
    "                          ended it, or killed), or failed, with the reason below\n"
    "    loss, lowest          of the last step, and the lowest of a step\n"
    "    top-1, best, top-5    errors in percent of the last test; best is the lowest\n"
    "                          top-1 of a test\n"
    "    images/s              the median over all steps\n"
    "    planned, used         memory of the process, or of the fullest GPU: as\n"
    "                          planned, and at the most\n"
    "    time                  of all starts of the run\n"
    "\n",

    "OPTIONS\n"
    "    --json                one JSON object; null is not known (docs/formats.md)\n"
    "    --svg FILE            draws the curves of all: training loss, and test error\n"
    "\n"
    "EXIT STATUS\n"
    "    0 done; 1 the picture could not be written; 2 a folder has no run, or a file\n"
    "    of it is wrong\n"
    "\n"
    "EXAMPLES\n"
    "    fathom runs runs/*\n"
    "    fathom runs first second --svg curves.svg\n",
    NULL,
};

/* ---- Numbers ---- */

struct figures {
    double last_loss, best_loss, last_top1, best_top1, last_top5; /* NAN = not known */
};

static struct figures figures_of(const struct run_view *view)
{
    const struct curves *c = &view->curves;
    const struct curve_test *last = curves_last_test(c), *best = curves_best_test(c);
    bool any = c->last_step > 0;
    return (struct figures){.last_loss = any ? c->last_loss : NAN,
                            .best_loss = any ? c->best_loss : NAN,
                            .last_top1 = last ? last->top1_error : NAN,
                            .best_top1 = best ? best->top1_error : NAN,
                            .last_top5 = last ? last->top5_error : NAN};
}

static void print_number(const char *format, int cells, double number)
{
    char text[32] = "-";
    if (isfinite(number)) snprintf(text, sizeof text, format, number);
    printf(" %*s", cells, text);
}

static void print_bytes(uint64_t bytes)
{
    char text[UNITS_TEXT] = "-";
    if (bytes > 0) units_format_bytes(bytes, text);
    printf(" %8s", text);
}

/* ---- Names ---- */

/* What all folders' paths begin with, up to a slash. */
static size_t common_beginning(const struct run_table *t)
{
    const char *first = t->rows[0].folder;
    const char *slash = strrchr(first, '/');
    size_t common = slash ? (size_t)(slash + 1 - first) : 0;
    for (size_t i = 1; i < t->count; i++)
        while (common > 0 && strncmp(first, t->rows[i].folder, common) != 0) do
                common--;
            while (common > 0 && first[common - 1] != '/');
    return common;
}

/* Of each column of words as many cells as its longest takes. */
struct widths {
    int name, model, recipe;
};

static int wider(int width, const char *text)
{
    size_t length = strlen(text);
    if (length <= (size_t)width) return width;
    return length < NAME_CELLS ? (int)length : NAME_CELLS;
}

static struct widths find_widths(const struct run_table *t, size_t common)
{
    struct widths w = {3, 5, 6};
    for (size_t i = 0; i < t->count; i++) {
        w.name = wider(w.name, t->rows[i].folder + common);
        w.model = wider(w.model, t->rows[i].view.facts.model);
        w.recipe = wider(w.recipe, t->rows[i].view.facts.recipe);
    }
    return w;
}

static void print_name(const char *name, int cells)
{
    struct printable room;
    fputs(printable_fit(name, (size_t)cells, false, &room), stdout);
}

/* ---- The table ---- */

static void print_state(const struct run_view *view)
{
    const struct run_facts *f = &view->facts;
    switch (f->state) {
    case RUN_RUNNING: printf("running"); break;
    case RUN_FINISHED: printf("finished"); break;
    case RUN_STOPPED: printf(view->killed ? "killed" : "stopped"); break;
    case RUN_FAILED: printf(f->diverged ? "diverged" : "failed"); break;
    }
}

static void print_what(const struct run_row *row, const char *name, const struct widths *w)
{
    const struct run_facts *f = &row->view.facts;
    char steps[64], time[UNITS_TEXT] = "-";
    snprintf(steps, sizeof steps, "%" PRIu64 "/%" PRIu64, f->step, f->iterations);
    if (f->seconds > 0) units_format_seconds(f->seconds, time);
    print_name(name, w->name);
    printf("  ");
    print_name(f->model, w->model);
    printf("  ");
    print_name(f->recipe, w->recipe);
    printf(" %5" PRIu64 " %13s %11s  ", f->batch, steps, time);
    print_state(&row->view);
    putchar('\n');
    if (f->state == RUN_FAILED) page_say(stdout, 2, 4, "%s", f->reason);
}

static void print_figures(const struct run_row *row, const char *name, const struct widths *w)
{
    const struct run_view *view = &row->view;
    struct figures n = figures_of(view);
    print_name(name, w->name);
    print_number(n.last_loss < 100 ? "%.4f" : "%.4g", 7, n.last_loss);
    print_number(n.best_loss < 100 ? "%.4f" : "%.4g", 7, n.best_loss);
    print_number("%.2f", 6, 100 * n.last_top1);
    print_number("%.2f", 6, 100 * n.best_top1);
    print_number("%.2f", 6, 100 * n.last_top5);
    print_number("%.4g", 8, view->curves.images_per_second > 0 ? view->curves.images_per_second : NAN);
    print_bytes(view->facts.planned_bytes);
    print_bytes(view->facts.used_bytes);
    putchar('\n');
}

static void print_table(const struct run_table *t)
{
    size_t common = common_beginning(t);
    struct widths w = find_widths(t, common);
    if (common > 0) page_say(stdout, 0, 2, "in %.*s", (int)common, t->rows[0].folder);
    printf("%-*s  %-*s  %-*s %5s %13s %11s  state\n", w.name, "run", w.model, "model", w.recipe, "recipe", "batch",
           "steps", "time");
    for (size_t i = 0; i < t->count; i++) print_what(&t->rows[i], t->rows[i].folder + common, &w);
    printf("\n%-*s %7s %7s %6s %6s %6s %8s %8s %8s\n", w.name, "run", "loss", "lowest", "top-1", "best", "top-5",
           "images/s", "planned", "used");
    bool tested = false;
    for (size_t i = 0; i < t->count; i++) {
        print_figures(&t->rows[i], t->rows[i].folder + common, &w);
        tested = tested || isfinite(figures_of(&t->rows[i].view).last_top1);
    }
    if (tested) puts("\ntop-1, best, top-5: errors of the last test and the best one, in %");
}

/* ---- JSON ---- */

static json_t *bytes_or_null(uint64_t bytes) { return bytes > 0 ? json_integer((json_int_t)bytes) : json_null(); }

static json_t *row_to_json(const struct run_row *row)
{
    const struct run_view *view = &row->view;
    const struct run_facts *f = &view->facts;
    struct figures n = figures_of(view);
    double speed = view->curves.images_per_second;
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:s, s:b, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
        "folder", json_text(row->folder), "model", json_text(f->model), "recipe", json_text(f->recipe), "backend",
        json_text(f->backend), "batch", (json_int_t)f->batch, "iterations", (json_int_t)f->iterations, "seed",
        (json_int_t)f->seed, "step", (json_int_t)f->step, "state", run_state_name(f->state), "killed", view->killed,
        "diverged", f->diverged, "reason", json_text(f->reason), "loss", json_real_or_null(n.last_loss), "lowest_loss",
        json_real_or_null(n.best_loss), "top1_error", json_real_or_null(n.last_top1), "best_top1_error",
        json_real_or_null(n.best_top1), "top5_error", json_real_or_null(n.last_top5), "images_per_second",
        json_real_or_null(speed > 0 ? speed : NAN), "planned_bytes", bytes_or_null(f->planned_bytes), "used_bytes",
        bytes_or_null(f->used_bytes), "seconds", json_real_or_null(f->seconds));
}

static bool print_json(const struct run_table *t, struct error *err)
{
    json_t *list = json_array(), *all = json_pack("{s:o}", "runs", list);
    for (size_t i = 0; i < t->count; i++) json_array_append_new(list, row_to_json(&t->rows[i]));
    return json_print(all, 0, stdout, err);
}

/* ---- The picture ---- */

static bool draw(const struct run_table *t, const char *path, struct error *err)
{
    size_t common = common_beginning(t);
    struct curves_line *lines = mem_alloc(MEM_GENERAL, t->count, sizeof *lines);
    const struct curves **runs = mem_alloc(MEM_GENERAL, t->count, sizeof *runs);
    bool ok = lines && runs;
    for (size_t i = 0; ok && i < t->count; i++) {
        runs[i] = &t->rows[i].view.curves;
        lines[i] = (struct curves_line){t->rows[i].folder + common, &runs[i], 1};
    }
    ok = ok ? curves_draw_lines(lines, t->count, "Runs", path, err)
            : error_memory(err, t->count * sizeof *lines, "the picture");
    mem_free(runs);
    mem_free(lines);
    return ok;
}

/* ---- The command ---- */

static void strip_slashes(const char *folder, char path[RUN_FOLDER_PATH])
{
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/') length--;
    snprintf(path, RUN_FOLDER_PATH, "%.*s", (int)length, folder);
}

static bool gather(const char *const *folders, size_t count, struct run_table *table, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        char path[RUN_FOLDER_PATH];
        strip_slashes(folders[i], path);
        TRY(run_table_add(table, path, err));
    }
    run_table_sort(table);
    return true;
}

/* What stands in a run's folder is the run's own. */
static bool check_picture(const struct run_table *table, const char *svg, struct error *err)
{
    for (size_t i = 0; svg && i < table->count; i++)
        if (run_folder_holds(table->rows[i].folder, svg))
            return error_set(err, ERROR_INPUT,
                             "--svg: %s is in the folder of a run that is read, %s; name another file", svg,
                             table->rows[i].folder);
    return true;
}

static int run(int argc, char **argv, struct error *err)
{
    const char *folders[MOST_FOLDERS], *svg = NULL;
    size_t count;
    bool json = false;
    struct run_table table = {0};
    const struct option_spec specs[] = {{"json", 0, OPTION_FLAG, &json, 0, 0}, {"svg", 0, OPTION_OUTPUT, &svg, 0, 0}};
    if (!options_parse(argc, argv, specs, 2, folders, MOST_FOLDERS, &count, err)) return 2;
    if (count == 0) {
        error_set(err, ERROR_INPUT, "folders of runs are wanted, as `fathom train --run DIR` writes them");
        return 2;
    }
    struct outputs outputs = {0};
    bool ok = outputs_writes(&outputs, "--svg", svg, err) && gather(folders, count, &table, err) &&
              check_picture(&table, svg, err) && (!svg || draw(&table, svg, err));
    if (ok && json)
        ok = print_json(&table, err);
    else if (ok)
        print_table(&table);
    run_table_finish(&table);
    return ok ? 0 : error_exit_code(err);
}

const struct command command_runs = {"runs", "compare runs that were kept in folders", manual, run};
