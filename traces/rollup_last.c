/* Where the time of the last timed steps went, while a trace is followed: each step is divided once, as step_parts.c
 * does it, when all of it has come. */
#include <string.h>

#include "mem.h"
#include "rollup_private.h"
#include "step_times_private.h"

#define MOST_STEPS     1024
#define MOST_STRETCHES 65536               /* waiting; the older half goes: 100,000 a second settle in what stays */
#define SETTLED_NS     UINT64_C(300000000) /* after its end nothing more of a step comes */
#define AT_ONCE        8192                /* stretches divided at once, but for one step always */
#define APART_NS       UINT64_C(250000000) /* between two divisions: each moves all that waits */

struct rollup_last {
    struct step_time steps[MOST_STEPS]; /* of device 0, in their order; slot is not used */
    size_t step_count;
    struct stretch_list device, host; /* of steps that have not been divided */
    bool has_kernels;
    uint64_t divided_ns;                      /* steps that ended up to then have been looked at */
    uint64_t divided_at_ns;                   /* how far the trace was then */
    struct rollup_parts results[ROLLUP_LAST]; /* a step each */
    size_t result_count;                      /* in all */
};

bool rollup_last_begin(struct trace_follower *follower, struct error *err)
{
    follower->last = mem_zalloc(MEM_TRACE, 1, sizeof *follower->last);
    return follower->last || error_memory(err, sizeof *follower->last, "a trace's last steps");
}

void rollup_last_finish(struct trace_follower *follower)
{
    if (!follower->last) return;
    mem_free(follower->last->device.stretches);
    mem_free(follower->last->host.stretches);
    mem_free(follower->last);
}

/* ---- What comes ---- */

/* Steps that go on from a checkpoint, and are told once more, begin anew. */
static void take_step(struct rollup_last *last, const struct trace_event *event)
{
    struct step_time *newest = last->step_count ? &last->steps[last->step_count - 1] : NULL;
    if (event->type == TRACE_STEP_END) {
        if (newest && newest->number == event->step && newest->end_ns == 0) newest->end_ns = event->ns;
        return;
    }
    if (newest && event->ns < newest->begin_ns) return;
    if (last->step_count == MOST_STEPS) {
        last->step_count = MOST_STEPS / 2;
        memmove(last->steps, last->steps + MOST_STEPS / 2, last->step_count * sizeof *last->steps);
    }
    last->steps[last->step_count++] = (struct step_time){.number = event->step, .begin_ns = event->ns};
}

static void drop_first(struct stretch_list *list, size_t count)
{
    if (count == 0) return;
    list->count -= count;
    list->sorted = list->sorted > count ? list->sorted - count : 0;
    memmove(list->stretches, list->stretches + count, list->count * sizeof *list->stretches);
}

#define FEW 4096 /* stretches that may be held for nothing */

/* Gives back what a long trace took while it was read. */
static void give_back(struct stretch_list *list)
{
    size_t enough = list->count * 2 + FEW;
    if (list->capacity <= 2 * enough) return;
    void *smaller = mem_resize(MEM_TRACE, list->stretches, enough, sizeof *list->stretches);
    if (!smaller) return;
    list->stretches = smaller;
    list->capacity = enough;
}

/* Room for so many, the older half having gone where they are too many; they are to be put in by the caller. */
static bool make_room(struct stretch_list *list, size_t count, struct error *err)
{
    void *stretches = list->stretches;
    if (list->count + count > MOST_STRETCHES) {
        size_t kept = list->count < MOST_STRETCHES / 2 ? list->count : MOST_STRETCHES / 2;
        drop_first(list, list->count - kept);
    }
    if (!mem_grow(MEM_TRACE, &stretches, &list->capacity, list->count + count, sizeof *list->stretches))
        return error_memory(err, (list->count + count) * sizeof *list->stretches, "a step's kernels");
    list->stretches = stretches;
    return true;
}

static bool add_stretch(struct stretch_list *list, const struct trace_event *event, enum step_part part,
                        struct error *err)
{
    TRY(make_room(list, 1, err));
    list->stretches[list->count++] = (struct stretch){event->begin_ns, event->end_ns, part};
    return true;
}

/* Where kernels begin to be known, ops say no more. */
static void begin_kernels(struct rollup_last *last)
{
    if (!last->has_kernels) last->device.count = last->device.sorted = 0;
    last->has_kernels = true;
}

/* Where kernels are known, they tell it better than ops. */
static bool take_work(struct trace_follower *follower, const struct trace_event *event, struct error *err)
{
    struct rollup_last *last = follower->last;
    const struct rollup *rollup = &follower->rollup;
    bool kernel = event->type == TRACE_KERNEL, copy = false;
    uint32_t at = rollup_position(kernel ? &follower->kernels[0] : &follower->ops[0], event->id);
    if (kernel) begin_kernels(last);
    if (!kernel && last->has_kernels) return true;
    if (at) copy = kernel ? rollup->kernels[at - 1].work == WORK_COPY : rollup->ops[at - 1].copy;
    return add_stretch(&last->device, event, copy ? PART_COPY : PART_KERNELS, err);
}

