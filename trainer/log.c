#define _GNU_SOURCE
#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "mem.h"

struct log {
    FILE *stream;
    char *path;
    int failure;       /* errno of the first line that was not written */
    char buffer[4096]; /* the stream's, so that it allocates none */
};

bool log_open(const char *path, bool append, struct log **out, struct error *err)
{
    *out = NULL;
    if (!path) return true;
    struct log *log = mem_zalloc(MEM_GENERAL, 1, sizeof *log);
    if (!log || !(log->path = mem_strdup(MEM_GENERAL, path))) {
        mem_free(log);
        return error_memory(err, sizeof *log, "the log");
    }
    log->stream = fopen(path, append ? "ae" : "we");
    if (!log->stream) {
        error_errno(err, ERROR_INPUT, errno, "--log: %s cannot be written", path);
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
