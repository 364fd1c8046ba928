/* Kernels by the thousand into a roll-up. A time touches some 700 bytes of its kernel's entry and as many of its op's,
 * which lie in no cache when a step has thousands: so times wait in one line of memory for each entry, and are counted
 * a dozen at a time. What waits is counted before anybody looks. */
#include "rollup_private.h"

#define AHEAD 16 /* kernels whose lines are fetched meanwhile */

/* What is asked of a kernel each time it passes by, beside its times. */
static bool know(const struct trace_follower *follower, size_t position, uint32_t stream, struct rollup_waiting *line)
{
    const struct rollup_kernel *kernel = &follower->rollup.kernels[position];
    line->op = kernel->op;
    line->stream = kernel->stream;
    line->copy = kernel->work == WORK_COPY;
    line->known = kernel->times.count > 0 && kernel->op != TRACE_NO_OWNER;
    return line->known && line->stream == stream;
}

static bool take_known(struct trace_follower *follower, uint32_t device, uint32_t stream, const struct trace_time *t,
                       struct open_op *open)
{
    uint32_t at = rollup_position(&follower->kernels[device], t->id);
    if (at == 0 || at > follower->kernel_lines.count) return false;
    struct rollup_waiting *line = &follower->kernel_lines.lines[at - 1];
    uint64_t ns = t->end_ns - t->begin_ns;
    if (line->known ? line->stream != stream : !know(follower, at - 1, stream, line)) return false;
    if (!rollup_wait(&follower->pool, &follower->kernel_lines, at - 1, &follower->rollup.kernels[at - 1].times, ns))
        rollup_count_kernel(follower, at - 1, ns);
    rollup_pass_kernel(follower, device, open, line->op, t->id, ns);
    return true;
}

static void fetch(const struct trace_follower *follower, uint32_t device, uint32_t id)
{
    uint32_t at = rollup_position(&follower->kernels[device], id);
    if (at && at <= follower->kernel_lines.count) __builtin_prefetch(&follower->kernel_lines.lines[at - 1], 1);
}

void rollup_take_ops(struct trace_follower *follower, uint32_t device, const struct trace_time *times, size_t count)
{
    const struct rollup_index *index = &follower->ops[device];
    struct rollup *rollup = &follower->rollup;
    struct rollup_order *order = &follower->order[device];
    rollup->devices[device].ops_timed = true;
    for (size_t i = 0; i < count; i++) {
        uint32_t ahead = i + AHEAD < count ? rollup_position(index, times[i + AHEAD].id) : 0;
        uint32_t near = i + AHEAD / 2 < count ? rollup_position(index, times[i + AHEAD / 2].id) : 0;
        if (ahead) __builtin_prefetch(&rollup->ops[ahead - 1], 1);
        if (near) __builtin_prefetch(rollup->ops[near - 1].histogram.buckets, 1);
        uint32_t at = rollup_position(index, times[i].id);
        if (at == 0) {
            rollup->unattributed++;
            continue;
        }
        rollup_count_time(&follower->pool, &rollup->ops[at - 1], times[i].end_ns - times[i].begin_ns);
        rollup_order_op(&rollup->devices[device], order, times[i].id);
    }
}

bool rollup_take_kernels(struct trace_follower *follower, uint32_t device, uint32_t stream,
                         const struct trace_time *times, size_t count, struct error *err)
{
    struct open_op *open;
    rollup_grow_lines(&follower->kernel_lines, follower->rollup.kernel_count);
    rollup_grow_lines(&follower->op_lines, follower->rollup.op_count);
    TRY(rollup_find_stream(&follower->open[device], stream, &open, err));
    for (size_t i = 0; i < count; i++) {
        if (i + AHEAD < count) fetch(follower, device, times[i + AHEAD].id);
        if (take_known(follower, device, stream, &times[i], open)) continue;
        const struct trace_event event = {.type = TRACE_KERNEL,
                                          .device = (uint16_t)device,
                                          .id = times[i].id,
                                          .begin_ns = times[i].begin_ns,
                                          .end_ns = times[i].end_ns};
        TRY(rollup_take_kernel(follower, &event, stream, err));
    }
    return true;
}
