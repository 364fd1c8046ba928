#define _GNU_SOURCE
#include "record_signal.h"

#include <signal.h>
#include <stdatomic.h>

static _Atomic(struct session *) recorded;

static void take(int number)
{
    struct session *session = atomic_load(&recorded);
    (void)number;
    if (session) session_ask_next(session, SESSION_ASKED);
}

void record_signal_catch(struct session *session)
{
    struct sigaction action = {.sa_handler = take, .sa_flags = SA_RESTART}, before;
    sigemptyset(&action.sa_mask);
    atomic_store(&recorded, session);
    if (sigaction(SIGUSR2, NULL, &before) == 0 && before.sa_handler == SIG_DFL) sigaction(SIGUSR2, &action, NULL);
}

/* Handlers run on any thread: one that has begun may still look at the session, which its owner closes later. */
void record_signal_leave(void) { atomic_store(&recorded, NULL); }
