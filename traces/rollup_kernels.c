#include <string.h>

#include "mem.h"
#include "rollup_private.h"

/* ---- Tables ---- */

static struct rollup_op *find_op(struct trace_follower *follower, uint32_t device, uint32_t op)
{
    uint32_t position = rollup_position(&follower->ops[device], op);
    return position ? &follower->rollup.ops[position - 1] : NULL;
}

static void describe(struct trace_follower *follower, struct rollup_kernel *entry, const struct trace_kernel *kernel)
{
    const struct rollup_op *op = find_op(follower, kernel->device, kernel->op);
    entry->times.layer = op ? op->layer : "";
    entry->times.kind = op ? op->kind : "";
    entry->times.pass = op ? op->pass : kernel->op == TRACE_OF_RUN ? TRACE_RUN_PASS : "";
    entry->name = kernel->name;
    entry->op = kernel->op;
    entry->work = kernel->work;
    memcpy(entry->grid, kernel->grid, sizeof entry->grid);
    memcpy(entry->block, kernel->block, sizeof entry->block);
    entry->registers = kernel->registers;
    entry->bytes = kernel->bytes;
}

static bool add_kernel(struct trace_follower *follower, const struct rollup_kernel *kernel, struct error *err)
{
    struct rollup *rollup = &follower->rollup;
    size_t wanted = rollup->kernel_count + 1;
    void *kernels = rollup->kernels, *next = follower->kernel_next;
    bool grown = mem_grow(MEM_TRACE, &kernels, &follower->kernel_capacity, wanted, sizeof *kernel);
    rollup->kernels = kernels;
    grown = grown && mem_grow(MEM_TRACE, &next, &follower->next_capacity, wanted, sizeof(uint32_t));
    follower->kernel_next = next;
    if (!grown) return error_memory(err, wanted * sizeof *kernel, "a trace's kernels");
    follower->kernel_next[rollup->kernel_count] = 0;
    rollup->kernels[rollup->kernel_count++] = *kernel;
    return true;
}

/* Whether the number was given to another kernel, as a resumed run may do: times so far stay those of the old one. */
static bool is_another(const struct rollup_kernel *entry, const struct trace_kernel *kernel)
{
    return entry->times.count > 0 && (entry->op != kernel->op || strcmp(entry->name, kernel->name) != 0);
}

/* A repeated entry renews what is said of the kernel, on all of its streams, and keeps the times. */
bool rollup_take_kernel_entry(struct trace_follower *follower, const struct trace_kernel *kernel, struct error *err)
{
    struct rollup_index *index = &follower->kernels[kernel->device];
    rollup_settle(follower);
    TRY(rollup_grow_index(index, kernel->id, err));
    uint32_t position = index->position[kernel->id];
    if (position == 0 || is_another(&follower->rollup.kernels[position - 1], kernel)) {
        struct rollup_kernel fresh = {.times = {.id = kernel->id, .device = kernel->device}};
        TRY(add_kernel(follower, &fresh, err));
        index->position[kernel->id] = (uint32_t)follower->rollup.kernel_count;
    }
    rollup_forget_kernel(follower, index->position[kernel->id] - 1);
    for (uint32_t at = index->position[kernel->id]; at; at = follower->kernel_next[at - 1])
        describe(follower, &follower->rollup.kernels[at - 1], kernel);
    return true;
}

/* ---- Times ---- */

/* A kernel that has entries begins to run on one stream more. */
static bool add_stream(struct trace_follower *follower, uint32_t first, uint32_t stream, uint32_t *at, struct error *err)
{
    struct rollup_kernel copy = follower->rollup.kernels[first];
    copy.times = (struct rollup_op){.id = copy.times.id,
                                    .device = copy.times.device,
                                    .layer = copy.times.layer,
                                    .kind = copy.times.kind,
                                    .pass = copy.times.pass};
    copy.stream = stream;
    *at = (uint32_t)follower->rollup.kernel_count;
    TRY(add_kernel(follower, &copy, err));
    follower->kernel_next[*at] = follower->kernel_next[first];
    follower->kernel_next[first] = *at + 1;
    return key_map_add(&follower->kernel_streams, (uint64_t)first << 32 | stream, *at) ||
           error_memory(err, sizeof copy, "a trace's kernels");
}

/* The entry of a kernel on a stream; NULL in *found when it is in no table. */
static bool find_kernel(struct trace_follower *follower, const struct trace_event *event, uint32_t stream,
                        struct rollup_kernel **found, struct error *err)
{
    struct rollup *rollup = &follower->rollup;
    uint32_t at = rollup_position(&follower->kernels[event->device], event->id);
    *found = NULL;
    if (at-- == 0) return true;
    if (rollup->kernels[at].times.count == 0) rollup->kernels[at].stream = stream;
    if (rollup->kernels[at].stream != stream) {
        uint32_t first = at;
        if (!key_map_find(&follower->kernel_streams, (uint64_t)first << 32 | stream, &at))
            TRY(add_stream(follower, first, stream, &at, err));
    }
    *found = &rollup->kernels[at];
    return true;
}

bool rollup_find_stream(struct open_ops *open, uint32_t stream, struct open_op **found, struct error *err)
{
    uint32_t at = (uint32_t)open->count;
    void *streams = open->streams;
    if (!key_map_find(&open->by_stream, stream, &at)) {
        bool grown = mem_grow(MEM_TRACE, &streams, &open->capacity, open->count + 1, sizeof *open->streams);
        open->streams = streams;
        if (!grown || !key_map_add(&open->by_stream, stream, at))
            return error_memory(err, (open->count + 1) * sizeof *open->streams, "a trace's streams");
        open->streams[open->count++] = (struct open_op){.op = TRACE_NO_OWNER};
    }
    *found = &open->streams[at];
    return true;
}

