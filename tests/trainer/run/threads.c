/* The devices' threads, as a plain program so that ThreadSanitizer can run it. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "team.h"

#define MEMBERS 4

static void check(bool ok, const char *what)
{
    if (ok) return;
    fprintf(stderr, "failed: %s\n", what);
    exit(1);
}

/* A collective that waits until all have come, or until it is aborted. */
struct meeting {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t arrived;
    bool aborted;
    uint32_t aborts;
    int failing; /* rank, or -1 */
    uint64_t sums[MEMBERS];
};

static bool meet(void *context, uint32_t rank, struct error *err)
{
    struct meeting *m = context;
    if ((int)rank == m->failing) return error_set(err, ERROR_FAILED, "device %u is lost", rank);
    pthread_mutex_lock(&m->lock);
    m->arrived++;
    pthread_cond_broadcast(&m->changed);
    while (m->arrived < MEMBERS && !m->aborted) pthread_cond_wait(&m->changed, &m->lock);
    bool ok = !m->aborted;
    pthread_mutex_unlock(&m->lock);
    return ok || error_set(err, ERROR_FAILED, "aborted by another device");
}

static void abort_meeting(void *context)
{
    struct meeting *m = context;
    pthread_mutex_lock(&m->lock);
    m->aborted = true;
    m->aborts++;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

static bool add_rank(void *context, uint32_t rank, struct error *err)
{
    (void)err;
    ((struct meeting *)context)->sums[rank] += rank + 1;
    return true;
}

static void check_rounds(struct team *team, struct meeting *m)
{
    for (int i = 0; i < 1000; i++) check(team_run(team, add_rank, m, NULL), "a round");
    for (int i = 0; i < 100; i++) check(team_run_one(team, 2, add_rank, m, NULL), "one member's round");
    for (uint32_t i = 0; i < MEMBERS; i++)
        check(m->sums[i] == (i + 1) * (uint64_t)(i == 2 ? 1100 : 1000), "every member takes part in every round");
}

static void check_failure(struct team *team, struct meeting *m)
{
    struct error err = {0};
    check(team_run(team, meet, m, &err), "a meeting of all");
    m->arrived = 0;
    m->failing = 1;
    check(!team_run(team, meet, m, &err), "a meeting without one");
    check(strcmp(err.text, "device 1 is lost") == 0, "the first failure is the one reported");
    check(m->aborts == 1, "the others are freed once");
}

static void check_memory(void)
{
    uint64_t before = mem_current_bytes(MEM_GENERAL);
    struct team *team = NULL;
    struct error err = {0};
    mem_fail_at(1);
    check(!team_create(MEMBERS, NULL, NULL, &team, &err), "a team without memory");
    mem_fail_at(0);
    check(err.kind == ERROR_MEMORY && !team, "it is a memory error");
    check(mem_current_bytes(MEM_GENERAL) == before, "nothing is leaked");
    team_destroy(NULL);
}

int main(void)
{
    struct meeting m = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .failing = -1};
    struct team *team;
    struct error err = {0};
    check(team_create(MEMBERS, abort_meeting, &m, &team, &err), err.text);
    check_rounds(team, &m);
    check_failure(team, &m);
    team_destroy(team);
    check_memory();
    return 0;
}
