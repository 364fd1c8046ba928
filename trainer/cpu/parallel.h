/* One loop over several threads: the device's OpenMP threads, which oneDNN uses too. */
#ifndef FATHOM_PARALLEL_H
#define FATHOM_PARALLEL_H

#include <stdint.h>

/* Work on [first, last). */
typedef void (*parallel_task)(const void *context, uint64_t first, uint64_t last);

/* Splits [0, count) evenly over the calling thread's team; serially when `elements`, the size of the whole work, is too
 * small to be worth waking it. */
void parallel_run(uint64_t count, uint64_t elements, parallel_task task, const void *context);

#endif
