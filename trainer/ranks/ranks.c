#define _GNU_SOURCE
#include "ranks_private.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "mem.h"

#define DEFAULT_LIMIT_NS UINT64_C(60000000000)
#define FIRST_LIMIT_NS   UINT64_C(600000000000)

/* ---- Beginning and end ---- */

static void destroy(struct ranks *ranks)
{
    pthread_mutex_destroy(&ranks->lock);
    mem_free(ranks->places);
    mem_free(ranks->out);
    mem_free(ranks->in);
    mem_free(ranks->peers);
    mem_free(ranks->causes);
    mem_free(ranks->heard);
    mem_free(ranks);
}

static bool make_tables(struct ranks *ranks, struct error *err)
{
    uint32_t size = ranks->place.size;
    ranks->places = mem_zalloc(MEM_GENERAL, size, sizeof *ranks->places);
    ranks->out = mem_zalloc(MEM_GENERAL, size, sizeof *ranks->out);
    ranks->in = mem_zalloc(MEM_GENERAL, size, sizeof *ranks->in);
    ranks->peers = mem_zalloc(MEM_GENERAL, size, sizeof *ranks->peers);
    ranks->causes = mem_zalloc(MEM_GENERAL, size, sizeof *ranks->causes);
    ranks->heard = mem_zalloc(MEM_GENERAL, size, sizeof *ranks->heard);
    if (ranks->places && ranks->out && ranks->in && ranks->peers && ranks->causes && ranks->heard) return true;
    return error_memory(err, size * sizeof *ranks->causes, "the ranks of a run");
}

/* Everybody learns everybody's host. */
static bool meet(struct ranks *ranks, struct error *err)
{
    struct ranks_place *own = &ranks->places[ranks->place.rank];
    *own = ranks->place;
    TRY(ranks_gather(ranks, ranks->places, sizeof *ranks->places, err));
    ranks->place.host_rank = ranks->place.host_size = 0;
    for (uint32_t i = 0; i < ranks->place.size; i++) {
        if (ranks->places[i].machine != ranks->place.machine) continue;
        ranks->place.host_size++;
        ranks->place.host_rank += i < ranks->place.rank;
    }
    return true;
}

static bool begin(struct ranks *ranks, struct error *err)
{
    struct ranks_place *place = &ranks->place;
    TRY(ranks_join(ranks, err));
    ranks_find_host(place);
    return make_tables(ranks, err) && ranks_watch(ranks, err) && meet(ranks, err);
}

bool ranks_open(const struct ranks_options *options, struct ranks **out, struct error *err)
{
    const struct ranks_transport *transport;
    const char *launcher;
    *out = NULL;
    TRY(ranks_find_transport(options, &transport, &launcher, err));
    if (!transport) return true;
    struct ranks *ranks = mem_zalloc(MEM_GENERAL, 1, sizeof *ranks);
    if (!ranks) return error_memory(err, sizeof *ranks, "the ranks of a run");
    pthread_mutex_init(&ranks->lock, NULL);
    ranks->transport = transport;
    ranks->launcher = launcher;
    ranks->limit_ns = options->limit_ns ? options->limit_ns : FIRST_LIMIT_NS;
    ranks->later_limit_ns = options->limit_ns ? options->limit_ns : DEFAULT_LIMIT_NS;
    *out = ranks;
    return begin(ranks, err); /* the caller settles what fails here too */
}

void ranks_close(struct ranks *ranks)
{
    if (!ranks) return;
    if (ranks->link) {
        ranks_stop_watching(ranks);
        ranks_leave(ranks);
    }
    destroy(ranks);
}

struct ranks_place ranks_place(const struct ranks *ranks)
{
    if (ranks) return ranks->place;
    struct ranks_place alone = {.size = 1, .host_size = 1};
    ranks_find_host(&alone);
    return alone;
}

const struct ranks_place *ranks_place_of(const struct ranks *ranks, uint32_t rank) { return &ranks->places[rank]; }

const char *ranks_launcher(const struct ranks *ranks) { return ranks ? ranks->launcher : ""; }

int ranks_asked_to_stop(const struct ranks *ranks)
{
    return ranks && ranks->transport->asked ? ranks->transport->asked(ranks->link) : 0;
}

uint64_t ranks_held_bytes(const struct ranks *ranks, uint64_t message_bytes)
{
    if (!ranks) return 0;
    const struct ranks_transport *transport = ranks->transport;
    return transport->process_bytes + ranks->place.host_size * transport->rank_bytes +
           (transport->copies ? message_bytes : 0);
}

