#include "clocks.h"

#include <stdlib.h>
#include <string.h>

void clock_learn(struct clock *clock, const struct clock *other)
{
    for (unsigned i = 0; i < CLOCK_LANES; i++)
        if (clock->at[i] < other->at[i]) clock->at[i] = other->at[i];
}

/* ---- Clocks of readers: numbered from 1, taken again when their granule is written ---- */

static struct clock *pool;
static uint32_t pool_count = 1, pool_capacity, *unused, unused_count;

static uint32_t take_clock(void)
{
    if (unused_count > 0) return unused[--unused_count];
    if (pool_count >= pool_capacity) {
        pool_capacity = pool_capacity ? 2 * pool_capacity : 1024;
        pool = realloc(pool, pool_capacity * sizeof *pool);
        unused = realloc(unused, pool_capacity * sizeof *unused);
        if (!pool || !unused) abort();
    }
    return pool_count++;
}

static void give_clock(uint32_t number)
{
    if (number) unused[unused_count++] = number;
}

/* ---- Accesses ---- */

static bool meets(struct conflict *conflict, bool writes, bool wrote, uint8_t lane)
{
    *conflict = (struct conflict){.writes = writes, .wrote = wrote, .lane = lane};
    return false;
}

static void add_reader(struct granule *g, const struct clock *clock, uint8_t lane)
{
    if (!g->readers && clock->at[g->reader] < g->read_at) {
        g->readers = take_clock();
        memset(&pool[g->readers], 0, sizeof *pool);
        pool[g->readers].at[g->reader] = g->read_at;
    }
    if (g->readers) pool[g->readers].at[lane] = clock->at[lane];
    g->reader = lane;
    g->read_at = clock->at[lane];
}

static bool after_readers(const struct granule *g, const struct clock *clock, struct conflict *conflict)
{
    if (!g->readers) return clock->at[g->reader] >= g->read_at || meets(conflict, true, false, g->reader);
    for (unsigned l = 0; l < CLOCK_LANES; l++)
        if (clock->at[l] < pool[g->readers].at[l]) return meets(conflict, true, false, (uint8_t)l);
    return true;
}

bool granule_touch(struct granule *g, const struct clock *clock, uint8_t lane, bool writes, struct conflict *conflict)
{
    bool ok = clock->at[g->writer] >= g->written_at || meets(conflict, writes, true, g->writer);
    if (!writes) {
        add_reader(g, clock, lane);
        return ok;
    }
    ok = ok && after_readers(g, clock, conflict);
    give_clock(g->readers);
    *g = (struct granule){.written_at = clock->at[lane], .writer = lane, .valid = g->valid};
    return ok;
}

bool shadow_touch(struct shadow *shadow, const struct clock *clock, uint8_t lane, uint64_t offset, uint64_t bytes,
                  bool writes, struct conflict *conflict)
{
    bool ok = true;
    struct conflict found;
    for (uint64_t i = offset / shadow->granule_bytes; bytes > 0 && i <= (offset + bytes - 1) / shadow->granule_bytes;
         i++) {
        if (granule_touch(&shadow->granules[i], clock, lane, writes, &found) || !ok) continue;
        ok = false;
        *conflict = found;
        conflict->offset = i * shadow->granule_bytes;
    }
    return ok;
}
