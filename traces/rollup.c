#include "rollup_private.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "mem.h"

bool trace_follow(const char *path, struct trace_follower **out, struct error *err)
{
    struct trace_follower *follower = mem_zalloc(MEM_TRACE, 1, sizeof *follower);
    if (!follower) return error_memory(err, sizeof *follower, path);
    if (!trace_stream_open(path, &follower->stream, err)) {
        mem_free(follower);
        return false;
    }
    rollup_begin(follower, ROLLUP_MOST_STEPS);
    if (!rollup_last_begin(follower, err)) {
        trace_unfollow(follower);
        return false;
    }
    *out = follower;
    return true;
}

void rollup_begin(struct trace_follower *follower, size_t most_steps)
{
    follower->step_stride = 1;
    follower->rollup.unreported = (1u << TRACE_METRICS) - 1;
    follower->most_steps = most_steps;
}

void rollup_finish(struct trace_follower *follower)
{
    for (size_t i = 0; i < TRACE_MOST_DEVICES; i++) mem_free(follower->ops[i].position);
    for (size_t i = 0; i < TRACE_MOST_DEVICES; i++) mem_free(follower->rollup.devices[i].tensors);
    rollup_finish_kernels(follower);
    rollup_finish_pool(&follower->pool);
    mem_free(follower->rollup.ops);
    mem_free(follower->rollup.steps);
    mem_free(follower->rollup.marks);
}

void trace_unfollow(struct trace_follower *follower)
{
    if (!follower) return;
    trace_stream_close(follower->stream);
    rollup_last_finish(follower);
    rollup_finish(follower);
    mem_free(follower);
}

const struct rollup *trace_follow_rollup(const struct trace_follower *follower) { return &follower->rollup; }

static void take_run(struct rollup *rollup, const struct trace_run *run)
{
    rollup->has_run = true;
    rollup_set_text(rollup->model, sizeof rollup->model, run->model);
    rollup_set_text(rollup->dataset, sizeof rollup->dataset, run->dataset);
    rollup_set_text(rollup->backend, sizeof rollup->backend, run->backend);
    rollup_set_text(rollup->host, sizeof rollup->host, run->host);
    rollup_set_text(rollup->command, sizeof rollup->command, run->command);
    rollup->batch = run->batch;
    rollup->device_count = run->devices < ROLLUP_MOST_DEVICES ? run->devices : ROLLUP_MOST_DEVICES;
    rollup->iterations = run->iterations;
    rollup->parameters = run->parameters;
    if (rollup->pid != run->pid) rollup->pid_space = 0; /* of the process before it */
    rollup->pid = run->pid;
}

/* What an earlier part did after the checkpoint that this one went on from is no part of the run. Each segment says so:
 * what this part has told since is not touched. */
static void take_part(struct rollup *rollup, const struct trace_part *part)
{
    while (rollup->step_count > 0 && rollup->steps[rollup->step_count - 1].step > part->done &&
           rollup->steps[rollup->step_count - 1].begin_ns < part->begun_ns)
        rollup->step_count--;
}

static void take_device(struct rollup *rollup, const struct trace_device *from)
{
    struct rollup_device *device = &rollup->devices[from->device];
    rollup_set_text(device->name, sizeof device->name, from->name);
    device->memory_bytes = from->memory_bytes;
    device->planned_bytes = from->planned_bytes;
    device->arena_bytes = from->arena_bytes;
    device->images = from->images;
    device->classes = from->classes;
    for (uint32_t i = 0; i < from->classes; i++) {
        rollup_set_text(device->class_names[i], sizeof device->class_names[i], from->class_names[i]);
        device->class_bytes[i] = from->class_bytes[i];
    }
    if (from->device >= rollup->device_count) rollup->device_count = from->device + 1;
}

