#include "cpu_threads.h"

#include <stdlib.h>

#include "system_limits.h"
#include "crew.h"

/* A variable's number, or `otherwise` where there is none. */
static unsigned long environment_number(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);
    char *end = NULL;
    unsigned long number = text ? strtoul(text, &end, 10) : 0;
    return text && end != text ? number : otherwise;
}

#define MOST_FORCED 256u

/* 0 = not said. */
static bool forced_threads(uint32_t *threads, struct error *err)
{
    const char *text = getenv("FATHOM_CPU_THREADS");
    char *end = NULL;
    *threads = 0;
    if (!text || !*text) return true;
    unsigned long number = strtoul(text, &end, 10);
    if (*end || number < 1 || number > MOST_FORCED || *text < '0' || *text > '9')
        return error_set(err, ERROR_INPUT, "FATHOM_CPU_THREADS: found '%.40s', expected 1 to %u", text, MOST_FORCED);
    *threads = (uint32_t)number;
    return true;
}

uint32_t cpu_threads_allowed(uint32_t wanted)
{
    uint32_t forced;
    if (forced_threads(&forced, NULL) && forced) return forced;
    uint32_t threads = wanted ? wanted : limits_processors();
    unsigned long limit = environment_number("OMP_THREAD_LIMIT", threads);
    if (environment_number("OMP_MAX_ACTIVE_LEVELS", 1) < 1) return 1;
    return limit > 0 && threads > limit ? (uint32_t)limit : threads;
}

bool cpu_threads_use(uint32_t threads, struct error *err)
{
    uint32_t forced;
    TRY(forced_threads(&forced, err));
    uint32_t came = crew_start(threads);
    if (came < threads)
        return error_set(
            err, ERROR_MEMORY,
            "of a device's %u threads the system lets only %u be started: a limit on memory (ulimit -v) or on "
            "threads (ulimit -u, a control group's pids.max) leaves no room; OMP_THREAD_LIMIT=%u asks for fewer",
            threads, came, came);
    crew_use(threads);
    return true;
}
