#define _GNU_SOURCE
#include "team.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "mem.h"
#include "thread.h"

#define EVERYONE UINT32_MAX

struct member {
    struct team *team;
    pthread_t thread;
    uint32_t rank;
    uint64_t seen; /* round */
    struct error err;
};

struct team {
    pthread_mutex_t lock;
    pthread_cond_t begin, done;
    uint64_t round; /* grows with each team_run */
    uint32_t busy;  /* members still at work in this round */
    uint32_t only;  /* rank that works in this round, or EVERYONE */
    team_fn work;   /* NULL: leave */
    void *context;
    struct error *first; /* of this round */
    bool failed;
    team_abort_fn on_abort;
    void *abort_context;
    uint32_t started; /* threads */
    uint32_t count;
    struct member members[];
};

static void report_failure(struct team *team, const struct error *err)
{
    bool is_first = !team->failed;
    team->failed = true;
    if (is_first && team->first) *team->first = *err;
    if (!is_first || !team->on_abort) return;
    pthread_mutex_unlock(&team->lock);
    team->on_abort(team->abort_context);
    pthread_mutex_lock(&team->lock);
}

static void *member_main(void *argument)
{
    struct member *self = argument;
    struct team *team = self->team;
    pthread_mutex_lock(&team->lock);
    for (;;) {
        while (self->seen == team->round) pthread_cond_wait(&team->begin, &team->lock);
        self->seen = team->round;
        if (!team->work) break;
        if (team->only != EVERYONE && team->only != self->rank) continue;
        pthread_mutex_unlock(&team->lock);
        self->err.kind = ERROR_NONE;
        bool ok = team->work(team->context, self->rank, &self->err);
        pthread_mutex_lock(&team->lock);
        if (!ok) report_failure(team, &self->err);
        if (--team->busy == 0) pthread_cond_signal(&team->done);
    }
    pthread_mutex_unlock(&team->lock);
    return NULL;
}

static int start_member(struct member *member)
{
    char name[16];
    snprintf(name, sizeof name, "device %u", member->rank % 1000);
    return thread_start(&member->thread, 0, name, member_main, member);
}

bool team_create(uint32_t count, team_abort_fn on_abort, void *abort_context, struct team **out, struct error *err)
{
    struct team *team = mem_zalloc(MEM_GENERAL, 1, sizeof *team + count * sizeof team->members[0]);
    if (!team) return error_memory(err, sizeof *team, "the devices' threads");
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->begin, NULL);
    pthread_cond_init(&team->done, NULL);
    team->count = count;
    team->on_abort = on_abort;
    team->abort_context = abort_context;
    for (uint32_t i = 0; i < count; i++) {
        team->members[i] = (struct member){.team = team, .rank = i};
        int failure = start_member(&team->members[i]);
        if (failure) {
            team_destroy(team);
            return error_errno(err, ERROR_FAILED, failure, "a thread for device %u cannot be started", i);
        }
        team->started++;
    }
    *out = team;
    return true;
}

void team_destroy(struct team *team)
{
    if (!team) return;
    pthread_mutex_lock(&team->lock);
    team->work = NULL;
    team->round++;
    pthread_cond_broadcast(&team->begin);
    pthread_mutex_unlock(&team->lock);
    for (uint32_t i = 0; i < team->started; i++) pthread_join(team->members[i].thread, NULL);
    pthread_cond_destroy(&team->begin);
    pthread_cond_destroy(&team->done);
    pthread_mutex_destroy(&team->lock);
    mem_free(team);
}

static bool run_round(struct team *team, uint32_t only, team_fn work, void *context, struct error *err)
{
    pthread_mutex_lock(&team->lock);
    team->work = work;
    team->context = context;
    team->only = only;
    team->busy = only == EVERYONE ? team->count : 1;
    team->first = err;
    team->failed = false;
    team->round++;
    pthread_cond_broadcast(&team->begin);
    while (team->busy > 0) pthread_cond_wait(&team->done, &team->lock);
    bool ok = !team->failed;
    team->first = NULL;
    pthread_mutex_unlock(&team->lock);
    return ok;
}

bool team_run(struct team *team, team_fn work, void *context, struct error *err)
{
    return run_round(team, EVERYONE, work, context, err);
}

bool team_run_one(struct team *team, uint32_t rank, team_fn work, void *context, struct error *err)
{
    return run_round(team, rank, work, context, err);
}
