#define _GNU_SOURCE
#include "cpu_group.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cpu_group_private.h"
#include "mem.h"
#include "ranks.h"
#include "thread.h"

struct group {
    struct meeting *meeting;
    uint32_t rank, local; /* of the group, and of those here */
    uint64_t limit_ns;    /* of each wait; 0 = none */
};

/* ---- Groups by id ---- */

/* What an id's bytes are here. */
struct group_key {
    uint64_t process, number;
};

static pthread_mutex_t meetings_lock = PTHREAD_MUTEX_INITIALIZER; /* over what follows, and the meetings' ranks */
static struct meeting *meetings;
static uint64_t last_number;

bool cpu_group_name(struct group_id *id, struct error *err)
{
    (void)err;
    *id = (struct group_id){0};
    pthread_mutex_lock(&meetings_lock);
    struct group_key key = {(uint64_t)getpid(), ++last_number};
    pthread_mutex_unlock(&meetings_lock);
    memcpy(id->bytes, &key, sizeof key);
    return true;
}

static void free_meeting(struct meeting *meeting)
{
    meeting_free_scratch(meeting);
    mem_free(meeting->numbers);
    mem_free(meeting->sums);
    mem_free(meeting);
}

static struct meeting *create_meeting(const struct group_key *key, uint32_t size, struct ranks *ranks,
                                      struct error *err)
{
    uint32_t first = 0, local = size;
    if (ranks) ranks_devices_of(ranks, ranks_place(ranks).rank, &first, &local);
    size_t bytes = sizeof(struct meeting) + local * sizeof(struct member);
    struct meeting *made = mem_zalloc(MEM_GENERAL, 1, bytes);
    if (!made) {
        error_memory(err, bytes, "a group of devices");
        return NULL;
    }
    made->process = key->process;
    made->number = key->number;
    made->size = size;
    made->first = first;
    made->local = local;
    made->processes = ranks;
    made->numbers = mem_zalloc(MEM_GENERAL, size, sizeof *made->numbers);
    made->sums = mem_zalloc(MEM_GENERAL, local, sizeof *made->sums);
    if (!made->numbers || !made->sums || (ranks && !meeting_make_scratch(made, err))) {
        error_memory(err, bytes, "a group of devices");
        free_meeting(made);
        return NULL;
    }
    pthread_mutex_init(&made->lock, NULL);
    thread_cond_init(&made->turned);
    made->next = meetings;
    meetings = made;
    return made;
}

static void destroy_meeting(struct meeting *meeting)
{
    struct meeting **at = &meetings;
    while (*at != meeting) at = &(*at)->next;
    *at = meeting->next;
    pthread_cond_destroy(&meeting->turned);
    pthread_mutex_destroy(&meeting->lock);
    free_meeting(meeting);
}

static bool check_id(const struct group_key *key, uint32_t rank, uint32_t size, const struct ranks *ranks,
                     struct error *err)
{
    if (ranks) return true;
    if (key->process != (uint64_t)getpid() || key->number == 0 || key->number > last_number)
        return error_set(err, ERROR_FAILED, "a group of another process: virtual devices reduce within one");
    if (rank < size) return true;
    return error_set(err, ERROR_FAILED, "rank %u in a group of %u devices", (unsigned)rank, (unsigned)size);
}

/* The lock of the meetings is held. */
static struct meeting *find_meeting(const struct group_key *key, uint32_t rank, uint32_t size, struct ranks *ranks,
                                    struct error *err)
{
    if (!check_id(key, rank, size, ranks, err)) return NULL;
    struct meeting *found = meetings;
    while (found && (found->process != key->process || found->number != key->number)) found = found->next;
    if (!found) found = create_meeting(key, size, ranks, err);
    if (!found || (found->size == size && !found->members[rank - found->first].taken)) return found;
    if (found->size != size)
        error_set(err, ERROR_FAILED, "a group of %u devices is one of %u to others", (unsigned)size,
                  (unsigned)found->size);
    else
        error_set(err, ERROR_FAILED, "rank %u of a group is there twice", (unsigned)rank);
    return NULL;
}

bool cpu_group_create(const struct group_id *id, uint32_t rank, uint32_t size, struct ranks *ranks,
                      struct group **group, struct error *err)
{
    struct group_key key;
    memcpy(&key, id->bytes, sizeof key);
    struct group *made = mem_zalloc(MEM_GENERAL, 1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "a device's membership in a group");
    pthread_mutex_lock(&meetings_lock);
    struct meeting *meeting = find_meeting(&key, rank, size, ranks, err);
    if (meeting) {
        made->local = rank - meeting->first;
        meeting->members[made->local].taken = true;
        meeting->ranks++;
    }
    pthread_mutex_unlock(&meetings_lock);
    made->meeting = meeting;
    made->rank = rank;
    if (!meeting) {
        mem_free(made);
        return false;
    }
    *group = made;
    return true;
}

void cpu_group_destroy(struct group *group)
{
    if (!group) return;
    pthread_mutex_lock(&meetings_lock);
    if (--group->meeting->ranks == 0) destroy_meeting(group->meeting);
    pthread_mutex_unlock(&meetings_lock);
    mem_free(group);
}

/* ---- Meeting ---- */

static void abort_meeting(struct meeting *meeting)
{
    pthread_mutex_lock(&meeting->lock);
    meeting->aborted = true;
    pthread_cond_broadcast(&meeting->turned);
    pthread_mutex_unlock(&meeting->lock);
    ranks_abort(meeting->processes);
}

