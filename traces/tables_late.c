/* Tables that came later: the process that writes, the units whose norms are taken, and the tensors of arenas. */
#include <string.h>

#include "mem.h"
#include "tables.h"

#define TENSOR_UNIT 256u /* at most */

/* ---- The process ---- */

bool tables_set_origin(struct tables *tables, const struct trace_origin *origin)
{
    if (!tables_add_name(tables, origin->host ? origin->host : "", &tables->origin_host)) return false;
    tables->origin = *origin;
    tables->origin.host = NULL;
    tables->has_origin = true;
    return true;
}

bool tables_set_hardware(struct tables *tables, uint32_t device, const char *slot)
{
    return device < TRACE_MOST_DEVICES && tables_add_name(tables, slot, &tables->devices[device].slot);
}

static uint64_t whole_rate(double rate) { return rate > 0 && rate < 1e18 ? (uint64_t)rate : 0; }

bool tables_set_peaks(struct tables *tables, uint32_t device, double flops, double bytes)
{
    if (device >= TRACE_MOST_DEVICES) return false;
    tables->devices[device].peak_flops = whole_rate(flops);
    tables->devices[device].peak_bytes = whole_rate(bytes);
    return true;
}

static void write_block(struct trace_output *output, enum trace_block_type type, struct trace_out *out)
{
    uint64_t now = trace_output_now(output);
    trace_output_block(output, type, out->bytes, out->length, 0, now, now);
}

void tables_write_origin(const struct tables *tables, struct trace_output *output, uint8_t *buffer)
{
    const struct trace_origin *origin = &tables->origin;
    struct trace_out out = trace_payload(buffer);
    if (!tables->has_origin) return;
    trace_put_varint(&out, origin->rank);
    trace_put_varint(&out, origin->ranks);
    trace_put_text(&out, tables->names[tables->origin_host]);
    trace_put_varint(&out, origin->first_device);
    trace_put_varint(&out, origin->devices);
    for (uint32_t i = 0; i < TRACE_MOST_DEVICES; i++) {
        const char *slot = tables->names[tables->devices[i].slot];
        if (!slot[0] || trace_room(&out) < TRACE_TEXT_MOST + 2 * TRACE_VARINT_MOST) continue;
        trace_put_varint(&out, i);
        trace_put_text(&out, slot);
    }
    write_block(output, TRACE_BLOCK_ORIGIN, &out);
}

/* Behind the run, whose block older readers take to end with other numbers. */
void tables_write_writer(const struct tables *tables, struct trace_output *output, uint8_t *buffer)
{
    struct trace_out out = trace_payload(buffer);
    if (tables->pid_space == 0) return;
    trace_put_varint(&out, tables->pid);
    trace_put_varint(&out, tables->pid_space);
    write_block(output, TRACE_BLOCK_WRITER, &out);
}

void tables_write_peaks(const struct tables *tables, struct trace_output *output, uint8_t *buffer)
{
    struct trace_out out = trace_payload(buffer);
    size_t before = out.length;
    for (uint32_t i = 0; i < TRACE_MOST_DEVICES; i++) {
        const struct tables_device *device = &tables->devices[i];
        if (device->peak_flops == 0 && device->peak_bytes == 0) continue;
        trace_put_varint(&out, i);
        trace_put_varint(&out, device->peak_flops);
        trace_put_varint(&out, device->peak_bytes);
    }
    if (out.length > before) write_block(output, TRACE_BLOCK_PEAKS, &out);
}

/* ---- Units ---- */

static bool copy_unit(struct tables *tables, const struct trace_unit *unit, struct tables_unit *copy)
{
    *copy = (struct tables_unit){.output_elements = unit->output_elements, .weight_elements = unit->weight_elements};
    return tables_add_name(tables, unit->layer, &copy->layer) && tables_add_name(tables, unit->output, &copy->output) &&
           tables_add_name(tables, unit->gradient, &copy->gradient);
}

bool tables_set_units(struct tables *tables, uint32_t device, const struct trace_unit *units, size_t count)
{
    if (device >= TRACE_MOST_DEVICES || count > TRACE_MOST_UNITS) return false;
    struct tables_unit *copies = mem_alloc(MEM_TRACE, count, sizeof *copies);
    bool ok = copies != NULL;
    for (size_t i = 0; ok && i < count; i++) ok = copy_unit(tables, &units[i], &copies[i]);
    mem_free(tables->devices[device].units);
    tables->devices[device].units = ok ? copies : NULL;
    tables->devices[device].unit_count = ok ? count : 0;
    if (!ok) mem_free(copies);
    return ok;
}

