/* Tables of a roll-up that grow as entries come: where entries are by their ids, marks and counters. */
#include <string.h>

#include "mem.h"
#include "rollup_private.h"

#define MOST_MARKS 10000

bool rollup_grow_index(struct rollup_index *index, uint32_t id, struct error *err)
{
    void *position = index->position;
    if (!mem_grow(MEM_TRACE, &position, &index->capacity, (size_t)id + 1, sizeof(uint32_t)))
        return error_memory(err, ((size_t)id + 1) * sizeof(uint32_t), "a trace's op table");
    index->position = position;
    if (id < index->count) return true;
    memset(index->position + index->count, 0, (id + 1 - index->count) * sizeof(uint32_t));
    index->count = (size_t)id + 1;
    return true;
}

/* ---- Marks ---- */

bool rollup_has_mark(const struct rollup *rollup, const struct rollup_mark *mark)
{
    for (size_t i = rollup->mark_count; i-- > 0;)
        if (rollup->marks[i].ns == mark->ns && strcmp(rollup->marks[i].text, mark->text) == 0) return true;
    return false;
}

bool rollup_add_mark(struct trace_follower *follower, const struct rollup_mark *mark, struct error *err)
{
    struct rollup *rollup = &follower->rollup;
    if (rollup->mark_count == MOST_MARKS) { /* the older half goes */
        rollup->mark_count = MOST_MARKS / 2;
        memmove(rollup->marks, rollup->marks + MOST_MARKS / 2, rollup->mark_count * sizeof *mark);
    }
    void *marks = rollup->marks;
    if (!mem_grow(MEM_TRACE, &marks, &follower->mark_capacity, rollup->mark_count + 1, sizeof *mark))
        return error_memory(err, (rollup->mark_count + 1) * sizeof *mark, "a trace's marks");
    rollup->marks = marks;
    rollup->marks[rollup->mark_count++] = *mark;
    return true;
}

struct rollup_mark rollup_make_mark(uint64_t ns, const char *text, size_t length)
{
    struct rollup_mark mark = {.ns = ns};
    char whole[TRACE_TEXT_MOST + 1];
    memcpy(whole, text, length);
    whole[length] = '\0';
    rollup_set_text(mark.text, sizeof mark.text, whole);
    return mark;
}

/* ---- Counters ---- */

static bool grow_counters(struct trace_follower *follower, uint32_t id, struct error *err)
{
    struct rollup *rollup = &follower->rollup;
    void *counters = rollup->counters;
    size_t wanted = (size_t)id + 1;
    if (!mem_grow(MEM_TRACE, &counters, &follower->counter_capacity, wanted, sizeof *rollup->counters))
        return error_memory(err, wanted * sizeof *rollup->counters, "a trace's counters");
    rollup->counters = counters;
    while (rollup->counter_count < wanted)
        rollup->counters[rollup->counter_count++] = (struct rollup_counter){.name = NULL};
    return true;
}

bool rollup_take_counter_entry(struct trace_follower *follower, const struct trace_counter *counter, struct error *err)
{
    TRY(grow_counters(follower, counter->id, err));
    if (counter->name[0] == '\0') return true;
    follower->rollup.counters[counter->id].name = counter->name;
    follower->rollup.counters[counter->id].unit = counter->unit;
    return true;
}

struct rollup_value *rollup_counter_value(struct trace_follower *follower, uint32_t id, bool host, uint32_t device,
                                          struct error *err)
{
    if (!grow_counters(follower, id, err)) return NULL;
    struct rollup_counter *counter = &follower->rollup.counters[id];
    return host ? &counter->host : &counter->devices[device];
}

bool rollup_take_counter(struct trace_follower *follower, const struct trace_event *event, struct error *err)
{
    struct rollup_value *value =
        rollup_counter_value(follower, event->id, event->kind == READING_OF_HOST, event->device, err);
    if (!value) return false;
    if (value->count == 0 || event->value < value->least) value->least = event->value;
    if (value->count == 0 || event->value > value->most) value->most = event->value;
    value->count++;
    value->sum += event->value;
    value->last = event->value;
    value->last_ns = event->at_ns;
    return true;
}
