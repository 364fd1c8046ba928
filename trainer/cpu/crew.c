#define _GNU_SOURCE
#include "crew.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ascii.h"
#include "clock.h"
#include "mem.h"
#include "system_limits.h"
#include "crew_openmp.h"
#include "thread.h"

/* ---- Waiting ---- */

/* A thread spins for so long at most: a step's serial stretches are shorter, a scheduler's time slice is 3 ms and more.
 * Where others want the processors it waits for threads that they keep from running, and its spinning is what they wait
 * for: each time in vain halves its patience, each time that was worth it adds a little. */
#define MOST_SPIN_NS    200000u
#define LEAST_SPIN_NS   4000u
#define SPIN_GAIN_NS    2000u
#define PAUSES_PER_LOOK 32u /* at the clock */

#define LINE 64u /* of the cache: words lie apart */

static _Atomic uint32_t all_threads; /* of all crews */

static uint64_t most_spin_ns;
static uint32_t processors;
static pthread_key_t crew_key;
static bool has_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

/* A number that others wait for. */
struct word {
    _Atomic uint32_t value, sleepers;
    uint8_t apart[LINE - 2 * sizeof(uint32_t)];
};

static _Thread_local uint64_t patience_ns = MOST_SPIN_NS;

/* Whether it came to be another than `old` while this thread spun. */
static bool spin_for_change(const struct word *word, uint32_t old)
{
    uint64_t limit = patience_ns < most_spin_ns ? patience_ns : most_spin_ns;
    /* Where more threads compute than there are processors, spinning keeps them from it. */
    if (limit == 0 || atomic_load_explicit(&all_threads, memory_order_relaxed) > processors) return false;
    uint64_t begin = clock_now_ns();
    do {
        for (unsigned i = 0; i < PAUSES_PER_LOOK; i++) {
            if (atomic_load_explicit(&word->value, memory_order_acquire) != old) {
                if (patience_ns < MOST_SPIN_NS) patience_ns += SPIN_GAIN_NS;
                return true;
            }
            pause_briefly();
        }
    } while (clock_now_ns() - begin < limit);
    if (patience_ns / 2 >= LEAST_SPIN_NS) patience_ns /= 2;
    return false;
}

