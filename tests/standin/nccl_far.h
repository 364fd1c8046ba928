/* What nccl.c, nccl_far.c and nccl_net.c share. */
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
    struct net *net; /* NULL: it lies in memory that processes share; else this process's mirror of what all tell (nccl_net.c) */
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

/* So much of it, with room for numbers of all ranks. */
size_t far_bytes(int size);
uint8_t *far_numbers(struct far *far, int rank);
/* In shared memory where net is NULL; NULL where it cannot be had. */
struct far *far_join(struct net *net, uint64_t id, int rank, int size);
void far_leave(struct far *far, int rank);
void far_give_up(struct far *far, int rank);
/* Somebody is there no more. */
bool far_has_lost(struct far *far);
bool far_is_whole(struct far *far, int size);
bool far_have_left(struct far *far, int size);
/* A rank comes to its sum number `turn`; false: somebody has not had the one before. */
bool far_bring(struct far *far, int rank, int size, uint64_t turn, const struct far_sum *sum);
/* False: others have not come to it. */
bool far_sum_up(struct far *far, int rank, int size, uint64_t turn, const struct far_sum *sum);

#endif
