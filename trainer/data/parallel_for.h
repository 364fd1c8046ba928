/* The same work for each of many images, on several threads, with progress told on the caller's. */
#ifndef FATHOM_PARALLEL_FOR_H
#define FATHOM_PARALLEL_FOR_H

#include <stdbool.h>
#include <stdint.h>

#include "data.h"
#include "errors.h"

#define PARALLEL_FOR_MOST_THREADS 256u

/* threads, or one for each processor this process may use when it is 0; at most `most`. */
uint32_t parallel_for_threads(uint32_t threads, uint32_t most);

/* Calls each(context, thread, index, err) once for every index below count, from `threads` threads numbered from 0. A
 * failure ends the sweep; of several, the one with the lowest index is told. progress (may be NULL) is called on the
 * calling thread about ten times a second and at the end; when it returns false the sweep ends with ERROR_FAILED. */
bool parallel_for(uint64_t count, uint32_t threads,
               bool (*each)(void *context, uint32_t thread, uint64_t index, struct error *err), void *context,
               data_progress *progress, void *progress_context, struct error *err);

#endif
