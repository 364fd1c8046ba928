#include "scales.h"

#include <inttypes.h>
#include <math.h>

#include "answers.h"
#include "mem.h"
#include "train_private.h"

/* Images whose sums are kept at a time. */
#define STRETCH 4096u

/* A stretch of the set, whose images go through all scales before the next one's do. */
struct stretch {
    const struct scales_request *request;
    struct scales_answer *answer;
    struct whole_reader *reader;
    uint64_t first;
    uint32_t count;
    float *sums;     /* count x classes: probabilities over scales */
    int32_t *labels; /* count; -1 = it could not be decoded */
};

/* ---- Images of one size ---- */

struct pass {
    struct training run;
    uint32_t batch;
    float *images, *probabilities;
    int32_t *labels;
};

static bool look(void *context, uint32_t rank, struct error *err)
{
    struct pass *pass = context;
    struct executor *executor = pass->run.executors[rank];
    const struct step_input input = {.images = pass->images, .labels = pass->labels};
    struct metrics metrics;
    return executor_evaluate(executor, &pass->run.step, &input, &metrics, err) &&
           executor_probabilities(executor, pass->probabilities, err);
}

static void add_answers(const struct stretch *s, const struct pass *pass, uint64_t first, uint32_t count)
{
    uint32_t classes = s->request->classes;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = first + i - s->first;
        float *sums = s->sums + at * classes;
        const float *probabilities = pass->probabilities + (size_t)i * classes;
        if (s->labels[at] >= 0) s->labels[at] = pass->labels[i];
        for (uint32_t k = 0; k < classes; k++) sums[k] += probabilities[k];
    }
}

static bool look_at(struct stretch *s, struct pass *pass, uint64_t first, uint64_t end, uint32_t columns, uint32_t rows,
                    struct error *err)
{
    for (uint32_t count; first < end; first += count) {
        if (run_is_stopped(&pass->run)) return error_set(err, ERROR_FAILED, "stopped before its end");
        count = end - first < pass->batch ? (uint32_t)(end - first) : pass->batch;
        for (uint32_t i = count; i < pass->batch; i++) pass->labels[i] = -1;
        TRY(whole_reader_read(s->reader, first, count, columns, rows, pass->images, pass->labels, err));
        TRY(team_run(pass->run.team, look, pass, err));
        add_answers(s, pass, first, count);
    }
    return true;
}

static uint32_t micro_batch(const struct plan *plan)
{
    return plan->variants[plan->devices[0].variant].graph->options.batch;
}

static bool make_pass(struct pass *pass, const struct stretch *s, uint32_t columns, uint32_t rows, struct error *err)
{
    size_t numbers = (size_t)columns * rows * 3;
    pass->images = mem_zalloc(MEM_INPUT, pass->batch, numbers * sizeof *pass->images);
    pass->labels = mem_zalloc(MEM_INPUT, pass->batch, sizeof *pass->labels);
    pass->probabilities = mem_zalloc(MEM_INPUT, pass->batch, s->request->classes * sizeof *pass->probabilities);
    return (pass->images && pass->labels && pass->probabilities) ||
           error_memory(err, pass->batch * numbers * sizeof(float), "whole images");
}

static void note_plan(struct scales_answer *answer, const struct plan *plan, uint32_t columns, uint32_t rows)
{
    answer->plans++;
    if (plan->devices[0].peak_bytes <= answer->planned_bytes) return;
    answer->planned_bytes = plan->devices[0].peak_bytes;
    answer->columns = columns;
    answer->rows = rows;
}

/* Images [first, end), which have one size. */
static bool look_under_plan(struct stretch *s, const struct plan *plan, const struct backend *backend, uint64_t first,
                            uint64_t end, uint32_t columns, uint32_t rows, struct error *err)
{
    struct pass pass = {.run = run_for_answers(plan, backend, s->request->options), .batch = micro_batch(plan)};
    note_plan(s->answer, plan, columns, rows);
    bool ok = run_take_devices(&pass.run, err) && run_take_weights(&pass.run, s->request->options->weights, err) &&
              make_pass(&pass, s, columns, rows, err) && look_at(s, &pass, first, end, columns, rows, err);
    ok = run_end(&pass.run, ok, err);
    mem_free(pass.images);
    mem_free(pass.labels);
    mem_free(pass.probabilities);
    return ok;
}