/* ---- Devices ---- */

static uint32_t first_device(uint32_t devices, uint32_t rank, uint32_t size)
{
    uint32_t each = devices / size, more = devices % size;
    return rank * each + (rank < more ? rank : more);
}

bool ranks_divide(uint32_t devices, uint32_t rank, uint32_t size, uint32_t *first, uint32_t *count, struct error *err)
{
    if (devices < size)
        return error_set(err, ERROR_INPUT, "the plan is for %u device%s, and there are %u ranks; %u at most have one",
                         devices, devices == 1 ? "" : "s", size, devices);
    *first = first_device(devices, rank, size);
    *count = first_device(devices, rank + 1, size) - *first;
    return true;
}

bool ranks_take_devices(struct ranks *ranks, uint32_t devices, uint32_t *first, uint32_t *count, struct error *err)
{
    if (!ranks) return ranks_divide(devices, 0, 1, first, count, err);
    TRY(ranks_divide(devices, ranks->place.rank, ranks->place.size, first, count, err));
    ranks->devices = devices;
    return true;
}

/* Devices of the ranks first..last-1 that are on this host. */
static uint32_t count_here(const struct ranks *ranks, uint32_t last)
{
    uint32_t count = 0, size = ranks->place.size;
    for (uint32_t i = 0; i < last; i++)
        if (ranks->places[i].machine == ranks->place.machine)
            count += first_device(ranks->devices, i + 1, size) - first_device(ranks->devices, i, size);
    return count;
}

uint32_t ranks_devices_before(const struct ranks *ranks) { return ranks ? count_here(ranks, ranks->place.rank) : 0; }

uint32_t ranks_devices_here(const struct ranks *ranks) { return ranks ? count_here(ranks, ranks->place.size) : 0; }

uint32_t ranks_first_device(const struct ranks *ranks, uint32_t rank)
{
    return first_device(ranks->devices, rank, ranks->place.size);
}

void ranks_devices_of(const struct ranks *ranks, uint32_t rank, uint32_t *first, uint32_t *count)
{
    *first = first_device(ranks->devices, rank, ranks->place.size);
    *count = first_device(ranks->devices, rank + 1, ranks->place.size) - *first;
}

uint32_t ranks_of_device(const struct ranks *ranks, uint32_t device)
{
    uint32_t rank = 0;
    while (ranks && first_device(ranks->devices, rank + 1, ranks->place.size) <= device) rank++;
    return rank;
}

char *ranks_name_device(const struct ranks *ranks, uint32_t device, char out[RANKS_DEVICE_NAME])
{
    int used = snprintf(out, RANKS_DEVICE_NAME, "device %u", device);
    uint32_t rank = ranks_of_device(ranks, device);
    if (ranks)
        snprintf(out + used, RANKS_DEVICE_NAME - (size_t)used, " of rank %u on host %s", rank,
                 ranks->places[rank].host);
    return out;
}

char *ranks_name(const struct ranks *ranks, uint32_t rank, char out[RANKS_NAME])
{
    uint32_t first, count;
    char devices[48] = "";
    const char *host = rank < ranks->place.size ? ranks->places[rank].host : "";
    if (ranks->devices && ranks_divide(ranks->devices, rank, ranks->place.size, &first, &count, NULL))
        snprintf(devices, sizeof devices, count == 1 ? ", device %u" : ", devices %u to %u", first, first + count - 1);
    int used = snprintf(out, RANKS_NAME, "rank %u of %u", rank, ranks->place.size);
    if (*host) snprintf(out + used, RANKS_NAME - (size_t)used, " (host %s%s)", host, devices);
    return out;
}

/* ---- Collectives ---- */

static bool say_peer(struct ranks *ranks, const struct ranks_wait *wait, enum ranks_outcome outcome, struct error *err)
{
    char name[RANKS_NAME];
    ranks->missed = outcome != RANKS_ABORTED;
    ranks->waited = outcome == RANKS_ABORTED;
    ranks->peer = wait->peer;
    ranks_name(ranks, wait->peer, name);
    if (outcome == RANKS_GONE) return error_set(err, ERROR_FAILED, "%s has ended without a word", name);
    if (outcome == RANKS_ABORTED)
        return error_set(err, ERROR_PEER, "%s has not been heard of: it hangs, is stopped or is cut off", name);
    return error_set(err, ERROR_FAILED,
                     "%s has not been heard of for %g s: it hangs, is stopped or is cut off (--timeout)", name,
                     (double)ranks->limit_ns * 1e-9);
}