bool rollup_last_take_times(struct trace_follower *follower, uint32_t device, bool kernels,
                            const struct trace_time *times, size_t count, struct error *err)
{
    struct rollup_last *last = follower->last;
    const struct rollup_index *index = kernels ? &follower->kernels[0] : &follower->ops[0];
    if (device != 0 || (!kernels && last->has_kernels)) return true;
    if (kernels) begin_kernels(last);
    TRY(make_room(&last->device, count, err));
    struct stretch *to = last->device.stretches + last->device.count;
    for (size_t i = 0; i < count; i++) {
        uint32_t at = rollup_position(index, times[i].id);
        bool copy = at && (kernels ? rollup_copies(follower, at - 1) : follower->rollup.ops[at - 1].copy);
        to[i] = (struct stretch){times[i].begin_ns, times[i].end_ns, copy ? PART_COPY : PART_KERNELS};
    }
    last->device.count += count;
    return true;
}

bool rollup_last_take(struct trace_follower *follower, const struct trace_event *event, struct error *err)
{
    if (event->type == TRACE_OP || event->type == TRACE_KERNEL)
        return event->device != 0 || take_work(follower, event, err);
    if (event->type == TRACE_STEP_BEGIN || event->type == TRACE_STEP_END) {
        if (event->device == 0) take_step(follower->last, event);
        return true;
    }
    enum step_part part = step_times_host_part(event);
    return part == STEP_PARTS || event->device != 0 || add_stretch(&follower->last->host, event, part, err);
}

/* ---- Dividing ---- */

/* The stretches that begin in a step, of those from *at on; they are in the order of begins. */
static struct stretch_list stretches_of(const struct stretch_list *device, const struct step_time *step, size_t *at)
{
    while (*at < device->count && device->stretches[*at].begin_ns < step->begin_ns) ++*at;
    size_t end = *at;
    while (end < device->count && device->stretches[end].begin_ns < step->end_ns) end++;
    return (struct stretch_list){.stretches = device->stretches + *at, .count = end - *at};
}

static bool divide_step(struct rollup_last *last, size_t i, const struct stretch_list *mine)
{
    uint64_t ns, parts[STEP_PARTS], before = i > 0 ? last->steps[i - 1].end_ns : 0;
    size_t from = 0;
    if (!step_times_divide(mine, &last->host, &last->steps[i], before, &from, &ns, parts)) return false;
    struct rollup_parts *result = &last->results[last->result_count++ % ROLLUP_LAST];
    *result = (struct rollup_parts){.steps = 1, .ns = (double)ns};
    for (int part = 0; part < STEP_PARTS; part++) result->part_ns[part] = (double)parts[part];
    return true;
}

/* Of steps [first, end), those that were timed; where they are too many for one look, the newest. */
static bool divide_steps(struct rollup_last *last, size_t first, size_t end)
{
    size_t at = 0, skip = last->device.count > AT_ONCE ? last->device.count - AT_ONCE : 0;
    for (size_t i = first; i < end; i++) {
        struct stretch_list mine = stretches_of(&last->device, &last->steps[i], &at);
        if (mine.count == 0) continue;
        bool whole = (size_t)(mine.stretches - last->device.stretches) >= skip;
        at += mine.count;
        if ((whole || i + 1 == end) && !divide_step(last, i, &mine)) return false;
    }
    return true;
}

/* What began before is not needed any more. The list is in the order of begins. */
static void forget(struct stretch_list *list, uint64_t before_ns)
{
    size_t from = 0;
    while (from < list->count && list->stretches[from].begin_ns < before_ns) from++;
    drop_first(list, from);
    give_back(list);
}

static void tell(struct rollup_last *last, struct rollup_parts *mean)
{
    size_t count = last->result_count < ROLLUP_LAST ? last->result_count : ROLLUP_LAST;
    *mean = (struct rollup_parts){.steps = (uint32_t)count};
    for (size_t i = 0; i < count; i++) {
        mean->ns += last->results[i].ns / (double)count;
        for (int part = 0; part < STEP_PARTS; part++)
            mean->part_ns[part] += last->results[i].part_ns[part] / (double)count;
    }
}

bool rollup_last_divide(struct trace_follower *follower, bool at_end, struct error *err)
{
    struct rollup_last *last = follower->last;
    const struct rollup *rollup = &follower->rollup;
    size_t first = 0, end;
    if (!at_end && !rollup->ended && rollup->last_ns - last->divided_at_ns < APART_NS) return true;
    last->divided_at_ns = rollup->last_ns;
    while (first < last->step_count && last->steps[first].end_ns && last->steps[first].end_ns <= last->divided_ns)
        first++;
    for (end = first; end < last->step_count && last->steps[end].end_ns; end++)
        if (!rollup->ended && last->steps[end].end_ns + SETTLED_NS > rollup->last_ns) break;
    if (end == first) return true;
    step_times_sort(&last->device);
    step_times_sort(&last->host);
    if (!divide_steps(last, first, end)) return error_memory(err, 0, "a trace's last steps");
    last->divided_ns = last->steps[end - 1].end_ns;
    forget(&last->device, last->divided_ns);
    forget(&last->host, last->steps[end - 1].begin_ns);
    tell(last, &follower->rollup.parts);
    return true;
}
