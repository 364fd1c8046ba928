/* fathom trace diff: what changed from one trace to another, and whether it is more than noise. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "compare.h"
#include "files.h"
#include "json_print.h"
#include "printable.h"
#include "top_batch.h"
#include "trace_private.h"

struct side {
    char path[FILES_PATH];
    struct step_range range;
    struct step_times times;
};

static bool open_side(const char *word, const struct trace_options *options, struct side *side, struct error *err)
{
    TRY(step_range_parse(word, side->path, sizeof side->path, &side->range, err));
    TRY(step_times_read(side->path, options->by, side->range, &side->times, err));
    size_t steps = side->times.step_count, least = options->gate >= 0 ? COMPARISON_LEAST_STEPS : 1;
    if (steps >= least) return true;
    return error_set(
        err, ERROR_INPUT,
        "%s: has %zu timed step%s, and at least %zu %s wanted%s; `fathom train --time-every` says how often "
        "one is timed",
        word, steps, steps == 1 ? "" : "s", least, least == 1 ? "is" : "are", options->gate >= 0 ? " for --gate" : "");
}

static void print_row(const struct comparison_row *row)
{
    char before[UNITS_TEXT], after[UNITS_TEXT], change[UNITS_TEXT], noise[UNITS_TEXT];
    double difference = row->after_ns - row->before_ns;
    bool both = row->before_ns > 0 && row->after_ns > 0;
    printf("%8s %8s %c%-8s %-8s ", row->before_ns > 0 ? trace_format_ns(row->before_ns, before) : "-",
           row->after_ns > 0 ? trace_format_ns(row->after_ns, after) : "-", difference < 0 ? '-' : '+',
           trace_format_ns(fabs(difference), change),
           !both                  ? ""
           : isnan(row->noise_ns) ? "-"
                                  : trace_format_ns(row->noise_ns, noise));
    if (both)
        printf("%+7.1f %% ", 100 * difference / row->before_ns);
    else
        printf("%9s ", row->before_ns > 0 ? "gone" : "new");
    printf("%s%s\n", row->slower ? "SLOWER " : "", PRINTABLE(row->name));
}

static void print_parts(const char *name, const struct step_times *b)
{
    char text[UNITS_TEXT];
    double steps = (double)b->step_count;
    printf("%s  %zu of %" PRIu64 " timed steps:", name, b->step_count, b->timed_steps);
    for (int part = 0; part < STEP_PARTS; part++) {
        double sum = 0;
        for (size_t i = 0; i < b->step_count; i++) sum += b->steps[i].part_ns[part];
        if (sum > 0) printf(" %s %s", step_part_name((enum step_part)part), trace_format_ns(sum / steps, text));
    }
    puts("");
}

/* What clocks did, and what held GPUs back; nothing where the driver did not tell. */
static void print_gpus(const char *name, const struct step_times_gpus *gpus)
{
    char clock[UNITS_TEXT];
    const char *words[DASHBOARD_REASONS];
    if (isnan(gpus->clock_hz) && isnan(gpus->held_part)) return;
    printf("%s  SM clock %s%s", name, isnan(gpus->clock_hz) ? "unknown" : units_format_si(gpus->clock_hz, clock),
           isnan(gpus->clock_hz) ? "" : "Hz");
    if (isnan(gpus->held_part))
        printf(", whether held back unknown");
    else if (gpus->held_part > 0)
        printf(", held back in %.0f %% of the readings: ", ceil(100 * gpus->held_part));
    else
        printf(", not held back");
    size_t count = gpus->held_part > 0 ? dashboard_held_back((double)gpus->held_bits, words) : 0;
    for (size_t i = 0; i < count; i++) printf("%s%s", i ? ", " : "", words[i]);
    puts("");
}

static void print_comparison(const struct comparison *c, const struct side sides[2],
                             const struct trace_options *options)
{
    print_parts("A", &sides[0].times);
    print_parts("B", &sides[1].times);
    print_gpus("A", &sides[0].times.gpus);
    print_gpus("B", &sides[1].times.gpus);
    printf("\n%8s %8s %-9s %-8s %9s %s\n", "A", "B", "Change", "Noise", "Of A", "Name");
    print_row(&c->step);
    size_t rows = trace_shown_rows(c->count, options->limit);
    for (size_t i = 0; i < rows; i++) print_row(&c->rows[i]);
    if (rows < c->count) printf("%zu more; --limit %zu shows all\n", c->count - rows, c->count);
    if (options->gate >= 0)
        printf("\n%s by more than %g %% and the noise\n", c->slower ? "B is slower" : "nothing is slower",
               options->gate);
}

static json_t *gpus_json(const struct step_times_gpus *gpus)
{
    return json_pack("{s:o, s:o, s:o}", "clock_hz", json_real_or_null(gpus->clock_hz), "held_back_part",
                     json_real_or_null(gpus->held_part), "held_back_by",
                     isnan(gpus->held_part) ? json_null() : batch_held_back((double)gpus->held_bits));
}

static json_t *row_json(const struct comparison_row *row)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:b}", "name", json_text(row->name), "before_ns",
                     json_real_or_null(row->before_ns), "after_ns", json_real_or_null(row->after_ns), "change_ns",
                     json_real_or_null(row->after_ns - row->before_ns), "noise_ns", json_real_or_null(row->noise_ns),
                     "slower", row->slower);
}

static bool print_comparison_json(const struct comparison *c, const struct side sides[2],
                                  const struct trace_options *options, struct error *err)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < trace_shown_rows(c->count, options->limit); i++)
        json_array_append_new(rows, row_json(&c->rows[i]));
    return json_print(
        json_pack("{s:o, s:o, s:o, s:b, s:o, s:o, s:I, s:I, s:o, s:b, s:o}", "step_before_ns",
                  json_real_or_null(c->step.before_ns), "step_after_ns", json_real_or_null(c->step.after_ns),
                  "step_noise_ns", json_real_or_null(c->step.noise_ns), "step_slower", c->step.slower, "gpus_before",
                  gpus_json(&sides[0].times.gpus), "gpus_after", gpus_json(&sides[1].times.gpus), "steps_before",
                  (json_int_t)sides[0].times.step_count, "steps_after", (json_int_t)sides[1].times.step_count,
                  "gate_percent", options->gate >= 0 ? json_real(options->gate) : json_null(), "slower", c->slower,
                  "rows", rows),
        9, stdout, err);
}

bool trace_run_diff(const char *const *paths, const struct trace_options *options, int *code, struct error *err)
{
    struct side sides[2] = {0};
    struct comparison comparison = {0};
    bool ok = open_side(paths[0], options, &sides[0], err) && open_side(paths[1], options, &sides[1], err) &&
              comparison_make(&sides[0].times, &sides[1].times, options->gate / 100, &comparison, err);
    if (ok && options->json)
        ok = print_comparison_json(&comparison, sides, options, err);
    else if (ok)
        print_comparison(&comparison, sides, options);
    *code = comparison.slower ? 1 : 0;
    comparison_finish(&comparison);
    step_times_finish(&sides[0].times);
    step_times_finish(&sides[1].times);
    return ok;
}