static void end_op(struct trace_follower *follower, uint32_t device, struct open_op *open)
{
    uint32_t position = rollup_position(&follower->ops[device], open->op);
    if (position && !follower->rollup.devices[device].ops_timed) rollup_count_op(follower, position - 1, open->ns);
    open->op = TRACE_NO_OWNER;
    open->ns = 0;
}

void rollup_pass_kernel(struct trace_follower *follower, uint32_t device, struct open_op *open, uint32_t op,
                        uint32_t id, uint64_t ns)
{
    if (op != open->op || id == open->first_kernel) {
        end_op(follower, device, open);
        open->op = op;
        open->first_kernel = id;
        rollup_order_op(&follower->rollup.devices[device], &open->order, op);
    }
    open->ns += ns;
}

bool rollup_take_kernel(struct trace_follower *follower, const struct trace_event *event, uint32_t stream,
                        struct error *err)
{
    struct rollup_kernel *kernel;
    struct open_op *open;
    uint64_t ns = event->end_ns - event->begin_ns;
    TRY(find_kernel(follower, event, stream, &kernel, err));
    uint32_t op = kernel ? kernel->op : TRACE_NO_OWNER;
    if (op == TRACE_NO_OWNER) follower->rollup.unattributed++;
    if (kernel) rollup_count_kernel(follower, (size_t)(kernel - follower->rollup.kernels), ns);
    TRY(rollup_find_stream(&follower->open[event->device], stream, &open, err));
    rollup_pass_kernel(follower, event->device, open, op, event->id, ns);
    return true;
}

void rollup_end_kernels(struct trace_follower *follower)
{
    for (uint32_t device = 0; device < TRACE_MOST_DEVICES; device++)
        for (size_t i = 0; i < follower->open[device].count; i++)
            end_op(follower, device, &follower->open[device].streams[i]);
}

/* Each thing that a run starts itself has one place in a step. */
static void count_by_kernels(const struct rollup *rollup, uint64_t steps[ROLLUP_MOST_DEVICES])
{
    for (size_t i = 0; i < rollup->kernel_count; i++) {
        const struct rollup_op *times = &rollup->kernels[i].times;
        if (rollup->kernels[i].op == TRACE_OF_RUN && times->count > steps[times->device])
            steps[times->device] = times->count;
    }
}

/* An op runs once in a step, or as often as it has micro-batches: the update and what else is there once tell. */
static void count_by_ops(const struct rollup *rollup, uint64_t steps[ROLLUP_MOST_DEVICES])
{
    uint64_t least[ROLLUP_MOST_DEVICES] = {0};
    for (size_t i = 0; i < rollup->op_count; i++) {
        const struct rollup_op *op = &rollup->ops[i];
        if (op->count == 0 || strcmp(op->pass, "evaluate") == 0) continue;
        if (least[op->device] == 0 || op->count < least[op->device]) least[op->device] = op->count;
    }
    for (uint32_t d = 0; d < ROLLUP_MOST_DEVICES; d++) {
        const struct rollup_device *device = &rollup->devices[d];
        bool none = device->ops_timed && device->micro_batches == 0; /* the first one has not come to its update */
        if (steps[d] == 0 && !none) steps[d] = least[d];
    }
}

void rollup_timed_steps(const struct rollup *rollup, uint64_t steps[ROLLUP_MOST_DEVICES])
{
    memset(steps, 0, ROLLUP_MOST_DEVICES * sizeof steps[0]);
    count_by_kernels(rollup, steps);
    if (rollup->batch) count_by_ops(rollup, steps);
    for (uint32_t d = 0; d < ROLLUP_MOST_DEVICES && rollup->batch == 0; d++) /* imported: every step's are there */
        if (steps[d] == 0) steps[d] = rollup->step_count;
}

/* Where the order of ops tells nothing. Of a run that goes on a whole step may be missing, and part of one be there. */
static uint64_t runs_by_count(const struct rollup *rollup, uint64_t count, uint64_t steps)
{
    if (steps == 0) return 0;
    const bool whole = rollup->ended || rollup->batch == 0;
    if (whole) return count / steps ? count / steps : 1;
    if (steps == 1) return 0;
    uint64_t least = (count + steps) / (steps + 1), most = count / (steps - 1);
    return least == most ? least : 0;
}

uint64_t rollup_runs_a_step(const struct rollup *rollup, const struct rollup_op *op, uint64_t steps)
{
    const struct rollup_device *device = &rollup->devices[op->device];
    if (op->count == 0) return 0;
    if (device->micro_batches && rollup->batch) return op->id < device->body_ops ? device->micro_batches : 1;
    return runs_by_count(rollup, op->count, steps);
}

void rollup_forget_order(struct trace_follower *follower)
{
    memset(follower->order, 0, sizeof follower->order);
    for (uint32_t d = 0; d < TRACE_MOST_DEVICES; d++) {
        follower->rollup.devices[d].program_ops = 0;
        for (size_t i = 0; i < follower->open[d].count; i++)
            follower->open[d].streams[i].order = (struct rollup_order){0};
    }
}

void rollup_finish_kernels(struct trace_follower *follower)
{
    for (size_t i = 0; i < TRACE_MOST_DEVICES; i++) {
        mem_free(follower->kernels[i].position);
        mem_free(follower->open[i].streams);
        key_map_finish(&follower->open[i].by_stream);
    }
    key_map_finish(&follower->kernel_streams);
    rollup_finish_lines(follower);
    mem_free(follower->kernel_next);
    mem_free(follower->rollup.kernels);
    mem_free(follower->rollup.counters);
}
