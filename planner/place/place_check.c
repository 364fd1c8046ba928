#include "place_check.h"

#include <inttypes.h>
#include <stdlib.h>

#include "mem.h"

static uint64_t footprint(const struct place_buffer *buffer)
{
    uint64_t align = buffer->align ? buffer->align : 1;
    return (buffer->size + align - 1) / align * align;
}

static bool check_alone(const struct place_buffer *buffer, size_t index, uint64_t arena_bytes, struct error *err)
{
    if (buffer->align > 1 && buffer->offset % buffer->align)
        return error_set(err, ERROR_INPUT, "buffer %zu: offset %" PRIu64 " is not a multiple of %" PRIu64, index,
                         buffer->offset, buffer->align);
    if (buffer->size > 0 && (buffer->offset > arena_bytes || footprint(buffer) > arena_bytes - buffer->offset))
        return error_set(err, ERROR_INPUT,
                         "buffer %zu: %" PRIu64 " bytes at %" PRIu64 " end above the arena of %" PRIu64, index,
                         footprint(buffer), buffer->offset, arena_bytes);
    return true;
}

/* Buffers alive at the sweep's instant, by rising offset: neighbours there are the only ones that can clash. */
struct alive {
    const struct place_buffer *buffers;
    size_t *index;
    size_t count;
};

static size_t alive_find(const struct alive *alive, uint64_t offset)
{
    size_t low = 0, high = alive->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (alive->buffers[alive->index[middle]].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool check_pair(const struct alive *alive, size_t low, size_t high, struct error *err)
{
    const struct place_buffer *a = &alive->buffers[low], *b = &alive->buffers[high];
    if (a->offset + footprint(a) <= b->offset) return true;
    return error_set(err, ERROR_INPUT,
                     "buffers %zu [%" PRIu64 ", %" PRIu64 ") and %zu [%" PRIu64 ", %" PRIu64
                     ") overlap while both live",
                     low, a->offset, a->offset + footprint(a), high, b->offset, b->offset + footprint(b));
}

static bool alive_add(struct alive *alive, size_t index, struct error *err)
{
    size_t at = alive_find(alive, alive->buffers[index].offset);
    if (at > 0) TRY(check_pair(alive, alive->index[at - 1], index, err));
    if (at < alive->count) TRY(check_pair(alive, index, alive->index[at], err));
    for (size_t i = alive->count++; i > at; i--) alive->index[i] = alive->index[i - 1];
    alive->index[at] = index;
    return true;
}

static void alive_remove(struct alive *alive, size_t index)
{
    size_t at = alive_find(alive, alive->buffers[index].offset);
    alive->count--;
    for (; at < alive->count; at++) alive->index[at] = alive->index[at + 1];
}

struct event {
    uint64_t chunk, time;
    bool starts;
    size_t index;
};

static int compare_events(const void *left, const void *right)
{
    const struct event *a = left, *b = right;
    if (a->chunk != b->chunk) return a->chunk < b->chunk ? -1 : 1;
    if (a->time != b->time) return a->time < b->time ? -1 : 1;
    if (a->starts != b->starts) return a->starts ? 1 : -1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static bool replay(struct alive *alive, struct event *events, size_t count, struct error *err)
{
    qsort(events, count, sizeof *events, compare_events);
    for (size_t i = 0; i < count; i++) {
        if (events[i].starts)
            TRY(alive_add(alive, events[i].index, err));
        else
            alive_remove(alive, events[i].index);
    }
    return true;
}

/* One chunk after the other: each begins and ends with nothing alive. chunk may be NULL: one arena. */
static bool check_together(const struct place_buffer *buffers, const uint64_t *chunk, size_t count, struct error *err)
{
    struct alive alive = {buffers, mem_alloc(MEM_GENERAL, count, sizeof *alive.index), 0};
    struct event *events = mem_alloc(MEM_GENERAL, 2 * count, sizeof *events);
    bool ok = alive.index && events;
    if (!ok) error_memory(err, 2 * count * sizeof *events, "checking a placement");
    size_t used = 0;
    for (size_t i = 0; ok && i < count; i++) {
        if (buffers[i].size == 0) continue;
        events[used++] = (struct event){chunk ? chunk[i] : 0, buffers[i].lower, true, i};
        events[used++] = (struct event){chunk ? chunk[i] : 0, buffers[i].upper, false, i};
    }
    ok = ok && replay(&alive, events, used, err);
    mem_free(events);
    mem_free(alive.index);
    return ok;
}

bool place_check(const struct place_buffer *buffers, size_t count, uint64_t arena_bytes, struct error *err)
{
    uint64_t top = 0;
    for (size_t i = 0; i < count; i++) {
        TRY(check_alone(&buffers[i], i, arena_bytes, err));
        if (buffers[i].fixed != PLACE_UNPLACED && buffers[i].offset != buffers[i].fixed)
            return error_set(err, ERROR_INPUT, "buffer %zu: offset %" PRIu64 " where %" PRIu64 " is required", i,
                             buffers[i].offset, buffers[i].fixed);
        if (buffers[i].size > 0 && buffers[i].offset + footprint(&buffers[i]) > top)
            top = buffers[i].offset + footprint(&buffers[i]);
    }
    if (top != arena_bytes)
        return error_set(err, ERROR_INPUT, "the arena is said to be %" PRIu64 " bytes and ends at %" PRIu64,
                         arena_bytes, top);
    return check_together(buffers, NULL, count, err);
}

bool place_check_chunks(const struct place_buffer *buffers, const uint64_t *chunk, size_t count, uint64_t chunk_bytes,
                        uint64_t chunks, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (chunk[i] >= chunks)
            return error_set(err, ERROR_INPUT, "buffer %zu: chunk %" PRIu64 " where there are %" PRIu64, i, chunk[i],
                             chunks);
        if (!check_alone(&buffers[i], i, chunk_bytes, err)) return error_prefix(err, "chunk %" PRIu64, chunk[i]);
    }
    return check_together(buffers, chunk, count, err);
}
