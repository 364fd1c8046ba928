/* GPUs that a run has lost, seen from the process that starts its ranks. */
#ifndef FATHOM_TRAIN_GONE_H
#define FATHOM_TRAIN_GONE_H

#include <signal.h>

#include "host_gpus.h"

struct train_gone_look {
    uint64_t limit_ns;                  /* for one answer: a driver that has lost a GPU may hang */
    const volatile sig_atomic_t *stop;  /* not 0: the answer is not waited for */
};

/* Which of the GPUs that were found are no more, by the slots that they are in: asked of a process of its own, since CUDA
 * goes on telling of them in one that has seen them. None where that says nothing in time. gone comes as zeros. */
void train_gone_gpus(const struct host_gpus *found, const struct train_gone_look *look, bool gone[HOST_MOST_GPUS]);
/* Processes that are started from now on see these GPUs alone, in this order, by CUDA_VISIBLE_DEVICES. */
void train_gone_show(const struct host_gpus *left);

#endif
