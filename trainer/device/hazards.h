/* What a program's byte ranges imply for running it: which ops on one stream wait for another, which bytes die where.
 */
#ifndef FATHOM_HAZARDS_H
#define FATHOM_HAZARDS_H

#include "plan.h"

struct byte_range {
    uint64_t offset, bytes;
    bool host; /* in host memory, not in the arena */
};

/* Bytes that no later op of the program reads once op i is done: ranges[first[i]] up to ranges[first[i + 1]]. */
struct dead_bytes {
    struct byte_range *ranges;
    uint32_t *first; /* op_count + 1 */
};
/* Persistent tensors and the metrics never die. The caller ends it with dead_bytes_finish, also after a failure. */
bool dead_bytes_find(const struct graph *graph, const struct plan_program *program, struct dead_bytes *dead,
                     struct error *err);
void dead_bytes_finish(struct dead_bytes *dead);

/* The ops of other streams that an op waits for, by stream; NO_OP = none. */
struct stream_waits {
    uint32_t op[PLAN_STREAMS];
};
/* For each op and each other stream the last op before it there whose bytes it shares, one of both writing, unless an
 * earlier op of its own stream has waited for that one already. dead (may be NULL) counts as written by its op. waits
 * has op_count elements. ERROR_MEMORY. */
bool stream_waits_find(const struct graph *graph, const struct plan_program *program, const struct dead_bytes *dead,
                       struct stream_waits *waits, struct error *err);

/* Whether op number `op` reads or writes any of these bytes, or leaves them dead. dead may be NULL. */
bool op_touches(const struct graph *graph, const struct plan_program *program, const struct dead_bytes *dead,
                uint32_t op, const struct byte_range *ranges, size_t count);

#endif
