/* Requests to end: Ctrl-C, and what terminals, shells and batch systems send before they kill. */
#ifndef FATHOM_STOP_H
#define FATHOM_STOP_H

#include <signal.h>

/* From here on the first request sets the flag, and a second SIGINT or SIGTERM ends the process at once, whatever its
 * threads wait for. Signals that were ignored when the program started (nohup, a script's background job) stay so. */
void stop_catch(void);

/* What the first Ctrl-C is answered on standard error, at once; borrowed, NULL = nothing. */
void stop_answer(const char *text);

/* Asks for it without a signal. */
void stop_request(int number);

/* The number of the first request's signal, 0 before it. */
const volatile sig_atomic_t *stop_flag(void);

/* "SIGHUP"; for SIGINT "Ctrl-C". */
const char *stop_name(int number);

#endif
