// What changes from step to step.
#include "kernels.h"

extern "C" __global__ void set_step(struct set_step_arguments a)
{
    a.block->number = a.values.number;
    a.block->seed = a.values.seed;
    a.block->micro_batch = a.values.micro_batch;
    a.block->nesterov = a.values.nesterov;
    a.block->learning_rate = a.values.learning_rate;
    a.block->momentum = a.values.momentum;
    a.block->weight_decay = a.values.weight_decay;
    a.block->bn_momentum = a.values.bn_momentum;
    a.block->label_smoothing = a.values.label_smoothing;
    a.block->optimizer = a.values.optimizer;
    a.block->spares_bn = a.values.spares_bn;
    a.block->epsilon = a.values.epsilon;
    a.block->clip_norm = a.values.clip_norm;
    a.block->beta1 = a.values.beta1;
    a.block->beta2 = a.values.beta2;
    a.block->average_decay = a.values.average_decay;
    a.block->scale_streak = a.values.scale_streak;
    for (int k = 0; k < 3; k++) {
        a.block->mean[k] = a.values.mean[k];
        a.block->deviation[k] = a.values.deviation[k];
    }
}
