#define _GNU_SOURCE
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"

/* A mistyped path must not cost the user a plan or a checkpoint. */
static bool may_replace(const char *path, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT || error_errno(err, ERROR_INPUT, errno, "%s: cannot be written", path);
    uint8_t bytes[TRACE_FILE_HEADER];
    ssize_t got = read(fd, bytes, sizeof bytes);
    close(fd);
    if (got == 0 || (got >= 8 && memcmp(bytes, "FATHOMTR", 8) == 0)) return true;
    return error_set(err, ERROR_INPUT, "%s: exists and is not a trace; name another file or remove it", path);
}

/* A new file rather than the old one emptied: whoever still reads the old trace keeps it. */
static int create(const char *path, struct error *err)
{
    struct stat info;
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
    if (stat(path, &info) == 0 && S_ISREG(info.st_mode)) {
        if (!may_replace(path, err)) return -1;
        unlink(path);
    }
    int fd = open(path, flags, 0666);
    if (fd < 0) error_errno(err, ERROR_INPUT, errno, "%s: cannot be written", path);
    return fd;
}

static bool write_all(int fd, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        ssize_t wrote = write(fd, bytes, length);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) return false;
        bytes += wrote;
        length -= (size_t)wrote;
    }
    return true;
}

bool trace_output_open(struct trace_output *output, const char *path, uint64_t most_bytes, struct error *err)
{
    *output = (struct trace_output){.fd = create(path, err), .most_bytes = most_bytes};
    if (output->fd < 0) return false;
    uint8_t header[TRACE_FILE_HEADER];
    trace_put_file_header(&(struct trace_file_header){TRACE_VERSION, clock_now_ns(), clock_wall_ns()}, header);
    if (!write_all(output->fd, header, sizeof header)) {
        error_errno(err, ERROR_INPUT, errno, "%s: cannot be written", path);
        close(output->fd);
        output->fd = -1;
        return false;
    }
    output->offset = output->bytes = output->segment_begin = sizeof header;
    return true;
}

void trace_output_close(struct trace_output *output)
{
    if (output->fd >= 0) close(output->fd);
    output->fd = -1;
}

static void fail(struct trace_output *output, int cause)
{
    output->failed = true;
    snprintf(output->failure, sizeof output->failure, "the trace ends after %llu bytes: %s",
             (unsigned long long)output->offset, strerror(cause));
    /* A part of the block may have been written; a failure here leaves a cut tail, which readers pass over. */
    if (ftruncate(output->fd, (off_t)output->offset) != 0) return;
}

void trace_output_block(struct trace_output *output, enum trace_block_type type, uint8_t *bytes, size_t length,
                        uint32_t events, uint64_t first_ns, uint64_t last_ns)
{
    if (output->failed) return;
    struct trace_block block = {.type = (uint16_t)type,
                                .version = 1,
                                .length = (uint32_t)(length - TRACE_BLOCK_HEADER),
                                .events = events,
                                .sequence = output->sequence,
                                .first_ns = first_ns,
                                .last_ns = last_ns,
                                .dropped = output->dropped,
                                .segment = output->segment};
    trace_put_block_header(&block, bytes);
    if (!write_all(output->fd, bytes, length)) {
        fail(output, errno);
        return;
    }
    output->offset += length;
    output->bytes += length;
    output->sequence++;
    output->blocks++;
}

/* The range then reads as zeros and takes no room; the file's offsets stay. */
static bool drop_oldest(struct trace_output *output)
{
    struct trace_span span = output->closed[0];
    if (fallocate(output->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)span.begin,
                  (off_t)(span.end - span.begin)) != 0) {
        output->limit_reached = true;
        return false;
    }
    output->closed_bytes -= span.end - span.begin;
    output->closed_count--;
    memmove(output->closed, output->closed + 1, output->closed_count * sizeof output->closed[0]);
    return true;
}

void trace_output_end_segment(struct trace_output *output, bool droppable)
{
    struct trace_span span = {output->segment_begin, output->offset};
    if (!droppable || output->failed) return;
    if (output->closed_count == OUTPUT_MOST_SEGMENTS && !drop_oldest(output)) return;
    output->closed[output->closed_count++] = span;
    output->closed_bytes += span.end - span.begin;
}

void trace_output_begin_segment(struct trace_output *output)
{
    while (!output->failed && output->closed_count > 0 && output->closed_bytes > output->most_bytes &&
           drop_oldest(output)) {
    }
    output->segment++;
    output->segment_begin = output->offset;
    output->segment_sequence = output->sequence;
}
