#include "place_check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "place_check_private.h"

/* What is judged: offsets, and the bytes that each buffer takes there. */
struct judged {
    const struct place_buffer *buffers;
    const uint64_t *chunk; /* NULL: one arena */
    const uint64_t *sizes; /* of the chunks; NULL: all have chunk_bytes */
    uint64_t chunk_bytes;
    size_t count;
    uint64_t *bytes;
};

/* Indices ordered by some column of the buffers: qsort has no argument for them. */
struct keyed {
    uint64_t key, second;
    size_t index;
};

static int compare_keyed(const void *left, const void *right)
{
    const struct keyed *a = left, *b = right;
    if (a->key != b->key) return a->key < b->key ? -1 : 1;
    if (a->second != b->second) return a->second < b->second ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

bool place_check_round(uint64_t size, uint64_t align, uint64_t *bytes)
{
    uint64_t rest = align > 1 ? size % align : 0;
    return !__builtin_add_overflow(size, rest ? align - rest : 0, bytes);
}

static bool least_common_multiple(uint64_t a, uint64_t b, uint64_t *out)
{
    uint64_t x = a, y = b;
    while (y > 0) {
        uint64_t rest = x % y;
        x = y;
        y = rest;
    }
    return !__builtin_mul_overflow(a / x, b, out);
}

bool place_check_too_large(size_t index, struct error *err)
{
    return error_set(err, ERROR_INPUT, "buffer %zu: its size, alignment and offset together are beyond 64 bits", index);
}

/* The names of one storage: names[0 … count). */
static bool measure_storage(struct judged *judged, const struct keyed *names, size_t count, struct error *err)
{
    const struct place_buffer *buffers = judged->buffers, *first = &buffers[names[0].index];
    uint64_t align = 1;
    for (size_t i = 0; i < count; i++) {
        uint64_t own = buffers[names[i].index].align;
        if (!least_common_multiple(align, own > 1 ? own : 1, &align)) return place_check_too_large(names[i].index, err);
        if (buffers[names[i].index].offset != first->offset ||
            (judged->chunk && judged->chunk[names[i].index] != judged->chunk[names[0].index]))
            return error_set(err, ERROR_INPUT,
                             "buffers %zu and %zu: alias group %" PRIu64 " is at %" PRIu64 " and at %" PRIu64
                             "; its buffers share one place",
                             names[0].index, names[i].index, first->alias, first->offset,
                             buffers[names[i].index].offset);
    }
    for (size_t i = 0; i < count; i++)
        if (!place_check_round(buffers[names[i].index].size, align, &judged->bytes[names[i].index]))
            return place_check_too_large(names[i].index, err);
    return true;
}

static bool measure_storages(struct judged *judged, struct error *err)
{
    struct keyed *names = mem_alloc(MEM_GENERAL, judged->count, sizeof *names);
    size_t used = 0;
    if (!names) return error_memory(err, judged->count * sizeof *names, "checking a placement");
    for (size_t i = 0; i < judged->count; i++)
        if (judged->buffers[i].alias > 0) names[used++] = (struct keyed){judged->buffers[i].alias, 0, i};
    qsort(names, used, sizeof *names, compare_keyed);
    bool ok = true;
    for (size_t from = 0, to; ok && from < used; from = to) {
        for (to = from + 1; to < used && names[to].key == names[from].key; to++) {
        }
        ok = measure_storage(judged, names + from, to - from, err);
    }
    mem_free(names);
    return ok;
}

static bool judged_init(struct judged *judged, const struct place_buffer *buffers, const uint64_t *chunk, size_t count,
                        struct error *err)
{
    *judged = (struct judged){.buffers = buffers, .chunk = chunk, .count = count};
    judged->bytes = mem_alloc(MEM_GENERAL, count, sizeof *judged->bytes);
    if (!judged->bytes) return error_memory(err, count * sizeof *judged->bytes, "checking a placement");
    bool aliases = false, ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        aliases |= buffers[i].alias > 0;
        if (buffers[i].lower >= buffers[i].upper)
            ok = error_set(err, ERROR_INPUT, "buffer %zu: lives from %" PRIu64 " to %" PRIu64, i, buffers[i].lower,
                           buffers[i].upper);
        else if (!place_check_round(buffers[i].size, buffers[i].align, &judged->bytes[i]))
            ok = place_check_too_large(i, err);
    }
    ok = ok && (!aliases || measure_storages(judged, err));
    if (!ok) mem_free(judged->bytes);
    return ok;
}

