#include "step_times.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "step_times_private.h"
#include "mem.h"

/* ---- Ranges ---- */

static bool parse_number(const char **at, uint64_t *number)
{
    char *end;
    if (!isdigit((unsigned char)**at)) return false;
    *number = strtoull(*at, &end, 10);
    *at = end;
    return *number > 0;
}

static bool parse_range(const char *text, struct step_range *range)
{
    *range = (struct step_range){0};
    if (!parse_number(&text, &range->first)) return false;
    range->last = range->first;
    if (*text == '\0') return true;
    if (*text++ != '-') return false;
    range->last = 0;
    if (*text == '\0') return true;
    return parse_number(&text, &range->last) && *text == '\0' && range->last >= range->first;
}

bool step_range_parse(const char *word, char *path, size_t size, struct step_range *range, struct error *err)
{
    const char *at = strrchr(word, '@');
    *range = (struct step_range){0};
    size_t length = at && access(word, F_OK) != 0 ? (size_t)(at - word) : strlen(word);
    if (length >= size) return error_set(err, ERROR_INPUT, "%s: the path is too long", word);
    memcpy(path, word, length);
    path[length] = '\0';
    if (word[length] == '\0' || parse_range(at + 1, range)) return true;
    return error_set(err, ERROR_INPUT, "%s: '%s' is no range of steps; 100-200, 100- and 100 are some", word, at + 1);
}

/* ---- First and second pass: which steps there are, and which of them are timed ---- */

static bool add_step(struct step_list *list, const struct trace_event *event, struct error *err)
{
    struct step_time *last = list->count ? &list->steps[list->count - 1] : NULL;
    if (event->type == TRACE_STEP_END) {
        if (last && last->number == event->step && last->end_ns == 0) last->end_ns = event->ns;
        return true;
    }
    void *steps = list->steps;
    if (!mem_grow(MEM_TRACE, &steps, &list->capacity, list->count + 1, sizeof *last))
        return error_memory(err, (list->count + 1) * sizeof *last, "a trace's steps");
    list->steps = steps;
    list->steps[list->count++] = (struct step_time){.number = event->step, .begin_ns = event->ns, .slot = NO_SLOT};
    return true;
}

/* The last step that begins no later; its position + 1, 0 = none. */
static size_t find_step(struct step_list *list, uint64_t ns)
{
    const struct step_time *steps = list->steps;
    size_t at = list->hint;
    if (at < list->count && steps[at].begin_ns <= ns && (at + 1 == list->count || steps[at + 1].begin_ns > ns))
        return at + 1;
    size_t low = 0, high = list->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (steps[middle].begin_ns <= ns)
            low = middle + 1;
        else
            high = middle;
    }
    list->hint = low ? low - 1 : 0;
    return low;
}

static bool take_step(struct maker *maker, const struct trace_item *item, struct error *err)
{
    const struct trace_event *event = &item->event;
    if (item->type != TRACE_ITEM_EVENT) return true;
    bool step = event->type == TRACE_STEP_BEGIN || event->type == TRACE_STEP_END;
    return !step || add_step(&maker->devices[event->device].steps, event, err);
}

/* Ops may come before the step that they are of. */
static bool take_timed(struct maker *maker, const struct trace_item *item, struct error *err)
{
    const struct trace_event *event = &item->event;
    (void)err;
    if (item->type != TRACE_ITEM_EVENT || (event->type != TRACE_OP && event->type != TRACE_KERNEL)) return true;
    struct maker_device *device = &maker->devices[event->device];
    if (event->type == TRACE_OP)
        device->has_ops = true;
    else
        device->has_kernels = true;
    size_t at = find_step(&device->steps, event->begin_ns);
    if (at) device->steps.steps[at - 1].timed = true;
    return true;
}

