#include "compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

/* That the largest of n normal values is above z is less likely than n exp(-z^2 / 2) / 2. */
static double standard_errors(size_t groups) { return sqrt(2 * log(50 * (double)(groups + 1))); }

/* `errors` NAN: of the noise nothing is known, and nothing is slower. */
static void judge(struct comparison_row *row, struct step_times_estimate before, struct step_times_estimate after,
                  double errors, double gate)
{
    row->before_ns = before.median_ns;
    row->after_ns = after.median_ns;
    row->noise_ns = errors * hypot(before.error_ns, after.error_ns);
    row->slower = gate >= 0 && row->after_ns - row->before_ns - row->noise_ns > gate * row->before_ns;
}

static int compare_rows(const void *a, const void *b)
{
    const struct comparison_row *x = a, *y = b;
    double p = fabs(x->after_ns - x->before_ns), q = fabs(y->after_ns - y->before_ns);
    if (p != q) return p < q ? 1 : -1;
    return strcmp(x->name, y->name);
}

/* Every group of the first with its like in the second, then those that only the second has. */
static void fill_rows(const struct step_times *a, const struct step_times *b, double errors, double gate,
                      struct comparison *comparison)
{
    for (size_t i = 0; i < a->group_count; i++) {
        const struct step_times_group *group = &a->groups[i], *like = step_times_find(b, group->name);
        struct comparison_row *row = &comparison->rows[comparison->count++];
        *row = (struct comparison_row){
            .name = group->name, .before_ns = step_times_estimate(a, group).median_ns, .noise_ns = (double)NAN};
        if (like) judge(row, step_times_estimate(a, group), step_times_estimate(b, like), errors, gate);
    }
    for (size_t i = 0; i < b->group_count; i++) {
        const struct step_times_group *group = &b->groups[i];
        if (step_times_find(a, group->name)) continue;
        comparison->rows[comparison->count++] = (struct comparison_row){
            .name = group->name, .after_ns = step_times_estimate(b, group).median_ns, .noise_ns = (double)NAN};
    }
}

bool comparison_make(const struct step_times *before, const struct step_times *after, double gate,
                     struct comparison *comparison, struct error *err)
{
    size_t most = before->group_count + after->group_count;
    comparison->rows = mem_alloc(MEM_TRACE, most, sizeof *comparison->rows);
    if (!comparison->rows) return error_memory(err, most * sizeof *comparison->rows, "the changes");
    bool enough = before->step_count >= COMPARISON_LEAST_STEPS && after->step_count >= COMPARISON_LEAST_STEPS;
    double errors = enough ? standard_errors(most) : (double)NAN;
    fill_rows(before, after, errors, gate, comparison);
    comparison->step.name = "(step)";
    judge(&comparison->step, step_times_estimate(before, NULL), step_times_estimate(after, NULL), errors, gate);
    comparison->slower = comparison->step.slower;
    for (size_t i = 0; i < comparison->count; i++) comparison->slower |= comparison->rows[i].slower;
    qsort(comparison->rows, comparison->count, sizeof *comparison->rows, compare_rows);
    return true;
}

void comparison_finish(struct comparison *comparison)
{
    mem_free(comparison->rows);
    *comparison = (struct comparison){0};
}