static bool check_alone(const struct judged *judged, size_t index, uint64_t arena_bytes, struct error *err)
{
    const struct place_buffer *buffer = &judged->buffers[index];
    uint64_t bytes = judged->bytes[index];
    if (buffer->align > 1 && buffer->offset % buffer->align)
        return error_set(err, ERROR_INPUT, "buffer %zu: offset %" PRIu64 " is not a multiple of %" PRIu64, index,
                         buffer->offset, buffer->align);
    if (bytes > 0 && (buffer->offset > arena_bytes || bytes > arena_bytes - buffer->offset))
        return error_set(err, ERROR_INPUT,
                         "buffer %zu: %" PRIu64 " bytes at %" PRIu64 " end above the arena of %" PRIu64, index, bytes,
                         buffer->offset, arena_bytes);
    return true;
}

#define LEVELS 6 /* 64^6 ranks */

/* The buffers alive at the sweep's instant as bits by rank of (chunk, offset), with a bit above for each word that is
 * not empty: neighbours are found in a few words however many are alive. */
struct alive {
    const struct judged *judged;
    size_t *buffer_at; /* of each rank */
    size_t *rank;      /* of each buffer */
    uint64_t *words[LEVELS];
    size_t levels;
};

static void alive_set(struct alive *alive, size_t rank, bool on)
{
    for (size_t l = 0; l < alive->levels; l++, rank /= 64) {
        uint64_t *word = &alive->words[l][rank / 64], bit = UINT64_C(1) << rank % 64;
        *word = on ? *word | bit : *word & ~bit;
        if (!on && *word) return;
    }
}

/* The nearest alive rank above `rank` (or below, where `up` is false), SIZE_MAX when there is none. */
static size_t alive_next(const struct alive *alive, size_t rank, bool up)
{
    size_t at = rank, level = 0;
    for (;; level++, at /= 64) {
        if (level == alive->levels) return SIZE_MAX;
        uint64_t word = alive->words[level][at / 64], below = (UINT64_C(1) << at % 64) - 1;
        word &= up ? ~below & ~(UINT64_C(1) << at % 64) : below;
        if (word == 0) continue;
        at = at / 64 * 64 + (size_t)(up ? __builtin_ctzll(word) : 63 - __builtin_clzll(word));
        break;
    }
    while (level-- > 0) {
        uint64_t word = alive->words[level][at];
        at = at * 64 + (size_t)(up ? __builtin_ctzll(word) : 63 - __builtin_clzll(word));
    }
    return at;
}

static bool same_storage(const struct place_buffer *a, const struct place_buffer *b)
{
    return a->alias > 0 && a->alias == b->alias;
}

static bool check_pair(const struct judged *judged, size_t low, size_t high, struct error *err)
{
    const struct place_buffer *a = &judged->buffers[low], *b = &judged->buffers[high];
    uint64_t a_end = a->offset + judged->bytes[low], b_end = b->offset + judged->bytes[high];
    if (a_end <= b->offset || same_storage(a, b) || (judged->chunk && judged->chunk[low] != judged->chunk[high]))
        return true;
    return error_set(err, ERROR_INPUT,
                     "buffers %zu [%" PRIu64 ", %" PRIu64 ") and %zu [%" PRIu64 ", %" PRIu64
                     ") overlap while both live",
                     low, a->offset, a_end, high, b->offset, b_end);
}

/* Beside names of its own storage, a buffer's neighbours are the next other one above, and below all names of the next
 * other storage. What is alive is sound, so further ones lie further away. */
