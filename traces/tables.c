#include "tables.h"

#include <string.h>

#include "clock.h"
#include "mem.h"

#define KERNEL_NUMBERS 11 /* of an entry of the kernel table */

bool tables_set_run(struct tables *tables, const struct trace_run *run)
{
    bool ok = tables_add_name(tables, run->model, &tables->model) &&
              tables_add_name(tables, run->dataset, &tables->dataset) &&
              tables_add_name(tables, run->backend, &tables->backend) &&
              tables_add_name(tables, run->host, &tables->host) &&
              tables_add_name(tables, run->command, &tables->command);
    tables->batch = run->batch;
    tables->device_count = run->devices;
    tables->iterations = run->iterations;
    tables->parameters = run->parameters;
    tables->pid = run->pid;
    tables->pid_space = run->pid_space;
    tables->has_run = ok;
    return ok;
}

bool tables_set_device(struct tables *tables, const struct trace_device *device)
{
    if (device->device >= TRACE_MOST_DEVICES) return false;
    struct tables_device *copy = &tables->devices[device->device];
    if (!tables_add_name(tables, device->name, &copy->name)) return false;
    copy->memory_bytes = device->memory_bytes;
    copy->planned_bytes = device->planned_bytes;
    copy->arena_bytes = device->arena_bytes;
    copy->images = device->images;
    copy->known = true;
    copy->classes = 0;
    for (uint32_t i = 0; i < device->classes && i < TABLES_MOST_CLASSES; i++) {
        if (!tables_add_name(tables, device->class_names[i], &copy->class_names[i])) return false;
        copy->class_bytes[i] = device->class_bytes[i];
        copy->classes = i + 1;
    }
    return true;
}

static bool set_op(struct tables *tables, const struct trace_op *op)
{
    if (op->device >= TRACE_MOST_DEVICES || op->id >= TRACE_MOST_OPS) return false;
    struct tables_device *device = &tables->devices[op->device];
    struct tables_op copy = {.flops = op->flops, .bytes_moved = op->bytes_moved, .live_bytes = op->live_bytes};
    void *ops = device->ops;
    bool grown = mem_grow(MEM_TRACE, &ops, &device->op_capacity, (size_t)op->id + 1, sizeof(struct tables_op));
    device->ops = ops;
    if (!grown || !tables_add_name(tables, op->layer, &copy.layer) || !tables_add_name(tables, op->kind, &copy.kind) ||
        !tables_add_name(tables, op->pass, &copy.pass))
        return false;
    if (op->id >= device->op_count) {
        memset(device->ops + device->op_count, 0, (op->id - device->op_count) * sizeof *device->ops);
        device->op_count = (size_t)op->id + 1;
    }
    device->ops[op->id] = copy;
    return true;
}

bool tables_set_ops(struct tables *tables, const struct trace_op *ops, size_t count)
{
    bool ok = true;
    for (size_t i = 0; i < count; i++) TRY_CONTINUE(ok, set_op(tables, &ops[i]));
    return ok;
}

/* Ids that were passed over are of no op and without a name. */
static bool set_kernel(struct tables *tables, const struct trace_kernel *kernel)
{
    bool of_run = kernel->op == TRACE_OF_RUN, owned = !of_run && kernel->op != TRACE_NO_OWNER;
    if (kernel->device >= TRACE_MOST_DEVICES || kernel->id >= TRACE_MOST_OPS || kernel->work >= TRACE_WORKS ||
        (owned && kernel->op >= TRACE_MOST_OPS))
        return false;
    struct tables_device *device = &tables->devices[kernel->device];
    struct tables_kernel copy = {.op = of_run  ? TRACE_OF_RUN
                                       : owned ? kernel->op + 1
                                               : 0,
                                 .work = (uint32_t)kernel->work,
                                 .registers = kernel->registers,
                                 .bytes = kernel->bytes};
    memcpy(copy.grid, kernel->grid, sizeof copy.grid);
    memcpy(copy.block, kernel->block, sizeof copy.block);
    void *kernels = device->kernels;
    bool grown = mem_grow(MEM_TRACE, &kernels, &device->kernel_capacity, (size_t)kernel->id + 1, sizeof copy);
    device->kernels = kernels;
    if (!grown || !tables_add_name(tables, kernel->name, &copy.name)) return false;
    if (kernel->id >= device->kernel_count) {
        memset(device->kernels + device->kernel_count, 0, (kernel->id - device->kernel_count) * sizeof copy);
        device->kernel_count = (size_t)kernel->id + 1;
    }
    device->kernels[kernel->id] = copy;
    bool none = device->changed_begin == device->changed_end;
    if (none || kernel->id < device->changed_begin) device->changed_begin = kernel->id;
    if (none || kernel->id >= device->changed_end) device->changed_end = (size_t)kernel->id + 1;
    return true;
}

