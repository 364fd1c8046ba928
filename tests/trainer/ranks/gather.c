/* What ranks gather, each a thread here, between them queues in memory: all learn all, whether they tell each other at
 * once or in rounds; and of one that does not come all know that it was that one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "ranks_private.h"
#include "thread.h"

#define MOST     130u
#define RECORD   12u /* bytes */
#define LIMIT_NS UINT64_C(300000000)

struct message {
    struct message *next;
    uint64_t count;
    uint8_t bytes[];
};

struct ranks_link {
    uint32_t rank;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static struct message *queues[MOST][MOST]; /* from, to: in the order of their sending */
static int wrong;

static void expect(bool ok, const char *what, uint32_t size)
{
    if (ok) return;
    wrong++;
    fprintf(stderr, "%u ranks: %s\n", size, what);
}

/* ---- Queues ---- */

static void put(uint32_t from, const struct ranks_part *part)
{
    struct message *made = malloc(sizeof *made + part->count), **end = &queues[from][part->peer];
    if (!made) abort();
    *made = (struct message){.count = part->count};
    memcpy(made->bytes, part->bytes, part->count);
    while (*end) end = &(*end)->next;
    *end = made;
}

static bool take(uint32_t to, const struct ranks_part *part)
{
    struct message **first = &queues[part->peer][to], *taken = *first;
    if (!taken) return false;
    if (taken->count != part->count) abort();
    memcpy(part->bytes, taken->bytes, part->count);
    *first = taken->next;
    free(taken);
    return true;
}

static enum ranks_outcome exchange(struct ranks_link *link, const struct ranks_part *out, uint32_t outs,
                                   const struct ranks_part *in, uint32_t ins, struct ranks_wait *wait)
{
    const struct timespec until = thread_deadline(wait->limit_ns);
    uint32_t taken = 0;
    int late = 0;
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < outs; i++) put(link->rank, &out[i]);
    pthread_cond_broadcast(&changed);
    while (taken < ins && late == 0)
        if (take(link->rank, &in[taken]))
            taken++;
        else
            late = pthread_cond_timedwait(&changed, &lock, &until);
    pthread_mutex_unlock(&lock);
    if (taken < ins) wait->peer = in[taken].peer;
    return taken < ins ? RANKS_LATE : RANKS_DONE;
}

static void empty_queues(void)
{
    for (uint32_t from = 0; from < MOST; from++)
        for (uint32_t to = 0; to < MOST; to++)
            while (queues[from][to]) {
                struct message *next = queues[from][to]->next;
                free(queues[from][to]);
                queues[from][to] = next;
            }
}

/* ---- Ranks ---- */

static const struct ranks_transport transport = {.exchange = exchange};

struct member {
    pthread_t thread;
    struct ranks_link link;
    struct ranks ranks;
    uint32_t devices;
    bool ok;
    uint8_t *all; /* a record of each rank, or of each device */
};

static void fill(uint8_t record[RECORD], uint32_t number)
{
    for (uint32_t i = 0; i < RECORD; i++) record[i] = (uint8_t)(number * 7 + i);
}

static void *gather(void *context)
{
    struct member *m = context;
    struct error err;
    uint32_t first = m->link.rank, count = 1;
    if (m->devices) ranks_devices_of(&m->ranks, m->link.rank, &first, &count);
    for (uint32_t i = first; i < first + count; i++) fill(m->all + (size_t)i * RECORD, i);
    m->ok = m->devices ? ranks_gather_devices(&m->ranks, m->all, RECORD, &err)
                       : ranks_gather(&m->ranks, m->all, RECORD, &err);
    return NULL;
}

static bool has_all(const struct member *m, uint32_t count)
{
    uint8_t wanted[RECORD];
    for (uint32_t i = 0; i < count; i++) {
        fill(wanted, i);
        if (memcmp(m->all + (size_t)i * RECORD, wanted, RECORD) != 0) return false;
    }
    return true;
}

/* devices 0: a record of each rank. lost: a rank that does not come; `size` = none. */
static void begin(struct member *members, uint32_t size, uint32_t devices, uint32_t lost)
{
    static struct ranks_place places[MOST];
    for (uint32_t i = 0; i < size; i++) {
        struct member *m = &members[i];
        m->link.rank = i;
        m->devices = devices;
        m->all = mem_zalloc(MEM_GENERAL, devices ? devices : size, RECORD);
        m->ranks = (struct ranks){.transport = &transport,
                                  .link = &m->link,
                                  .place = {.rank = i, .size = size},
                                  .places = places,
                                  .devices = devices,
                                  .limit_ns = lost < size ? LIMIT_NS : 100 * LIMIT_NS,
                                  .out = mem_zalloc(MEM_GENERAL, size, sizeof(struct ranks_part)),
                                  .in = mem_zalloc(MEM_GENERAL, size, sizeof(struct ranks_part))};
        if (!m->all || !m->ranks.out || !m->ranks.in) abort();
        if (i != lost && thread_start(&m->thread, 0, "rank", gather, m) != 0) abort();
    }
    for (uint32_t i = 0; i < size; i++)
        if (i != lost) pthread_join(members[i].thread, NULL);
}

static void end(struct member *members, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        mem_free(members[i].all);
        mem_free(members[i].ranks.out);
        mem_free(members[i].ranks.in);
    }
    empty_queues();
}

static void check_all(uint32_t size, uint32_t devices)
{
    static struct member members[MOST];
    begin(members, size, devices, size);
    for (uint32_t i = 0; i < size; i++) {
        expect(members[i].ok, "a gather fails", size);
        expect(has_all(&members[i], devices ? devices : size), "a rank has not got what others have", size);
    }
    end(members, size);
}

/* As ranks_settle compares what the others tell. */
static void check_lost(uint32_t size, uint32_t lost)
{
    static struct member members[MOST];
    struct ranks_cause causes[MOST] = {{0}};
    bool heard[MOST];
    begin(members, size, 0, lost);
    for (uint32_t i = 0; i < size; i++) {
        heard[i] = i != lost && !members[i].ok;
        causes[i] = (struct ranks_cause){.rank = i, .weight = RANKS_MISSED, .peer = members[i].ranks.peer};
    }
    uint32_t first = ranks_first_cause(causes, heard, size);
    expect(first < size && causes[first].peer == lost, "another rank than the lost one is named", size);
    end(members, size);
}

int main(void)
{
    static const uint32_t sizes[] = {2, 3, 64, 65, 100, 128, 130};
    thread_cond_init(&changed);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        check_all(sizes[i], 0);
        check_all(sizes[i], 2 * sizes[i] + 1); /* rank 0 has one more */
    }
    check_lost(5, 3);
    check_lost(100, 0);
    check_lost(100, 77);
    if (wrong == 0) puts("ranks gather what each of them has");
    return wrong != 0;
}
