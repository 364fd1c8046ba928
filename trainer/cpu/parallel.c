#include "parallel.h"

#include <stdatomic.h>

#include "crew.h"

#define SERIAL_ELEMENTS 8192u /* about what one core does while a crew wakes up */

/* ---- Who works on what ---- */

/* [0, count) is dealt out in equal shares, one for each thread up to MOST_SHARES. A thread takes from its own share
 * first, whose data its core's cache may hold since the last op, then from what others have left: one that another
 * process keeps from its core keeps nobody waiting but for the piece that it holds. */
#define MOST_SHARES 64u

struct share {
    _Atomic uint64_t next;
    uint64_t end;
    uint8_t apart[64 - 2 * sizeof(uint64_t)];
};

struct shares {
    struct share of[MOST_SHARES];
    uint32_t count;
};

static void deal(struct shares *shares, uint64_t count, uint32_t threads)
{
    shares->count = threads < MOST_SHARES ? threads : MOST_SHARES;
    for (uint32_t i = 0; i < shares->count; i++) {
        atomic_init(&shares->of[i].next, count * i / shares->count);
        shares->of[i].end = count * (i + 1) / shares->count;
    }
}

static bool take(struct shares *shares, uint32_t thread, uint64_t *index)
{
    for (uint32_t i = 0; i < shares->count; i++) {
        struct share *share = &shares->of[(thread + i) % shares->count];
        if (atomic_load_explicit(&share->next, memory_order_relaxed) >= share->end) continue;
        *index = atomic_fetch_add_explicit(&share->next, 1, memory_order_relaxed);
        if (*index < share->end) return true;
    }
    return false;
}

/* ---- Ranges ---- */

#define CHUNKS_PER_THREAD 4u

struct ranges {
    struct shares shares;
    uint64_t count, chunks;
    parallel_task task;
    const void *context;
};

static void run_ranges(void *context)
{
    struct ranges *r = context;
    for (uint64_t i; take(&r->shares, crew_number(), &i);)
        r->task(r->context, r->count * i / r->chunks, r->count * (i + 1) / r->chunks);
}

void parallel_run(uint64_t count, uint64_t elements, parallel_task task, const void *context)
{
    uint32_t threads = crew_threads();
    if (elements <= SERIAL_ELEMENTS || count == 1 || threads == 1) {
        task(context, 0, count);
        return;
    }
    uint64_t chunks = (uint64_t)threads * CHUNKS_PER_THREAD;
    struct ranges r = {.count = count, .chunks = chunks < count ? chunks : count, .task = task, .context = context};
    deal(&r.shares, r.chunks, threads);
    crew_run(threads, run_ranges, &r);
}

/* ---- Works ---- */

struct works {
    struct shares shares;
    parallel_work work;
    const void *context;
    _Atomic uint32_t failures;
    struct error first;
};

static void run_works(void *context)
{
    struct works *w = context;
    for (uint64_t i; take(&w->shares, crew_number(), &i);) {
        struct error own = {0};
        if (w->work(w->context, crew_number(), i, &own)) continue;
        if (atomic_fetch_add(&w->failures, 1) == 0) w->first = own;
    }
}

bool parallel_each(uint64_t count, parallel_work work, const void *context, struct error *err)
{
    uint32_t threads = count < crew_threads() ? (uint32_t)count : crew_threads();
    struct works w = {.work = work, .context = context};
    deal(&w.shares, count, threads ? threads : 1);
    crew_run(threads, run_works, &w);
    if (w.failures && err) *err = w.first;
    return w.failures == 0;
}
