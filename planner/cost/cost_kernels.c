#include "cost_kernels.h"

#include <string.h>

#include "mem.h"

/* Runs beside computing: the plan's timeline says what of it is waited for. */
static bool overlaps(const struct cost_sample *sample)
{
    static const char *const passes[] = {"comm", "offload", "fetch"};
    for (size_t i = 0; i < sizeof passes / sizeof passes[0]; i++)
        if (strcmp(sample->pass, passes[i]) == 0) return true;
    return false;
}

/* ---- Kernels that do the work of several ops ---- */

static bool same_sort(const struct cost_sample *a, const struct cost_sample *b)
{
    return strcmp(a->kind, b->kind) == 0 && strcmp(a->pass, b->pass) == 0;
}

/* Where the work of a sample without kernels is done: by the op of its sort that was launched last before it, or else
 * first after it; itself where there is none. */
static size_t find_doer(const struct cost_sample *samples, size_t count, size_t at)
{
    if (samples[at].seconds > 0) return at;
    for (size_t i = at; i-- > 0;)
        if (samples[i].seconds > 0 && same_sort(&samples[i], &samples[at])) return i;
    for (size_t i = at + 1; i < count; i++)
        if (samples[i].seconds > 0 && same_sort(&samples[i], &samples[at])) return i;
    return at;
}

static double weight(const struct cost_sample *sample) { return (double)sample->bytes_moved + 1; }

/* The time of shared kernels goes to the ops whose work they do, by the bytes that these move. */
static void share(const struct cost_run *run, struct cost_sample *samples, size_t *doers, double *weights)
{
    for (size_t i = 0; i < run->count; i++) {
        doers[i] = find_doer(run->samples, run->count, i);
        weights[doers[i]] += weight(&samples[i]);
    }
    for (size_t i = 0; i < run->count; i++) {
        const struct cost_sample *doer = &run->samples[doers[i]];
        double part = weight(&samples[i]) / weights[doers[i]];
        samples[i].seconds = part * doer->seconds;
        samples[i].kernels = part * doer->kernels;
        samples[i].runs = doer->runs;
        samples[i].engine = doer->engine;
    }
}

/* ---- What lies between them ---- */

static void add_gaps(const struct cost_run *run, struct cost_kernels *kernels)
{
    double count = 0, inside = 0;
    for (size_t i = 0; i < run->count; i++)
        if (!overlaps(&kernels->samples[i])) count += kernels->samples[i].runs * kernels->samples[i].kernels;
    double gap = count > 0 && run->gap_seconds > 0 ? run->gap_seconds / count : 0;
    for (size_t i = 0; i < run->count; i++) {
        struct cost_sample *sample = &kernels->samples[i];
        if (overlaps(sample)) continue;
        sample->seconds += gap * sample->kernels;
        inside += sample->runs * sample->seconds;
    }
    kernels->step_seconds = run->step_seconds > inside ? run->step_seconds - inside : 0;
}

bool cost_kernels_divide(const struct cost_run *run, struct cost_kernels *kernels, struct error *err)
{
    struct cost_sample *samples = mem_alloc(MEM_PLAN, run->count, sizeof *samples);
    size_t *doers = mem_alloc(MEM_PLAN, run->count, sizeof *doers);
    double *weights = mem_zalloc(MEM_PLAN, run->count, sizeof *weights);
    bool ok = samples && doers && weights;
    if (ok) {
        if (run->count > 0) memcpy(samples, run->samples, run->count * sizeof *samples);
        share(run, samples, doers, weights);
        kernels->samples = samples;
        add_gaps(run, kernels);
    } else {
        mem_free(samples);
        error_memory(err, run->count * sizeof *samples, "the ops of a trace");
    }
    mem_free(doers);
    mem_free(weights);
    return ok;
}

void cost_kernels_finish(struct cost_kernels *kernels)
{
    mem_free(kernels->samples);
    *kernels = (struct cost_kernels){0};
}