bool tables_set_kernels(struct tables *tables, const struct trace_kernel *kernels, size_t count)
{
    bool ok = true;
    for (size_t i = 0; i < count; i++) TRY_CONTINUE(ok, set_kernel(tables, &kernels[i]));
    return ok;
}

static bool set_counter(struct tables *tables, const struct trace_counter *counter)
{
    struct tables_counter copy;
    if (counter->id >= TRACE_MOST_COUNTERS || !tables_add_name(tables, counter->name, &copy.name) ||
        !tables_add_name(tables, counter->unit, &copy.unit))
        return false;
    tables->counters[counter->id] = copy;
    if (counter->id >= tables->counter_count) tables->counter_count = counter->id + 1;
    return true;
}

bool tables_set_counters(struct tables *tables, const struct trace_counter *counters, size_t count)
{
    bool ok = true;
    for (size_t i = 0; i < count; i++) TRY_CONTINUE(ok, set_counter(tables, &counters[i]));
    return ok;
}

void tables_finish(struct tables *tables)
{
    for (size_t i = 0; i < TRACE_MOST_DEVICES; i++) {
        mem_free(tables->devices[i].ops);
        mem_free(tables->devices[i].kernels);
        mem_free(tables->devices[i].tensors);
        mem_free(tables->devices[i].units);
    }
    for (size_t i = 0; i < tables->name_count; i++) mem_free(tables->names[i]);
    mem_free(tables->names);
    mem_free(tables->slots);
    *tables = (struct tables){0};
}

static void write_block(struct trace_output *output, enum trace_block_type type, struct trace_out *out)
{
    uint64_t now = trace_output_now(output);
    trace_output_block(output, type, out->bytes, out->length, 0, now, now);
}

static void write_run(const struct tables *tables, struct trace_output *output, uint8_t *buffer)
{
    struct trace_out out = trace_payload(buffer);
    trace_put_varint(&out, trace_output_now(output));
    trace_put_varint(&out, clock_wall_ns());
    trace_put_varint(&out, tables->has_run);
    if (tables->has_run) {
        const uint32_t names[] = {tables->model, tables->dataset, tables->backend, tables->host, tables->command};
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) trace_put_text(&out, tables->names[names[i]]);
        trace_put_varint(&out, tables->batch);
        trace_put_varint(&out, tables->device_count);
        trace_put_varint(&out, tables->iterations);
        trace_put_varint(&out, tables->parameters);
        trace_put_varint(&out, tables->pid);
        if (tables->part.begun_ns) {
            trace_put_varint(&out, tables->part.done);
            trace_put_varint(&out, tables->part.begun_ns);
        }
    }
    write_block(output, TRACE_BLOCK_RUN, &out);
}

static void write_device(const struct tables *tables, uint32_t number, struct trace_output *output, uint8_t *buffer)
{
    const struct tables_device *device = &tables->devices[number];
    struct trace_out out = trace_payload(buffer);
    trace_put_varint(&out, number);
    trace_put_text(&out, tables->names[device->name]);
    trace_put_varint(&out, device->memory_bytes);
    trace_put_varint(&out, device->planned_bytes);
    trace_put_varint(&out, device->arena_bytes);
    trace_put_varint(&out, device->images);
    trace_put_varint(&out, device->classes);
    for (uint32_t i = 0; i < device->classes; i++) {
        trace_put_text(&out, tables->names[device->class_names[i]]);
        trace_put_varint(&out, device->class_bytes[i]);
    }
    write_block(output, TRACE_BLOCK_DEVICE, &out);
}

static void write_names(struct tables *tables, size_t first, struct trace_output *output, uint8_t *buffer)
{
    tables->names_written = tables->name_count;
    for (size_t i = first; i < tables->name_count;) {
        struct trace_out out = trace_payload(buffer);
        trace_put_varint(&out, i);
        while (i < tables->name_count && trace_room(&out) > TRACE_TEXT_MOST + TRACE_VARINT_MOST)
            trace_put_text(&out, tables->names[i++]);
        write_block(output, TRACE_BLOCK_STRINGS, &out);
    }
}

