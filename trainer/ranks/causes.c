/* What becomes of a run of several processes when one of them fails: the others are told, and the first cause alone is
 * said. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "ranks_private.h"
#include "thread.h"

#define LISTEN_NS 20000000u   /* between two looks at what others tell */
#define GRACE_NS  400000000u  /* in which ranks that fail for the same reason compare, */
#define MISSED_NS 1200000000u /* longer where nobody has failed: they end their waits one after the other, */
#define APART_NS  2500000000u /* and between hosts, whose messages may be on their way longer, longer still */
#define LINGER_NS 3000000000u /* a launcher may kill all as soon as one has ended: the one that tells goes first */

static void sleep_ns(uint64_t ns)
{
    nanosleep(&(struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)}, NULL);
}

/* ---- Hearing ---- */

/* Several may have failed by the time that this is asked. */
static void hear(struct ranks *ranks)
{
    struct ranks_cause cause;
    while (ranks->transport->hear(ranks->link, &cause)) {
        if (cause.rank >= ranks->place.size) continue;
        cause.text[sizeof cause.text - 1] = '\0';
        pthread_mutex_lock(&ranks->lock);
        ranks->causes[cause.rank] = cause;
        ranks->heard[cause.rank] = ranks->any_heard = true;
        pthread_mutex_unlock(&ranks->lock);
        atomic_store(&ranks->aborted, true);
    }
}

/* The lock is held while the act runs, so that who takes it back knows that it has ended. */
static void act(struct ranks *ranks)
{
    pthread_mutex_lock(&ranks->lock);
    if (ranks->any_heard && ranks->act) {
        ranks->act(ranks->act_context);
        ranks->act = NULL;
    }
    pthread_mutex_unlock(&ranks->lock);
}

static void *watch(void *argument)
{
    struct ranks *ranks = argument;
    while (!atomic_load(&ranks->leaving)) {
        hear(ranks);
        act(ranks);
        sleep_ns(LISTEN_NS);
    }
    return NULL;
}

bool ranks_watch(struct ranks *ranks, struct error *err)
{
    int failure = thread_start(&ranks->watcher, 0, "ranks", watch, ranks);
    ranks->watched = failure == 0;
    return ranks->watched || error_errno(err, ERROR_FAILED, failure, "a thread that listens to other ranks");
}

void ranks_stop_watching(struct ranks *ranks)
{
    atomic_store(&ranks->leaving, true);
    if (ranks->watched) pthread_join(ranks->watcher, NULL);
    ranks->watched = false;
}

void ranks_on_failure(struct ranks *ranks, void (*action)(void *context), void *context)
{
    if (!ranks) return;
    pthread_mutex_lock(&ranks->lock);
    ranks->act = action;
    ranks->act_context = context;
    pthread_mutex_unlock(&ranks->lock);
}

void ranks_abort(struct ranks *ranks)
{
    if (ranks) atomic_store(&ranks->aborted, true);
}

/* ---- Telling ---- */

/* A rank that was missed and has told why it ends has waited itself, for another: it is no cause. */
static uint32_t weight_of(const struct ranks_cause *cause, const bool *heard, uint32_t size)
{
    bool waits = cause->weight == RANKS_MISSED || cause->weight == RANKS_WAITED;
    bool alive = waits && cause->peer < size && heard[cause->peer];
    return alive ? RANKS_FOLLOWS : cause->weight;
}

/* A device that is late may have waited for another's. */
static bool is_late(const struct ranks_cause *cause) { return cause->weight == RANKS_OWN && cause->kind == ERROR_LATE; }

uint32_t ranks_first_cause(const struct ranks_cause *causes, const bool *heard, uint32_t size)
{
    uint32_t first = size;
    for (uint32_t i = 0; i < size; i++) {
        if (!heard[i]) continue;
        const struct ranks_cause *a = &causes[i], *b = first < size ? &causes[first] : NULL;
        uint32_t x = weight_of(a, heard, size), y = b ? weight_of(b, heard, size) : UINT32_MAX;
        /* Of ranks that missed one which goes on and follows them, as one that was stopped may, the first to miss it.
         */
        bool before = x != y ? x < y : is_late(a) != is_late(b) ? is_late(b) : a->weight < b->weight;
        if (before) first = i;
    }
    return first;
}

