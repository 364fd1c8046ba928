#define _GNU_SOURCE
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "locks.h"
#include "mem.h"

/* Longer than any line of ours; of a longer one only the start is looked at. */
#define LINE_MOST 1024

struct log {
    int fd;
    char *path;
    int failure; /* errno of the first line that was not written */
    char line[LINE_MOST];
    size_t used; /* of the line */
};

/* ---- Opening ---- */

static bool is_regular(int fd)
{
    struct stat info;
    return fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
}

/* A mistyped path must not cost the user a plan, a checkpoint or the images. A run that was killed may have left the
 * beginning of its first line. */
static bool check_ours(int fd, const char *path, struct error *err)
{
    static const char begin[] = "{\"step\": ";
    char found[sizeof begin];
    ssize_t got = pread(fd, found, sizeof found, 0);
    if (got < 0) return error_errno(err, ERROR_INPUT, errno, "%s: cannot be read", path);
    size_t length = (size_t)got < sizeof begin - 1 ? (size_t)got : sizeof begin - 1;
    bool ours = memcmp(found, begin, length) == 0;
    if (ours && (size_t)got == sizeof found) ours = found[length] >= '0' && found[length] <= '9';
    return ours || error_set(err, ERROR_INPUT, "%s: exists and is not a log; name another file or remove it", path);
}

/* Copies the lines up to the step; *dropped says whether any was left out. */
static void copy_lines(FILE *from, uint64_t done, FILE *to, bool *dropped)
{
    char line[LINE_MOST];
    bool starts = true, keep = true;
    while (fgets(line, sizeof line, from)) {
        uint64_t step;
        bool whole = strchr(line, '\n') != NULL, torn = !whole && feof(from);
        if (starts) keep = sscanf(line, "{\"step\": %" SCNu64, &step) != 1 || step <= done;
        if (keep && !torn) fputs(line, to);
        *dropped |= !keep || torn;
        starts = whole;
    }
}

/* The rest is written beside the log, which keeps its old content until that is whole; *fd is then the new file's. */
static bool drop_later(const char *path, uint64_t done, int *fd, struct error *err)
{
    struct files_writer writer;
    bool dropped = false;
    int copy = fcntl(*fd, F_DUPFD_CLOEXEC, 0);
    FILE *from = copy < 0 ? NULL : fdopen(copy, "r");
    if (!from) return error_errno(err, ERROR_INPUT, errno, "%s: cannot be read", path);
    rewind(from);
    bool ok = files_begin(&writer, path, err);
    if (ok) copy_lines(from, done, writer.stream, &dropped);
    if (ok && ferror(from)) ok = error_set(err, ERROR_FAILED, "%s cannot be read to its end", path);
    fclose(from);
    int rest = -1;
    if (ok && dropped) ok = files_publish(&writer, true, &rest, err);
    files_abandon(&writer);
    if (rest < 0) return ok;
    close(*fd);
    *fd = rest;
    return true;
}

/* A new run begins the file anew. */
static bool prepare_file(const char *path, uint64_t done, int *fd, struct error *err)
{
    if (!is_regular(*fd)) return true;
    TRY(locks_take(*fd, path, err));
    TRY(check_ours(*fd, path, err));
    if (done > 0) return drop_later(path, done, fd, err);
    return ftruncate(*fd, 0) == 0 || error_errno(err, ERROR_INPUT, errno, "%s: cannot be emptied", path);
}

static int open_file(const char *path, uint64_t done, struct error *err)
{
    int fd;
    bool ok = files_open_to_write(path, &fd, err);
    if (ok && prepare_file(path, done, &fd, err)) return fd;
    if (ok) close(fd);
    error_prefix(err, "--log");
    return -1;
}

bool log_open(const char *path, uint64_t done, struct log **out, struct error *err)
{
    *out = NULL;
    if (!path) return true;
    struct log *log = mem_zalloc(MEM_GENERAL, 1, sizeof *log);
    if (!log || !(log->path = mem_strdup(MEM_GENERAL, path))) {
        mem_free(log);
        return error_memory(err, sizeof *log, "the log");
    }
    log->fd = open_file(path, done, err);
    if (log->fd < 0) {
        mem_free(log->path);
        mem_free(log);
        return false;
    }
    *out = log;
    return true;
}

static bool try_existing(const char *path, struct error *err)
{
    int fd;
    TRY(files_open(path, FILES_REGULAR, &fd, err));
    bool ok = locks_take(fd, path, err) && check_ours(fd, path, err);
    close(fd);
    if (ok && access(path, W_OK) != 0) return error_errno(err, ERROR_INPUT, errno, "%s: cannot be written", path);
    return ok;
}

static bool try_new(const char *path, struct error *err)
{
    struct files_writer writer;
    TRY(files_begin(&writer, path, err));
    files_abandon(&writer);
    return true;
}

bool log_try(const char *path, struct error *err)
{
    struct stat info;
    if (!path) return true;
    bool exists = stat(path, &info) == 0;
    if (exists && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
        return true; /* a pipe's reader must not see its end */
    return (exists ? try_existing(path, err) : try_new(path, err)) || error_prefix(err, "--log");
}

/* ---- Lines ---- */

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static void
put(struct log *log, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int length = vsnprintf(log->line + log->used, LINE_MOST - log->used, format, list);
    va_end(list);
    log->used += (size_t)length;
}

/* 17 digits tell any two doubles apart: logs of equal runs are equal, of different ones different. */
static void put_real(struct log *log, const char *name, double value)
{
    if (isfinite(value))
        put(log, ", \"%s\": %.17g", name, value);
    else
        put(log, ", \"%s\": null", name);
}

static bool write_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t wrote = write(fd, bytes, length);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return false;
        bytes += wrote;
        length -= (size_t)wrote;
    }
    return true;
}

/* A line is whole or not there: what a full disk took of it is given back. */
static void write_line(struct log *log)
{
    struct stat before;
    bool regular = fstat(log->fd, &before) == 0 && S_ISREG(before.st_mode);
    if (write_all(log->fd, log->line, log->used)) return;
    if (log->failure == 0) log->failure = errno;
    if (regular && ftruncate(log->fd, before.st_size) != 0) return;
}

void log_step(struct log *log, const struct train_status *status)
{
    if (!log) return;
    log->used = 0;
    put(log, "{\"step\": %" PRIu64, status->step);
    put_real(log, "loss", status->loss);
    put_real(log, "learning_rate", status->learning_rate);
    put_real(log, "images_per_second", status->images_per_second);
    put_real(log, "train_error", status->train_error);
    if (status->loss_scale > 0) {
        put_real(log, "loss_scale", status->loss_scale);
        put(log, ", \"skipped\": %" PRIu64, status->skipped);
    }
    if (status->evaluated) {
        put_real(log, "test_loss", status->test_loss);
        put_real(log, "top1_error", status->top1_error);
        if (status->has_top5) put_real(log, "top5_error", status->top5_error);
    }
    put(log, "}\n");
    write_line(log);
}

bool log_close(struct log *log, struct error *err)
{
    if (!log) return true;
    int failure = log->failure;
    if (close(log->fd) != 0 && failure == 0) failure = errno;
    if (failure) error_errno(err, ERROR_FAILED, failure, "--log: %s could not be written to its end", log->path);
    mem_free(log->path);
    mem_free(log);
    return failure == 0;
}
