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

void thread_cond_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

struct timespec thread_deadline(uint64_t ns)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t rest = (uint64_t)until.tv_nsec + ns % 1000000000;
    until.tv_sec += (time_t)(ns / 1000000000 + rest / 1000000000);
    until.tv_nsec = (long)(rest % 1000000000);
    return until;
}
