/* What changes from step to step, as kernels read it. */
#ifndef FATHOM_STEP_VALUES_H
#define FATHOM_STEP_VALUES_H

#include <string.h>

#include "backend.h"
#include "kernels.h"

/* Of the step block, what KERNEL_set_step writes. */
static inline struct step_block step_values(const struct step *step)
{
    struct step_block values = {
        .number = step->number,
        .seed = step->seed,
        .micro_batch = step->micro_batch,
        .nesterov = step->nesterov,
        .learning_rate = step->learning_rate,
        .momentum = step->momentum,
        .weight_decay = step->weight_decay,
        .bn_momentum = step->bn_momentum,
        .label_smoothing = step->label_smoothing,
        .optimizer = step->optimizer,
        .spares_bn = step->spares_bn,
        .epsilon = step->epsilon,
        .clip_norm = step->clip_norm,
        .beta1 = step->beta1,
        .beta2 = step->beta2,
        .average_decay = step->average_decay,
        .scale_streak = step->scale_streak,
    };
    memcpy(values.mean, step->mean, sizeof values.mean);
    memcpy(values.deviation, step->deviation, sizeof values.deviation);
    return values;
}

#endif
