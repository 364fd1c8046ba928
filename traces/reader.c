#define _GNU_SOURCE
#include "reader.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem.h"

#define WINDOW_BYTES (1u << 18)

struct trace_reader {
    int fd;
    char *path;
    uint8_t *window;
    size_t length;          /* bytes in the window */
    size_t at;              /* next byte in the window */
    uint64_t window_offset; /* of the window in the file */
    uint64_t expected;      /* sequence number of the next block */
    uint64_t segment;       /* one more than the last block's */
    bool lost;              /* since lost_from no block was found */
    bool lost_zeros;        /* and there were zeros there: perhaps a dropped segment */
    uint64_t lost_from;
    bool looks, at_end; /* see trace_reader_look */
    struct trace_reader_stats stats;
};

static uint64_t offset_now(const struct trace_reader *reader) { return reader->window_offset + reader->at; }

static bool check_size(struct trace_reader *reader, struct error *err)
{
    struct stat info;
    if (fstat(reader->fd, &info) != 0) return error_errno(err, ERROR_INPUT, errno, "%s: cannot be read", reader->path);
    if (!S_ISREG(info.st_mode))
        return error_set(err, ERROR_INPUT, "%s: is not a file; a trace is wanted", reader->path);
    reader->stats.size_bytes = (uint64_t)info.st_size;
    if (reader->stats.size_bytes < offset_now(reader))
        return error_set(err, ERROR_INPUT, "%s: became shorter while it was read: it is being written anew",
                         reader->path);
    return true;
}

/* Makes the bytes from here to `wanted` further on, or to the end of the file, lie in the window. Network and FUSE file
 * systems may give less than is there. */
static bool fill(struct trace_reader *reader, size_t wanted, struct error *err)
{
    if (reader->length - reader->at >= wanted || reader->at_end) return true;
    reader->length -= reader->at;
    memmove(reader->window, reader->window + reader->at, reader->length);
    reader->window_offset += reader->at;
    reader->at = 0;
    while (reader->length < wanted) {
        size_t room = WINDOW_BYTES - reader->length;
        ssize_t got =
            pread(reader->fd, reader->window + reader->length, room, (off_t)(reader->window_offset + reader->length));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_errno(err, ERROR_FAILED, errno, "%s: cannot be read", reader->path);
        reader->stats.reads++;
        reader->length += (size_t)got;
        if ((size_t)got == room) continue;
        TRY(check_size(reader, err));
        bool at_end = got == 0 || reader->window_offset + reader->length >= reader->stats.size_bytes;
        reader->at_end = at_end && reader->looks;
        if (at_end) return true;
    }
    return true;
}

static bool read_header(struct trace_reader *reader, struct error *err)
{
    TRY(check_size(reader, err));
    TRY(fill(reader, TRACE_FILE_HEADER, err));
    TRY(trace_get_file_header(reader->window, reader->length, reader->path, &reader->stats.header, err));
    reader->at = TRACE_FILE_HEADER;
    reader->stats.end_offset = TRACE_FILE_HEADER;
    return true;
}

bool trace_reader_open(const char *path, struct trace_reader **out, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return error_errno(err, ERROR_INPUT, errno, "%s: cannot be opened", path);
    struct trace_reader *reader = mem_zalloc(MEM_TRACE, 1, sizeof *reader);
    if (!reader) {
        close(fd);
        return error_memory(err, sizeof *reader, path);
    }
    reader->fd = fd;
    reader->path = mem_strdup(MEM_TRACE, path);
    reader->window = reader->path ? mem_alloc(MEM_TRACE, WINDOW_BYTES, 1) : NULL;
    if (!reader->window) error_memory(err, WINDOW_BYTES, path);
    if (!reader->window || !read_header(reader, err)) {
        trace_reader_close(reader);
        return false;
    }
    *out = reader;
    return true;
}

void trace_reader_close(struct trace_reader *reader)
{
    if (!reader) return;
    close(reader->fd);
    mem_free(reader->window);
    mem_free(reader->path);
    mem_free(reader);
}

static void lose(struct trace_reader *reader, bool zeros)
{
    if (!reader->lost) {
        reader->lost_from = offset_now(reader);
        reader->lost_zeros = zeros;
    }
    reader->lost = true;
    if (!zeros) reader->lost_zeros = false;
}

