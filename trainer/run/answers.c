#include "answers.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "mem.h"

bool answers_begin(struct answers *answers, uint32_t classes, uint32_t views, struct error *err)
{
    *answers = (struct answers){.classes = classes, .views = views};
    answers->sums = mem_zalloc(MEM_GENERAL, classes, sizeof *answers->sums);
    return answers->sums || error_memory(err, classes * sizeof *answers->sums, "sums of probabilities");
}

void answers_finish(struct answers *answers)
{
    mem_free(answers->sums);
    *answers = (struct answers){0};
}

/* How many classes stand before the label: as where a loss is taken (backends' OP_SOFTMAX_LOSS). */
static uint32_t rank_of(const double *sums, uint32_t classes, uint32_t label)
{
    uint32_t before = 0;
    for (uint32_t k = 0; k < classes; k++)
        before += k < label ? !(sums[k] < sums[label]) : k > label && !(sums[k] <= sums[label]);
    return before;
}

static void count_image(struct answers *answers, uint32_t label)
{
    uint32_t rank = rank_of(answers->sums, answers->classes, label);
    /* One that rounds to nothing in f32 is told as the least that there is. */
    answers->loss -= log(fmax(answers->sums[label] / answers->views, (double)FLT_TRUE_MIN));
    answers->top1_hits += rank < 1;
    answers->top5_hits += rank < 5;
    answers->images += 1;
}

void answers_add(struct answers *answers, int32_t label, const float *probabilities)
{
    answers->missing = answers->missing || label < 0 || (uint32_t)label >= answers->classes;
    for (uint32_t k = 0; k < answers->classes; k++) answers->sums[k] += (double)probabilities[k];
    if (++answers->seen < answers->views) return;
    if (!answers->missing) count_image(answers, (uint32_t)label);
    memset(answers->sums, 0, answers->classes * sizeof *answers->sums);
    answers->seen = 0;
    answers->missing = false;
}
