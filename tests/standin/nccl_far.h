/* What nccl.c and nccl_far.c share. */
#ifndef STANDIN_NCCL_FAR_H
#define STANDIN_NCCL_FAR_H

#include <stdatomic.h>

#include "vendor.h"

struct far_slot { /* of one rank */
    atomic_int process;
    atomic_bool leaves, gone;
    atomic_ullong brought, summed; /* turns: sums that it has come to, and has had */
    size_t count;                  /* of the turn that it has come to */
    bool doubles;
};

struct far {
    uint64_t id;
    struct far_slot slots[MOST_DEVICES];
};

struct far_sum {
    const void *in;
    void *out;
    size_t count;
    bool doubles;
};

/* NULL where it cannot be had. */
struct far *far_join(uint64_t id, int rank, int size);
bool far_is_whole(struct far *far, int size);
bool far_have_left(struct far *far, int size);
/* A rank comes to its sum number `turn`; false: somebody has not had the one before. */
bool far_bring(struct far *far, int rank, int size, uint64_t turn, const struct far_sum *sum);
/* False: others have not come to it. */
bool far_sum_up(struct far *far, int rank, int size, uint64_t turn, const struct far_sum *sum);

#endif
