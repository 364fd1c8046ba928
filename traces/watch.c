#define _GNU_SOURCE
#include "watch.h"

#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "process.h"

/* A run that is there reports its memory several times a second. */
#define CRASHED_SECONDS 1.5

static double seconds_silent(const char *path)
{
    struct stat info;
    struct timespec now;
    if (stat(path, &info) != 0 || clock_gettime(CLOCK_REALTIME, &now) != 0) return 0;
    double seconds = difftime(now.tv_sec, info.st_mtim.tv_sec);
    return seconds > 0 ? seconds : 0;
}

void trace_watch_begin(struct trace_watch *watch, const char *path, uint64_t now_ns)
{
    *watch = (struct trace_watch){.path = path, .silent = seconds_silent(path), .news_ns = now_ns};
}

void trace_watch_see(struct trace_watch *watch, const struct rollup *rollup, uint64_t grown, uint64_t now_ns)
{
    const bool news = grown && watch->looked; /* what brings some is there */
    if (news) {
        watch->news_ns = now_ns;
        watch->silent = 0;
    }
    watch->gone = watch->was_gone && grown == 0;
    watch->was_gone = !news && trace_process_is_gone(rollup);
    watch->looked = true;
}

double trace_watch_silence(const struct trace_watch *watch, uint64_t now_ns)
{
    return watch->silent + (double)(now_ns - watch->news_ns) * 1e-9;
}

bool trace_watch_crashed(const struct trace_watch *watch, const struct rollup *rollup, uint64_t now_ns)
{
    return watch->gone && !rollup->ended && trace_watch_silence(watch, now_ns) >= CRASHED_SECONDS;
}

/* Older traces have the host's name alone. */
static bool is_seen_from_here(const struct rollup *rollup)
{
    char host[256] = "";
    uint64_t here = process_space();
    if (rollup->pid_space && here) return rollup->pid_space == here;
    gethostname(host, sizeof host - 1);
    return strcmp(rollup->host, host) == 0;
}

bool trace_process_is_gone(const struct rollup *rollup)
{
    return rollup->pid > 0 && is_seen_from_here(rollup) && !process_is_alive(rollup->pid);
}

double trace_last_moment(const struct rollup *rollup)
{
    return rollup->wall_offset_ns && rollup->last_ns ? (double)(rollup->last_ns + rollup->wall_offset_ns) * 1e-9 : 0;
}
