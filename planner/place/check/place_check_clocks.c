#include <inttypes.h>

#include "place_check_clocks.h"
#include "place_check_private.h"

/* Whether the first has ended where the second begins, as far as both know. */
static bool ends_by(const uint64_t *end, const uint64_t *begin, size_t streams)
{
    while (streams > 0) {
        streams--;
        if (end[streams] > begin[streams]) return false;
    }
    return true;
}

/* Where the bytes that a buffer takes end; false where that is beyond 64 bits. */
static bool find_end(const struct place_buffer *buffer, uint64_t *end)
{
    uint64_t bytes;
    return place_check_round(buffer->size, buffer->align, &bytes) &&
           !__builtin_add_overflow(buffer->offset, bytes, end);
}

static bool check_alone(const struct place_buffer *buffer, size_t i, struct error *err)
{
    if (buffer->align > 1 && buffer->offset % buffer->align != 0)
        return error_set(err, ERROR_INPUT, "buffer %zu: offset %" PRIu64 " is not a multiple of alignment %" PRIu64, i,
                         buffer->offset, buffer->align);
    if (buffer->fixed != PLACE_UNPLACED && buffer->fixed != buffer->offset)
        return error_set(err, ERROR_INPUT, "buffer %zu: offset %" PRIu64 " where %" PRIu64 " is required", i,
                         buffer->offset, buffer->fixed);
    return true;
}

/* Against those before it, whose ends are known to be numbers. */
static bool check_against(const struct place_buffer *buffers, const struct place_clocks *clocks, size_t i, uint64_t end,
                          struct error *err)
{
    const struct place_buffer *a = &buffers[i];
    size_t streams = clocks->streams;
    for (size_t j = 0; j < i; j++) {
        const struct place_buffer *b = &buffers[j];
        uint64_t other = 0;
        if (b->size == 0 || b->offset >= end || (find_end(b, &other) && a->offset >= other)) continue;
        if (ends_by(clocks->end + i * streams, clocks->start + j * streams, streams) ||
            ends_by(clocks->end + j * streams, clocks->start + i * streams, streams))
            continue;
        return error_set(err, ERROR_INPUT,
                         "buffers %zu and %zu share bytes at %" PRIu64 ", and neither ends before the other begins", j,
                         i, a->offset > b->offset ? a->offset : b->offset);
    }
    return true;
}

bool place_check_clocks(const struct place_buffer *buffers, const struct place_clocks *clocks, size_t count,
                        uint64_t *arena_bytes, struct error *err)
{
    *arena_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t end;
        TRY(check_alone(&buffers[i], i, err));
        if (buffers[i].size == 0) continue;
        if (!find_end(&buffers[i], &end)) return place_check_too_large(i, err);
        if (end > *arena_bytes) *arena_bytes = end;
        TRY(check_against(buffers, clocks, i, end, err));
    }
    return true;
}

bool place_check_clocks_live(const struct place_buffer *buffers, const struct place_clocks *clocks, size_t count,
                             uint64_t *bytes, struct error *err)
{
    size_t streams = clocks->streams;
    *bytes = 0;
    for (size_t i = 0; i < count; i++) {
        const uint64_t *now = clocks->start + i * streams;
        uint64_t sum = 0, taken;
        for (size_t j = 0; j < count; j++) {
            if (!ends_by(clocks->start + j * streams, now, streams) || ends_by(clocks->end + j * streams, now, streams))
                continue;
            if (!place_check_round(buffers[j].size, buffers[j].align, &taken) ||
                __builtin_add_overflow(sum, taken, &sum))
                return place_check_too_large(j, err);
        }
        if (sum > *bytes) *bytes = sum;
    }
    return true;
}
