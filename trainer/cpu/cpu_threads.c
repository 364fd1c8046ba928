#include "cpu_threads.h"

#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "system_limits.h"
#include "thread.h"

uint32_t cpu_threads_allowed(uint32_t wanted)
{
    uint32_t threads = wanted ? wanted : limits_processors();
    int limit = omp_get_thread_limit();
    if (omp_get_max_active_levels() < 1) return 1;
    return limit > 0 && threads > (uint32_t)limit ? (uint32_t)limit : threads;
}

void cpu_threads_use(uint32_t threads)
{
    omp_set_dynamic(0); /* OMP_DYNAMIC: a region would get as many threads as the machine's load leaves */
    omp_set_num_threads((int)threads);
}

/* ---- A trial ---- */

#define LEAST_STACK (64u << 10) /* the runtime passes over what the system finds too small, which is less than this */

/* OMP_STACKSIZE, "512" (KiB), "4M", " 1 g "; 0 = not given, then threads have the stacks that all have. */
static size_t stack_bytes(void)
{
    static const char units[] = "bkmg";
    const char *text = getenv("OMP_STACKSIZE");
    if (!text) text = getenv("GOMP_STACKSIZE");
    if (!text) return 0;
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    end += strspn(end, " \t");
    const char *unit = *end ? strchr(units, *end | 0x20) : units + 1;
    size_t bytes = end == text || !unit || value > UINT32_MAX ? 0 : (size_t)value << 10 * (unit - units);
    return bytes < LEAST_STACK ? 0 : bytes;
}

static void *pass_gate(void *gate)
{
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

/* OpenMP's runtime ends the process when a thread cannot be started, so as many are tried before, all there at once. */
static uint32_t try_threads(uint32_t count, pthread_t *threads)
{
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    uint32_t started = 0;
    size_t stack = stack_bytes();
    pthread_mutex_lock(&gate);
    while (started < count && thread_start(&threads[started], stack, NULL, pass_gate, &gate) == 0) started++;
    pthread_mutex_unlock(&gate);
    for (uint32_t i = 0; i < started; i++) pthread_join(threads[i], NULL);
    return started;
}

static bool check_startable(uint32_t count, struct error *err)
{
    if (count == 0) return true;
    pthread_t *threads = mem_alloc(MEM_GENERAL, count, sizeof *threads);
    if (!threads) return error_memory(err, count * sizeof *threads, "a device's threads");
    uint32_t started = try_threads(count, threads);
    mem_free(threads);
    if (started == count) return true;
    return error_set(
        err, ERROR_MEMORY,
        "of a device's %u threads the system lets only %u be started: a limit on memory (ulimit -v) or on "
        "threads (ulimit -u, a control group's pids.max) leaves no room; OMP_THREAD_LIMIT=%u asks for fewer",
        count + 1, started + 1, started + 1);
}

bool cpu_threads_take(uint32_t wanted, uint32_t *granted, struct error *err)
{
    uint32_t threads = cpu_threads_allowed(wanted), came = 1;
    TRY(check_startable(threads - 1, err));
    cpu_threads_use(threads);
#pragma omp parallel
#pragma omp single
    came = (uint32_t)omp_get_num_threads();
    cpu_threads_use(came);
    *granted = came;
    return true;
}
