/* The threads that share an op's work, and what oneDNN asks of OpenMP; runs under ThreadSanitizer. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "crew.h"
#include "crew_openmp.h"
#include "parallel.h"

static _Atomic int failures;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (condition) break;                                                                                          \
        fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                                \
        failures++;                                                                                                    \
    } while (0)

#define MOST 1000u

/* ---- Loops ---- */

struct seen {
    uint32_t times[MOST];
};

static void see_range(const void *context, uint64_t first, uint64_t last)
{
    struct seen *seen = *(struct seen *const *)context;
    for (uint64_t i = first; i < last; i++) seen->times[i]++;
}

static bool see_one(const void *context, unsigned thread, uint64_t index, struct error *err)
{
    (void)err;
    CHECK(thread < crew_threads());
    (*(struct seen *const *)context)->times[index]++;
    return true;
}

/* Each index once, by whatever thread: no two write the same number, as ThreadSanitizer would see. */
static void check_loops(uint32_t threads)
{
    static const uint64_t counts[] = {1, 2, 3, 7, 8, 63, MOST};
    struct error err = {0};
    crew_use(threads);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct seen seen = {0}, *to = &seen;
        parallel_run(counts[i], 1u << 20, see_range, &to);
        CHECK(parallel_each(counts[i], see_one, &to, &err));
        for (uint64_t k = 0; k < MOST; k++) CHECK(seen.times[k] == (k < counts[i] ? 2 : 0));
    }
    CHECK(parallel_each(0, see_one, NULL, &err));
}

static bool fail_at_seven(const void *context, unsigned thread, uint64_t index, struct error *err)
{
    (void)context, (void)thread;
    return index != 7 || error_set(err, ERROR_FAILED, "number seven");
}

static void check_failure(void)
{
    struct error err = {0};
    crew_use(3);
    CHECK(!parallel_each(20, fail_at_seven, NULL, &err));
    CHECK(err.kind == ERROR_FAILED);
}

/* ---- oneDNN's ---- */

#define PHASES 200u

struct phases {
    uint32_t values[8][16]; /* a line for each thread */
    uint32_t size;
};

/* All write, all wait, all read what the others wrote, all wait. */
static void pass_phases(void *context)
{
    struct phases *p = context;
    uint32_t number = (uint32_t)omp_get_thread_num(), size = (uint32_t)omp_get_num_threads();
    CHECK(size == p->size && number < size && omp_in_parallel());
    for (uint32_t phase = 1; phase <= PHASES; phase++) {
        p->values[number][0] = phase;
        GOMP_barrier();
        for (uint32_t i = 0; i < size; i++) CHECK(p->values[i][0] == phase);
        GOMP_barrier();
    }
}

static void check_barriers(uint32_t threads)
{
    struct phases p = {.size = threads};
    crew_use(threads);
    CHECK((uint32_t)omp_get_max_threads() == threads);
    GOMP_parallel(pass_phases, &p, threads, 0);
    CHECK(!omp_in_parallel() && omp_get_num_threads() == 1 && omp_get_thread_num() == 0);
}

static void count_inner(void *context)
{
    (*(uint32_t *)context)++;
    CHECK(omp_get_num_threads() == 1 && omp_get_thread_num() == 0 && omp_in_parallel());
    GOMP_barrier();
}

static void run_within(void *context)
{
    uint32_t times = 0;
    GOMP_parallel(count_inner, &times, 4, 0);
    CHECK(times == 1 && omp_get_num_threads() == 3);
    atomic_fetch_add((_Atomic uint32_t *)context, 1);
}

/* A run within a run is its caller's alone. */
static void check_nesting(void)
{
    _Atomic uint32_t done = 0;
    crew_use(3);
    crew_run(3, run_within, &done);
    CHECK(done == 3);
}

/* ---- Many runs, and pauses in which threads fall asleep ---- */

static void count_up(void *context) { atomic_fetch_add((_Atomic uint32_t *)context, 1); }

static void check_sleepers(void)
{
    _Atomic uint32_t done = 0;
    uint32_t expected = 0;
    for (uint32_t i = 0; i < 3000; i++) {
        uint32_t threads = 1 + i % 4;
        crew_run(threads, count_up, &done);
        CHECK(done == (expected += threads));
        if (i % 300 == 0) nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
}

/* ---- Several leaders at once, as devices have; their threads end with them ---- */

static void *lead(void *context)
{
    (void)context;
    check_loops(3);
    check_barriers(2);
    check_sleepers();
    return NULL;
}

/* Ends after the thread's crew: keys made later come later. */
static void compute_at_the_end(void *context)
{
    (void)context;
    check_loops(3);
}

static void *compute_and_end(void *context)
{
    CHECK(pthread_setspecific(*(const pthread_key_t *)context, context) == 0);
    check_loops(3);
    return NULL;
}

static void check_ends(void)
{
    pthread_key_t key;
    pthread_t leader;
    CHECK(pthread_key_create(&key, compute_at_the_end) == 0);
    CHECK(pthread_create(&leader, NULL, compute_and_end, &key) == 0);
    pthread_join(leader, NULL);
    pthread_key_delete(key);
}

/* A library that is loaded finds the program's own before libgomp's. */
static void check_exported(const char *name, void (*own)(void))
{
    void *found = dlsym(RTLD_DEFAULT, name);
    CHECK(found && (uintptr_t)found == (uintptr_t)own);
}

static void check_all_exported(void)
{
    check_exported("GOMP_parallel", (void (*)(void))GOMP_parallel);
    check_exported("GOMP_barrier", GOMP_barrier);
    check_exported("omp_get_max_threads", (void (*)(void))omp_get_max_threads);
    check_exported("omp_get_num_threads", (void (*)(void))omp_get_num_threads);
    check_exported("omp_get_thread_num", (void (*)(void))omp_get_thread_num);
    check_exported("omp_in_parallel", (void (*)(void))omp_in_parallel);
}

int main(void)
{
    check_all_exported();
    for (uint32_t threads = 1; threads <= 5; threads++) check_loops(threads);
    check_barriers(2);
    check_barriers(4);
    check_nesting();
    check_failure();
    check_sleepers();
    CHECK(crew_start(4) == 4);
    for (int round = 0; round < 3; round++) {
        pthread_t leaders[3];
        for (int i = 0; i < 3; i++) CHECK(pthread_create(&leaders[i], NULL, lead, NULL) == 0);
        for (int i = 0; i < 3; i++) pthread_join(leaders[i], NULL);
    }
    check_ends();
    if (failures) fprintf(stderr, "%d failed\n", failures);
    return failures != 0;
}