static bool look_at_size(struct stretch *s, uint64_t first, uint64_t end, uint32_t columns, uint32_t rows,
                         struct error *err)
{
    const struct scales_request *r = s->request;
    uint32_t batch = end - first < r->batch ? (uint32_t)(end - first) : r->batch;
    const struct backend *backend;
    struct plan *plan = NULL;
    TRY(r->make_plan(r->context, columns, rows, batch, &plan, &backend, err));
    bool ok = look_under_plan(s, plan, backend, first, end, columns, rows, err);
    plan_destroy(plan);
    return ok;
}

/* ---- All sizes ---- */

static bool look_at_scale(struct stretch *s, uint32_t scale, struct error *err)
{
    const struct whole_set *set = s->request->set;
    uint64_t end = s->first + s->count;
    for (uint64_t first = s->first, next; first < end; first = next) {
        uint32_t columns, rows, other_columns, other_rows;
        whole_size(set, &set->images[first], scale, &columns, &rows);
        for (next = first + 1; next < end; next++) {
            whole_size(set, &set->images[next], scale, &other_columns, &other_rows);
            if (other_columns != columns || other_rows != rows) break;
        }
        TRY(look_at_size(s, first, next, columns, rows, err));
    }
    return true;
}

static bool look_at_stretch(struct stretch *s, struct answers *answers, struct error *err)
{
    const struct whole_options *o = &s->request->set->options;
    uint32_t classes = s->request->classes;
    for (uint64_t i = 0; i < (uint64_t)s->count * classes; i++) s->sums[i] = 0;
    for (uint32_t i = 0; i < s->count; i++) s->labels[i] = 0;
    for (uint32_t i = 0; i < o->scale_count; i++) TRY(look_at_scale(s, o->scales[i], err));
    for (uint32_t i = 0; i < s->count; i++) {
        float *sums = s->sums + (size_t)i * classes;
        for (uint32_t k = 0; k < classes; k++) sums[k] /= (float)o->scale_count;
        answers_add(answers, s->labels[i], sums);
    }
    return true;
}

static bool look_at_all(struct stretch *s, struct answers *answers, struct error *err)
{
    uint64_t images = s->request->set->count;
    uint32_t most = images < STRETCH ? (uint32_t)images : STRETCH, classes = s->request->classes;
    s->sums = mem_alloc(MEM_INPUT, most, classes * sizeof *s->sums);
    s->labels = mem_alloc(MEM_INPUT, most, sizeof *s->labels);
    if (!s->sums || !s->labels) return error_memory(err, (uint64_t)most * classes * 4, "sums over scales");
    for (; s->first < images; s->first += s->count) {
        s->count = images - s->first < most ? (uint32_t)(images - s->first) : most;
        TRY(look_at_stretch(s, answers, err));
    }
    return true;
}

static bool take_answer(const struct answers *answers, struct score *score, struct error *err)
{
    if (!(answers->images > 0)) return error_set(err, ERROR_FAILED, "none of the test images can be decoded");
    *score =
        (struct score){.images = (uint64_t)answers->images,
                       .loss = answers->loss / answers->images,
                       .top1_error = 1 - answers->top1_hits / answers->images,
                       .top5_error = answers->classes < TOP5_CLASSES ? NAN : 1 - answers->top5_hits / answers->images};
    return score_check(score, err);
}

bool score_scales(const struct scales_request *request, struct scales_answer *answer, struct error *err)
{
    struct answers answers = {0};
    struct stretch s = {.request = request, .answer = answer};
    *answer = (struct scales_answer){0};
    bool ok = (s.reader = whole_reader_create(request->set, err)) &&
              answers_begin(&answers, request->classes, 1, err) && look_at_all(&s, &answers, err) &&
              take_answer(&answers, &answer->score, err);
    whole_reader_destroy(s.reader);
    answers_finish(&answers);
    mem_free(s.sums);
    mem_free(s.labels);
    return ok;
}
