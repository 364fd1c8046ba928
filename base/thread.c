#define _GNU_SOURCE
#include "thread.h"

#include <signal.h>
#include <stdio.h>

static int start_blocked(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *context)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(thread, attributes, body, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}

int thread_start(pthread_t *thread, size_t stack_bytes, const char *name, void *(*body)(void *context), void *context)
{
    pthread_attr_t attributes;
    int code = pthread_attr_init(&attributes);
    if (code != 0) return code;
    if (stack_bytes > 0) code = pthread_attr_setstacksize(&attributes, stack_bytes);
    if (code == 0) code = start_blocked(thread, &attributes, body, context);
    pthread_attr_destroy(&attributes);
    if (code != 0 || !name) return code;
    char shown[16];
    snprintf(shown, sizeof shown, "%s", name);
    pthread_setname_np(*thread, shown);
    return 0;
}
