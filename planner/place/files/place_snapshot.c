#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "hash.h"
#include "mem.h"
#include "place_import.h"
#include "place_pickle.h"

#define ALIGNMENT   512 /* of PyTorch's CUDA allocator */
#define MOST_EVENTS 5000000
#define ID_BYTES    24

struct snapshot {
    const char *path;
    struct pickle pickle;
    const struct pickle_value *trace;
    uint64_t device, events;
    struct place_table *table;
    uint64_t *address; /* open addressing: address -> the buffer that lives there, as index + 1 */
    uint32_t *live;
    size_t slots, capacity, walked;
};

static uint64_t count_items(const struct pickle *pickle, const struct pickle_value *list)
{
    uint64_t count = 0;
    uint32_t cell = 0;
    while (count <= MOST_EVENTS && pickle_next(pickle, list, &cell)) count++;
    return count;
}

/* The trace with the most events: one device is planned at a time. */
static bool find_trace(struct snapshot *snapshot, struct error *err)
{
    const struct pickle *pickle = &snapshot->pickle;
    const struct pickle_value *traces = pickle_get(pickle, &pickle->values[pickle->root], "device_traces"), *trace;
    if (!traces || traces->kind != PICKLE_LIST)
        return error_set(err, ERROR_INPUT,
                         "%s: a pickle without a list 'device_traces'; a dump of torch.cuda.memory._dump_snapshot is "
                         "wanted",
                         snapshot->path);
    uint32_t cell = 0;
    for (uint64_t device = 0; (trace = pickle_next(pickle, traces, &cell)); device++) {
        uint64_t events = count_items(pickle, trace);
        if (events <= snapshot->events) continue;
        snapshot->trace = trace;
        snapshot->events = events;
        snapshot->device = device;
    }
    if (snapshot->events == 0)
        return error_set(err, ERROR_INPUT,
                         "%s: no device has events; call torch.cuda.memory._record_memory_history() before the step",
                         snapshot->path);
    if (snapshot->events > MOST_EVENTS)
        return error_set(err, ERROR_INPUT, "%s: device %" PRIu64 " has more than %d events", snapshot->path,
                         snapshot->device, MOST_EVENTS);
    return true;
}

/* Every event and every block takes one slot at most, and slots are never given back. */
static bool reserve(struct snapshot *snapshot, size_t most, struct error *err)
{
    snapshot->capacity = most;
    for (snapshot->slots = 64; snapshot->slots < 2 * most;) snapshot->slots *= 2;
    struct place_table *table = snapshot->table;
    snapshot->address = mem_zalloc(MEM_GENERAL, snapshot->slots, sizeof *snapshot->address);
    snapshot->live = mem_zalloc(MEM_GENERAL, snapshot->slots, sizeof *snapshot->live);
    table->buffers = mem_alloc(MEM_GENERAL, most, sizeof *table->buffers);
    table->ids = mem_alloc(MEM_GENERAL, most, sizeof *table->ids);
    table->text = mem_alloc(MEM_GENERAL, most, ID_BYTES);
    if (snapshot->address && snapshot->live && table->buffers && table->ids && table->text) return true;
    return error_memory(err, most * sizeof *table->buffers, "a snapshot's allocations");
}

/* The slot of an address, 0 standing for a free one: address 0 is nobody's. */
static size_t find_slot(struct snapshot *snapshot, uint64_t address)
{
    size_t at = (size_t)hash_bytes(&address, sizeof address, 0) & (snapshot->slots - 1);
    while (snapshot->address[at] && snapshot->address[at] != address) at = (at + 1) & (snapshot->slots - 1);
    snapshot->address[at] = address;
    return at;
}

static uint32_t add_buffer(struct snapshot *snapshot, uint64_t lower, uint64_t upper, uint64_t size)
{
    struct place_table *table = snapshot->table;
    char *id = table->text + table->count * ID_BYTES;
    snprintf(id, ID_BYTES, "%s%zu", lower == 0 ? "before" : "b", table->count);
    table->ids[table->count] = id;
    table->buffers[table->count++] =
        (struct place_buffer){lower, upper, size, ALIGNMENT, PLACE_UNPLACED, PLACE_UNPLACED};
    return (uint32_t)table->count;
}

