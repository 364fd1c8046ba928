/* fathom trace flow: units' norms over depth and steps. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "flow_draw.h"
#include "json_print.h"
#include "outputs.h"
#include "printable.h"
#include "trace_private.h"

#define FLOWS 2 /* at most */

static const char *const words[TRACE_NORMS] = {"output", "gradient", "weight_gradient"};

struct table {
    const char *path;
    struct flow flow;
    bool rms;
};

static bool open_table(const char *path, bool rms, struct table *table, struct error *err)
{
    *table = (struct table){.path = path, .rms = rms};
    TRY(flow_read(path, &table->flow, err));
    if (table->flow.unit_count > 0 && table->flow.step_count > 0) return true;
    bool has_steps = table->flow.has_steps, has_units = table->flow.unit_count > 0;
    flow_finish(&table->flow);
    if (!has_steps) return error_set(err, ERROR_INPUT, "%s: holds no steps, and so no norms of units", path);
    if (has_units)
        return error_set(err, ERROR_INPUT,
                         "%s: has norms of units in none of its steps; the first of --flow-every has them", path);
    return error_set(err, ERROR_INPUT, "%s: has no norms of units; `fathom train --flow-every N` records them", path);
}

static double value_of(const struct table *t, size_t step, size_t unit, enum trace_norm norm)
{
    return t->rms ? flow_rms(&t->flow, step, unit, norm) : (double)flow_norm(&t->flow, step, unit, norm);
}

/* ---- Tables ---- */

#define CELL 16
static const char *format_value(double value, char out[CELL])
{
    if (isnan(value)) return "-";
    if (isinf(value)) return "inf";
    snprintf(out, CELL, "%.3g", value);
    return out;
}

static double ratio_of(const struct table *t, size_t step, enum trace_norm norm)
{
    struct flow_range r = flow_range(&t->flow, step, norm);
    if (r.known == 0) return NAN;
    return (double)flow_norm(&t->flow, step, r.most, norm) / (double)flow_norm(&t->flow, step, r.least, norm);
}

static void print_heading(const struct table *t)
{
    const struct flow *f = &t->flow;
    printf("%s: %s on %s, batch %" PRIu32 ", %zu units, norms of %zu step%s\n", PRINTABLE(t->path), PRINTABLE(f->model),
           PRINTABLE(f->dataset), f->batch, f->unit_count, f->step_count, f->step_count == 1 ? "" : "s");
    if (f->ranks > 1)
        printf("rank %" PRIu32 " of %" PRIu32 ": outputs and their gradients are its own devices' alone\n", f->rank,
               f->ranks);
}

/* At both ends of the net, and how far apart norms are between them. */
static void print_steps(const struct table *t, uint64_t limit)
{
    const struct flow *f = &t->flow;
    size_t rows = trace_shown_rows(f->step_count, limit);
    printf("\n%7s  %-23s %-23s %s\n%7s", "", "output", "gradient", "gradient of weights", "step");
    for (int n = 0; n < TRACE_NORMS; n++) printf("%s%7s %7s %7s", n ? " " : "  ", "first", "last", "max/min");
    puts("");
    for (size_t i = 0; i < rows; i++) {
        size_t s = rows > 1 ? i * (f->step_count - 1) / (rows - 1) : f->step_count - 1;
        printf("%7" PRIu64, f->steps[s].step);
        for (int n = 0; n < TRACE_NORMS; n++) {
            char first[CELL], last[CELL], ratio[CELL];
            struct flow_range r = flow_range(f, s, (enum trace_norm)n);
            printf("%s%7s %7s %7s", n ? " " : "  ",
                   format_value(r.known ? value_of(t, s, r.first, (enum trace_norm)n) : (double)NAN, first),
                   format_value(r.known ? value_of(t, s, r.last, (enum trace_norm)n) : (double)NAN, last),
                   format_value(ratio_of(t, s, (enum trace_norm)n), ratio));
        }
        puts("");
    }
    if (rows < f->step_count) printf("%zu steps between them; a larger --limit shows more\n", f->step_count - rows);
}

static void print_unit(const struct table *t, size_t unit)
{
    size_t last = t->flow.step_count - 1;
    for (int n = 0; n < TRACE_NORMS; n++) {
        char begin[CELL], end[CELL];
        printf("%s%9s %9s", n ? "  " : "", format_value(value_of(t, 0, unit, (enum trace_norm)n), begin),
               format_value(value_of(t, last, unit, (enum trace_norm)n), end));
    }
    printf("  %s\n", PRINTABLE(t->flow.units[unit].layer));
}