static bool alive_add(struct alive *alive, size_t index, struct error *err)
{
    const struct judged *judged = alive->judged;
    const struct place_buffer *buffers = judged->buffers;
    size_t rank = alive->rank[index], other = SIZE_MAX;
    for (size_t at = alive_next(alive, rank, true); at != SIZE_MAX; at = alive_next(alive, at, true)) {
        if (same_storage(&buffers[index], &buffers[alive->buffer_at[at]])) continue;
        TRY(check_pair(judged, index, alive->buffer_at[at], err));
        break;
    }
    for (size_t at = alive_next(alive, rank, false); at != SIZE_MAX; at = alive_next(alive, at, false)) {
        size_t below = alive->buffer_at[at];
        if (same_storage(&buffers[index], &buffers[below])) continue;
        if (other != SIZE_MAX && !same_storage(&buffers[other], &buffers[below])) break;
        other = below;
        TRY(check_pair(judged, below, index, err));
    }
    alive_set(alive, rank, true);
    return true;
}

struct event {
    uint64_t time;
    bool starts;
    size_t index;
};

static int compare_events(const void *left, const void *right)
{
    const struct event *a = left, *b = right;
    if (a->time != b->time) return a->time < b->time ? -1 : 1;
    if (a->starts != b->starts) return a->starts ? 1 : -1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static bool replay(struct alive *alive, struct event *events, struct error *err)
{
    const struct judged *judged = alive->judged;
    size_t used = 0;
    for (size_t i = 0; i < judged->count; i++) {
        if (judged->bytes[i] == 0) continue;
        events[used++] = (struct event){judged->buffers[i].lower, true, i};
        events[used++] = (struct event){judged->buffers[i].upper, false, i};
    }
    qsort(events, used, sizeof *events, compare_events);
    for (size_t i = 0; i < used; i++) {
        if (events[i].starts)
            TRY(alive_add(alive, events[i].index, err));
        else
            alive_set(alive, alive->rank[events[i].index], false);
    }
    return true;
}

static bool alive_init(struct alive *alive, const struct judged *judged)
{
    size_t count = judged->count;
    struct keyed *order = mem_alloc(MEM_GENERAL, count, sizeof *order);
    *alive = (struct alive){.judged = judged};
    alive->buffer_at = mem_alloc(MEM_GENERAL, count, sizeof *alive->buffer_at);
    alive->rank = mem_alloc(MEM_GENERAL, count, sizeof *alive->rank);
    bool ok = order && alive->buffer_at && alive->rank;
    for (size_t ranks = count, more = 1; ok && more; more = ranks > 1) {
        ranks = ranks / 64 + 1;
        uint64_t *words = mem_zalloc(MEM_GENERAL, ranks, sizeof *words);
        alive->words[alive->levels] = words;
        ok = words != NULL;
        alive->levels += ok;
    }
    for (size_t i = 0; ok && i < count; i++)
        order[i] = (struct keyed){judged->chunk ? judged->chunk[i] : 0, judged->buffers[i].offset, i};
    if (ok) qsort(order, count, sizeof *order, compare_keyed);
    for (size_t r = 0; ok && r < count; r++) {
        alive->buffer_at[r] = order[r].index;
        alive->rank[order[r].index] = r;
    }
    mem_free(order);
    return ok;
}

static bool check_together(const struct judged *judged, struct error *err)
{
    struct alive alive;
    struct event *events = mem_alloc(MEM_GENERAL, 2 * judged->count, sizeof *events);
    bool ok = alive_init(&alive, judged) && events;
    if (!ok) error_memory(err, judged->count * 120, "checking a placement");
    ok = ok && replay(&alive, events, err);
    mem_free(events);
    mem_free(alive.buffer_at);
    mem_free(alive.rank);
    for (size_t l = 0; l < alive.levels; l++) mem_free(alive.words[l]);
    return ok;
}

static bool find_ends(const struct judged *judged, uint64_t *top, uint64_t *fixed_end, struct error *err)
{
    *top = *fixed_end = 0;
    for (size_t i = 0; i < judged->count; i++) {
        const struct place_buffer *buffer = &judged->buffers[i];
        uint64_t end;
        if (judged->bytes[i] == 0) continue;
        if (__builtin_add_overflow(buffer->offset, judged->bytes[i], &end)) return place_check_too_large(i, err);
        if (end > *top) *top = end;
        if (buffer->fixed != PLACE_UNPLACED && end > *fixed_end) *fixed_end = end;
    }
    return true;
}

static bool check_offsets(const struct judged *judged, uint64_t arena_bytes, struct error *err)
{
    const struct place_buffer *buffers = judged->buffers;
    for (size_t i = 0; i < judged->count; i++) {
        TRY(check_alone(judged, i, arena_bytes, err));
        if (buffers[i].fixed != PLACE_UNPLACED && buffers[i].offset != buffers[i].fixed)
            return error_set(err, ERROR_INPUT, "buffer %zu: offset %" PRIu64 " where %" PRIu64 " is required", i,
                             buffers[i].offset, buffers[i].fixed);
    }
    return true;
}

bool place_check_arena(const struct place_buffer *buffers, size_t count, uint64_t *arena_bytes,
                       uint64_t *fixed_end_bytes, struct error *err)
{
    struct judged judged;
    TRY(judged_init(&judged, buffers, NULL, count, err));
    bool ok = find_ends(&judged, arena_bytes, fixed_end_bytes, err) && check_offsets(&judged, *arena_bytes, err) &&
              check_together(&judged, err);
    mem_free(judged.bytes);
    return ok;
}

bool place_check(const struct place_buffer *buffers, size_t count, uint64_t arena_bytes, struct error *err)
{
    struct judged judged;
    uint64_t top, fixed_end;
    TRY(judged_init(&judged, buffers, NULL, count, err));
    bool ok = check_offsets(&judged, arena_bytes, err) && find_ends(&judged, &top, &fixed_end, err);
    if (ok && top != arena_bytes)
        ok = error_set(err, ERROR_INPUT, "the arena is said to be %" PRIu64 " bytes and ends at %" PRIu64, arena_bytes,
                       top);
    ok = ok && check_together(&judged, err);
    mem_free(judged.bytes);
    return ok;
}

static bool check_each_chunk(const struct judged *judged, uint64_t chunks, struct error *err)
{
    for (size_t i = 0; i < judged->count; i++) {
        uint64_t chunk = judged->chunk[i];
        if (chunk >= chunks)
            return error_set(err, ERROR_INPUT, "buffer %zu: chunk %" PRIu64 " where there are %" PRIu64, i, chunk,
                             chunks);
        if (!check_alone(judged, i, judged->sizes ? judged->sizes[chunk] : judged->chunk_bytes, err))
            return error_prefix(err, "chunk %" PRIu64, chunk);
    }
    return check_together(judged, err);
}

bool place_check_chunks(const struct place_buffer *buffers, const uint64_t *chunk, size_t count, uint64_t chunk_bytes,
                        uint64_t chunks, struct error *err)
{
    struct judged judged;
    TRY(judged_init(&judged, buffers, chunk, count, err));
    judged.chunk_bytes = chunk_bytes;
    bool ok = check_each_chunk(&judged, chunks, err);
    mem_free(judged.bytes);
    return ok;
}

bool place_check_fragments(const struct place_buffer *buffers, const uint64_t *chunk, size_t count,
                           const uint64_t *sizes, size_t chunks, struct error *err)
{
    struct judged judged;
    TRY(judged_init(&judged, buffers, chunk, count, err));
    judged.sizes = sizes;
    bool ok = check_each_chunk(&judged, chunks, err);
    mem_free(judged.bytes);
    return ok;
}

/* How much a storage's live bytes change, and when. */
struct change {
    uint64_t time, more, less;
};

static int compare_changes(const void *left, const void *right)
{
    const struct change *a = left, *b = right;
    return a->time < b->time ? -1 : a->time > b->time;
}

/* A heap of names with the largest on top; those that have ended are dropped when they come up. */
struct heap {
    const struct judged *judged;
    size_t *index;
    size_t count;
};

static void heap_push(struct heap *heap, size_t index)
{
    const uint64_t *bytes = heap->judged->bytes;
    size_t at = heap->count++;
    for (; at > 0 && bytes[heap->index[(at - 1) / 2]] < bytes[index]; at = (at - 1) / 2)
        heap->index[at] = heap->index[(at - 1) / 2];
    heap->index[at] = index;
}

static void heap_pop(struct heap *heap)
{
    const uint64_t *bytes = heap->judged->bytes;
    size_t last = heap->index[--heap->count], at = 0;
    for (size_t child; (child = 2 * at + 1) < heap->count; at = child) {
        if (child + 1 < heap->count && bytes[heap->index[child + 1]] > bytes[heap->index[child]]) child++;
        if (bytes[heap->index[child]] <= bytes[last]) break;
        heap->index[at] = heap->index[child];
    }
    heap->index[at] = last;
}

/* Events come by storage, then by time: an index and, in `second`, the time. */
static size_t list_changes(struct heap *heap, const struct keyed *events, size_t count, struct change *changes)
{
    const struct judged *judged = heap->judged;
    size_t used = 0;
    uint64_t height = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t time = events[i].second;
        if (judged->buffers[events[i].index].lower == time) heap_push(heap, events[i].index);
        if (i + 1 < count && events[i + 1].key == events[i].key && events[i + 1].second == time) continue;
        while (heap->count > 0 && judged->buffers[heap->index[0]].upper <= time) heap_pop(heap);
        uint64_t now = heap->count > 0 ? judged->bytes[heap->index[0]] : 0;
        changes[used++] = (struct change){time, now > height ? now - height : 0, height > now ? height - now : 0};
        height = now;
    }
    return used;
}