static void wait_for_change(struct word *word, uint32_t old)
{
    if (spin_for_change(word, old)) return;
    /* Whoever changes the value does so before it looks for sleepers: it sees this one, or the kernel the new value. */
    atomic_fetch_add(&word->sleepers, 1);
    while (atomic_load(&word->value) == old) syscall(SYS_futex, &word->value, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
    atomic_fetch_sub(&word->sleepers, 1);
}

static void wake(struct word *word)
{
    if (atomic_load(&word->sleepers)) syscall(SYS_futex, &word->value, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* ---- Crews ---- */

struct crew {
    struct word round;   /* counts runs; all threads take part in each, if only to say that they saw it */
    struct word running; /* threads that have not ended this one */
    struct word present; /* threads that have begun; the leader apart, as below */
    struct word passed;  /* counts barriers */
    struct word arrived; /* at the barrier */
    void (*work)(void *context);
    void *context;
    uint32_t size;    /* of this run */
    uint32_t allowed; /* its leader's crew_threads */
    bool ending;
    pthread_t *threads;
    uint32_t count; /* of threads */
    size_t capacity;
};

static _Thread_local struct crew *own;     /* led by this thread */
static _Thread_local uint32_t wanted;      /* 0 = not said */
static _Thread_local struct crew *working; /* for which this thread works; NULL: for none */
static _Thread_local uint32_t working_number, working_size;

static void take_part(struct crew *crew, uint32_t number)
{
    if (number >= crew->size) return;
    working = crew;
    working_number = number;
    working_size = crew->size;
    crew->work(crew->context);
    working = NULL;
    working_number = working_size = 0;
}

static void *live(void *context)
{
    struct crew *crew = context;
    uint32_t round = atomic_load(&crew->round.value), number = atomic_fetch_add(&crew->present.value, 1) + 1;
    wake(&crew->present);
    for (;; round++) {
        wait_for_change(&crew->round, round);
        if (crew->ending) return NULL;
        take_part(crew, number);
        if (atomic_fetch_sub(&crew->running.value, 1) == 1) wake(&crew->running);
    }
}

static void begin_round(struct crew *crew)
{
    atomic_store(&crew->running.value, crew->count);
    atomic_fetch_add(&crew->round.value, 1);
    wake(&crew->round);
}

static void end_round(struct crew *crew)
{
    for (uint32_t left; (left = atomic_load(&crew->running.value)) > 0;) wait_for_change(&crew->running, left);
}

static void end_crew(void *given)
{
    struct crew *crew = given;
    crew->ending = true;
    begin_round(crew);
    for (uint32_t i = 0; i < crew->count; i++) pthread_join(crew->threads[i], NULL);
    atomic_fetch_sub(&all_threads, crew->count + 1);
    mem_free(crew->threads);
    mem_free(crew);
    own = NULL; /* what else ends with this thread may want one again */
}

static void prepare(void)
{
    const char *policy = getenv("OMP_WAIT_POLICY");
    most_spin_ns = policy && ascii_same(policy, "passive") ? 0 : MOST_SPIN_NS;
    processors = limits_processors();
    has_key = pthread_key_create(&crew_key, end_crew) == 0;
}

static struct crew *own_crew(void)
{
    pthread_once(&once, prepare);
    if (own) return own;
    struct crew *crew = mem_zalloc(MEM_GENERAL, 1, sizeof *crew);
    if (!crew) return NULL;
    /* Without a key its threads stay until the process ends. */
    if (has_key && pthread_setspecific(crew_key, crew) != 0) {
        mem_free(crew);
        return NULL;
    }
    atomic_fetch_add(&all_threads, 1);
    return own = crew;
}

static bool start_one(struct crew *crew)
{
    void *threads = crew->threads;
    bool room = mem_grow(MEM_GENERAL, &threads, &crew->capacity, crew->count + 1, sizeof *crew->threads);
    crew->threads = threads;
    if (!room || thread_start(&crew->threads[crew->count], 0, "fathom-crew", live, crew) != 0) return false;
    crew->count++;
    atomic_fetch_add(&all_threads, 1);
    return true;
}

/* The next round begins when all have seen which was the last. */
static void wait_until_present(struct crew *crew)
{
    for (uint32_t present; (present = atomic_load(&crew->present.value)) < crew->count;)
        wait_for_change(&crew->present, present);
}

uint32_t crew_start(uint32_t threads)
{
    if (threads <= 1) return 1;
    struct crew *crew = own_crew();
    if (!crew) return 1;
    if (crew->count + 1 >= threads) return threads;
    while (crew->count + 1 < threads && start_one(crew)) continue;
    wait_until_present(crew);
    return crew->count + 1;
}

/* Within a run. */
static void run_alone(void (*work)(void *context), void *context)
{
    uint32_t number = working_number, size = working_size;
    working_number = 0;
    working_size = 1;
    work(context);
    working_number = number;
    working_size = size;
}

void crew_run(uint32_t threads, void (*work)(void *context), void *context)
{
    if (working) {
        run_alone(work, context);
        return;
    }
    uint32_t size = crew_start(threads);
    if (size == 1) {
        work(context);
        return;
    }
    struct crew *crew = own;
    crew->work = work;
    crew->context = context;
    crew->size = size;
    crew->allowed = crew_threads();
    begin_round(crew);
    take_part(crew, 0);
    end_round(crew);
}

/* ---- Numbers ---- */

void crew_use(uint32_t threads) { wanted = threads ? threads : 1; }

static uint32_t threads_by_default(void)
{
    const char *text = getenv("OMP_NUM_THREADS");
    unsigned long number = text ? strtoul(text, NULL, 10) : 0;
    return number > 0 && number <= UINT16_MAX ? (uint32_t)number : limits_processors();
}

uint32_t crew_threads(void)
{
    if (working) return working->allowed;
    if (wanted == 0) wanted = threads_by_default();
    return wanted;
}

uint32_t crew_number(void) { return working_number; }

uint32_t crew_size(void) { return working ? working_size : 1; }

/* ---- What oneDNN asks of OpenMP ---- */

void GOMP_parallel(void (*work)(void *), void *context, unsigned threads, unsigned flags)
{
    (void)flags; /* how threads are bound to processors */
    crew_run(threads ? threads : crew_threads(), work, context);
}

void GOMP_barrier(void)
{
    struct crew *crew = working;
    if (!crew || working_size == 1) return;
    uint32_t passed = atomic_load(&crew->passed.value);
    if (atomic_fetch_add(&crew->arrived.value, 1) + 1 < crew->size) {
        wait_for_change(&crew->passed, passed);
        return;
    }
    atomic_store(&crew->arrived.value, 0);
    atomic_fetch_add(&crew->passed.value, 1);
    wake(&crew->passed);
}

int omp_get_max_threads(void) { return (int)crew_threads(); }
int omp_get_num_threads(void) { return (int)crew_size(); }
int omp_get_thread_num(void) { return (int)crew_number(); }
int omp_in_parallel(void) { return working != NULL; }