static bool read_all(const char *path, struct maker *maker,
                     bool (*take)(struct maker *maker, const struct trace_item *item, struct error *err),
                     struct error *err)
{
    struct trace_stream *stream;
    struct trace_item item = {.type = TRACE_ITEM_CLOCK};
    TRY(trace_stream_open(path, &stream, err));
    bool ok = true;
    while (ok && item.type != TRACE_ITEM_NONE) ok = trace_stream_next(stream, &item, err) && take(maker, &item, err);
    trace_stream_close(stream);
    return ok;
}

/* ---- Which of them are looked at ---- */

static bool is_in(const struct step_range *range, const struct step_time *step)
{
    return step->end_ns > step->begin_ns && step->number >= range->first &&
           (range->last == 0 || step->number <= range->last);
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The numbers of all timed steps in the range, once each, in order. */
static bool list_timed(struct maker *maker, struct step_times *b, uint64_t **numbers, size_t *count, struct error *err)
{
    size_t most = 0, found = 0;
    for (size_t d = 0; d < TRACE_MOST_DEVICES; d++) most += maker->devices[d].steps.count;
    uint64_t *all = mem_alloc(MEM_TRACE, most, sizeof *all);
    if (!all) return error_memory(err, most * sizeof *all, "a trace's steps");
    for (size_t d = 0; d < TRACE_MOST_DEVICES; d++) {
        const struct step_list *list = &maker->devices[d].steps;
        for (size_t i = 0; i < list->count; i++) {
            const struct step_time *step = &list->steps[i];
            if (!is_in(&maker->range, step)) continue;
            if (b->from_ns == 0 || step->begin_ns < b->from_ns) b->from_ns = step->begin_ns;
            if (step->end_ns > b->to_ns) b->to_ns = step->end_ns;
            if (step->timed) all[found++] = step->number;
        }
    }
    qsort(all, found, sizeof *all, compare_numbers);
    size_t kept = 0;
    for (size_t i = 0; i < found; i++)
        if (kept == 0 || all[kept - 1] != all[i]) all[kept++] = all[i];
    *numbers = all;
    *count = kept;
    return true;
}

static void give_slots(struct maker *maker, const struct step_times *b)
{
    for (size_t d = 0; d < TRACE_MOST_DEVICES; d++) {
        struct step_list *list = &maker->devices[d].steps;
        for (size_t i = 0, slot = 0; i < list->count; i++) {
            struct step_time *step = &list->steps[i];
            if (slot > 0 && step->number < b->steps[slot - 1].number) slot = 0; /* a resumed run's, once more */
            while (slot < b->step_count && b->steps[slot].number < step->number) slot++;
            if (!is_in(&maker->range, step) || !step->timed) continue;
            if (slot < b->step_count && b->steps[slot].number == step->number) step->slot = (uint32_t)slot;
        }
    }
}

static bool choose_steps(struct maker *maker, struct step_times *b, struct error *err)
{
    uint64_t *numbers = NULL;
    size_t count = 0;
    TRY(list_timed(maker, b, &numbers, &count, err));
    size_t chosen = count < STEP_TIMES_MOST ? count : STEP_TIMES_MOST;
    b->steps = mem_zalloc(MEM_TRACE, chosen, sizeof *b->steps);
    if (b->steps) {
        b->timed_steps = count;
        b->step_count = chosen;
        for (size_t i = 0; i < chosen; i++) b->steps[i].number = numbers[(i + 1) * count / chosen - 1];
    }
    mem_free(numbers);
    if (!b->steps) return error_memory(err, chosen * sizeof *b->steps, "a trace's steps");
    give_slots(maker, b);
    return true;
}

/* ---- Second pass ---- */

static bool grow_groups(struct maker *maker, size_t number, struct error *err)
{
    size_t wanted = (number + 1) * maker->slots;
    void *times = maker->group_ns;
    if (!mem_grow(MEM_TRACE, &times, &maker->group_capacity, wanted, sizeof *maker->group_ns))
        return error_memory(err, wanted * sizeof *maker->group_ns, "what groups take");
    maker->group_ns = times;
    for (size_t i = maker->group_count * maker->slots; i < wanted; i++) maker->group_ns[i] = 0;
    if (number >= maker->group_count) maker->group_count = number + 1;
    return true;
}

static bool find_group(struct maker *maker, const struct summary_key *key, uint32_t *group, struct error *err)
{
    char name[SUMMARY_NAME_MOST];
    summary_format_name(maker->by, key, name, sizeof name);
    name[TRACE_TEXT_MOST] = '\0';
    if (!tables_add_name(&maker->names, name, group)) return error_memory(err, strlen(name), "a group's name");
    return *group < maker->group_count || grow_groups(maker, *group, err);
}

static bool set_entry(struct entry_list *list, uint32_t id, struct entry entry, struct error *err)
{
    void *entries = list->entries;
    size_t wanted = (size_t)id + 1;
    if (!mem_grow(MEM_TRACE, &entries, &list->capacity, wanted, sizeof entry))
        return error_memory(err, wanted * sizeof entry, "a trace's op table");
    list->entries = entries;
    while (list->count < wanted) list->entries[list->count++] = (struct entry){.group = NO_GROUP};
    list->entries[id] = entry;
    return true;
}

static bool take_op_entry(struct maker *maker, const struct trace_op *op, struct error *err)
{
    struct summary_key key = {op->layer, op->kind, op->pass, "", op->device, 0};
    struct entry entry = {.layer = op->layer, .kind = op->kind, .pass = op->pass, .group = NO_GROUP};
    entry.copy = step_part_is_copy(op->pass);
    if (!summary_is_of_kernels(maker->by)) TRY(find_group(maker, &key, &entry.group, err));
    return set_entry(&maker->devices[op->device].ops, op->id, entry, err);
}

static bool take_kernel_entry(struct maker *maker, const struct trace_kernel *kernel, struct error *err)
{
    struct maker_device *device = &maker->devices[kernel->device];
    struct summary_key key = {"", "", kernel->op == TRACE_OF_RUN ? TRACE_RUN_PASS : "", kernel->name, kernel->device,
                              0};
    struct entry entry = {.group = NO_GROUP, .copy = kernel->work == WORK_COPY};
    const struct entry *op = kernel->op < device->ops.count ? &device->ops.entries[kernel->op] : NULL;
    if (op && op->layer) {
        key.layer = op->layer;
        key.kind = op->kind;
        key.pass = op->pass;
    }
    if (maker->by != SUMMARY_STREAM && (maker->by == SUMMARY_KERNEL || !device->has_ops))
        TRY(find_group(maker, &key, &entry.group, err));
    return set_entry(&device->kernels, kernel->id, entry, err);
}

static bool find_stream(struct maker *maker, uint32_t device, uint32_t stream, uint32_t *group, struct error *err)
{
    struct maker_device *d = &maker->devices[device];
    if (d->has_stream && d->stream == stream) {
        *group = d->stream_group;
        return true;
    }
    TRY(find_group(maker, &(struct summary_key){"", "", "", "", device, stream}, group, err));
    d->has_stream = true;
    d->stream = stream;
    d->stream_group = *group;
    return true;
}

static bool take_run(struct maker *maker, const struct trace_item *item, struct error *err)
{
    const struct trace_event *event = &item->event;
    struct maker_device *device = &maker->devices[event->device];
    size_t at = find_step(&device->steps, event->begin_ns);
    uint32_t slot = at ? device->steps.steps[at - 1].slot : NO_SLOT;
    if (slot == NO_SLOT) return true;
    bool kernel = event->type == TRACE_KERNEL;
    const struct entry_list *list = kernel ? &device->kernels : &device->ops;
    struct entry none = {.group = NO_GROUP};
    const struct entry *entry = event->id < list->count ? &list->entries[event->id] : &none;
    uint32_t group = entry->group;
    if (kernel && maker->by == SUMMARY_STREAM) TRY(find_stream(maker, event->device, item->stream, &group, err));
    if (group != NO_GROUP)
        maker->group_ns[(size_t)group * maker->slots + slot] += (double)(event->end_ns - event->begin_ns);
    if (!kernel && device->has_kernels) return true; /* the kernels tell it better */
    struct stretch stretch = {event->begin_ns, event->end_ns, entry->copy ? PART_COPY : PART_KERNELS};
    return step_times_add_stretch(&device->slots[slot], stretch, err);
}

enum step_part step_times_host_part(const struct trace_event *event)
{
    bool span = event->type == TRACE_SPAN, gap = event->type == TRACE_GAP;
    if ((!span && !gap) || event->end_ns <= event->begin_ns) return STEP_PARTS;
    if (span && event->kind == HOST_LAUNCH) return PART_LAUNCH;
    return event->kind == (span ? (int)HOST_LOAD : (int)GAP_DATA) ? PART_DATA : STEP_PARTS;
}

static bool take_host(struct maker *maker, const struct trace_event *event, struct error *err)
{
    enum step_part part = step_times_host_part(event);
    if (part == STEP_PARTS) return true;
    struct stretch stretch = {event->begin_ns, event->end_ns, part};
    return step_times_add_stretch(&maker->devices[event->device].host, stretch, err);
}

static void take_counter(struct maker *maker, const struct trace_event *event)
{
    struct gpu_readings *gpus = &maker->gpus;
    bool of_host = event->kind == READING_OF_HOST;
    if (of_host || event->at_ns < maker->from_ns || event->at_ns > maker->to_ns || !(event->value >= 0)) return;
    if (event->id == COUNTER_GPU_CLOCK) {
        gpus->clocks++;
        gpus->clock_sum += event->value;
    } else if (event->id == COUNTER_GPU_THROTTLED && event->value < 0x1p63) {
        gpus->states++;
        gpus->held += event->value > 0;
        gpus->held_bits |= (uint64_t)event->value;
    }
}

static bool take(struct maker *maker, const struct trace_item *item, struct error *err)
{
    if (item->type == TRACE_ITEM_OP) return take_op_entry(maker, &item->op, err);
    if (item->type == TRACE_ITEM_KERNEL) return take_kernel_entry(maker, &item->kernel, err);
    if (item->type != TRACE_ITEM_EVENT) return true;
    uint8_t type = item->event.type;
    if (type == TRACE_OP || type == TRACE_KERNEL) return take_run(maker, item, err);
    if (type == TRACE_COUNTER) take_counter(maker, &item->event);
    return (type != TRACE_SPAN && type != TRACE_GAP) || take_host(maker, &item->event, err);
}

static bool make_slots(struct maker *maker, struct error *err)
{
    for (size_t d = 0; d < TRACE_MOST_DEVICES; d++) {
        struct maker_device *device = &maker->devices[d];
        if (device->steps.count == 0) continue;
        device->slots = mem_zalloc(MEM_TRACE, maker->slots, sizeof *device->slots);
        if (!device->slots) return error_memory(err, maker->slots * sizeof *device->slots, "a trace's steps");
    }
    return true;
}

/* ---- Results ---- */

/* Devices that ran a step, by slot: everything is a mean over them. */
static void count_devices(const struct maker *maker, double devices[STEP_TIMES_MOST])
{
    for (size_t i = 0; i < maker->slots; i++) devices[i] = 0;
    for (size_t d = 0; d < TRACE_MOST_DEVICES; d++)
        for (size_t i = 0; i < maker->devices[d].steps.count; i++)
            if (maker->devices[d].steps.steps[i].slot != NO_SLOT) devices[maker->devices[d].steps.steps[i].slot]++;
}

static struct step_times_gpus tell_gpus(const struct gpu_readings *gpus)
{
    return (struct step_times_gpus){.clock_hz = gpus->clocks ? gpus->clock_sum / (double)gpus->clocks : (double)NAN,
                                    .held_part = gpus->states ? (double)gpus->held / (double)gpus->states : (double)NAN,
                                    .held_bits = gpus->held_bits};
}

static bool is_used(const struct maker *maker, size_t group)
{
    for (size_t i = 0; i < maker->slots; i++)
        if (maker->group_ns[group * maker->slots + i] > 0) return true;
    return false;
}

static bool keep_groups(struct maker *maker, struct step_times *b, const double *devices, struct error *err)
{
    b->groups = mem_zalloc(MEM_TRACE, maker->group_count, sizeof *b->groups);
    if (!b->groups) return error_memory(err, maker->group_count * sizeof *b->groups, "what groups take");
    for (size_t i = 0; i < maker->group_count; i++) {
        double *times = maker->group_ns + i * maker->slots;
        if (!is_used(maker, i)) continue;
        for (size_t k = 0; k < maker->slots; k++)
            if (devices[k] > 0) times[k] /= devices[k];
        b->groups[b->group_count++] = (struct step_times_group){maker->names.names[i], times};
    }
    return true;
}

static void finish_maker(struct maker *maker)
{
    for (size_t d = 0; d < TRACE_MOST_DEVICES; d++) {
        struct maker_device *device = &maker->devices[d];
        for (size_t i = 0; device->slots && i < maker->slots; i++) mem_free(device->slots[i].stretches);
        mem_free(device->slots);
        mem_free(device->host.stretches);
        mem_free(device->steps.steps);
        mem_free(device->ops.entries);
        mem_free(device->kernels.entries);
        device->slots = NULL;
        device->host = (struct stretch_list){0};
        device->steps = (struct step_list){0};
        device->ops = device->kernels = (struct entry_list){0};
    }
}

bool step_times_read(const char *path, enum summary_by by, struct step_range range, struct step_times *b,
                     struct error *err)
{
    double devices[STEP_TIMES_MOST];
    struct maker *maker = mem_zalloc(MEM_TRACE, 1, sizeof *maker);
    if (!maker) return error_memory(err, sizeof *maker, path);
    b->own = maker;
    maker->by = by;
    maker->range = range;
    bool ok =
        read_all(path, maker, take_step, err) && read_all(path, maker, take_timed, err) && choose_steps(maker, b, err);
    maker->slots = b->step_count;
    maker->from_ns = b->from_ns;
    maker->to_ns = b->to_ns;
    if (ok && maker->slots > 0) {
        ok = make_slots(maker, err) && read_all(path, maker, take, err);
        if (ok) count_devices(maker, devices);
        ok = ok && keep_groups(maker, b, devices, err);
        ok = ok && step_times_divide_steps(maker, b, devices, err);
    }
    b->gpus = tell_gpus(&maker->gpus);
    finish_maker(maker);
    if (!ok) step_times_finish(b);
    return ok;
}

void step_times_finish(struct step_times *b)
{
    struct maker *maker = b->own;
    if (maker) {
        tables_finish(&maker->names);
        mem_free(maker->group_ns);
        mem_free(maker);
    }
    mem_free(b->groups);
    mem_free(b->steps);
    *b = (struct step_times){0};
}

static int compare_values(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The standard error of a median is 1.25 that of a mean; the middle half of normal values spans 1.35 deviations. */
struct step_times_estimate step_times_estimate(const struct step_times *b, const struct step_times_group *group)
{
    double sorted[STEP_TIMES_MOST];
    size_t n = b->step_count;
    for (size_t i = 0; i < n; i++) sorted[i] = group ? group->step_ns[i] : b->steps[i].ns;
    qsort(sorted, n, sizeof *sorted, compare_values);
    double median = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
    double spread = sorted[(n - 1) * 3 / 4] - sorted[(n - 1) / 4];
    return (struct step_times_estimate){median, 1.25 / 1.35 * spread / sqrt((double)n)};
}

const struct step_times_group *step_times_find(const struct step_times *b, const char *name)
{
    for (size_t i = 0; i < b->group_count; i++)
        if (strcmp(b->groups[i].name, name) == 0) return &b->groups[i];
    return NULL;
}