static void print_units(const struct table *t, uint64_t limit)
{
    const struct flow *f = &t->flow;
    size_t rows = trace_shown_rows(f->unit_count, limit);
    char begin[CELL * 2], end[CELL * 2];
    snprintf(begin, sizeof begin, "@%" PRIu64, f->steps[0].step);
    snprintf(end, sizeof end, "@%" PRIu64, f->steps[f->step_count - 1].step);
    printf("\n%-19s  %-19s  %s\n", "output", "gradient", "gradient of weights");
    for (int n = 0; n < TRACE_NORMS; n++) printf("%s%9s %9s", n ? "  " : "", begin, end);
    puts("  unit");
    for (size_t i = 0; i < rows; i++) print_unit(t, rows > 1 ? i * (f->unit_count - 1) / (rows - 1) : 0);
    if (rows < f->unit_count) printf("%zu units between them; a larger --limit shows more\n", f->unit_count - rows);
}

/* A unit's gradient is of its output, or of the sum before its ReLU where that is what exists. */
static void print_tensors(const struct table *t)
{
    for (size_t i = 1; i < t->flow.unit_count; i++) {
        const struct flow_unit *u = &t->flow.units[i];
        if (!u->output[0] || !u->gradient[0]) continue;
        printf("\nof %s, for one: the norm of %s and of %s\n", PRINTABLE(u->layer), PRINTABLE(u->output),
               PRINTABLE(u->gradient));
        return;
    }
}

/* ---- JSON ---- */

static json_t *value_json(double value)
{
    if (isinf(value)) return json_string("inf");
    return json_real_or_null(value);
}

static json_t *unit_json(const struct flow_unit *u)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "unit", json_text(u->layer), "output",
                     u->output[0] ? json_text(u->output) : json_null(), "gradient",
                     u->gradient[0] ? json_text(u->gradient) : json_null(), "output_elements",
                     u->output_elements ? json_integer((json_int_t)u->output_elements) : json_null(), "weight_elements",
                     json_integer((json_int_t)u->weight_elements));
}

static json_t *step_json(const struct table *t, size_t step)
{
    json_t *object = json_pack("{s:I}", "step", (json_int_t)t->flow.steps[step].step);
    for (int n = 0; n < TRACE_NORMS; n++) {
        json_t *values = json_array();
        for (size_t u = 0; u < t->flow.unit_count; u++)
            json_array_append_new(values, value_json(value_of(t, step, u, (enum trace_norm)n)));
        json_object_set_new(object, words[n], values);
    }
    return object;
}

static json_t *table_json(const struct table *t)
{
    const struct flow *f = &t->flow;
    json_t *units = json_array(), *steps = json_array();
    for (size_t i = 0; i < f->unit_count; i++) json_array_append_new(units, unit_json(&f->units[i]));
    for (size_t i = 0; i < f->step_count; i++) json_array_append_new(steps, step_json(t, i));
    return json_pack("{s:o, s:o, s:I, s:o, s:o, s:b, s:o, s:o}", "model", json_text(f->model), "dataset",
                     json_text(f->dataset), "batch", (json_int_t)f->batch, "rank",
                     f->ranks ? json_integer(f->rank) : json_null(), "ranks",
                     f->ranks ? json_integer(f->ranks) : json_null(), "rms", t->rms, "units", units, "steps", steps);
}

static bool print_json(const struct table *tables, size_t count, struct error *err)
{
    json_t *runs = json_array();
    for (size_t i = 0; i < count; i++) json_array_append_new(runs, table_json(&tables[i]));
    return json_print(json_pack("{s:o}", "runs", runs), 9, stdout, err);
}

/* ---- The command ---- */

static bool draw(const struct table *tables, size_t count, const char *svg, struct error *err)
{
    struct flow_picture picture = {.count = count, .rms = tables[0].rms};
    struct outputs outputs = {0};
    if (!svg) return true;
    for (size_t i = 0; i < count; i++) {
        picture.flows[i] = &tables[i].flow;
        picture.names[i] = tables[i].path;
        TRY(outputs_reads(&outputs, "fathom trace", tables[i].path, err));
    }
    return outputs_writes(&outputs, "--svg", svg, err) && flow_draw(&picture, svg, err);
}

static bool show(const struct table *tables, size_t count, const struct trace_options *options, struct error *err)
{
    TRY(draw(tables, count, options->svg, err));
    if (options->json) return print_json(tables, count, err);
    for (size_t i = 0; i < count; i++) {
        if (i > 0) puts("");
        print_heading(&tables[i]);
        print_steps(&tables[i], options->limit);
        print_units(&tables[i], options->limit);
        print_tensors(&tables[i]);
    }
    return true;
}

bool trace_run_flow(const char *const *paths, const struct trace_options *options, int *code, struct error *err)
{
    struct table tables[FLOWS];
    size_t count = 0;
    bool ok = true;
    while (ok && count < options->files) {
        ok = open_table(paths[count], options->rms, &tables[count], err);
        count += ok;
    }
    ok = ok && show(tables, count, options, err);
    for (size_t i = 0; i < count; i++) flow_finish(&tables[i].flow);
    *code = 0;
    return ok;
}
