/* A child that is to be asked to end must not have inherited that it ignores the request (nohup, a batch system). */
#ifndef FATHOM_SIGNALS_KIT_H
#define FATHOM_SIGNALS_KIT_H

#include <signal.h>
#include <stddef.h>

/* In the child, before exec. */
static inline void signals_by_default(void)
{
    sigset_t none;
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigemptyset(&action.sa_mask);
    for (int number = 1; number < 32; number++) sigaction(number, &action, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

#endif
