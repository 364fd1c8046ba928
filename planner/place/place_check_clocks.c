#include <inttypes.h>

#include "place_clocks.h"

/* Whether the first has ended where the second begins, as far as both know. */
static bool ends_by(const uint64_t *end, const uint64_t *begin, size_t streams)
{
    while (streams > 0) {
        streams--;
        if (end[streams] > begin[streams]) return false;
    }
    return true;
}

static uint64_t taken(const struct place_buffer *buffer)
{
    uint64_t align = buffer->align > 1 ? buffer->align : 1;
    return (buffer->size + align - 1) / align * align;
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

bool place_check_clocks(const struct place_buffer *buffers, const struct place_clocks *clocks, size_t count,
                        uint64_t *arena_bytes, struct error *err)
{
    size_t streams = clocks->streams;
    *arena_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        const struct place_buffer *a = &buffers[i];
        if (!check_alone(a, i, err)) return false;
        if (a->size == 0) continue;
        if (a->offset + taken(a) > *arena_bytes) *arena_bytes = a->offset + taken(a);
        for (size_t j = 0; j < i; j++) {
            const struct place_buffer *b = &buffers[j];
            if (b->size == 0 || a->offset >= b->offset + taken(b) || b->offset >= a->offset + taken(a)) continue;
            if (ends_by(clocks->end + i * streams, clocks->start + j * streams, streams) ||
                ends_by(clocks->end + j * streams, clocks->start + i * streams, streams))
                continue;
            return error_set(err, ERROR_INPUT,
                             "buffers %zu and %zu share bytes at %" PRIu64 ", and neither ends before the other begins",
                             j, i, a->offset > b->offset ? a->offset : b->offset);
        }
    }
    return true;
}

void place_check_clocks_live(const struct place_buffer *buffers, const struct place_clocks *clocks, size_t count,
                             uint64_t *bytes)
{
    size_t streams = clocks->streams;
    *bytes = 0;
    for (size_t i = 0; i < count; i++) {
        const uint64_t *now = clocks->start + i * streams;
        uint64_t sum = 0;
        for (size_t j = 0; j < count; j++)
            if (ends_by(clocks->start + j * streams, now, streams) && !ends_by(clocks->end + j * streams, now, streams))
                sum += taken(&buffers[j]);
        if (sum > *bytes) *bytes = sum;
    }
}
