/* One loop over several threads: the calling thread's crew (crew.h). */
#ifndef FATHOM_PARALLEL_H
#define FATHOM_PARALLEL_H

#include <stdbool.h>
#include <stdint.h>

#include "errors.h"

/* Work on [first, last). */
typedef void (*parallel_task)(const void *context, uint64_t first, uint64_t last);

/* Splits [0, count) into ranges of about equal size, each for the first thread of the crew that is free; serially when
 * `elements`, the size of the whole work, is too small to be worth waking it. Where ranges begin depends on the number of
 * threads: results may not. */
void parallel_run(uint64_t count, uint64_t elements, parallel_task task, const void *context);

/* One of several works of about the same size, on thread `thread` of the crew. */
typedef bool (*parallel_work)(const void *context, unsigned thread, uint64_t index, struct error *err);

/* All of [0, count), each by the first thread that is free; threads are numbered below their count and `count`. After a failure, the first one's error. */
bool parallel_each(uint64_t count, parallel_work work, const void *context, struct error *err);

#endif
