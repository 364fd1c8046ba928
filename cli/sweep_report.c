#include "sweep_report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "json_print.h"
#include "page.h"
#include "printable.h"
#include "units.h"

#define NAME_CELLS 34 /* at most, of a row's name */

/* ---- Words ---- */

static int name_cells(const struct sweep *s)
{
    size_t most = 3;
    for (size_t i = 0; i < s->row_count; i++)
        if (strlen(s->rows[i].name) > most) most = strlen(s->rows[i].name);
    return most < NAME_CELLS ? (int)most : NAME_CELLS;
}

static void print_cells(const char *text, int cells, bool right)
{
    struct printable room;
    fputs(printable_fit(text, (size_t)cells, right, &room), stdout);
}

static bool has_published(const struct sweep *s)
{
    for (size_t i = 0; i < s->row_count; i++)
        if (s->rows[i].published) return true;
    return false;
}

static bool is_error(const struct sweep *s) { return s->compare != SWEEP_LOSS; }

/* "69.40 ± 1.20": of one seed no deviation. */
static void print_figure(const struct sweep *s, const struct sweep_sums *sums)
{
    double scale = is_error(s) ? 100 : 1;
    int digits = is_error(s) ? 2 : 4;
    if (sums->count == 0)
        printf("  %8s         ", "-");
    else if (sums->count == 1)
        printf("  %8.*f         ", digits, scale * sums->mean);
    else
        printf("  %8.*f ± %-6.*f", digits, scale * sums->mean, digits, scale * sums->deviation);
}

static void print_number(const char *format, int cells, double number)
{
    char text[32] = "-";
    if (isfinite(number)) snprintf(text, sizeof text, format, number);
    printf("  %*s", cells, text);
}

/* What is not finished. */
static void print_rest(const struct sweep_result *r)
{
    static const enum sweep_state told[] = {SWEEP_DIVERGED, SWEEP_FAILED, SWEEP_BEGUN, SWEEP_NEW};
    const char *before = "  ";
    for (size_t i = 0; i < sizeof told / sizeof told[0]; i++) {
        if (r->in[told[i]] == 0) continue;
        printf("%s%zu %s", before, r->in[told[i]], sweep_state_name(told[i]));
        before = ", ";
    }
}

/* ---- Tables ---- */

void sweep_report_table(const struct sweep *s, const struct sweep_jobs *jobs)
{
    int cells = name_cells(s);
    bool published = has_published(s);
    printf("%-*s", cells, "row");
    if (published) printf("  %9s", "published");
    printf("  %17s  %5s  %7s  %8s\n", is_error(s) ? "measured, %    " : "measured    ", "seeds", "loss", "images/s");
    for (size_t i = 0; i < s->row_count; i++) {
        struct sweep_result r = sweep_result_of(s, jobs, i);
        print_cells(s->rows[i].name, cells, false);
        if (published) {
            fputs("  ", stdout);
            print_cells(s->rows[i].published ? s->rows[i].published : "-", 9, true);
        }
        print_figure(s, &r.figure);
        printf("  %5zu", r.figure.count);
        print_number("%.4f", 7, r.loss);
        print_number("%.4g", 8, r.images_per_second > 0 ? r.images_per_second : NAN);
        print_rest(&r);
        putchar('\n');
    }
    page_say(stdout, 0, 2, "measured: %s, mean ± sample deviation over the seeds that are finished",
             sweep_figure_words(s->compare));
}

/* From what was measured of the row, else from what is predicted; 0 = not known. */
static double seconds_of(const struct sweep *s, const struct sweep_jobs *jobs, size_t row,
                         const struct train_preview *p)
{
    struct sweep_result r = sweep_result_of(s, jobs, row);
    if (r.images_per_second > 0) return (double)p->batch / r.images_per_second * (double)p->iterations;
    return p->step_seconds * (double)p->iterations;
}

/* Of what is finished nothing is left. */
static double left_of(const struct sweep_job *job, double whole, uint64_t iterations)
{
    if (job->state == SWEEP_FINISHED || job->state == SWEEP_DIVERGED) return 0;
    double done = job->state == SWEEP_NEW ? 0 : (double)job->view.facts.step / (double)iterations;
    return whole * fmax(0, 1 - done);
}