struct event {
    const struct pickle_value *action;
    uint64_t address, size, instant;
};

/* Instants count from 1; what was there before the first event lives from 0. */
static void take_event(struct snapshot *snapshot, const struct event *event)
{
    bool alloc = pickle_is(event->action, "alloc");
    if (!alloc && !pickle_is(event->action, "free_completed")) return;
    size_t slot = find_slot(snapshot, event->address);
    uint32_t held = snapshot->live[slot];
    if (held)
        snapshot->table->buffers[held - 1].upper = event->instant;
    else if (!alloc)
        add_buffer(snapshot, 0, event->instant, event->size);
    snapshot->live[slot] = alloc ? add_buffer(snapshot, event->instant, snapshot->events + 1, event->size) : 0;
}

static bool read_events(struct snapshot *snapshot, struct error *err)
{
    const struct pickle *pickle = &snapshot->pickle;
    const struct pickle_value *entry;
    uint32_t cell = 0;
    struct event event = {0};
    while ((entry = pickle_next(pickle, snapshot->trace, &cell))) {
        event.instant++;
        event.action = pickle_get(pickle, entry, "action");
        if (!event.action || event.action->kind != PICKLE_TEXT)
            return error_set(err, ERROR_INPUT, "%s: event %" PRIu64 " of device %" PRIu64 " has no action",
                             snapshot->path, event.instant - 1, snapshot->device);
        if (!pickle_is(event.action, "alloc") && !pickle_is(event.action, "free_completed")) continue;
        if (!pickle_word(pickle_get(pickle, entry, "addr"), &event.address) || event.address == 0 ||
            !pickle_count(pickle_get(pickle, entry, "size"), &event.size))
            return error_set(err, ERROR_INPUT,
                             "%s: event %" PRIu64 " of device %" PRIu64 " (%.*s): addr and size as whole numbers are "
                             "wanted",
                             snapshot->path, event.instant - 1, snapshot->device, (int)(event.action->number & 31),
                             event.action->text);
        take_event(snapshot, &event);
    }
    return true;
}

static bool is_active(const struct pickle_value *state)
{
    return state && state->kind == PICKLE_TEXT && state->number >= 6 && memcmp(state->text, "active", 6) == 0;
}

/* A segment's active blocks that no event allocated were there before the first and are there still. Older dumps give a
 * block no address: it is then where the one before it ends. */
static void add_blocks(struct snapshot *snapshot, const struct pickle_value *segment)
{
    const struct pickle *pickle = &snapshot->pickle;
    const struct pickle_value *blocks = pickle_get(pickle, segment, "blocks"), *block;
    uint64_t address = 0, size = 0;
    uint32_t cell = 0;
    pickle_word(pickle_get(pickle, segment, "address"), &address);
    for (; (block = pickle_next(pickle, blocks, &cell)) && snapshot->walked++ < snapshot->capacity; address += size) {
        pickle_word(pickle_get(pickle, block, "address"), &address);
        size = 0;
        pickle_count(pickle_get(pickle, block, "size"), &size);
        if (!is_active(pickle_get(pickle, block, "state")) || address == 0) continue;
        uint64_t requested = size;
        pickle_count(pickle_get(pickle, block, "requested_size"), &requested);
        size_t slot = find_slot(snapshot, address);
        if (!snapshot->live[slot]) snapshot->live[slot] = add_buffer(snapshot, 0, snapshot->events + 1, requested);
    }
}

static bool on_device(const struct snapshot *snapshot, const struct pickle_value *segment)
{
    uint64_t device = 0;
    pickle_count(pickle_get(&snapshot->pickle, segment, "device"), &device);
    return device == snapshot->device;
}

static uint64_t count_blocks(const struct snapshot *snapshot, const struct pickle_value *segments)
{
    const struct pickle_value *segment;
    uint64_t blocks = 0;
    uint32_t cell = 0;
    while (blocks <= MOST_EVENTS && (segment = pickle_next(&snapshot->pickle, segments, &cell)))
        blocks += count_items(&snapshot->pickle, pickle_get(&snapshot->pickle, segment, "blocks"));
    return blocks;
}