bool ranks_exchange(struct ranks *ranks, const struct ranks_part *out, uint32_t outs, const struct ranks_part *in,
                    uint32_t ins, struct error *err)
{
    struct ranks_wait wait = {.limit_ns = ranks->limit_ns, .aborted = &ranks->aborted};
    switch (ranks->transport->exchange(ranks->link, out, outs, in, ins, &wait)) {
    case RANKS_DONE: return true;
    case RANKS_LATE: return say_peer(ranks, &wait, RANKS_LATE, err);
    case RANKS_GONE: return say_peer(ranks, &wait, RANKS_GONE, err);
    case RANKS_ABORTED: /* by others, or by this rank's own failure */
        return ranks_any_heard(ranks) ? say_peer(ranks, &wait, RANKS_ABORTED, err)
                                      : error_set(err, ERROR_FAILED, "another rank has failed");
    case RANKS_CUT: return error_set(err, ERROR_PEER, "messages between ranks fail: %s", wait.fault);
    default: return error_set(err, ERROR_FAILED, "messages between ranks fail: %s", wait.fault);
    }
}

bool ranks_barrier(struct ranks *ranks, struct error *err)
{
    uint8_t *words = ranks ? mem_zalloc(MEM_GENERAL, ranks->place.size, 1) : NULL;
    if (ranks && !words) return error_memory(err, ranks->place.size, "a barrier");
    bool ok = ranks_gather(ranks, words, 1, err);
    mem_free(words);
    return ok;
}

bool ranks_begin(struct ranks *ranks, struct error *err)
{
    TRY(ranks_barrier(ranks, err));
    if (ranks) ranks->limit_ns = ranks->later_limit_ns;
    return true;
}

bool ranks_broadcast(struct ranks *ranks, void *bytes, uint64_t count, struct error *err)
{
    if (!ranks) return true;
    if (ranks->place.rank > 0) return ranks_exchange(ranks, NULL, 0, &(struct ranks_part){0, bytes, count}, 1, err);
    for (uint32_t i = 1; i < ranks->place.size; i++) ranks->out[i - 1] = (struct ranks_part){i, bytes, count};
    return ranks_exchange(ranks, ranks->out, ranks->place.size - 1, NULL, 0, err);
}

bool ranks_broadcast_block(struct ranks *ranks, char **bytes, uint64_t *count, struct error *err)
{
    if (!ranks) return true;
    TRY(ranks_broadcast(ranks, count, sizeof *count, err));
    if (ranks->place.rank > 0 && !(*bytes = mem_zalloc(MEM_GENERAL, *count + 1, 1)))
        return error_memory(err, *count, "what rank 0 tells");
    if (ranks_broadcast(ranks, *bytes, *count, err)) return true;
    if (ranks->place.rank > 0) {
        mem_free(*bytes);
        *bytes = NULL;
    }
    return false;
}

bool ranks_agree(struct ranks *ranks, const char *what, uint64_t number, struct error *err)
{
    if (!ranks) return true;
    uint64_t *all = mem_zalloc(MEM_GENERAL, ranks->place.size, sizeof *all);
    if (!all) return error_memory(err, ranks->place.size * sizeof *all, "what ranks agree on");
    all[ranks->place.rank] = number;
    bool ok = ranks_gather(ranks, all, sizeof *all, err);
    for (uint32_t i = 1; ok && i < ranks->place.size; i++)
        if (all[i] != all[0])
            ok = error_set(err, ERROR_INPUT, "%s of rank %u (host %s) is another than rank 0's (host %s)", what, i,
                           ranks->places[i].host, ranks->places[0].host);
    mem_free(all);
    return ok;
}

bool ranks_pass(struct ranks *ranks, uint32_t from, uint32_t to, void *bytes, uint64_t count, struct error *err)
{
    if (!ranks || from == to) return true;
    if (ranks->place.rank == from)
        return ranks_exchange(ranks, &(struct ranks_part){to, bytes, count}, 1, NULL, 0, err);
    if (ranks->place.rank == to)
        return ranks_exchange(ranks, NULL, 0, &(struct ranks_part){from, bytes, count}, 1, err);
    return true;
}
