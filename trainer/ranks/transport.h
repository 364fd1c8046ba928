/* What carries messages between the ranks of a run: the contract with fathom-mpi.so, which is compiled against mpi.h and
 * this header and patience.h alone, and with the sockets of processes that fathom starts itself. */
#ifndef FATHOM_TRANSPORT_H
#define FATHOM_TRANSPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define RANKS_FAULT 256

struct ranks_link; /* a process's end */

struct ranks_part {
    uint32_t peer;  /* to, or from */
    void *bytes;    /* read, or filled */
    uint64_t count;
};

enum ranks_outcome {
    RANKS_DONE,
    RANKS_LATE,    /* `peer` has not come in time */
    RANKS_GONE,    /* `peer` has ended */
    RANKS_ABORTED, /* *aborted was set while `peer` had not come */
    RANKS_CUT,     /* a message fails, as one does whose peer is no more; which it was is not known, `fault` says what */
    RANKS_REFUSED, /* opening: all ranks are, for the same reason, in `fault`, and *rank is known */
    RANKS_BROKEN   /* `fault` says what */
};

struct ranks_wait {
    uint64_t limit_ns;
    const atomic_bool *aborted;
    uint32_t peer; /* out */
    char fault[RANKS_FAULT];
};

/* Why a rank has failed. The least weight is the first cause. */
enum ranks_weight {
    RANKS_OWN,    /* something went wrong in this rank */
    RANKS_MISSED, /* `peer` did not come in time */
    RANKS_WAITED, /* `peer` had not come when others gave up, or who it was is not known */
    RANKS_FOLLOWS
};
#define RANKS_UNKNOWN UINT32_MAX
struct ranks_cause {
    uint32_t rank, weight;
    uint32_t peer; /* who did not come; RANKS_UNKNOWN */
    uint32_t kind; /* enum error_kind */
    char text[1024];
};

struct ranks_transport {
    uint32_t version; /* RANKS_TRANSPORT_VERSION */
    bool copies;            /* messages, all of an exchange at a time, to and from memory of its own */
    uint64_t process_bytes; /* that a process holds for it besides, */
    uint64_t rank_bytes;    /* and for each rank of its host */
    /* RANKS_DONE; RANKS_LATE: not all ranks have met within limit_ns, and `fault` says what; RANKS_REFUSED; RANKS_BROKEN. */
    enum ranks_outcome (*open)(struct ranks_link **link, uint32_t *rank, uint32_t *size, uint64_t limit_ns,
                               char fault[RANKS_FAULT]);
    /* Sends and receives all parts; polls. One thread at a time. The parts are the caller's again once it returns, whatever
     * the outcome. After any but RANKS_DONE the run has failed, and what was received is not to be used. */
    enum ranks_outcome (*exchange)(struct ranks_link *link, const struct ranks_part *out, uint32_t outs,
                                   const struct ranks_part *in, uint32_t ins, struct ranks_wait *wait);
    /* A cause goes to all others, and waits for nobody; the next that another has told. From any thread. */
    void (*tell)(struct ranks_link *link, const struct ranks_cause *cause);
    bool (*hear)(struct ranks_link *link, struct ranks_cause *cause);
    /* Optional: the signal by which the launcher was asked to end the run; 0 = none. */
    int (*asked)(struct ranks_link *link);
    /* All went well. */
    void (*close)(struct ranks_link *link);
    /* After a failure: ends all processes, this one with `code`, where it can; waits for nobody. */
    void (*end)(struct ranks_link *link, int code);
};

#define RANKS_TRANSPORT_VERSION 7u
#define RANKS_TRANSPORT_SYMBOL  "fathom_ranks_transport" /* of a module: const struct ranks_transport */

#endif