static void write_units(const struct tables_device *device, uint32_t number, struct trace_output *output,
                        uint8_t *buffer)
{
    for (size_t i = 0; i < device->unit_count;) {
        struct trace_out out = trace_payload(buffer);
        trace_put_varint(&out, number);
        trace_put_varint(&out, i);
        trace_put_varint(&out, device->unit_count);
        for (; i < device->unit_count && trace_room(&out) > 5 * TRACE_VARINT_MOST; i++) {
            const struct tables_unit *unit = &device->units[i];
            trace_put_varint(&out, unit->layer);
            trace_put_varint(&out, unit->output);
            trace_put_varint(&out, unit->gradient);
            trace_put_varint(&out, unit->output_elements);
            trace_put_varint(&out, unit->weight_elements);
        }
        write_block(output, TRACE_BLOCK_UNITS, &out);
    }
}

void tables_write_units(const struct tables *tables, struct trace_output *output, uint8_t *buffer)
{
    for (uint32_t i = 0; i < TRACE_MOST_DEVICES; i++) write_units(&tables->devices[i], i, output, buffer);
}

/* ---- Tensors ---- */

static bool copy_tensor(struct tables *tables, const struct trace_tensor *tensor, struct tables_tensor *copy)
{
    *copy = (struct tables_tensor){.first = tensor->first,
                                   .last = tensor->last,
                                   .host = tensor->host,
                                   .offset = tensor->offset,
                                   .bytes = tensor->bytes};
    return tensor->last >= tensor->first && tables_add_name(tables, tensor->layer, &copy->layer) &&
           tables_add_name(tables, tensor->role, &copy->role) &&
           tables_add_name(tables, tensor->class_name, &copy->class_name);
}

bool tables_set_tensors(struct tables *tables, uint32_t device, uint32_t like, const struct trace_tensor *tensors,
                        size_t count)
{
    if (device >= TRACE_MOST_DEVICES || like >= TRACE_MOST_DEVICES || count > TRACE_MOST_TENSORS) return false;
    struct tables_device *own = &tables->devices[device];
    struct tables_tensor *copies = like == device ? mem_alloc(MEM_TRACE, count, sizeof *copies) : NULL;
    bool ok = like != device || copies;
    for (size_t i = 0; ok && copies && i < count; i++) ok = copy_tensor(tables, &tensors[i], &copies[i]);
    mem_free(own->tensors);
    own->tensors = ok ? copies : NULL;
    own->tensor_count = ok && copies ? count : 0;
    own->tensors_like = ok ? like + 1 : 0;
    if (!ok) mem_free(copies);
    tables->tensors_wanted = true;
    return ok;
}

/* Plans align what lies in arenas: offsets are told in whole units where all are. */
static uint64_t find_unit(const struct tables_device *device)
{
    uint64_t bits = TENSOR_UNIT;
    for (size_t i = 0; i < device->tensor_count; i++) bits |= device->tensors[i].offset;
    return bits & -bits;
}

static void put_tensor(struct trace_out *out, const struct tables_tensor *tensor, uint64_t unit, uint32_t *first)
{
    trace_put_varint(out, tensor->layer);
    trace_put_varint(out, tensor->role);
    trace_put_varint(out, (uint64_t)tensor->class_name << 1 | tensor->host);
    trace_put_varint(out, tensor->offset / unit);
    trace_put_varint(out, tensor->bytes);
    trace_put_signed(out, (int64_t)tensor->first - *first);
    trace_put_varint(out, tensor->last - tensor->first);
    *first = tensor->first;
}

static void put_head(struct trace_out *out, const struct tables_device *device, uint32_t number, size_t at,
                     uint64_t unit)
{
    trace_put_varint(out, number);
    trace_put_varint(out, device->tensors_like);
    trace_put_varint(out, at);
    trace_put_varint(out, device->tensor_count);
    trace_put_varint(out, unit);
}

/* A device like another one has a block without tensors. */
static void write_tensors(const struct tables_device *device, uint32_t number, struct trace_output *output,
                          uint8_t *buffer)
{
    uint64_t unit = find_unit(device);
    size_t i = 0;
    do {
        struct trace_out out = trace_payload(buffer);
        uint32_t first = 0;
        put_head(&out, device, number, i, unit);
        for (; i < device->tensor_count && trace_room(&out) > 7 * TRACE_VARINT_MOST; i++)
            put_tensor(&out, &device->tensors[i], unit, &first);
        write_block(output, TRACE_BLOCK_TENSORS, &out);
    } while (i < device->tensor_count);
}

void tables_write_tensors(const struct tables *tables, struct trace_output *output, uint8_t *buffer)
{
    for (uint32_t i = 0; i < TRACE_MOST_DEVICES; i++)
        if (tables->devices[i].tensors_like) write_tensors(&tables->devices[i], i, output, buffer);
}
