/* A group of virtual devices: what cpu_group.c and cpu_group_ranks.c share. */
#ifndef FATHOM_CPU_GROUP_PRIVATE_H
#define FATHOM_CPU_GROUP_PRIVATE_H

#include <pthread.h>

#include "cpu_group.h"

enum sum_type { SUM_F32, SUM_F64, SUM_F16, SUM_BF16 };

struct member {
    bool taken, here; /* its rank; waits for the others */
    const void *in;
    void *out;
    uint64_t count;
    enum sum_type type;
};

/* What the members of one group that are in this process share: there while any of them is. */
struct meeting {
    struct meeting *next; /* in `meetings` */
    uint64_t process, number;
    uint32_t size, ranks; /* devices of the group; members here that are made and not destroyed */
    uint32_t first, local; /* devices of this process */
    struct ranks *processes; /* NULL: this is the only one */
    const void **numbers;    /* of each device, which are summed */
    void **sums;             /* where the sums go: of each member */
    void *scratch;           /* of sums over processes */
    struct ranks_part *out, *in;
    pthread_mutex_t lock;
    pthread_cond_t turned;
    uint32_t waiting;
    uint64_t turn; /* how often the barrier has opened */
    bool aborted;
    bool failed; /* what the first member did for all; `fault` says why */
    struct error fault;
    struct member members[]; /* `local` of them */
};

/* The sums of numbers [first, last), in the devices' order, go to the first `receivers` members. */
void meeting_sum(const struct meeting *meeting, uint64_t first, uint64_t last, uint32_t receivers);

/* What one member does for all of this process, while the others wait. */
bool meeting_sum_across(struct meeting *meeting, struct error *err);
bool meeting_make_scratch(struct meeting *meeting, struct error *err);
void meeting_free_scratch(struct meeting *meeting);

#endif
