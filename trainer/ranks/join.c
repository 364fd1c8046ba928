/* The transport opens in a thread of its own, since a launcher's library may block for ever in its start (MPI_Init
 * waits for all ranks, and one of them may be stopped or lost). The thread stays until the transport is closed: MPI
 * wants its end in the thread of its beginning. */
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
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool has_ended; /* the opening, well or not */
    bool leave;
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
    pthread_cond_signal(&j->changed);
    while (outcome == RANKS_DONE && !j->leave) pthread_cond_wait(&j->changed, &j->lock);
    pthread_mutex_unlock(&j->lock);
    if (outcome == RANKS_DONE) j->transport->close(j->link);
    return NULL;
}

/* A little longer than the transport, which looks at the limit itself where it can, and then says more. */
static bool wait_for_joining(struct joining *j)
{
    struct patience patience = patience_begin(clock_now_ns(), j->limit_ns + MARGIN_NS);
    pthread_mutex_lock(&j->lock);
    while (!j->has_ended && !patience_is_over(&patience, clock_now_ns())) {
        struct timespec until = thread_deadline(LOOK_NS);
        pthread_cond_timedwait(&j->changed, &j->lock, &until);
    }
    bool ended = j->has_ended;
    pthread_mutex_unlock(&j->lock);
    return ended;
}

static void destroy_joining(struct joining *j)
{
    pthread_cond_destroy(&j->changed);
    pthread_mutex_destroy(&j->lock);
    mem_free(j);
}

static bool take_joined(struct ranks *ranks, struct joining *j, struct error *err)
{
    ranks->quiet = j->outcome == RANKS_REFUSED && j->rank > 0;
    if (j->outcome != RANKS_DONE)
        return error_set(err, j->outcome == RANKS_LATE ? ERROR_LATE : ERROR_INPUT, "%s: %s", ranks->launcher, j->fault);
    ranks->link = j->link;
    ranks->place.rank = j->rank;
    ranks->place.size = j->size;
    return true;
}

static bool start_joining(struct joining *j, struct error *err)
{
    int failure = thread_start(&j->thread, 0, "ranks-join", join_ranks, j);
    return failure == 0 || error_errno(err, ERROR_FAILED, failure, "a thread that joins the ranks");
}

bool ranks_join(struct ranks *ranks, struct error *err)
{
    struct joining *j = mem_zalloc(MEM_GENERAL, 1, sizeof *j);
    if (!j) return error_memory(err, sizeof *j, "the ranks of a run");
    j->transport = ranks->transport;
    j->limit_ns = ranks->limit_ns;
    pthread_mutex_init(&j->lock, NULL);
    thread_cond_init(&j->changed);
    if (!start_joining(j, err)) {
        destroy_joining(j);
        return false;
    }
    if (!wait_for_joining(j)) { /* the thread and what it writes to stay until the process ends */
        pthread_detach(j->thread);
        return error_set(err, ERROR_LATE, "%s: not all ranks have started in time; one is stopped, or its host is lost",
                         ranks->launcher);
    }
    if (take_joined(ranks, j, err)) {
        ranks->joining = j;
        return true;
    }
    pthread_join(j->thread, NULL);
    destroy_joining(j);
    return false;
}

void ranks_leave(struct ranks *ranks)
{
    struct joining *j = ranks->joining;
    pthread_mutex_lock(&j->lock);
    j->leave = true;
    pthread_cond_signal(&j->changed);
    pthread_mutex_unlock(&j->lock);
    pthread_join(j->thread, NULL);
    destroy_joining(j);
}
