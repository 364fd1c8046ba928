/* Threads of the program's own that share the work of an op with the thread that launches it, its crew's first. OpenMP's
 * are not used: theirs either spin for many milliseconds while another process wants the core, or sleep at once and take
 * tens of microseconds to come back, several thousand times a step. These spin for a while that is short beside a
 * scheduler's time slice, then sleep.
 *
 * oneDNN is built for OpenMP; it runs on these threads, too: crew.c answers the few calls of GCC's OpenMP runtime that it
 * makes. */
#ifndef FATHOM_CREW_H
#define FATHOM_CREW_H

#include <stdbool.h>
#include <stdint.h>

/* How many threads work on what the calling thread runs from now on, itself counted. 0 counts as 1. */
void crew_use(uint32_t threads);
/* That number; before the first crew_use OMP_NUM_THREADS, or as many as there are processors. */
uint32_t crew_threads(void);
/* Starts those that are not there yet, which the first run would do otherwise, and returns how many there are of
 * `threads`. They end with the calling thread. */
uint32_t crew_start(uint32_t threads);

/* work(context) on so many threads at the same time, the caller among them; ends when all have. Inside of one it runs on
 * the caller alone. When threads cannot be started it runs on those that can. */
void crew_run(uint32_t threads, void (*work)(void *context), void *context);

/* Within a run: the calling thread's number, and how many there are; outside 0 and 1. */
uint32_t crew_number(void);
uint32_t crew_size(void);

#endif
