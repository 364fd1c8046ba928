/* GPUs that a run has lost, seen from the process that starts its ranks. */
#ifndef FATHOM_GONE_H
#define FATHOM_GONE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gone_gpu {
    char bus_id[32], uuid[64]; /* the slot that it is in, and what CUDA_VISIBLE_DEVICES takes */
};

struct gone_look {
    const char *const *question;       /* the arguments of this program with which it tells of the GPUs that CUDA sees, in JSON:
                                        * {"host": {"gpus": [{"bus_id": ..., "compute_capability": ...}]}}, in which null is the
                                        * capability of what is on the bus and CUDA does not see; NULL-terminated */
    uint64_t limit_ns;                 /* for one answer: a driver that has lost a GPU may hang */
    const volatile sig_atomic_t *stop; /* not 0: the answer is not waited for */
};

/* Which of the GPUs that were found are no more, by the slots that they are in: asked of a process of its own, since CUDA
 * goes on telling of them in one that has seen them. None where that says nothing in time. gone[count] comes as zeros. */
void gone_find(const struct gone_gpu *found, size_t count, const struct gone_look *look, bool *gone);
/* Processes that are started from now on see these GPUs alone, in this order, by CUDA_VISIBLE_DEVICES. */
void gone_show(const struct gone_gpu *left, size_t count);

#endif
