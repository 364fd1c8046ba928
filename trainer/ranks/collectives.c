/* What all ranks do together, made of gathers (gather.c) and messages (exchange.c). */
#include "mem.h"
#include "ranks_private.h"

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