/* A repeated entry renews the names and keeps the times. */
static bool take_op_entry(struct trace_follower *follower, const struct trace_op *op, struct error *err)
{
    struct rollup *rollup = &follower->rollup;
    struct rollup_index *index = &follower->ops[op->device];
    TRY(rollup_grow_index(index, op->id, err));
    uint32_t position = index->position[op->id];
    if (position == 0) {
        void *ops = rollup->ops;
        if (!mem_grow(MEM_TRACE, &ops, &follower->op_capacity, rollup->op_count + 1, sizeof(struct rollup_op)))
            return error_memory(err, (rollup->op_count + 1) * sizeof(struct rollup_op), "a trace's ops");
        rollup->ops = ops;
        rollup->ops[rollup->op_count++] = (struct rollup_op){.id = op->id, .device = op->device};
        position = index->position[op->id] = (uint32_t)rollup->op_count;
    }
    struct rollup_op *entry = &rollup->ops[position - 1];
    entry->layer = op->layer;
    entry->kind = op->kind;
    entry->pass = op->pass;
    entry->copy = step_part_is_copy(op->pass);
    entry->flops = op->flops;
    entry->bytes_moved = op->bytes_moved;
    entry->live_bytes = op->live_bytes;
    struct rollup_device *device = &rollup->devices[op->device];
    if (op->id >= device->program_ops && strcmp(op->pass, "evaluate") != 0) device->program_ops = op->id + 1;
    return true;
}

static void take_op(struct trace_follower *follower, const struct trace_event *event)
{
    uint32_t position = rollup_position(&follower->ops[event->device], event->id);
    struct rollup_device *device = &follower->rollup.devices[event->device];
    device->ops_timed = true;
    if (position == 0) {
        follower->rollup.unattributed++;
        return;
    }
    rollup_count_time(&follower->pool, &follower->rollup.ops[position - 1], event->end_ns - event->begin_ns);
    rollup_order_op(device, &follower->order[event->device], event->id);
}

static void take_memory(struct rollup *rollup, const struct trace_event *event)
{
    if (event->kind >= TRACE_SAMPLES) return;
    struct rollup_device *device = &rollup->devices[event->device];
    device->used_bytes[event->kind] = event->bytes;
    device->used_known[event->kind] = true;
    if (event->bytes > device->peak_bytes[event->kind]) device->peak_bytes[event->kind] = event->bytes;
}

/* A gap that was counted before a digest told it again begins no later than the last one. */
static void take_gap(struct trace_follower *follower, const struct trace_event *event, bool again)
{
    if (event->kind >= TRACE_GAPS || event->end_ns < event->begin_ns) return;
    uint64_t *last = &follower->last_gap_ns[event->device][event->kind];
    if (again && event->begin_ns <= *last) return;
    if (event->begin_ns > *last) *last = event->begin_ns;
    follower->rollup.devices[event->device].gap_ns[event->kind] += event->end_ns - event->begin_ns;
}

static bool take_mark(struct trace_follower *follower, const struct trace_event *event, bool again, struct error *err)
{
    struct rollup_mark mark = rollup_make_mark(event->ns, event->text, event->id);
    if (again && rollup_has_mark(&follower->rollup, &mark)) return true;
    return rollup_add_mark(follower, &mark, err);
}

static void take_span(struct rollup *rollup, const struct trace_event *event)
{
    if (event->kind < TRACE_HOSTS && event->end_ns >= event->begin_ns)
        rollup->devices[event->device].host_ns[event->kind] += event->end_ns - event->begin_ns;
}

static void take_loss(struct rollup *rollup, const struct trace_event *event)
{
    if (event->kind == LOSS_TIMESTAMPS) rollup->lost_timestamps += event->count;
    if (event->kind == LOSS_RECORDS) rollup->lost_records += event->count;
}

static void cover_time(struct rollup *rollup, const struct trace_event *event)
{
    uint64_t first, last;
    if (!trace_event_time(event, &first, &last)) return;
    if (rollup->first_ns == 0 || first < rollup->first_ns) rollup->first_ns = first;
    if (last > rollup->last_ns) rollup->last_ns = last;
}

void trace_follow_window(struct trace_follower *follower, uint64_t from_ns, uint64_t to_ns)
{
    follower->from_ns = from_ns;
    follower->to_ns = to_ns;
}