/* Another rank says the same of itself. The lock is held. */
static bool is_said_twice(const struct ranks *ranks, uint32_t first)
{
    for (uint32_t i = 0; i < ranks->place.size; i++)
        if (ranks->heard[i] && i != first && strcmp(ranks->causes[i].text, ranks->causes[first].text) == 0) return true;
    return false;
}

bool ranks_any_heard(struct ranks *ranks)
{
    pthread_mutex_lock(&ranks->lock);
    bool any = ranks->any_heard;
    pthread_mutex_unlock(&ranks->lock);
    return any;
}

static void say_where(const struct ranks *ranks, uint32_t rank, struct error *err)
{
    char name[RANKS_NAME];
    error_prefix(err, "%s", ranks_name(ranks, rank, name));
}

/* A device is late for its own sake, or as those that it sums with do not come: a rank that has told nothing meanwhile
 * has stopped, or is cut off. */
static bool say_silent(const struct ranks *ranks, struct error *err)
{
    for (uint32_t i = 0; i < ranks->place.size; i++) {
        if (i == ranks->place.rank || ranks->heard[i]) continue;
        error_prefix(err, "nothing was heard of it when rank %u waited in vain", ranks->place.rank);
        say_where(ranks, i, err);
        return true;
    }
    return false;
}

/* Of an error of peers nothing but the waiting is this rank's own. */
static struct ranks_cause own_cause(struct ranks *ranks, const struct error *err)
{
    bool waited = ranks->missed || ranks->waited;
    struct ranks_cause own = {
        .rank = ranks->place.rank, .kind = err->kind, .peer = waited ? ranks->peer : RANKS_UNKNOWN};
    own.weight = ranks->missed             ? RANKS_MISSED
                 : err->kind == ERROR_PEER ? RANKS_WAITED
                 : ranks_any_heard(ranks)  ? RANKS_FOLLOWS
                                           : RANKS_OWN;
    snprintf(own.text, sizeof own.text, "%s", err->text);
    return own;
}

/* This rank's own cause is the first: says it as what is known of it. */
static void say_own(struct ranks *ranks, const struct ranks_cause *own, bool same, struct error *err)
{
    bool guesses = is_late(own) || (own->weight == RANKS_WAITED && own->peer == RANKS_UNKNOWN);
    ranks->tells = true;
    if (guesses && say_silent(ranks, err)) return;
    if (!same && own->weight == RANKS_OWN) say_where(ranks, ranks->place.rank, err);
}

/* Of ranks that were not joined all say what they have found, but for those that have found the same. */
static bool settle_alone(const struct ranks *ranks, const struct error *err, int *code)
{
    if (ranks && ranks->quiet) *code = error_exit_code(err);
    return !ranks || !ranks->quiet;
}

bool ranks_settle(struct ranks *ranks, struct error *err, int *code)
{
    if (!ranks || !ranks->link) return settle_alone(ranks, err, code);
    bool same;
    struct ranks_cause own = own_cause(ranks, err);
    bool waits = own.weight == RANKS_MISSED || own.weight == RANKS_WAITED;
    uint64_t grace_ns = !waits ? GRACE_NS : ranks_is_local(ranks) ? MISSED_NS : APART_NS;
    ranks->transport->tell(ranks->link, &own);
    ranks->tells = !ranks->watched;
    if (ranks->tells) return true; /* it has failed before it could hear of others */
    for (uint64_t begin = clock_now_ns(); clock_now_ns() - begin < grace_ns;) sleep_ns(LISTEN_NS);
    pthread_mutex_lock(&ranks->lock);
    ranks->causes[own.rank] = own;
    ranks->heard[own.rank] = true;
    uint32_t rank = ranks_first_cause(ranks->causes, ranks->heard, ranks->place.size);
    struct ranks_cause first = ranks->causes[rank];
    same = is_said_twice(ranks, rank);
    pthread_mutex_unlock(&ranks->lock);
    if (first.rank == own.rank) {
        say_own(ranks, &own, same, err);
        return true;
    }
    struct error theirs = {.kind = (enum error_kind)first.kind};
    *code = error_exit_code(&theirs);
    if (!ranks_is_local(ranks)) sleep_ns(LINGER_NS);
    return false;
}

void ranks_end(struct ranks *ranks, int code)
{
    if (ranks && ranks->link && ranks->tells) ranks->transport->end(ranks->link, code);
}
