#define _GNU_SOURCE
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "files.h"
#include "locks.h"

/* A mistyped path must not cost the user a plan or a checkpoint. */
static bool check_ours(int fd, const char *path, struct error *err)
{
    uint8_t bytes[8];
    ssize_t got = pread(fd, bytes, sizeof bytes, 0);
    if (got < 0) return error_errno(err, ERROR_INPUT, errno, "%s: cannot be read", path);
    if (got == 0 || (got == 8 && memcmp(bytes, "FATHOMTR", 8) == 0)) return true;
    return error_set(err, ERROR_INPUT, "%s: exists and is not a trace; name another file or remove it", path);
}

/* Opens the file that is to be replaced or gone on in, and takes its lock; *fd is -1 when there is none or it is a
 * device. */
static bool open_old(const char *path, int *fd, struct error *err)
{
    struct stat info;
    *fd = -1;
    if (stat(path, &info) != 0 || S_ISCHR(info.st_mode)) return true;
    if (S_ISFIFO(info.st_mode)) /* readers look at a trace again and from its end */
        return error_set(err, ERROR_INPUT, "%s: is a pipe; a file is wanted", path);
    TRY(files_open_to_write(path, fd, err));
    if (locks_take(*fd, path, err) && check_ours(*fd, path, err)) return true;
    close(*fd);
    return false;
}

/* A new file rather than the old one emptied: whoever still reads the old trace keeps it. */
static bool create(const char *path, int *fd, struct error *err)
{
    int old;
    struct files_writer writer;
    uint8_t header[TRACE_FILE_HEADER];
    trace_put_file_header(&(struct trace_file_header){TRACE_VERSION, clock_now_ns(), clock_wall_ns()}, header);
    TRY(open_old(path, &old, err));
    bool ok = files_begin(&writer, path, err);
    if (ok) fwrite(header, sizeof header, 1, writer.stream);
    ok = ok && files_publish(&writer, old >= 0, fd, err);
    if (old >= 0) close(old);
    return ok;
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

static void fail(struct trace_output *output, int cause)
{
    output->failed = true;
    snprintf(output->failure, sizeof output->failure, "the trace ends after %llu bytes: %s",
             (unsigned long long)output->offset, strerror(cause));
    /* A part of the block may have been written; a failure here leaves a cut tail, which readers pass over. */
    if (ftruncate(output->fd, (off_t)output->offset) != 0) return;
}

bool trace_output_open(struct trace_output *output, const char *path, uint64_t most_bytes, struct error *err)
{
    *output = (struct trace_output){.fd = -1, .most_bytes = most_bytes};
    TRY(create(path, &output->fd, err));
    output->offset = output->bytes = output->segment_begin = TRACE_FILE_HEADER;
    return true;
}

bool trace_output_begin(struct trace_output *output, int fd, uint64_t most_bytes)
{
    uint8_t header[TRACE_FILE_HEADER];
    trace_put_file_header(&(struct trace_file_header){TRACE_VERSION, clock_now_ns(), clock_wall_ns()}, header);
    *output = (struct trace_output){.fd = fd, .most_bytes = most_bytes};
    if (!write_all(fd, header, sizeof header)) fail(output, errno);
    output->offset = output->bytes = output->segment_begin = TRACE_FILE_HEADER;
    return !output->failed;
}

bool trace_output_go_on(struct trace_output *output, const char *path, uint64_t most_bytes,
                        const struct trace_output_end *end, struct error *err)
{
    *output = (struct trace_output){.fd = -1,
                                    .most_bytes = most_bytes,
                                    .offset = end->offset,
                                    .sequence = end->sequence,
                                    .segment = end->segment,
                                    .segment_begin = end->offset,
                                    .dropped = end->dropped,
                                    .closed_count = end->closed_count,
                                    .shift_ns = end->last_ns ? end->last_ns + 1 - clock_now_ns() : 0};
    memcpy(output->closed, end->closed, sizeof end->closed);
    for (size_t i = 0; i < end->closed_count; i++) output->closed_bytes += end->closed[i].end - end->closed[i].begin;
    struct stat info;
    TRY(open_old(path, &output->fd, err));
    bool same = output->fd >= 0 && fstat(output->fd, &info) == 0 && (uint64_t)info.st_size == end->file_bytes;
    if (same && ftruncate(output->fd, (off_t)end->offset) == 0) return true;
    int cause = errno;
    trace_output_close(output);
    if (same) return error_errno(err, ERROR_INPUT, cause, "%s: cannot be written", path);
    return error_set(err, ERROR_INPUT, "%s: changed while it was read: another process writes to it", path);
}

void trace_output_close(struct trace_output *output)
{
    if (output->fd >= 0) close(output->fd);
    output->fd = -1;
}

uint64_t trace_output_now(const struct trace_output *output) { return clock_now_ns() + output->shift_ns; }

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

#define DISK_BLOCK (64u << 10) /* at least a block of any file system */

/* The range then reads as zeros and takes no room; the file's offsets stay. Only whole blocks of the disk become free,
 * so what lies between two ranges is given back with the second one. */
static bool drop_oldest(struct trace_output *output)
{
    struct trace_span span = output->closed[0], *before = &output->given_back;
    if (before->end != span.begin) *before = (struct trace_span){span.begin, span.begin};
    uint64_t begin = span.begin - before->begin < DISK_BLOCK ? before->begin : span.begin - DISK_BLOCK;
    if (fallocate(output->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)begin, (off_t)(span.end - begin)) !=
        0) {
        output->limit_reached = true;
        return false;
    }
    before->end = span.end;
    output->closed_bytes -= span.end - span.begin;
    output->closed_count--;
    memmove(output->closed, output->closed + 1, output->closed_count * sizeof output->closed[0]);
    return true;
}

void trace_output_end_segment(struct trace_output *output, bool droppable)
{
    struct trace_span span = {output->segment_begin, output->offset};
    output->segment++;
    output->segment_begin = output->offset;
    if (!droppable || output->failed) return;
    if (output->closed_count == OUTPUT_MOST_SEGMENTS && !drop_oldest(output)) return;
    output->closed[output->closed_count++] = span;
    output->closed_bytes += span.end - span.begin;
}

void trace_output_make_room(struct trace_output *output, uint64_t bytes)
{
    while (!output->failed && output->closed_count > 0 && output->closed_bytes + bytes > output->most_bytes &&
           drop_oldest(output)) {
    }
}