/* A step's end may be where the next one begins. */
static bool is_in_window(const struct trace_follower *follower, const struct trace_event *event)
{
    uint64_t from = follower->from_ns, to = follower->to_ns;
    if (to == 0) return true;
    if (event->type == TRACE_OP || event->type == TRACE_KERNEL) return event->begin_ns >= from && event->begin_ns < to;
    if (event->type == TRACE_STEP_BEGIN) return event->ns >= from && event->ns < to;
    return event->type != TRACE_STEP_END || (event->ns > from && event->ns <= to);
}

static bool take_event(struct trace_follower *follower, const struct trace_item *item, struct error *err)
{
    const struct trace_event *event = &item->event;
    if (!is_in_window(follower, event)) return true;
    follower->rollup.events++;
    cover_time(&follower->rollup, event);
    if (follower->last) TRY(rollup_last_take(follower, event, err));
    switch ((enum trace_event_type)event->type) {
    case TRACE_OP: take_op(follower, event); return true;
    case TRACE_STEP_BEGIN:
    case TRACE_STEP_END: return rollup_take_step(follower, event, err);
    case TRACE_METRIC: return rollup_take_metric(follower, event, err);
    case TRACE_MEMORY: take_memory(&follower->rollup, event); return true;
    case TRACE_GAP: take_gap(follower, event, item->again); return true;
    case TRACE_MARK: return take_mark(follower, event, item->again, err);
    case TRACE_LOST: follower->rollup.lost_timestamps++; return true;
    case TRACE_KERNEL: return rollup_take_kernel(follower, event, item->stream, err);
    case TRACE_COUNTER: return rollup_take_counter(follower, event, err);
    case TRACE_SPAN: take_span(&follower->rollup, event); return true;
    case TRACE_LOSS: take_loss(&follower->rollup, event); return true;
    case TRACE_CLOCK_PAIR: rollup_take_clock_pair(&follower->rollup, event); return true;
    case TRACE_EVENT_TYPES: break;
    }
    return true;
}

bool rollup_take_item(struct trace_follower *follower, const struct trace_item *item, struct error *err)
{
    struct rollup *rollup = &follower->rollup;
    switch (item->type) {
    case TRACE_ITEM_EVENT: return take_event(follower, item, err);
    case TRACE_ITEM_RUN:
        if (rollup->has_run && rollup->pid != item->run.pid) rollup_forget_order(follower);
        take_run(rollup, &item->run);
        return true;
    case TRACE_ITEM_PART: take_part(rollup, &item->part); return true;
    case TRACE_ITEM_DEVICE: take_device(rollup, &item->device); return true;
    case TRACE_ITEM_OP: return take_op_entry(follower, &item->op, err);
    case TRACE_ITEM_CLOCK:
        rollup->wall_offset_ns = item->clock.wall_ns - item->clock.clock_ns;
        rollup->ended = false; /* a resumed run goes on after its trace's end */
        return true;
    case TRACE_ITEM_END:
        rollup->ended = true;
        rollup_end_kernels(follower);
        return true;
    case TRACE_ITEM_PAST: return rollup_take_past(follower, &item->past, err);
    case TRACE_ITEM_KERNEL: return rollup_take_kernel_entry(follower, &item->kernel, err);
    case TRACE_ITEM_ORIGIN: rollup_take_origin(rollup, &item->origin); return true;
    case TRACE_ITEM_WRITER:
        if (item->writer.pid == rollup->pid) rollup->pid_space = item->writer.pid_space;
        return true;
    case TRACE_ITEM_PEAKS:
        rollup->devices[item->peaks.device].peak_flops = (double)item->peaks.flops;
        rollup->devices[item->peaks.device].peak_bandwidth = (double)item->peaks.bytes;
        return true;
    case TRACE_ITEM_HARDWARE: rollup_take_hardware(rollup, item->hardware.device, item->hardware.slot); return true;
    case TRACE_ITEM_TENSOR: return rollup_take_tensor(rollup, &item->tensor, err);
    case TRACE_ITEM_TENSORS_LIKE: rollup->devices[item->like.device].tensors_like = item->like.like + 1; return true;
    case TRACE_ITEM_COUNTER: return rollup_take_counter_entry(follower, &item->counter, err);
    case TRACE_ITEM_UNIT: /* flow.h reads them */
    case TRACE_ITEM_NORMS:
    case TRACE_ITEM_NONE: break;
    }
    return true;
}

