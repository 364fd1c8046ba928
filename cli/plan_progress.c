#define _GNU_SOURCE
#include "plan_progress.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "clock.h"
#include "units.h"

#define QUIET_NS    1000000000u  /* before the first line on a terminal */
#define TERMINAL_NS 100000000u   /* between two updates of it */
#define PLAIN_NS    10000000000u /* before and between plain lines */

/* A search of seconds looks at a request between two memory layouts; a single one of these can take long. Nothing is
 * half-written while it searches, so that the process may end by the signal where no look comes in time. */
#define PATIENCE_S 1

static volatile sig_atomic_t stop_requested, line_open;

static void end_by_signal(int number)
{
    static const char clear[] = "\r\033[K", said[] = "fathom: planning was stopped\n";
    (void)number;
    if (!line_open || write(STDERR_FILENO, clear, sizeof clear - 1) > 0)
        line_open = write(STDERR_FILENO, said, sizeof said - 1) < 0;
    raise(stop_requested); /* whose action is the default again; nobody may be there to be told */
}

static void request_stop(int number)
{
    stop_requested = number;
    alarm(PATIENCE_S);
}

struct plan_progress plan_progress_begin(void)
{
    struct sigaction stop = {.sa_handler = request_stop, .sa_flags = (int)SA_RESETHAND},
                     end = {.sa_handler = end_by_signal};
    uint64_t now = clock_now_ns();
    sigaction(SIGALRM, &end, NULL);
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    return (struct plan_progress){.terminal = isatty(STDERR_FILENO) == 1, .start_ns = now, .last_ns = now};
}

static bool is_due(const struct plan_progress *p, uint64_t now)
{
    if (p->silent) return false;
    if (!p->terminal) return now - p->last_ns >= PLAIN_NS;
    return now - p->start_ns >= QUIET_NS && now - p->last_ns >= TERMINAL_NS;
}

static void show(struct plan_progress *p)
{
    char since[UNITS_TEXT], left[UNITS_TEXT];
    uint64_t now = clock_now_ns();
    double seconds = (double)(now - p->start_ns) * 1e-9;
    if (!is_due(p, now)) return;
    p->last_ns = now;
    if (p->terminal) fputs("\r\033[K", stderr);
    if (p->most > 0) fprintf(stderr, "plan %" PRIu32 " of at most %" PRIu32 ", ", p->done + 1, p->most);
    fprintf(stderr, "%" PRIu32 " memory layout%s tried, %s so far", p->shares, p->shares == 1 ? "" : "s",
            units_format_seconds(seconds, since));
    if (p->done > 0)
        fprintf(stderr, ", at most about %s left", units_format_seconds(seconds / p->done * (p->most - p->done), left));
    if (!p->terminal) fputc('\n', stderr);
    p->open = p->terminal;
    line_open = p->open;
    fflush(stderr);
}

bool plan_progress_watch(void *context)
{
    struct plan_progress *p = context;
    show(p);
    p->shares++;
    return !stop_requested;
}

bool plan_progress_part(void *context, uint32_t done, uint32_t most)
{
    struct plan_progress *p = context;
    p->done = done;
    p->most = most;
    show(p);
    return !stop_requested;
}

void plan_progress_built(void *context, size_t done, size_t all)
{
    struct plan_progress *p = context;
    uint64_t now = clock_now_ns();
    if (!is_due(p, now)) return;
    p->last_ns = now;
    if (p->terminal) fputs("\r\033[K", stderr);
    fprintf(stderr, "building %zu of %zu convolution plans of cuDNN", done, all);
    if (!p->terminal) fputc('\n', stderr);
    p->open = p->terminal;
    line_open = p->open;
    fflush(stderr);
}

bool plan_progress_end(struct plan_progress *progress)
{
    if (stop_requested) alarm(0); /* the request was seen: what follows is told and written whole */
    if (progress->open) fputs("\r\033[K", stderr);
    progress->open = false;
    line_open = 0;
    fflush(stderr);
    return !stop_requested;
}
