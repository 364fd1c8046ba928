/* Threads of the program's own. Signals (Ctrl-C, a resized terminal, a batch system's) are for the threads that were there
 * before: a new one starts with all of them blocked. */
#ifndef FATHOM_THREAD_H
#define FATHOM_THREAD_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Starts body(context). stack_bytes 0 = the system's default; name (may be NULL) is what debuggers and `top -H` show, 15
 * characters of it. Returns 0, or pthread_create's error number; the caller joins *thread. */
int thread_start(pthread_t *thread, size_t stack_bytes, const char *name, void *(*body)(void *context), void *context);

/* A condition whose timed waits are on CLOCK_MONOTONIC, which nobody sets; ended with pthread_cond_destroy. */
void thread_cond_init(pthread_cond_t *condition);
/* So many nanoseconds from now, on that clock. */
struct timespec thread_deadline(uint64_t ns);

#endif