/* The most memory in segments: what there is in the end, and what the events took and gave before it. */
static uint64_t find_reserved(const struct snapshot *snapshot, uint64_t end)
{
    const struct pickle *pickle = &snapshot->pickle;
    const struct pickle_value *entry;
    uint32_t cell = 0;
    uint64_t taken = 0, given = 0, size;
    int64_t most = 0;
    while ((entry = pickle_next(pickle, snapshot->trace, &cell))) {
        const struct pickle_value *action = pickle_get(pickle, entry, "action");
        bool takes = pickle_is(action, "segment_alloc") || pickle_is(action, "segment_map");
        if (!takes && !pickle_is(action, "segment_free") && !pickle_is(action, "segment_unmap")) continue;
        if (!pickle_count(pickle_get(pickle, entry, "size"), &size)) continue;
        *(takes ? &taken : &given) += size;
        if ((int64_t)(taken - given) > most) most = (int64_t)(taken - given);
    }
    uint64_t first = end + given - taken; /* before the first event; wraps when the dump contradicts itself */
    return first <= INT64_MAX ? first + (uint64_t)most : end;
}

static uint64_t read_segments(struct snapshot *snapshot, const struct pickle_value *segments)
{
    const struct pickle_value *segment;
    uint64_t reserved = 0, size;
    uint32_t cell = 0;
    while ((segment = pickle_next(&snapshot->pickle, segments, &cell))) {
        if (!on_device(snapshot, segment)) continue;
        add_blocks(snapshot, segment);
        if (pickle_count(pickle_get(&snapshot->pickle, segment, "total_size"), &size)) reserved += size;
    }
    return find_reserved(snapshot, reserved);
}

/* The largest sum of requested bytes: what torch.cuda.max_memory_allocated says, but for its rounding. */
static bool find_peak(const struct snapshot *snapshot, uint64_t *peak, struct error *err)
{
    uint64_t *change = mem_zalloc(MEM_GENERAL, snapshot->events + 2, sizeof *change), live = 0;
    if (!change) return error_memory(err, snapshot->events * sizeof *change, "a snapshot's peak");
    for (size_t i = 0; i < snapshot->table->count; i++) {
        change[snapshot->table->buffers[i].lower] += snapshot->table->buffers[i].size;
        change[snapshot->table->buffers[i].upper] -= snapshot->table->buffers[i].size;
    }
    for (uint64_t t = 0; t <= snapshot->events; t++) {
        live += change[t];
        if (live > *peak) *peak = live;
    }
    mem_free(change);
    return true;
}

static bool read_snapshot(struct snapshot *snapshot, struct place_source *source, struct error *err)
{
    const struct pickle *pickle = &snapshot->pickle;
    TRY(find_trace(snapshot, err));
    const struct pickle_value *segments = pickle_get(pickle, &pickle->values[pickle->root], "segments");
    TRY(reserve(snapshot, (size_t)(snapshot->events + count_blocks(snapshot, segments)), err));
    TRY(read_events(snapshot, err));
    source->reserved_bytes = read_segments(snapshot, segments);
    source->snapshot = true;
    source->device = snapshot->device;
    source->events = snapshot->events;
    snapshot->table->has_alignment = true;
    return find_peak(snapshot, &source->peak_bytes, err);
}

bool place_snapshot_parse(struct place_table *table, struct place_source *source, const char *path, const void *bytes,
                          size_t length, struct error *err)
{
    struct snapshot snapshot = {.path = path, .table = table};
    *table = (struct place_table){0};
    *source = (struct place_source){0};
    TRY(pickle_read(&snapshot.pickle, path, bytes, length, err));
    bool ok = read_snapshot(&snapshot, source, err);
    if (!ok) place_table_finish(table);
    mem_free(snapshot.address);
    mem_free(snapshot.live);
    pickle_finish(&snapshot.pickle);
    return ok;
}
