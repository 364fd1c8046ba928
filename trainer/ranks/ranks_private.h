/* What the files of this folder share. */
#ifndef FATHOM_RANKS_PRIVATE_H
#define FATHOM_RANKS_PRIVATE_H

#include <pthread.h>

#include "ranks.h"

struct ranks {
    const struct ranks_transport *transport;
    struct ranks_link *link;
    struct joining *joining; /* join.c's */
    const char *launcher;
    struct ranks_place place;
    struct ranks_place *places; /* of all ranks */
    uint32_t devices;           /* as divided; 0 = not yet */
    uint64_t limit_ns, later_limit_ns;
    struct ranks_part *out, *in; /* room for one part of each rank */
    struct ranks_part *peers;    /* likewise, of ranks_exchange's callers */

    atomic_bool aborted; /* exchanges fail */
    bool missed, waited; /* this rank has waited in vain, or until others gave up, */
    uint32_t peer;       /* for that one */
    pthread_t watcher;
    bool quiet;   /* this rank has failed before it was joined, as all have, and another says it */
    bool tells;   /* the first cause */
    bool watched; /* the watcher has been started, and the tables below are there */
    atomic_bool leaving;
    pthread_mutex_t lock;       /* over what follows */
    struct ranks_cause *causes; /* of others, as heard: causes[rank] */
    bool *heard;
    bool any_heard;
    void (*act)(void *context);
    void *act_context;
};

/* The transport that this process was started with; NULL = it was started alone. */
bool ranks_find_transport(const struct ranks_options *options, const struct ranks_transport **transport,
                          const char **launcher, struct error *err);

extern const struct ranks_transport ranks_local_transport; /* processes that launch.c has started */
bool ranks_is_local(const struct ranks *ranks);

/* The first device of a rank, and of rank `size` their number. */
uint32_t ranks_first_device(const struct ranks *ranks, uint32_t rank);

/* "rank 1 of 4 (host node2, device 1)", as far as it is known, into out. Returns out. */
#define RANKS_NAME (RANKS_HOST + 96)
char *ranks_name(const struct ranks *ranks, uint32_t rank, char out[RANKS_NAME]);

/* host.c: the name and the machine of this process. */
void ranks_find_host(struct ranks_place *place);

/* join.c: opens the transport, and knows the rank and their number then. ERROR_LATE: not within limit_ns, and a thread may be
 * left in the transport's library until the process ends. */
bool ranks_join(struct ranks *ranks, struct error *err);
/* Closes the transport, by the thread that has opened it. */
void ranks_leave(struct ranks *ranks);

/* causes.c: hears of other ranks' failures; whether it has. */
bool ranks_any_heard(struct ranks *ranks);
/* The rank whose cause is the first, of those that have told one (heard[rank]); size where nobody has. */
uint32_t ranks_first_cause(const struct ranks_cause *causes, const bool *heard, uint32_t size);
bool ranks_watch(struct ranks *ranks, struct error *err);
void ranks_stop_watching(struct ranks *ranks);

#endif