void cpu_group_abort(struct group *group) { abort_meeting(group->meeting); }

uint32_t group_count(const struct group *group) { return group->meeting->size; }

/* Waits for all ranks. The lock is held. False when the group was aborted before all came, or after limit_ns (0 =
 * never). to_the_end: not even an abort ends the wait. */
static bool wait_for_all(struct group *group, uint64_t limit_ns, bool to_the_end)
{
    struct meeting *m = group->meeting;
    struct timespec until = thread_deadline(limit_ns);
    uint64_t turn = m->turn;
    m->members[group->local].here = true;
    if (++m->waiting == m->local) {
        m->waiting = 0;
        m->turn++;
        for (uint32_t i = 0; i < m->local; i++) m->members[i].here = false;
        pthread_cond_broadcast(&m->turned);
    }
    int late = 0;
    while (m->turn == turn && !late && (to_the_end || !m->aborted))
        late =
            limit_ns ? pthread_cond_timedwait(&m->turned, &m->lock, &until) : pthread_cond_wait(&m->turned, &m->lock);
    return m->turn != turn;
}

/* The first member of this process that is not here. The lock is held. */
static uint32_t missing_rank(const struct meeting *meeting)
{
    uint32_t member = 0;
    while (member + 1 < meeting->local && meeting->members[member].here) member++;
    return meeting->first + member;
}

static bool enter(struct group *group, struct error *err)
{
    struct meeting *m = group->meeting;
    pthread_mutex_lock(&m->lock);
    bool met = !m->aborted && wait_for_all(group, group->limit_ns, false), late = !met && !m->aborted;
    uint32_t missing = missing_rank(m);
    pthread_mutex_unlock(&m->lock);
    if (met) return true;
    if (!late)
        return error_set(err, ERROR_FAILED, "the group of %u devices was aborted: one of them failed",
                         (unsigned)m->size);
    abort_meeting(m);
    return error_set(err, ERROR_FAILED, "device %u of a group has waited %g s for device %u", (unsigned)group->rank,
                     (double)group->limit_ns * 1e-9, (unsigned)missing);
}

/* All are inside the call and will come, even when the group is aborted meanwhile: nobody may leave, and free its
 * memory, before all are done with it. */
static void leave(struct group *group)
{
    pthread_mutex_lock(&group->meeting->lock);
    wait_for_all(group, 0, true);
    pthread_mutex_unlock(&group->meeting->lock);
}

/* One member does it for all of this process; each then has the same answer. */
static bool do_for_all(struct group *group, bool (*act)(struct meeting *meeting, struct error *err), struct error *err)
{
    struct meeting *m = group->meeting;
    if (group->local == 0) {
        m->fault = (struct error){0};
        m->failed = !act(m, &m->fault);
    }
    leave(group);
    if (!m->failed) return true;
    if (err) *err = m->fault;
    return false;
}

static bool join_across(struct meeting *meeting, struct error *err) { return ranks_barrier(meeting->processes, err); }

bool cpu_group_join(struct group *group, uint64_t limit_ns, struct error *err)
{
    group->limit_ns = limit_ns;
    TRY(enter(group, err));
    return !group->meeting->processes || do_for_all(group, join_across, err);
}

/* ---- Sums ---- */

/* All members have published their calls: do they agree? Every thread comes to the same answer. */
static bool check_agreement(struct group *group, struct error *err)
{
    const struct meeting *m = group->meeting;
    const struct member *first = &m->members[0];
    for (uint32_t i = 1; i < m->local; i++) {
        const struct member *other = &m->members[i];
        if (other->count == first->count && other->type == first->type) continue;
        abort_meeting(group->meeting);
        return error_set(err, ERROR_FAILED, "device 0 of a group reduces %llu numbers while device %u reduces %llu",
                         (unsigned long long)first->count, (unsigned)i, (unsigned long long)other->count);
    }
    return true;
}

/* Each thread sums its own share of the elements and hands the sums to every member, so no element is read after it was
 * overwritten. */
static bool sum(struct group *group, struct member call, struct error *err)
{
    struct meeting *m = group->meeting;
    call.taken = true;
    m->members[group->local] = call;
    m->numbers[group->local] = call.in;
    m->sums[group->local] = call.out;
    TRY(enter(group, err));
    TRY(check_agreement(group, err));
    if (m->processes) return do_for_all(group, meeting_sum_across, err);
    uint64_t share = (call.count + m->size - 1) / m->size;
    uint64_t first = share * group->rank < call.count ? share * group->rank : call.count;
    uint64_t last = first + share < call.count ? first + share : call.count;
    meeting_sum(m, first, last, m->local);
    leave(group);
    return true;
}

bool group_sum_f32(struct group *group, const float *in, float *out, uint64_t count, struct error *err)
{
    return sum(group, (struct member){.in = in, .out = out, .count = count, .type = SUM_F32}, err);
}

bool group_sum_f64(struct group *group, const double *in, double *out, uint64_t count, struct error *err)
{
    return sum(group, (struct member){.in = in, .out = out, .count = count, .type = SUM_F64}, err);
}

bool group_sum_half(struct group *group, enum dtype dtype, const uint16_t *in, uint16_t *out, uint64_t count,
                    struct error *err)
{
    enum sum_type type = dtype == DTYPE_F16 ? SUM_F16 : SUM_BF16;
    return sum(group, (struct member){.in = in, .out = out, .count = count, .type = type}, err);
}
