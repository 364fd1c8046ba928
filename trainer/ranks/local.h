/* What a process and the ranks that it has started share: their sockets, by number, and a board in memory. */
#ifndef FATHOM_LOCAL_H
#define FATHOM_LOCAL_H

#include <stdatomic.h>
#include <stddef.h>

#include "transport.h"

/* "RANK:SIZE:BOARD:SOCKET,SOCKET,...": numbers of descriptors, a rank's own socket -1. */
#define LOCAL_VARIABLE   "FATHOM_RANKS"
#define LOCAL_MOST_RANKS 16u /* each has a socket to each other */

struct local_board {
    atomic_int stop; /* a signal that has asked the run to end */
    struct local_word {
        atomic_bool written;
        struct ranks_cause cause;
    } words[];
};

/* Whether this process is one that launch.c has started. */
bool local_is_child(void);

static inline size_t local_board_bytes(uint32_t ranks)
{
    return sizeof(struct local_board) + ranks * sizeof(struct local_word);
}

/* The first word of a rank counts; returns whether this was it. */
static inline bool local_write(struct local_word *word, const struct ranks_cause *cause)
{
    if (atomic_load(&word->written)) return false;
    word->cause = *cause;
    atomic_store(&word->written, true);
    return true;
}

#endif
