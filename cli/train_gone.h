/* GPUs that a run has lost, seen from the process that starts its ranks. */
#ifndef FATHOM_TRAIN_GONE_H
#define FATHOM_TRAIN_GONE_H

#include "host_gpus.h"

/* Which of the first `count` GPUs that were found are no more, by the slots that they are in: asked of a process of its own,
 * since CUDA goes on telling of them in one that has seen them. None where that cannot say. Returns how many. */
size_t train_gone_gpus(const struct host_gpus *found, size_t count, bool gone[HOST_MOST_GPUS]);
/* GPU `number` of `count` is hidden from processes that are started from now on. */
void train_gone_hide(size_t number, size_t count);

#endif