static bool sum_changes(struct change *changes, size_t count, uint64_t *bytes, uint64_t *instant, struct error *err)
{
    uint64_t live = 0;
    *bytes = *instant = 0;
    qsort(changes, count, sizeof *changes, compare_changes);
    for (size_t from = 0, to; from < count; from = to) {
        uint64_t more = 0;
        for (to = from; to < count && changes[to].time == changes[from].time; to++) {
            live -= changes[to].less;
            if (__builtin_add_overflow(more, changes[to].more, &more)) return place_check_too_large(from, err);
        }
        if (__builtin_add_overflow(live, more, &live)) return place_check_too_large(from, err);
        if (live <= *bytes) continue;
        *bytes = live;
        *instant = changes[from].time;
    }
    return true;
}

/* Buffers of no group change what is live as they are; a group's events come by time. */
static size_t list_events(const struct judged *judged, struct keyed *events, struct change *changes, size_t *changed)
{
    size_t grouped = 0;
    for (size_t i = 0; i < judged->count; i++) {
        const struct place_buffer *buffer = &judged->buffers[i];
        if (buffer->alias > 0) {
            events[grouped++] = (struct keyed){buffer->alias, buffer->lower, i};
            events[grouped++] = (struct keyed){buffer->alias, buffer->upper, i};
        } else {
            changes[(*changed)++] = (struct change){buffer->lower, judged->bytes[i], 0};
            changes[(*changed)++] = (struct change){buffer->upper, 0, judged->bytes[i]};
        }
    }
    qsort(events, grouped, sizeof *events, compare_keyed);
    return grouped;
}

static bool sum_live(const struct judged *judged, uint64_t *bytes, uint64_t *instant, struct error *err)
{
    size_t count = judged->count, changed = 0;
    struct keyed *events = mem_alloc(MEM_GENERAL, 2 * count, sizeof *events);
    struct change *changes = mem_alloc(MEM_GENERAL, 2 * count, sizeof *changes);
    struct heap heap = {judged, mem_alloc(MEM_GENERAL, count, sizeof *heap.index), 0};
    bool ok = events && changes && heap.index;
    if (!ok) error_memory(err, count * 104, "checking a bound");
    if (ok) {
        size_t grouped = list_events(judged, events, changes, &changed);
        changed += list_changes(&heap, events, grouped, changes + changed);
        ok = sum_changes(changes, changed, bytes, instant, err);
    }
    mem_free(events);
    mem_free(changes);
    mem_free(heap.index);
    return ok;
}

bool place_check_live(const struct place_buffer *buffers, size_t count, uint64_t *bytes, uint64_t *instant,
                      struct error *err)
{
    struct judged judged;
    TRY(judged_init(&judged, buffers, NULL, count, err));
    bool ok = sum_live(&judged, bytes, instant, err);
    mem_free(judged.bytes);
    return ok;
}