static bool is_zero(const uint8_t *bytes, size_t length)
{
    return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

/* Goes over zeros, over holes without reading them. Leaves *more false at the end of the file. */
static bool skip_zeros(struct trace_reader *reader, bool *more, struct error *err)
{
    lose(reader, true);
    for (;;) {
        size_t left = reader->length - reader->at;
        if (!is_zero(reader->window + reader->at, left)) break;
        off_t data = lseek(reader->fd, (off_t)(offset_now(reader) + left), SEEK_DATA);
        reader->window_offset += reader->length;
        if (data > 0 && (uint64_t)data > reader->window_offset) reader->window_offset = (uint64_t)data;
        reader->length = reader->at = 0;
        TRY(fill(reader, 1, err));
        *more = reader->length > 0;
        if (!*more) return true;
    }
    while (reader->window[reader->at] == 0) reader->at++;
    *more = true;
    return true;
}

/* Whether dropped segments explain the zeros: what begins the first one that is there tells of all before. */
static bool past_explains(const struct trace_reader *reader, const struct trace_block *block, const uint8_t *payload)
{
    if (!reader->lost_zeros || block->type != TRACE_BLOCK_PAST) return false;
    struct trace_in in = {payload, payload + block->length, false};
    return trace_get_varint(&in) == block->sequence && !in.bad;
}

/* The same of older files: the digest after a segment names the sequence numbers that it had. */
static bool digest_explains(const struct trace_reader *reader, const struct trace_block *block, const uint8_t *payload)
{
    if (!reader->lost_zeros || block->type != TRACE_BLOCK_DIGEST) return false;
    struct trace_in in = {payload, payload + block->length, false};
    uint64_t first = trace_get_varint(&in), last = trace_get_varint(&in);
    return !in.bad && first <= reader->expected && reader->expected <= last && block->sequence == last + 1;
}

static void account(struct trace_reader *reader, const struct trace_block *block, const uint8_t *payload)
{
    uint64_t bytes = reader->lost ? offset_now(reader) - reader->lost_from : 0;
    bool past = past_explains(reader, block, payload);
    if (past || digest_explains(reader, block, payload)) {
        reader->stats.dropped_segments +=
            past && block->segment > reader->segment ? block->segment - reader->segment : 1;
        reader->stats.dropped_bytes += bytes;
    } else if (reader->lost || block->sequence != reader->expected) {
        reader->stats.damaged++;
        reader->stats.damaged_bytes += bytes;
    }
    reader->lost = false;
    reader->segment = block->segment + 1;
}

/* True when a whole block follows somewhere in the window, so that what looks like a cut tail is damage. */
static bool block_follows(const struct trace_reader *reader)
{
    struct trace_block block;
    for (size_t at = reader->at + 1; at < reader->length; at++) {
        at = trace_find_block(reader->window, reader->length, at);
        if (trace_get_block(reader->window + at, reader->length - at, &block) == TRACE_BLOCK_GOOD) return true;
    }
    return false;
}

/* After bytes that are no block: to the next place that may be one. */
static bool seek_block(struct trace_reader *reader, bool *more, struct error *err)
{
    if (is_zero(reader->window + reader->at, reader->length - reader->at < 4 ? reader->length - reader->at : 4))
        return skip_zeros(reader, more, err);
    lose(reader, false);
    reader->at = trace_find_block(reader->window, reader->length, reader->at + 1);
    *more = true;
    return true;
}

static enum trace_block_state look(const struct trace_reader *reader, struct trace_block *block)
{
    return trace_get_block(reader->window + reader->at, reader->length - reader->at, block);
}

bool trace_reader_next(struct trace_reader *reader, struct trace_block *block, const uint8_t **payload, bool *found,
                       struct error *err)
{
    *found = false;
    for (bool more = true; more;) {
        enum trace_block_state state = look(reader, block);
        if (state != TRACE_BLOCK_GOOD) { /* only then is the file asked: it may be at its end */
            TRY(fill(reader, TRACE_BLOCK_MOST, err));
            if (reader->length == reader->at) break;
            state = look(reader, block);
        }
        if (state == TRACE_BLOCK_PARTIAL && !block_follows(reader)) break;
        if (state != TRACE_BLOCK_GOOD) {
            TRY(seek_block(reader, &more, err));
            continue;
        }
        *payload = reader->window + reader->at + TRACE_BLOCK_HEADER;
        *found = block->sequence >= reader->expected; /* else one that was there before */
        account(reader, block, *payload);
        reader->at += TRACE_BLOCK_HEADER + block->length;
        if (!*found) continue;
        reader->expected = block->sequence + 1;
        reader->stats.end_offset = offset_now(reader);
        reader->stats.blocks++;
        return true;
    }
    return true;
}

void trace_reader_look(struct trace_reader *reader)
{
    reader->looks = true;
    reader->at_end = false;
}

void trace_reader_stats(const struct trace_reader *reader, struct trace_reader_stats *stats)
{
    *stats = reader->stats;
    uint64_t from = reader->lost ? reader->lost_from : offset_now(reader);
    stats->tail_bytes = stats->size_bytes > from ? stats->size_bytes - from : 0;
}

uint64_t trace_reader_end_offset(const struct trace_reader *reader) { return reader->stats.end_offset; }
