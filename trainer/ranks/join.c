/* The transport opens in a thread of its own, since a launcher's library may block for ever in its start (MPI_Init
 * waits for all ranks, and one of them may be stopped or lost). */
#define _GNU_SOURCE
#include "ranks_private.h"

#include "clock.h"
#include "mem.h"
#include "patience.h"
#include "thread.h"

#define LOOK_NS   UINT64_C(100000000)
#define MARGIN_NS UINT64_C(2000000000)

struct joining {
    const struct ranks_transport *transport;
    uint64_t limit_ns;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool has_ended;
    enum ranks_outcome outcome;
    struct ranks_link *link;
    uint32_t rank, size;
    char fault[RANKS_FAULT];
};

static void *join_ranks(void *context)
{
    struct joining *j = context;
    enum ranks_outcome outcome = j->transport->open(&j->link, &j->rank, &j->size, j->limit_ns, j->fault);
    pthread_mutex_lock(&j->lock);
    j->outcome = outcome;
    j->has_ended = true;
    pthread_cond_signal(&j->ended);
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

/* A little longer than the transport, which looks at the limit itself where it can, and then says more. */
static bool wait_for_joining(struct joining *j)
{
    struct patience patience = patience_begin(clock_now_ns(), j->limit_ns + MARGIN_NS);
    pthread_mutex_lock(&j->lock);
    while (!j->has_ended && !patience_is_over(&patience, clock_now_ns())) {
        struct timespec until = thread_deadline(LOOK_NS);
        pthread_cond_timedwait(&j->ended, &j->lock, &until);
    }
    bool ended = j->has_ended;
    pthread_mutex_unlock(&j->lock);
    return ended;
}

static void destroy_joining(struct joining *j)
{
    pthread_cond_destroy(&j->ended);
    pthread_mutex_destroy(&j->lock);
    mem_free(j);
}

static bool take_joined(struct ranks *ranks, struct joining *j, struct error *err)
{
    if (j->outcome != RANKS_DONE)
        return error_set(err, j->outcome == RANKS_LATE ? ERROR_LATE : ERROR_INPUT, "%s: %s", ranks->launcher, j->fault);
    ranks->link = j->link;
    ranks->place.rank = j->rank;
    ranks->place.size = j->size;
    return true;
}

bool ranks_join(struct ranks *ranks, struct error *err)
{
    pthread_t thread;
    struct joining *j = mem_zalloc(MEM_GENERAL, 1, sizeof *j);
    if (!j) return error_memory(err, sizeof *j, "the ranks of a run");
    j->transport = ranks->transport;
    j->limit_ns = ranks->limit_ns;
    pthread_mutex_init(&j->lock, NULL);
    thread_cond_init(&j->ended);
    int code = thread_start(&thread, 0, "ranks-join", join_ranks, j);
    if (code != 0) {
        destroy_joining(j);
        return error_errno(err, ERROR_FAILED, code, "a thread that joins the ranks");
    }
    if (!wait_for_joining(j)) { /* the thread and what it writes to stay until the process ends */
        pthread_detach(thread);
        return error_set(err, ERROR_LATE, "%s: not all ranks have started in time; one is stopped, or its host is lost",
                         ranks->launcher);
    }
    pthread_join(thread, NULL);
    bool ok = take_joined(ranks, j, err);
    destroy_joining(j);
    return ok;
}
