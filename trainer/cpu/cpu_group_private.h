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

#define SUM_BLOCK 512u /* numbers summed at a time, on the stack */

/* Adds numbers of f16 or bf16 to f32, in which they are summed; rounds the sums back. */
void halves_add(enum sum_type type, const uint16_t *numbers, float *sums, uint64_t count);
void halves_round(enum sum_type type, const float *sums, uint16_t *out, uint64_t count);

/* What one member does for all of this process, while the others wait. */
bool meeting_sum_across(struct meeting *meeting, struct error *err);
bool meeting_make_scratch(struct meeting *meeting, struct error *err);
void meeting_free_scratch(struct meeting *meeting);

#endif