void sweep_report_plan(const struct sweep *s, const struct sweep_jobs *jobs, const struct train_preview *previews)
{
    char text[UNITS_TEXT];
    int cells = name_cells(s);
    double all = 0;
    bool known = true;
    page_say(stdout, 0, 2, "%s: %zu row%s x %zu seed%s", PRINTABLE(s->name), s->row_count, s->row_count == 1 ? "" : "s",
             s->seed_count, s->seed_count == 1 ? "" : "s");
    printf("%-*s  %5s  %-8s  %8s  %5s  %9s  time\n", cells, "row", "seed", "state", "steps", "batch", "planned");
    for (size_t i = 0; i < jobs->count; i++) {
        const struct sweep_job *job = &jobs->jobs[i];
        const struct train_preview *p = &previews[job->row];
        double seconds = seconds_of(s, jobs, job->row, p), left = left_of(job, seconds, p->iterations);
        print_cells(s->rows[job->row].name, cells, false);
        printf("  %5" PRIu64 "  %-8s  %8" PRIu64 "  %5" PRIu64 "  %9s", job->seed, sweep_state_name(job->state),
               p->iterations, p->batch, units_format_bytes(p->planned_bytes, text));
        printf("  %s\n", seconds > 0 ? units_format_seconds(seconds, text) : "-");
        all += left;
        known = known && (seconds > 0 || job->state == SWEEP_FINISHED || job->state == SWEEP_DIVERGED);
    }
    if (known && all <= 0)
        puts("nothing is left to run");
    else if (known)
        printf("what is left takes about %s, without tests\n", units_format_seconds(all, text));
}

/* ---- JSON ---- */

static json_t *positive_or_null(double number) { return number > 0 ? json_real(number) : json_null(); }

static json_t *run_to_json(const struct sweep *s, const struct sweep_job *job)
{
    const struct run_facts *f = &job->view.facts;
    double figure = sweep_figure_of(s->compare, &job->view.curves);
    return json_pack("{s:I, s:o, s:s, s:I, s:o, s:o}", "seed", (json_int_t)job->seed, "folder", json_text(job->folder),
                     "state", sweep_state_name(job->state), "step", (json_int_t)f->step, "value",
                     job->state == SWEEP_FINISHED ? json_real_or_null(figure) : json_null(), "reason",
                     json_text(f->reason));
}

static json_t *row_to_json(const struct sweep *s, const struct sweep_jobs *jobs, size_t row,
                           const struct train_preview *p)
{
    struct sweep_result r = sweep_result_of(s, jobs, row);
    json_t *runs = json_array();
    for (size_t i = 0; i < jobs->count; i++)
        if (jobs->jobs[i].row == row) json_array_append_new(runs, run_to_json(s, &jobs->jobs[i]));
    json_t *published = s->rows[row].published ? json_text(s->rows[row].published) : json_null();
    json_t *json =
        json_pack("{s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:o}", "name", json_text(s->rows[row].name), "published",
                  published, "mean", json_real_or_null(r.figure.mean), "deviation",
                  json_real_or_null(r.figure.deviation), "seeds", (json_int_t)r.figure.count, "loss",
                  json_real_or_null(r.loss), "images_per_second", positive_or_null(r.images_per_second), "runs", runs);
    if (!json || !p) return json;
    json_object_set_new(json, "iterations", json_integer((json_int_t)p->iterations));
    json_object_set_new(json, "batch", json_integer((json_int_t)p->batch));
    json_object_set_new(json, "planned_bytes", json_integer((json_int_t)p->planned_bytes));
    json_object_set_new(json, "predicted_seconds", positive_or_null(seconds_of(s, jobs, row, p)));
    return json;
}

bool sweep_report_json(const struct sweep *s, const struct sweep_jobs *jobs, const char *folder,
                       const struct train_preview *previews, struct error *err)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < s->row_count; i++)
        json_array_append_new(rows, row_to_json(s, jobs, i, previews ? &previews[i] : NULL));
    json_t *all = json_pack("{s:o, s:o, s:s, s:o, s:o}", "name", json_text(s->name), "source", json_text(s->source),
                            "compare", sweep_figure_name(s->compare), "folder", json_text(folder), "rows", rows);
    return json_print(all, 0, stdout, err);
}