static void write_ops(const struct tables_device *device, uint32_t number, struct trace_output *output, uint8_t *buffer)
{
    for (size_t i = 0; i < device->op_count;) {
        struct trace_out out = trace_payload(buffer);
        trace_put_varint(&out, number);
        trace_put_varint(&out, i);
        for (; i < device->op_count && trace_room(&out) > 6 * TRACE_VARINT_MOST; i++) {
            const struct tables_op *op = &device->ops[i];
            trace_put_varint(&out, op->layer);
            trace_put_varint(&out, op->kind);
            trace_put_varint(&out, op->pass);
            trace_put_varint(&out, op->flops);
            trace_put_varint(&out, op->bytes_moved);
            trace_put_varint(&out, op->live_bytes);
        }
        write_block(output, TRACE_BLOCK_OPS, &out);
    }
}

static void put_kernel(struct trace_out *out, const struct tables_kernel *kernel)
{
    trace_put_varint(out, kernel->op == TRACE_OF_RUN ? 0 : kernel->op);
    trace_put_varint(out, kernel->name);
    trace_put_varint(out, kernel->work);
    for (size_t i = 0; i < 3; i++) trace_put_varint(out, kernel->grid[i]);
    for (size_t i = 0; i < 3; i++) trace_put_varint(out, kernel->block[i]);
    trace_put_varint(out, kernel->registers);
    trace_put_varint(out, kernel->bytes);
}

/* The run's own have blocks of their own, which older readers pass over: to them these are kernels of no op. */
static void write_kernels(struct tables_device *device, uint32_t number, struct trace_output *output, uint8_t *buffer)
{
    const struct tables_kernel *kernels = device->kernels;
    for (size_t i = device->changed_begin; i < device->changed_end;) {
        bool of_run = kernels[i].op == TRACE_OF_RUN;
        struct trace_out out = trace_payload(buffer);
        trace_put_varint(&out, number);
        trace_put_varint(&out, i);
        for (; i < device->changed_end && (kernels[i].op == TRACE_OF_RUN) == of_run &&
               trace_room(&out) > KERNEL_NUMBERS * TRACE_VARINT_MOST;
             i++)
            put_kernel(&out, &kernels[i]);
        write_block(output, of_run ? TRACE_BLOCK_RUN_KERNELS : TRACE_BLOCK_KERNELS, &out);
    }
    device->changed_begin = device->changed_end = 0;
}

static void write_counters(const struct tables *tables, struct trace_output *output, uint8_t *buffer)
{
    struct trace_out out = trace_payload(buffer);
    for (size_t i = 0; i < tables->counter_count; i++) {
        trace_put_varint(&out, tables->counters[i].name);
        trace_put_varint(&out, tables->counters[i].unit);
    }
    if (tables->counter_count > 0) write_block(output, TRACE_BLOCK_COUNTERS, &out);
}

void tables_write(struct tables *tables, struct trace_output *output, uint8_t *buffer)
{
    write_run(tables, output, buffer);
    write_names(tables, 0, output, buffer);
    for (uint32_t i = 0; i < TRACE_MOST_DEVICES; i++) {
        struct tables_device *device = &tables->devices[i];
        if (device->known) write_device(tables, i, output, buffer);
        write_ops(device, i, output, buffer);
        device->changed_begin = 0;
        device->changed_end = device->kernel_count;
        write_kernels(device, i, output, buffer);
    }
    write_counters(tables, output, buffer);
    tables_write_origin(tables, output, buffer);
    tables_write_writer(tables, output, buffer);
    tables_write_peaks(tables, output, buffer);
    tables_write_units(tables, output, buffer);
    if (tables->tensors_wanted) tables_write_tensors(tables, output, buffer);
    tables->tensors_wanted = false;
}

void tables_write_kernels(struct tables *tables, struct trace_output *output, uint8_t *buffer)
{
    write_names(tables, tables->names_written, output, buffer);
    for (uint32_t i = 0; i < TRACE_MOST_DEVICES; i++) write_kernels(&tables->devices[i], i, output, buffer);
    write_counters(tables, output, buffer);
}
