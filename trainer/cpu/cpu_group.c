#include "cpu_group.h"

#include <pthread.h>

#include "mem.h"

enum sum_type { SUM_F32, SUM_F64 };

struct member {
    bool joined;
    const void *in;
    void *out;
    uint64_t count;
    enum sum_type type;
};

struct group {
    uint32_t count;
    pthread_mutex_t lock;
    pthread_cond_t turned;
    uint32_t waiting;
    uint64_t turn; /* how often the barrier has opened */
    bool aborted;
    struct member members[];
};

bool cpu_group_create(uint32_t count, struct group **group, struct error *err)
{
    if (count == 0) return error_set(err, ERROR_FAILED, "a group of 0 devices: at least 1 is needed");
    size_t bytes = sizeof(struct group) + count * sizeof(struct member);
    struct group *made = mem_zalloc(MEM_GENERAL, 1, bytes);
    if (!made) return error_memory(err, bytes, "a group of devices");
    made->count = count;
    if (pthread_mutex_init(&made->lock, NULL) != 0) goto no_lock;
    if (pthread_cond_init(&made->turned, NULL) != 0) goto no_condition;
    *group = made;
    return true;
no_condition:
    pthread_mutex_destroy(&made->lock);
no_lock:
    mem_free(made);
    return error_set(err, ERROR_FAILED, "no lock for a group of %u devices", (unsigned)count);
}

void cpu_group_destroy(struct group *group)
{
    if (!group) return;
    pthread_cond_destroy(&group->turned);
    pthread_mutex_destroy(&group->lock);
    mem_free(group);
}

void cpu_group_abort(struct group *group)
{
    pthread_mutex_lock(&group->lock);
    group->aborted = true;
    pthread_cond_broadcast(&group->turned);
    pthread_mutex_unlock(&group->lock);
}

uint32_t group_count(const struct group *group) { return group->count; }

/* Waits for all members. The lock is held. False when the group was aborted before all came. */
static bool wait_for_all(struct group *group, bool to_the_end)
{
    uint64_t turn = group->turn;
    if (++group->waiting == group->count) {
        group->waiting = 0;
        group->turn++;
        pthread_cond_broadcast(&group->turned);
    }
    while (group->turn == turn && (to_the_end || !group->aborted)) pthread_cond_wait(&group->turned, &group->lock);
    return group->turn != turn;
}

static bool enter(struct group *group, struct error *err)
{
    pthread_mutex_lock(&group->lock);
    bool met = !group->aborted && wait_for_all(group, false);
    pthread_mutex_unlock(&group->lock);
    return met || error_set(err, ERROR_FAILED, "the group of %u devices was aborted: one of them failed",
                            (unsigned)group->count);
}

/* All are inside the call and will come, even when the group is aborted meanwhile: nobody may leave, and free its
 * memory, before all are done with it. */
static void leave(struct group *group)
{
    pthread_mutex_lock(&group->lock);
    wait_for_all(group, true);
    pthread_mutex_unlock(&group->lock);
}

bool cpu_group_join(struct group *group, uint32_t rank, struct error *err)
{
    if (rank >= group->count)
        return error_set(err, ERROR_FAILED, "rank %u in a group of %u devices", (unsigned)rank, (unsigned)group->count);
    pthread_mutex_lock(&group->lock);
    bool taken = group->members[rank].joined;
    group->members[rank].joined = true;
    pthread_mutex_unlock(&group->lock);
    if (taken) return error_set(err, ERROR_FAILED, "rank %u of a group joined twice", (unsigned)rank);
    return enter(group, err);
}

/* All members have published their calls: do they agree? Every thread comes to the same answer. */
static bool check_agreement(struct group *group, struct error *err)
{
    const struct member *first = &group->members[0];
    for (uint32_t i = 1; i < group->count; i++) {
        const struct member *other = &group->members[i];
        if (other->count == first->count && other->type == first->type) continue;
        cpu_group_abort(group);
        return error_set(err, ERROR_FAILED, "device 0 of a group reduces %llu numbers while device %u reduces %llu",
                         (unsigned long long)first->count, (unsigned)i, (unsigned long long)other->count);
    }
    return true;
}

static void sum_f32(const struct group *group, uint64_t first, uint64_t last)
{
    for (uint64_t i = first; i < last; i++) {
        float sum = ((const float *)group->members[0].in)[i];
        for (uint32_t k = 1; k < group->count; k++) sum += ((const float *)group->members[k].in)[i];
        for (uint32_t k = 0; k < group->count; k++) ((float *)group->members[k].out)[i] = sum;
    }
}

static void sum_f64(const struct group *group, uint64_t first, uint64_t last)
{
    for (uint64_t i = first; i < last; i++) {
        double sum = ((const double *)group->members[0].in)[i];
        for (uint32_t k = 1; k < group->count; k++) sum += ((const double *)group->members[k].in)[i];
        for (uint32_t k = 0; k < group->count; k++) ((double *)group->members[k].out)[i] = sum;
    }
}

/* Each thread sums its own share of the elements and hands the sums to every member, so no element is read after it was
 * overwritten. */
static bool sum(struct group *group, uint32_t rank, struct member call, struct error *err)
{
    call.joined = true;
    group->members[rank] = call;
    TRY(enter(group, err));
    TRY(check_agreement(group, err));
    uint64_t share = (call.count + group->count - 1) / group->count;
    uint64_t first = share * rank < call.count ? share * rank : call.count;
    uint64_t last = first + share < call.count ? first + share : call.count;
    if (call.type == SUM_F32)
        sum_f32(group, first, last);
    else
        sum_f64(group, first, last);
    leave(group);
    return true;
}

bool group_sum_f32(struct group *group, uint32_t rank, const float *in, float *out, uint64_t count, struct error *err)
{
    return sum(group, rank, (struct member){.in = in, .out = out, .count = count, .type = SUM_F32}, err);
}

bool group_sum_f64(struct group *group, uint32_t rank, const double *in, double *out, uint64_t count, struct error *err)
{
    return sum(group, rank, (struct member){.in = in, .out = out, .count = count, .type = SUM_F64}, err);
}
