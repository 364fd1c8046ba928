/* What nccl.c and nccl_far.c share. */
#ifndef STANDIN_NCCL_FAR_H
#define STANDIN_NCCL_FAR_H

#include <nccl.h>
#include <stdatomic.h>

#include "vendor.h"

enum number_type { NUMBER_F32, NUMBER_F64, NUMBER_F16, NUMBER_BF16 };
enum number_type number_type(ncclDataType_t type);
size_t number_bytes(enum number_type type);
/* sum + numbers[i], rounded to the type, as each hop of a ring does. */
double number_add(enum number_type type, double sum, const void *numbers, size_t i);
void number_store(enum number_type type, double value, void *numbers, size_t i);

struct far_slot { /* of one rank */
    atomic_int process;
    atomic_bool leaves, gone;
    atomic_ullong brought, summed; /* turns: sums that it has come to, and has had */
    size_t count;                  /* of the turn that it has come to */
    enum number_type type;
    bool known;    /* what it sums lies in memory that is registered */
    size_t offset; /* there */
};

struct far {
    uint64_t id;
    struct far_slot slots[MOST_DEVICES];
};

struct far_sum {
    const void *in;
    void *out;
    size_t count;
    enum number_type type;
    bool known;
    size_t offset;
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
