/* Sums over devices of several processes. Each process sums a slice of the numbers over all devices, in the devices'
 * order, and hands the sums round: a reduce-scatter and an all-gather, of as many bytes for each process as any
 * all-reduce must move (Rabenseifner, "Optimization of Collective Reduction Operations", 2004), but for processes with
 * several devices, whose numbers are not summed before they go: additions of floats are not associative, and the sums
 * shall not depend on who is where. Long sums go piece by piece; a piece's sums travel with the next one's numbers. */
#include <string.h>

#include "cpu_group_private.h"
#include "mem.h"
#include "ranks.h"

#define PIECE_BYTES ((uint64_t)2 << 20) /* of a device's numbers */

struct piece { /* of the numbers */
    uint64_t first, count;
};

bool meeting_make_scratch(struct meeting *m, struct error *err)
{
    uint64_t ranks = ranks_place(m->processes).size, slice = PIECE_BYTES / ranks + sizeof(double);
    uint64_t most = 2 * (ranks + m->size) * m->local + 2 * m->size;
    m->scratch = mem_alloc(MEM_GENERAL, m->size, slice);
    m->out = mem_alloc(MEM_GENERAL, most, sizeof *m->out);
    m->in = mem_alloc(MEM_GENERAL, most, sizeof *m->in);
    return (m->scratch && m->out && m->in) || error_memory(err, m->size * slice, "sums over ranks");
}

/* The messages of an exchange: of this piece numbers that go and come, of the last one sums. */
uint64_t cpu_group_bytes(const struct ranks *ranks, uint64_t sum_bytes)
{
    uint32_t first, local, last, of_last;
    struct ranks_place place = ranks_place(ranks);
    if (!ranks) return 0;
    ranks_devices_of(ranks, place.rank, &first, &local);
    ranks_devices_of(ranks, place.size - 1, &last, &of_last);
    uint64_t all = last + of_last, piece = sum_bytes < PIECE_BYTES ? sum_bytes : PIECE_BYTES;
    uint64_t slice = piece / place.size, others = piece - slice;
    uint64_t messages = local * others + (all - local) * slice + (place.size - 1) * slice + others;
    return all * slice + ranks_held_bytes(ranks, messages);
}

void meeting_free_scratch(struct meeting *m)
{
    mem_free(m->scratch);
    mem_free(m->out);
    mem_free(m->in);
}

static uint64_t width(const struct meeting *m)
{
    static const uint8_t widths[] = {
        [SUM_F32] = sizeof(float), [SUM_F64] = sizeof(double), [SUM_F16] = 2, [SUM_BF16] = 2};
    return widths[m->members[0].type];
}

/* The numbers of a piece that a rank sums. */
static struct piece slice_of(const struct meeting *m, struct piece piece, uint32_t rank)
{
    uint64_t size = ranks_place(m->processes).size;
    uint64_t first = piece.count * rank / size, last = piece.count * (rank + 1) / size;
    return (struct piece){piece.first + first, last - first};
}

static uint8_t *at(const void *numbers, const struct meeting *m, uint64_t i)
{
    return (uint8_t *)(uintptr_t)numbers + i * width(m);
}

/* Where the numbers of a device are that this process sums: in the arena, or as they came. */
static uint8_t *numbers_of(const struct meeting *m, struct piece slice, uint32_t device)
{
    if (device - m->first < m->local) return at(m->members[device - m->first].in, m, slice.first);
    return (uint8_t *)m->scratch + device * slice.count * width(m);
}

/* ---- Messages ---- */

/* The sums of a piece: this rank's slice to all, theirs to it. */
static void add_sums(struct meeting *m, struct piece piece, uint32_t *outs, uint32_t *ins)
{
    struct ranks_place place = ranks_place(m->processes);
    struct piece own = slice_of(m, piece, place.rank);
    void *sums = m->members[0].out;
    for (uint32_t i = 0; i < place.size; i++) {
        struct piece theirs = slice_of(m, piece, i);
        if (i == place.rank) continue;
        m->out[(*outs)++] = (struct ranks_part){i, at(sums, m, own.first), own.count * width(m)};
        m->in[(*ins)++] = (struct ranks_part){i, at(sums, m, theirs.first), theirs.count * width(m)};
    }
}

/* The numbers of a piece: each rank gets all devices' of its slice. */
static void add_numbers(struct meeting *m, struct piece piece, uint32_t *outs, uint32_t *ins)
{
    struct ranks_place place = ranks_place(m->processes);
    struct piece own = slice_of(m, piece, place.rank);
    for (uint32_t i = 0; i < place.size; i++) {
        uint32_t first, count;
        struct piece theirs = slice_of(m, piece, i);
        if (i == place.rank) continue;
        for (uint32_t k = 0; k < m->local; k++)
            m->out[(*outs)++] = (struct ranks_part){i, at(m->members[k].in, m, theirs.first), theirs.count * width(m)};
        ranks_devices_of(m->processes, i, &first, &count);
        for (uint32_t k = first; k < first + count; k++)
            m->in[(*ins)++] = (struct ranks_part){i, numbers_of(m, own, k), own.count * width(m)};
    }
}

/* ---- Sums ---- */

static void sum_slice(struct meeting *m, struct piece piece)
{
    struct piece own = slice_of(m, piece, ranks_place(m->processes).rank);
    for (uint32_t k = 0; k < m->size; k++) m->numbers[k] = numbers_of(m, own, k);
    m->sums[0] = at(m->members[0].out, m, own.first);
    meeting_sum(m, 0, own.count, 1);
}

static void hand_on(const struct meeting *m, struct piece piece)
{
    for (uint32_t k = 1; k < m->local; k++)
        memcpy(at(m->members[k].out, m, piece.first), at(m->members[0].out, m, piece.first), piece.count * width(m));
}

bool meeting_sum_across(struct meeting *m, struct error *err)
{
    uint64_t all = m->members[0].count, most = PIECE_BYTES / width(m);
    struct piece before = {0, 0};
    for (uint64_t first = 0;; first += most) {
        uint64_t left = first < all ? all - first : 0;
        struct piece piece = {first, left < most ? left : most};
        uint32_t outs = 0, ins = 0;
        if (before.count > 0) add_sums(m, before, &outs, &ins);
        if (piece.count > 0) add_numbers(m, piece, &outs, &ins);
        if (outs + ins == 0) return true;
        TRY(ranks_exchange(m->processes, m->out, outs, m->in, ins, err));
        hand_on(m, before);
        if (piece.count > 0) sum_slice(m, piece);
        before = piece;
    }
}
