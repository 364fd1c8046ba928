#include "norm_blocks.h"

#include <math.h>
#include <string.h>

#include "mem.h"

#define UNIT_BYTES (TRACE_NORMS * 4u)

/* ---- Writing ---- */

static void put_norm(struct trace_out *out, float norm)
{
    uint32_t bits;
    memcpy(&bits, &norm, sizeof bits);
    for (int i = 0; i < 4; i++) out->bytes[out->length++] = (uint8_t)(bits >> 8 * i);
}

void norm_blocks_write(const struct trace_norms *norms, struct trace_output *output, uint8_t *buffer)
{
    for (size_t i = 0; i < norms->units;) {
        struct trace_out out = trace_payload(buffer);
        trace_put_varint(&out, norms->device);
        trace_put_varint(&out, norms->step);
        trace_put_varint(&out, norms->ns);
        trace_put_varint(&out, i);
        trace_put_varint(&out, norms->units);
        for (; i < norms->units && trace_room(&out) >= UNIT_BYTES; i++)
            for (size_t k = 0; k < TRACE_NORMS; k++) put_norm(&out, norms->norms[i * TRACE_NORMS + k]);
        trace_output_block(output, TRACE_BLOCK_NORMS, out.bytes, out.length, 0, norms->ns, norms->ns);
    }
}

/* ---- Kept for later segments ---- */

static uint64_t bytes_of(const struct trace_norms *norms) { return norms->units * UNIT_BYTES; }

static bool grow(struct norm_store *store)
{
    if (store->count < store->capacity) return true;
    size_t capacity = store->capacity ? 2 * store->capacity : 16;
    struct trace_norms **kept = mem_resize(MEM_TRACE, store->kept, capacity, sizeof(struct trace_norms *));
    if (kept) store->kept = kept;
    uint64_t *numbers = kept ? mem_resize(MEM_TRACE, store->numbers, capacity, sizeof *numbers) : NULL;
    if (!numbers) return false;
    store->numbers = numbers;
    store->capacity = capacity;
    return true;
}

static void thin(struct norm_store *store)
{
    size_t left = 0;
    store->every *= 2;
    store->bytes = 0;
    for (size_t i = 0; i < store->count; i++) {
        if (store->numbers[i] % store->every) {
            mem_free(store->kept[i]);
            continue;
        }
        store->bytes += bytes_of(store->kept[i]);
        store->numbers[left] = store->numbers[i];
        store->kept[left++] = store->kept[i];
    }
    store->count = left;
}

/* Devices tell of a step one after the other. */
static uint64_t number_step(struct norm_store *store, uint64_t step)
{
    if (store->steps == 0 || step != store->last_step) store->steps++;
    store->last_step = step;
    return store->steps - 1;
}

void norm_store_take(struct norm_store *store, struct trace_norms *norms, uint64_t most_bytes)
{
    if (store->every == 0) store->every = 1;
    uint64_t number = number_step(store, norms->step);
    if (number % store->every || !grow(store)) {
        mem_free(norms);
        return;
    }
    store->kept[store->count] = norms;
    store->numbers[store->count++] = number;
    store->bytes += bytes_of(norms);
    while (store->bytes > most_bytes && store->count > 1 && store->numbers[store->count - 1] > 0) thin(store);
}

/* ---- Read from a file that a run goes on in ---- */

static void close_open(struct norm_store *store, uint64_t most_bytes)
{
    struct trace_norms *open = store->open;
    store->open = NULL;
    if (open) norm_store_take(store, open, most_bytes);
}

/* Steps rise on each device; a segment's head tells some of them again. */
static bool was_told(const struct norm_store *store, const struct trace_unit_norms *norms)
{
    const uint64_t step = norms->step - 1;
    if (store->steps == 0 || step > store->last_step) return false;
    for (size_t i = store->count; i-- > 0 && store->kept[i]->step >= step;)
        if (store->kept[i]->step == step && store->kept[i]->device == norms->device) return true;
    return step < store->last_step;
}

static bool begin_open(struct norm_store *store, const struct trace_unit_norms *norms)
{
    const size_t numbers = (size_t)norms->total * TRACE_NORMS;
    struct trace_norms *open = mem_alloc(MEM_TRACE, sizeof *open + numbers * sizeof(float), 1);
    if (!open) return false;
    *open = (struct trace_norms){norms->step - 1, norms->ns, norms->device, norms->total};
    for (size_t i = 0; i < numbers; i++) open->norms[i] = NAN;
    store->open = open;
    return true;
}

bool norm_store_read(struct norm_store *store, const struct trace_unit_norms *norms, uint64_t most_bytes)
{
    const struct trace_norms *open = store->open;
    bool same = open && open->step + 1 == norms->step && open->device == norms->device && open->units == norms->total;
    if (!same) close_open(store, most_bytes);
    if (!same && was_told(store, norms)) return true;
    if (!same && !begin_open(store, norms)) return false;
    memcpy(store->open->norms + (size_t)norms->unit * TRACE_NORMS, norms->norms, sizeof norms->norms);
    return true;
}

void norm_store_go_on(struct norm_store *store, uint64_t done, uint64_t most_bytes)
{
    close_open(store, most_bytes);
    while (store->count > 0 && store->kept[store->count - 1]->step >= done) {
        store->bytes -= bytes_of(store->kept[--store->count]);
        mem_free(store->kept[store->count]);
    }
    if (store->steps > 0 && store->last_step >= done) {
        store->steps = store->count ? store->numbers[store->count - 1] + 1 : 0;
        store->last_step = store->count ? store->kept[store->count - 1]->step : 0;
    }
}

void norm_store_write(const struct norm_store *store, struct trace_output *output, uint8_t *buffer)
{
    for (size_t i = 0; i < store->count; i++) norm_blocks_write(store->kept[i], output, buffer);
}

void norm_store_finish(struct norm_store *store)
{
    for (size_t i = 0; i < store->count; i++) mem_free(store->kept[i]);
    mem_free(store->kept);
    mem_free(store->numbers);
    mem_free(store->open);
    *store = (struct norm_store){0};
}

/* ---- Reading ---- */

static uint32_t get_below(struct trace_in *in, uint64_t limit)
{
    uint64_t value = trace_get_varint(in);
    if (value >= limit) in->bad = true;
    return in->bad ? 0 : (uint32_t)value;
}

void norm_block_begin(struct norm_block *block, struct trace_in *in)
{
    block->device = get_below(in, TRACE_MOST_DEVICES);
    block->step = trace_get_varint(in);
    block->ns = trace_get_varint(in);
    block->number = get_below(in, TRACE_MOST_UNITS);
    block->total = get_below(in, TRACE_MOST_UNITS + 1);
    if (block->step == UINT64_MAX) in->bad = true;
}

static float get_norm(struct trace_in *in)
{
    uint32_t bits = 0;
    float norm;
    for (int i = 0; i < 4; i++) bits |= (uint32_t)*in->at++ << 8 * i;
    memcpy(&norm, &bits, sizeof norm);
    return norm;
}

bool norm_block_next(struct norm_block *block, struct trace_in *in, struct trace_unit_norms *norms)
{
    if (in->bad || in->at >= in->end) return false;
    if ((size_t)(in->end - in->at) < UNIT_BYTES || block->number >= block->total) {
        in->bad = true;
        return false;
    }
    *norms = (struct trace_unit_norms){block->step, block->ns, block->device, block->number++, block->total, {0}};
    for (size_t k = 0; k < TRACE_NORMS; k++) {
        norms->norms[k] = get_norm(in);
        if (norms->norms[k] < 0) in->bad = true; /* no norm is */
    }
    return !in->bad;
}
