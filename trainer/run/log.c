#define _GNU_SOURCE
#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "files.h"
#include "mem.h"

struct log {
    FILE *stream;
    char *path;
    int failure;       /* errno of the first line that was not written */
    char buffer[4096]; /* the stream's, so that it allocates none */
};

/* Longer than any line of ours; of a longer one only the start is looked at. */
#define LINE_MOST 1024

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

static bool drop_later(const char *path, uint64_t done, struct error *err)
{
    struct stat info;
    struct files_writer writer;
    bool dropped = false;
    FILE *from = stat(path, &info) == 0 && S_ISREG(info.st_mode) ? fopen(path, "re") : NULL;
    if (!from) return true;
    bool ok = files_begin(&writer, path, err);
    if (ok) copy_lines(from, done, writer.stream, &dropped);
    bool unread = ferror(from);
    fclose(from);
    if (ok && unread) {
        files_abandon(&writer);
        return error_set(err, ERROR_FAILED, "--log: %s cannot be read to its end", path);
    }
    if (ok && dropped) return files_commit(&writer, err);
    if (ok) files_abandon(&writer);
    return ok;
}

static bool refuse_path(const char *path, int cause, struct error *err)
{
    return error_errno(err, ERROR_INPUT, cause, "--log: %s cannot be written", path);
}

bool log_try(const char *path, struct error *err)
{
    struct stat info;
    if (!path) return true;
    if (stat(path, &info) != 0) {
        struct files_writer writer;
        if (!files_begin(&writer, path, err)) return error_prefix(err, "--log");
        files_abandon(&writer);
        return true;
    }
    if (S_ISFIFO(info.st_mode)) return true; /* opening it waits for a reader */
    FILE *stream = fopen(path, "ae");
    if (!stream) return refuse_path(path, errno, err);
    fclose(stream);
    return true;
}

bool log_open(const char *path, uint64_t done, struct log **out, struct error *err)
{
    *out = NULL;
    if (!path) return true;
    if (done > 0) TRY(drop_later(path, done, err));
    struct log *log = mem_zalloc(MEM_GENERAL, 1, sizeof *log);
    if (!log || !(log->path = mem_strdup(MEM_GENERAL, path))) {
        mem_free(log);
        return error_memory(err, sizeof *log, "the log");
    }
    log->stream = fopen(path, done > 0 ? "ae" : "we");
    if (!log->stream) {
        refuse_path(path, errno, err);
        mem_free(log->path);
        mem_free(log);
        return false;
    }
    setvbuf(log->stream, log->buffer, _IOFBF, sizeof log->buffer);
    *out = log;
    return true;
}

/* 17 digits tell any two doubles apart: logs of equal runs are equal, of different ones different. */
static void put_real(struct log *log, const char *name, double value)
{
    if (isfinite(value))
        fprintf(log->stream, ", \"%s\": %.17g", name, value);
    else
        fprintf(log->stream, ", \"%s\": null", name);
}

void log_step(struct log *log, const struct train_status *status)
{
    if (!log) return;
    fprintf(log->stream, "{\"step\": %" PRIu64, status->step);
    put_real(log, "loss", status->loss);
    put_real(log, "learning_rate", status->learning_rate);
    put_real(log, "images_per_second", status->images_per_second);
    put_real(log, "train_error", status->train_error);
    if (status->evaluated) {
        put_real(log, "test_loss", status->test_loss);
        put_real(log, "top1_error", status->top1_error);
        put_real(log, "top5_error", status->top5_error);
    }
    fputs("}\n", log->stream);
    if (fflush(log->stream) != 0 && log->failure == 0) log->failure = errno;
}

bool log_close(struct log *log, struct error *err)
{
    if (!log) return true;
    int failure = log->failure;
    if (fclose(log->stream) != 0 && failure == 0) failure = errno;
    if (failure) error_errno(err, ERROR_FAILED, failure, "--log: %s could not be written to its end", log->path);
    mem_free(log->path);
    mem_free(log);
    return failure == 0;
}
