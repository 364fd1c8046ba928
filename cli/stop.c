#define _GNU_SOURCE
#include "stop.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* All whose default is to end the process and that somebody sends who wants it to end: a lost terminal (HUP), Slurm and
 * SGE before a job's time is up (USR1, USR2, XCPU), a power supply (PWR), timers. SIGQUIT keeps its core dump, faults
 * keep theirs. */
static const int requests[] = {SIGHUP,  SIGINT,  SIGTERM,   SIGXCPU, SIGUSR1, SIGUSR2,
                               SIGALRM, SIGPROF, SIGVTALRM, SIGIO,   SIGPWR};

static volatile sig_atomic_t requested, insisted;
static const char *volatile answer;

/* What the handler may call is in signal-safety(7). A terminal that is gone is told nothing, and neither is one whose
 * output is stopped, which the run would wait for. */
static void give_answer(void)
{
    const char *text = answer;
    struct pollfd to = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (!text || poll(&to, 1, 0) <= 0 || !(to.revents & POLLOUT)) return;
    if (write(STDERR_FILENO, text, strlen(text)) < 0) answer = NULL;
}

static void end_at_once(int number)
{
    sigset_t set;
    signal(number, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, number);
    raise(number);
    sigprocmask(SIG_UNBLOCK, &set, NULL); /* here the process ends */
}

/* Only SIGINT and SIGTERM insist: a lost connection is told by terminal, shell and session manager, one after the
 * other, and the kernel repeats SIGXCPU every second, while the checkpoint is being written. */
static void take_request(int number)
{
    bool insists = number == SIGINT || number == SIGTERM;
    int before = errno; /* of whoever is interrupted */
    if (insists && insisted) end_at_once(number);
    if (insists) insisted = 1;
    if (number == SIGINT && !requested) give_answer();
    if (!requested) requested = number;
    errno = before;
}

void stop_catch(void)
{
    struct sigaction action = {.sa_handler = take_request, .sa_flags = SA_RESTART}, before;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++)
        if (sigaction(requests[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
            sigaction(requests[i], &action, NULL);
}

void stop_answer(const char *text) { answer = text; }

void stop_request(int number)
{
    if (!requested) requested = number;
}

const volatile sig_atomic_t *stop_flag(void) { return &requested; }

const char *stop_name(int number)
{
    static char name[32];
    const char *known = number == SIGINT ? NULL : sigabbrev_np(number);
    if (number == SIGINT) return "Ctrl-C";
    snprintf(name, sizeof name, "SIG%s", known ? known : "?");
    return name;
}