#define AT_ONCE 256

/* What follows an op or a kernel in its block. */
static bool take_times(struct trace_follower *follower, const struct trace_item *item, uint64_t most, struct error *err)
{
    struct trace_time times[AT_ONCE];
    const uint32_t device = item->event.device;
    const bool kernels = item->event.type == TRACE_KERNEL;
    struct rollup *rollup = &follower->rollup;
    while (most > 0) {
        size_t count = trace_stream_times(follower->stream, times, most < AT_ONCE ? (size_t)most : AT_ONCE);
        if (count == 0) return true;
        most -= count;
        rollup->events += count;
        for (size_t i = 0; i < count; i++) {
            if (rollup->first_ns == 0 || times[i].begin_ns < rollup->first_ns) rollup->first_ns = times[i].begin_ns;
            if (times[i].end_ns > rollup->last_ns) rollup->last_ns = times[i].end_ns;
        }
        if (kernels)
            TRY(rollup_take_kernels(follower, device, item->stream, times, count, err));
        else
            rollup_take_ops(follower, device, times, count);
        TRY(!follower->last || rollup_last_take_times(follower, device, kernels, times, count, err));
    }
    return true;
}

static void take_stats(struct trace_follower *follower)
{
    struct trace_stream_stats stats;
    trace_stream_stats(follower->stream, &stats);
    struct rollup *rollup = &follower->rollup;
    rollup->dropped = stats.dropped;
    rollup->damaged_blocks = stats.reader.damaged + stats.malformed;
    if (rollup->wall_offset_ns == 0)
        rollup->wall_offset_ns = stats.reader.header.wall_ns - stats.reader.header.clock_ns;
}

bool trace_follow_more(struct trace_follower *follower, uint64_t most_events, uint64_t *read, struct error *err)
{
    uint64_t before = follower->rollup.events, most = most_events ? most_events : UINT64_MAX;
    struct trace_item item;
    bool ok = true;
    trace_stream_look(follower->stream);
    while (ok && follower->rollup.events - before < most) {
        ok = trace_stream_next(follower->stream, &item, err) && rollup_take_item(follower, &item, err);
        if (ok && item.type == TRACE_ITEM_NONE) break;
        bool times = ok && item.type == TRACE_ITEM_EVENT &&
                     (item.event.type == TRACE_KERNEL || item.event.type == TRACE_OP) && follower->to_ns == 0;
        if (times) ok = take_times(follower, &item, most - (follower->rollup.events - before), err);
    }
    rollup_settle(follower);
    take_stats(follower);
    *read = follower->rollup.events - before;
    ok = ok && rollup_last_divide(follower, most_events == 0 || *read == 0, err);
    return ok;
}

double trace_follow_part(const struct trace_follower *follower)
{
    struct trace_stream_stats stats;
    trace_stream_stats(follower->stream, &stats);
    double all = (double)stats.reader.size_bytes, left = (double)stats.reader.tail_bytes;
    return all > 0 ? (all - left) / all : 1;
}

bool trace_follow_same(const struct trace_follower *a, const struct trace_follower *b)
{
    struct trace_stream_stats one, other;
    trace_stream_stats(a->stream, &one);
    trace_stream_stats(b->stream, &other);
    const struct trace_file_header *h = &one.reader.header, *o = &other.reader.header;
    return h->wall_ns == o->wall_ns && h->clock_ns == o->clock_ns;
}

uint64_t rollup_steps_done(const struct rollup *rollup)
{
    if (rollup->step_count == 0) return 0;
    const struct rollup_step *last = &rollup->steps[rollup->step_count - 1];
    return last->end_ns == 0 && last->step > 0 ? last->step - 1 : last->step;
}

double rollup_host_counter(const struct rollup *rollup, uint32_t counter)
{
    bool is_read = counter < rollup->counter_count && rollup->counters[counter].host.count > 0;
    return is_read ? rollup->counters[counter].host.last : (double)NAN;
}
