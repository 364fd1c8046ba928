/* A run of several processes begins and ends; what each knows of where the others are. */
#include "ranks_private.h"

#include "mem.h"

#define DEFAULT_LIMIT_NS UINT64_C(60000000000)
#define FIRST_LIMIT_NS   UINT64_C(600000000000)

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
