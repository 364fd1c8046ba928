/* The threads that a device computes with (crew.h). oneDNN's kernels wait for as many threads as they were made for, and
 * for ever where there are fewer: so the number is asked for once and kept. */
#ifndef FATHOM_CPU_THREADS_H
#define FATHOM_CPU_THREADS_H

#include <stdbool.h>
#include <stdint.h>

#include "errors.h"

/* `wanted` (0 = as many as this process has processors), or as many fewer as the environment's limits leave
 * (OMP_THREAD_LIMIT, OMP_MAX_ACTIVE_LEVELS). With FATHOM_CPU_THREADS so many of each device, whatever is wanted and however
 * few processors there are: to see that results do not depend on it. Starts none. */
uint32_t cpu_threads_allowed(uint32_t wanted);
/* The calling thread's loops, and oneDNN's for it, have so many threads from now on; those that are not there yet are
 * started. ERROR_MEMORY when the system does not let that many be, ERROR_INPUT when FATHOM_CPU_THREADS is no number. */
bool cpu_threads_use(uint32_t threads, struct error *err);

#endif
