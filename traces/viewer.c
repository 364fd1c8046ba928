#define _GNU_SOURCE
#include "viewer.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "mem.h"

#define WATCHED_AT ((off_t)1 << 60)
#define ASKED_AT   ((off_t)1 << 61) /* as many bytes from here as steps are asked for */

struct trace_viewer {
    int fd;
};

/* The lock of others that is in the way of writing there. */
static bool find_lock(int fd, off_t at, off_t bytes, struct flock *found)
{
    *found = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = bytes};
    return fcntl(fd, F_OFD_GETLK, found) == 0 && found->l_type != F_UNLCK;
}

struct trace_views trace_views_of(int fd)
{
    struct flock lock;
    struct trace_views views = {.watched = find_lock(fd, WATCHED_AT, 1, &lock)};
    if (views.watched && find_lock(fd, ASKED_AT, TRACE_VIEWER_MOST_STEPS, &lock) && lock.l_start == ASKED_AT)
        views.asked_steps = (uint64_t)lock.l_len;
    return views;
}

static bool set_lock(int fd, short type, off_t at, off_t bytes)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = bytes};
    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

bool trace_viewer_open(const char *path, struct trace_viewer **viewer, struct error *err)
{
    struct trace_viewer *v = mem_zalloc(MEM_TRACE, 1, sizeof *v);
    if (!v) return error_memory(err, sizeof *v, "a viewer");
    v->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (v->fd >= 0 && set_lock(v->fd, F_RDLCK, WATCHED_AT, 1)) {
        *viewer = v;
        return true;
    }
    error_errno(err, ERROR_FAILED, errno, "%s: the run cannot be told that somebody looks", path);
    trace_viewer_close(v);
    return false;
}

bool trace_viewer_ask(struct trace_viewer *viewer, uint64_t steps, struct error *err)
{
    if (steps > TRACE_VIEWER_MOST_STEPS) steps = TRACE_VIEWER_MOST_STEPS;
    bool ok = set_lock(viewer->fd, F_UNLCK, ASKED_AT, TRACE_VIEWER_MOST_STEPS) &&
              (steps == 0 || set_lock(viewer->fd, F_RDLCK, ASKED_AT, (off_t)steps));
    return ok || error_errno(err, ERROR_FAILED, errno, "the run cannot be asked");
}

void trace_viewer_close(struct trace_viewer *viewer)
{
    if (!viewer) return;
    if (viewer->fd >= 0) close(viewer->fd);
    mem_free(viewer);
}
