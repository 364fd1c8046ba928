#define _GNU_SOURCE
#include "cpu_peak.h"

#include <pthread.h>
#include <sys/mman.h>
#include <time.h>

#include "cpu_threads.h"
#include "crew.h"
#include "mem.h"
#include "parallel.h"
#include "thread.h"

#define TRIES  7
#define CHAINS 16u /* of sums: two units of four cycles each want eight */
#define ROUNDS 400000u
#define BLOCK  (1u << 20)

typedef float vector __attribute__((vector_size(64)));

/* Of processor time, as others may use the machine: the calling thread's, or of several a thread's share, which while
 * they wait for each other they spend too. */
static double now(uint32_t threads)
{
    struct timespec now;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_PROCESS_CPUTIME_ID, &now);
    return ((double)now.tv_sec + 1e-9 * (double)now.tv_nsec) / (threads ? threads : 1);
}

/* One function for each instruction set: the loader picks. */
#if defined __x86_64__ && defined __GNUC__ && !defined __clang__
#define EACH_SET __attribute__((target_clones("avx512f", "avx2,fma", "default"), optimize("fp-contract=fast")))
#else
#define EACH_SET
#endif

struct work {
    vector *sums; /* CHAINS a thread */
    const float *values;
    float *seen;
};

EACH_SET static void multiply(vector *sums)
{
    vector s[CHAINS], factor = {0};
    factor += 0.5f;
    for (unsigned i = 0; i < CHAINS; i++) s[i] = sums[i];
    for (unsigned round = 0; round < ROUNDS; round++)
#pragma GCC unroll 16
        for (unsigned i = 0; i < CHAINS; i++) s[i] = s[i] * factor + factor;
    for (unsigned i = 0; i < CHAINS; i++) sums[i] = s[i];
}

static bool multiply_work(const void *context, unsigned thread, uint64_t index, struct error *err)
{
    const struct work *w = context;
    (void)thread, (void)err;
    multiply(w->sums + index * CHAINS);
    return true;
}

/* Four streams, each asked for ahead: more than a processor fetches by itself. */
EACH_SET static void add_up(const float *values, vector *sums)
{
    const vector *from = (const vector *)values;
    const unsigned stream = BLOCK / sizeof(vector) / 4;
    vector s[4] = {{0}};
    for (unsigned i = 0; i < stream; i++)
        for (unsigned k = 0; k < 4; k++) {
            __builtin_prefetch(&from[k * stream + i + 16], 0, 2);
            s[k] += from[k * stream + i];
        }
    *sums += s[0] + s[1] + s[2] + s[3];
}

static bool read_work(const void *context, unsigned thread, uint64_t index, struct error *err)
{
    const struct work *w = context;
    (void)err;
    add_up(w->values + index * (BLOCK / sizeof(float)), w->sums + thread * CHAINS);
    return true;
}

static double least_seconds(uint32_t threads, uint64_t works, parallel_work work, const struct work *w)
{
    double least = 0;
    for (int i = 0; i < TRIES; i++) {
        double begin = now(threads);
        parallel_each(works, work, w, NULL);
        double seconds = now(threads) - begin;
        if (i == 0 || seconds < least) least = seconds;
    }
    return least;
}

struct measuring {
    uint32_t threads;
    uint64_t memory;
    struct cpu_peak peak;
    struct error err;
    bool ok;
};

static void *measure(void *context)
{
    struct measuring *m = context;
    uint32_t count = cpu_threads_allowed(m->threads);
    struct work w = {.sums = mem_map(MEM_GENERAL, count * CHAINS * sizeof(vector))};
    float *values = mem_map(MEM_GENERAL, m->memory);
    m->ok = (w.sums && values) || error_memory(&m->err, m->memory, "values");
    m->ok = m->ok && cpu_threads_use(count, &m->err);
    w.values = values;
    if (m->ok) madvise(values, m->memory, MADV_HUGEPAGE); /* as a device's arena */
    for (uint64_t i = 0; m->ok && i < m->memory / sizeof *values; i++) values[i] = 1;
    if (m->ok) {
        const double macs = (double)ROUNDS * CHAINS * (sizeof(vector) / sizeof(float)) * count;
        m->peak.macs = macs / least_seconds(count, count, multiply_work, &w);
        m->peak.bytes = (double)m->memory / least_seconds(count, m->memory / BLOCK, read_work, &w);
    }
    mem_unmap(MEM_GENERAL, values, m->memory);
    mem_unmap(MEM_GENERAL, w.sums, count * CHAINS * sizeof(vector));
    return NULL;
}

bool cpu_peak_measure(uint32_t threads, uint64_t memory, struct cpu_peak *peak, struct error *err)
{
    struct measuring m = {.threads = threads, .memory = memory};
    pthread_t thread;
    if (thread_start(&thread, 0, "fathom-peak", measure, &m) != 0)
        return error_set(err, ERROR_MEMORY, "no thread can be started to measure the processor's speed");
    pthread_join(thread, NULL);
    if (m.ok) *peak = m.peak;
    if (!m.ok && err) *err = m.err;
    return m.ok;
}
