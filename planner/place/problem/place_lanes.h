/* Searches of one problem side by side, each on a thread of its own, of which the one with the fewest steps counts. */
#ifndef FATHOM_PLACE_LANES_H
#define FATHOM_PLACE_LANES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MOST_LANES 64

/* Calls body(lane) for each of `count` (at most MOST_LANES) elements of lanes[], `bytes` apart, and returns when all
 * have. If `here` the first runs on the calling thread, and so does one whose thread cannot start; otherwise that one
 * is left out. stack_bytes 0 = the system's default. */
void lanes_run(void *(*body)(void *lane), void *lanes, size_t bytes, uint32_t count, size_t stack_bytes, bool here);

/* *stop = the lesser of itself and `steps`. */
void lanes_lower_stop(_Atomic uint64_t *stop, uint64_t steps);

#endif
