#include "flow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "stream.h"

/* ---- What the file tells ---- */

/* One device's in one step. */
struct record {
    uint64_t step, ns;
    uint32_t device, units;
    float *norms;
};

struct table {
    struct flow_unit *units;
    uint32_t total, known; /* usable when as many are known as there are */
};

struct maker {
    struct flow *flow;
    struct table tables[TRACE_MOST_DEVICES];
    struct record *records;
    size_t count, capacity;
    uint64_t promised, told; /* units of all records; those of them that came */
};

/* A block tells of how many units there are norms in that step, and may be one of many: so many units may be missing,
 * and once more as many as came, before what is told of further steps is passed over. */
#define MOST_MISSING (1u << 20)

static void finish_units(struct flow_unit *units, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        mem_free(units[i].layer);
        mem_free(units[i].output);
        mem_free(units[i].gradient);
    }
    mem_free(units);
}

static bool copy_text(char **to, const char *text, struct error *err)
{
    mem_free(*to);
    *to = mem_strdup(MEM_TRACE, text);
    return *to || error_memory(err, strlen(text), "a name of a trace");
}

static bool begin_table(struct table *table, uint32_t total, struct error *err)
{
    finish_units(table->units, table->known);
    *table = (struct table){.units = mem_zalloc(MEM_TRACE, total, sizeof *table->units), .total = total};
    return table->units || error_memory(err, total * sizeof *table->units, "a trace's units");
}

/* Each segment tells the whole table again: what is known stays. */
static bool take_unit(struct maker *maker, const struct trace_unit_entry *entry, struct error *err)
{
    struct table *table = &maker->tables[entry->device];
    if (table->total != entry->total) TRY(begin_table(table, entry->total, err));
    if (entry->id != table->known) return true;
    struct flow_unit *unit = &table->units[table->known++];
    unit->output_elements = entry->unit.output_elements;
    unit->weight_elements = entry->unit.weight_elements;
    return copy_text(&unit->layer, entry->unit.layer, err) && copy_text(&unit->output, entry->unit.output, err) &&
           copy_text(&unit->gradient, entry->unit.gradient, err);
}

