#include "sweep_result.h"

#include <math.h>

#include "curves_draw.h"
#include "mem.h"

double sweep_figure_of(enum sweep_figure figure, const struct curves *c)
{
    const struct curve_test *last = curves_last_test(c), *best = curves_best_test(c);
    switch (figure) {
    case SWEEP_TOP1: return last ? last->top1_error : NAN;
    case SWEEP_BEST_TOP1: return best ? best->top1_error : NAN;
    case SWEEP_TOP5: return last ? last->top5_error : NAN;
    case SWEEP_LOSS: return c->last_step > 0 ? c->last_loss : NAN;
    }
    return NAN;
}

struct sweep_sums sweep_sum(const double *figures, size_t count)
{
    struct sweep_sums s = {.mean = NAN, .deviation = NAN};
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(figures[i])) continue;
        sum += figures[i];
        s.count++;
    }
    if (s.count == 0) return s;
    s.mean = sum / (double)s.count;
    for (size_t i = 0; i < count; i++)
        if (isfinite(figures[i])) squares += (figures[i] - s.mean) * (figures[i] - s.mean);
    if (s.count > 1) s.deviation = sqrt(squares / (double)(s.count - 1));
    return s;
}

/* Of few numbers. */
static double median(const double *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t below = 0, equal = 0;
        for (size_t k = 0; k < count; k++) {
            below += numbers[k] < numbers[i];
            equal += numbers[k] <= numbers[i];
        }
        if (below <= count / 2 && count / 2 < equal) return numbers[i];
    }
    return 0;
}

struct sweep_result sweep_result_of(const struct sweep *sweep, const struct sweep_jobs *jobs, size_t row)
{
    struct sweep_result r = {0};
    double figures[SWEEP_MOST_SEEDS] = {0}, losses[SWEEP_MOST_SEEDS] = {0}, speeds[SWEEP_MOST_SEEDS] = {0};
    size_t finished = 0, fast = 0;
    for (size_t i = 0; i < jobs->count; i++) {
        const struct sweep_job *job = &jobs->jobs[i];
        if (job->row != row) continue;
        r.in[job->state]++;
        if (job->view.curves.images_per_second > 0) speeds[fast++] = job->view.curves.images_per_second;
        if (job->state != SWEEP_FINISHED) continue;
        figures[finished] = sweep_figure_of(sweep->compare, &job->view.curves);
        losses[finished++] = sweep_figure_of(SWEEP_LOSS, &job->view.curves);
    }
    r.figure = sweep_sum(figures, finished);
    r.loss = sweep_sum(losses, finished).mean;
    r.images_per_second = median(speeds, fast);
    return r;
}

/* A row's runs that have any steps; those that diverged are not of the mean. */
static size_t gather(const struct sweep_jobs *jobs, size_t row, const struct curves **runs)
{
    size_t count = 0;
    for (size_t i = 0; i < jobs->count; i++) {
        const struct sweep_job *job = &jobs->jobs[i];
        if (job->row == row && job->state != SWEEP_DIVERGED && job->view.curves.bin_count > 0)
            runs[count++] = &job->view.curves;
    }
    return count;
}

bool sweep_draw(const struct sweep *sweep, const struct sweep_jobs *jobs, const char *path, struct error *err)
{
    struct curves_line *lines = mem_zalloc(MEM_GENERAL, sweep->row_count, sizeof *lines);
    const struct curves **runs = mem_alloc(MEM_GENERAL, sweep->row_count * SWEEP_MOST_SEEDS, sizeof *runs);
    size_t count = 0;
    bool ok = lines && runs;
    for (size_t row = 0; ok && row < sweep->row_count; row++) {
        const struct curves **own = runs + row * SWEEP_MOST_SEEDS;
        size_t found = gather(jobs, row, own);
        if (found > 0) lines[count++] = (struct curves_line){sweep->rows[row].name, own, found};
    }
    ok = ok ? curves_draw_lines(lines, count, sweep->name, path, err)
            : error_memory(err, sweep->row_count * SWEEP_MOST_SEEDS * sizeof *runs, "the picture");
    mem_free(runs);
    mem_free(lines);
    return ok;
}
