/* Is the run that writes a trace still there? */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "process.h"
#include "watch.h"

#define SECOND UINT64_C(1000000000)

/* A process of this host that has been and gone. */
static uint64_t dead_process(void)
{
    pid_t child = fork();
    if (child == 0) _exit(0);
    waitpid(child, NULL, 0);
    return (uint64_t)child;
}

static struct rollup run_of(uint64_t pid)
{
    struct rollup rollup = {.pid = pid};
    gethostname(rollup.host, sizeof rollup.host - 1);
    return rollup;
}

/* A file that was last written so many seconds ago. */
static void make_file(const char *path, long seconds_ago)
{
    struct timespec now, times[2];
    FILE *file = fopen(path, "w");
    cr_assert(file);
    fclose(file);
    clock_gettime(CLOCK_REALTIME, &now);
    times[0] = times[1] = (struct timespec){.tv_sec = now.tv_sec - seconds_ago};
    cr_assert_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

static bool crashed(const struct rollup *rollup, long file_age, uint64_t grown)
{
    char path[] = "/tmp/fathom-watch-XXXXXX";
    struct trace_watch watch;
    close(mkstemp(path));
    make_file(path, file_age);
    trace_watch_begin(&watch, path, 10 * SECOND);
    trace_watch_see(&watch, rollup, 1000, 10 * SECOND); /* what is there at first is no news */
    trace_watch_see(&watch, rollup, grown, 11 * SECOND);
    remove(path);
    return trace_watch_crashed(&watch, rollup, 11 * SECOND);
}

Test(watch, a_run_has_crashed_when_its_process_is_gone_and_nothing_comes)
{
    struct rollup gone = run_of(dead_process()), here = run_of((uint64_t)getpid()), ended = gone, unknown = gone;
    ended.ended = true;
    unknown.pid = 0;
    cr_expect(crashed(&gone, 60, 0));
    cr_expect_not(crashed(&gone, 0, 0), "perhaps more is on its way");
    cr_expect_not(crashed(&gone, 60, 5), "something came");
    cr_expect_not(crashed(&here, 60, 0));
    cr_expect_not(crashed(&ended, 60, 0));
    cr_expect_not(crashed(&unknown, 60, 0));
}

Test(watch, a_process_of_another_host_cannot_be_seen)
{
    struct rollup other = run_of(dead_process());
    snprintf(other.host, sizeof other.host, "elsewhere");
    cr_expect_not(trace_process_is_gone(&other));
    cr_expect_not(crashed(&other, 60, 0));
}

/* Containers of one name, or machines: where the number counts is known, and the name means nothing. */
Test(watch, a_process_of_another_container_cannot_be_seen_whatever_it_is_called)
{
    struct rollup other = run_of(dead_process()), same = other, renamed = other;
    other.pid_space = process_space() ^ 1;
    same.pid_space = renamed.pid_space = process_space();
    snprintf(renamed.host, sizeof renamed.host, "elsewhere");
    cr_assert_neq(process_space(), 0);
    cr_assert_eq(process_space(), process_space());
    cr_expect_not(trace_process_is_gone(&other));
    cr_expect_not(crashed(&other, 60, 0));
    cr_expect(trace_process_is_gone(&same));
    cr_expect(trace_process_is_gone(&renamed), "a host may be given another name");
}

Test(watch, silence_counts_from_the_file_and_then_from_the_last_news)
{
    char path[] = "/tmp/fathom-watch-XXXXXX";
    struct trace_watch watch;
    struct rollup rollup = run_of((uint64_t)getpid());
    close(mkstemp(path));
    make_file(path, 30);
    trace_watch_begin(&watch, path, 10 * SECOND);
    cr_expect_float_eq(trace_watch_silence(&watch, 12 * SECOND), 32, 1.5);
    trace_watch_see(&watch, &rollup, 7, 12 * SECOND);
    trace_watch_see(&watch, &rollup, 7, 13 * SECOND);
    cr_expect_float_eq(trace_watch_silence(&watch, 15 * SECOND), 2, 1e-9);
    remove(path);
}
