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
    a.block->scale_streak = a.values.scale_streak;
    for (int k = 0; k < 3; k++) {
        a.block->mean[k] = a.values.mean[k];
        a.block->deviation[k] = a.values.deviation[k];
    }
}
