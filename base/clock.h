/* Time since an arbitrary start (CLOCK_MONOTONIC_RAW, the clock of every trace) and wall time, in nanoseconds. */
#ifndef FATHOM_CLOCK_H
#define FATHOM_CLOCK_H

#include <stdint.h>

uint64_t clock_now_ns(void);
uint64_t clock_wall_ns(void);
/* CPU time of the calling thread and of the process. */
uint64_t clock_thread_cpu_ns(void);
uint64_t clock_process_cpu_ns(void);

#endif
