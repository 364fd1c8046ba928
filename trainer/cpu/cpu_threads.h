/* The OpenMP threads that a device computes with. oneDNN's kernels wait for as many threads as they were made for, and
 * for ever where the runtime grants fewer: so the number is asked for once and kept. */
#ifndef FATHOM_CPU_THREADS_H
#define FATHOM_CPU_THREADS_H

#include <stdbool.h>
#include <stdint.h>

#include "errors.h"

/* `wanted` (0 = as many as this process has processors), or as many fewer as the environment's limits leave
 * (OMP_THREAD_LIMIT, OMP_MAX_ACTIVE_LEVELS). Starts none. */
uint32_t cpu_threads_allowed(uint32_t wanted);
/* Starts them for the calling thread and counts those that came; from then on its parallel regions have so many.
 * ERROR_MEMORY when the system does not let that many be started. */
bool cpu_threads_take(uint32_t wanted, uint32_t *granted, struct error *err);
/* Sets the number, one that cpu_threads_take granted, for the calling thread's regions. */
void cpu_threads_use(uint32_t threads);

#endif