/* The first that is not before it: records rise with steps, then devices. Each segment tells again what was kept. */
static size_t place_of(const struct maker *maker, uint64_t step, uint32_t device)
{
    size_t low = 0, high = maker->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct record *record = &maker->records[middle];
        if (record->step < step || (record->step == step && record->device < device))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct record *add_record(struct maker *maker, size_t at, const struct trace_unit_norms *norms,
                                 struct error *err)
{
    const size_t numbers = (size_t)norms->total * TRACE_NORMS;
    void *records = maker->records;
    bool grown = mem_grow(MEM_TRACE, &records, &maker->capacity, maker->count + 1, sizeof *maker->records);
    maker->records = records;
    float *values = grown ? mem_alloc(MEM_TRACE, numbers, sizeof *values) : NULL;
    if (!values) {
        error_memory(err, numbers * sizeof *values, "a trace's norms");
        return NULL;
    }
    for (size_t i = 0; i < numbers; i++) values[i] = NAN;
    maker->promised += norms->total;
    memmove(&maker->records[at + 1], &maker->records[at], (maker->count++ - at) * sizeof *maker->records);
    maker->records[at] = (struct record){norms->step, norms->ns, norms->device, norms->total, values};
    return &maker->records[at];
}

static bool take_norms(struct maker *maker, const struct trace_unit_norms *norms, struct error *err)
{
    const struct table *table = &maker->tables[norms->device];
    if (table->known == 0 || table->known != table->total || norms->total != table->total) return true;
    size_t at = place_of(maker, norms->step, norms->device);
    struct record *record = at < maker->count ? &maker->records[at] : NULL;
    if (!record || record->step != norms->step || record->device != norms->device) {
        if (maker->promised > 2 * maker->told + MOST_MISSING) return true;
        record = add_record(maker, at, norms, err);
    }
    if (!record) return false;
    maker->told++;
    if (record->units == norms->total)
        memcpy(record->norms + (size_t)norms->unit * TRACE_NORMS, norms->norms, sizeof norms->norms);
    return true;
}

/* A resumed run does again what the file tells of later steps; each segment says so, and what this part has told since
 * stays. */
static void drop_before(struct maker *maker, const struct trace_part *part)
{
    size_t left = 0;
    for (size_t i = 0; i < maker->count; i++) {
        struct record *record = &maker->records[i];
        if (record->step <= part->done || record->ns >= part->begun_ns)
            maker->records[left++] = *record;
        else
            mem_free(record->norms);
    }
    maker->count = left;
}

static bool take_run(struct flow *flow, const struct trace_run *run, struct error *err)
{
    flow->batch = run->batch;
    return copy_text(&flow->model, run->model, err) && copy_text(&flow->dataset, run->dataset, err);
}

static bool take_item(struct maker *maker, const struct trace_item *item, struct error *err)
{
    switch (item->type) {
    case TRACE_ITEM_EVENT:
        maker->flow->has_steps |= item->event.type == TRACE_STEP_BEGIN || item->event.type == TRACE_STEP_END;
        return true;
    case TRACE_ITEM_PAST: maker->flow->has_steps = true; return true;
    case TRACE_ITEM_UNIT: return take_unit(maker, &item->unit, err);
    case TRACE_ITEM_NORMS: return take_norms(maker, &item->norms, err);
    case TRACE_ITEM_PART: drop_before(maker, &item->part); return true;
    case TRACE_ITEM_RUN: return take_run(maker->flow, &item->run, err);
    case TRACE_ITEM_ORIGIN:
        maker->flow->rank = item->origin.rank;
        maker->flow->ranks = item->origin.ranks;
        return true;
    default: return true;
    }
}

static bool read_items(struct maker *maker, const char *path, struct error *err)
{
    struct trace_stream *stream;
    struct trace_item item = {.type = TRACE_ITEM_CLOCK};
    bool ok = true;
    TRY(trace_stream_open(path, &stream, err));
    while (ok && item.type != TRACE_ITEM_NONE)
        ok = trace_stream_next(stream, &item, err) && take_item(maker, &item, err);
    trace_stream_close(stream);
    return ok;
}

/* ---- Over all devices ---- */

/* Those of the lowest device; the others have the same units, of their own images. */
static void take_tables(struct maker *maker)
{
    struct flow *flow = maker->flow;
    for (uint32_t d = 0; d < TRACE_MOST_DEVICES; d++) {
        struct table *table = &maker->tables[d];
        if (table->known == 0 || table->known != table->total) continue;
        flow->devices++;
        if (!flow->units) {
            flow->units = table->units;
            flow->unit_count = table->known;
            table->units = NULL;
            continue;
        }
        for (size_t i = 0; i < flow->unit_count; i++) {
            uint64_t more = i < table->known ? table->units[i].output_elements : 0;
            flow->units[i].output_elements =
                more && flow->units[i].output_elements ? flow->units[i].output_elements + more : 0;
        }
    }
}

static int compare_records(const void *a, const void *b)
{
    const struct record *x = a, *y = b;
    if (x->step != y->step) return x->step < y->step ? -1 : 1;
    return x->device < y->device ? -1 : x->device > y->device;
}

static float record_norm(const struct flow *flow, const struct record *record, size_t i)
{
    return record->units == flow->unit_count ? record->norms[i] : NAN;
}

static bool any_fits(const struct flow *flow, const struct record *records, uint32_t count)
{
    for (uint32_t d = 0; d < count; d++)
        if (records[d].units == flow->unit_count) return true;
    return false;
}

/* Records of one step, `count` devices. Of the gradients of weights each device has the whole step's. */
static void combine(const struct flow *flow, const struct record *records, uint32_t count, float *norms)
{
    for (size_t i = 0; i < flow->unit_count * TRACE_NORMS; i++) {
        double squares = count == flow->devices ? 0 : (double)NAN;
        for (uint32_t d = 0; d < count; d++) squares += pow((double)record_norm(flow, &records[d], i), 2);
        norms[i] = i % TRACE_NORMS == NORM_WEIGHT_GRADIENT ? record_norm(flow, records, i) : (float)sqrt(squares);
    }
}

static bool add_step(struct maker *maker, const struct record *records, uint32_t count, struct error *err)
{
    struct flow *flow = maker->flow;
    const size_t numbers = flow->unit_count * TRACE_NORMS;
    struct flow_step *step = &flow->steps[flow->step_count];
    *step = (struct flow_step){records->step, mem_alloc(MEM_TRACE, numbers, sizeof(float))};
    if (!step->norms) return error_memory(err, numbers * sizeof(float), "a trace's norms");
    flow->step_count++;
    combine(flow, records, count, step->norms);
    return true;
}

static bool make_steps(struct maker *maker, struct error *err)
{
    take_tables(maker);
    if (maker->count == 0) return true;
    qsort(maker->records, maker->count, sizeof *maker->records, compare_records);
    maker->flow->steps = mem_alloc(MEM_TRACE, maker->count, sizeof *maker->flow->steps);
    if (!maker->flow->steps) return error_memory(err, maker->count * sizeof *maker->flow->steps, "a trace's norms");
    for (size_t i = 0, next; i < maker->count; i = next) {
        for (next = i + 1; next < maker->count && maker->records[next].step == maker->records[i].step;) next++;
        if (any_fits(maker->flow, &maker->records[i], (uint32_t)(next - i)))
            TRY(add_step(maker, &maker->records[i], (uint32_t)(next - i), err));
    }
    return true;
}

/* Until the file says otherwise. */
static bool begin(struct flow *flow, struct error *err)
{
    return copy_text(&flow->model, "", err) && copy_text(&flow->dataset, "", err);
}

bool flow_read(const char *path, struct flow *flow, struct error *err)
{
    struct maker maker = {.flow = flow};
    bool ok = begin(flow, err) && read_items(&maker, path, err) && make_steps(&maker, err);
    for (size_t i = 0; i < TRACE_MOST_DEVICES; i++)
        if (maker.tables[i].units) finish_units(maker.tables[i].units, maker.tables[i].known);
    for (size_t i = 0; i < maker.count; i++) mem_free(maker.records[i].norms);
    mem_free(maker.records);
    if (!ok) flow_finish(flow);
    return ok;
}

void flow_finish(struct flow *flow)
{
    finish_units(flow->units, flow->unit_count);
    for (size_t i = 0; i < flow->step_count; i++) mem_free(flow->steps[i].norms);
    mem_free(flow->steps);
    mem_free(flow->model);
    mem_free(flow->dataset);
    *flow = (struct flow){0};
}

/* ---- What is read off ---- */

double flow_rms(const struct flow *flow, size_t step, size_t unit, enum trace_norm norm)
{
    const struct flow_unit *u = &flow->units[unit];
    uint64_t elements = norm == NORM_WEIGHT_GRADIENT ? u->weight_elements : u->output_elements;
    return elements ? (double)flow_norm(flow, step, unit, norm) / sqrt((double)elements) : (double)NAN;
}

struct flow_range flow_range(const struct flow *flow, size_t step, enum trace_norm norm)
{
    struct flow_range r = {0};
    for (size_t i = 0; i < flow->unit_count; i++) {
        float value = flow_norm(flow, step, i, norm);
        if (!isfinite(value) || value <= 0) continue;
        if (r.known++ == 0) r.first = r.least = r.most = i;
        if (value < flow_norm(flow, step, r.least, norm)) r.least = i;
        if (value > flow_norm(flow, step, r.most, norm)) r.most = i;
        r.last = i;
    }
    return r;
}
