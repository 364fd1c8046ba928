/* The ring of steps in flight: for each its input, its metrics, and the running statistics before it. */
#include "execute_private.h"
#include "mem.h"

static uint64_t entry_bytes(const struct executor *ex, size_t i)
{
    return ex->variant->graph->tensors[ex->state[i].tensor].bytes;
}

/* Where running statistics lie, neighbours taken together. */
bool executor_find_statistics(struct executor *ex, struct error *err)
{
    TRY(state_entries_find(ex->variant, &ex->state, &ex->state_count, err));
    if (!ex->options.keep_statistics) return true;
    ex->statistics = mem_alloc(MEM_KERNEL, ex->state_count, sizeof *ex->statistics);
    if (!ex->statistics) return error_memory(err, ex->state_count * sizeof *ex->statistics, "running statistics");
    for (size_t i = 0; i < ex->state_count; i++) {
        if (ex->state[i].kind != STATE_STATISTIC) continue;
        struct byte_range range = {.offset = ex->state[i].offset, .bytes = entry_bytes(ex, i)};
        struct byte_range *last = ex->statistic_ranges ? &ex->statistics[ex->statistic_ranges - 1] : NULL;
        ex->statistic_bytes += range.bytes;
        if (last && last->offset + last->bytes == range.offset)
            last->bytes += range.bytes;
        else
            ex->statistics[ex->statistic_ranges++] = range;
    }
    return true;
}

static uint64_t round_up(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

/* Pinned, the ring holds the inputs too: their copies go on while the caller fills the next. */
bool executor_create_ring(struct executor *ex, struct error *err)
{
    const struct backend *backend = ex->backend;
    bool stages = backend->pinned_create != NULL;
    struct step_input_bytes bytes_of = stages ? input_host_bytes(ex->variant->graph) : (struct step_input_bytes){0};
    uint64_t images = round_up(ex->micro_batches * bytes_of.images);
    uint64_t placements = round_up(ex->micro_batches * bytes_of.placements);
    uint64_t input = images + placements + round_up(ex->micro_batches * bytes_of.labels);
    uint64_t figures = round_up(4 * sizeof(float) + sizeof(struct loss_scale));
    uint64_t each = input + figures + round_up(ex->statistic_bytes);
    uint64_t bytes = ex->options.in_flight * each;
    ex->slots = mem_zalloc(MEM_KERNEL, ex->options.in_flight, sizeof *ex->slots);
    if (!ex->slots) return error_memory(err, ex->options.in_flight * sizeof *ex->slots, "steps in flight");
    if (stages) TRY(backend->pinned_create(ex->device, bytes, &ex->ring, err));
    if (!stages) ex->ring = mem_alloc(MEM_KERNEL, bytes, 1);
    if (!ex->ring) return error_memory(err, bytes, "steps in flight");
    for (uint32_t i = 0; i < ex->options.in_flight; i++) {
        struct slot *slot = &ex->slots[i];
        uint8_t *at = (uint8_t *)ex->ring + i * each;
        slot->images = stages ? at : NULL;
        slot->placements = stages && placements ? (int32_t *)(void *)(at + images) : NULL;
        slot->labels = stages ? (int32_t *)(void *)(at + images + placements) : NULL;
        slot->metrics = (float *)(void *)(at + input);
        slot->loss_scale = (struct loss_scale *)(void *)(slot->metrics + 4);
        slot->statistics = ex->statistic_bytes ? at + input + figures : NULL;
        TRY(backend->event_create(ex->device, &slot->done, err));
    }
    return true;
}

void executor_destroy_ring(struct executor *ex)
{
    for (uint32_t i = 0; ex->slots && i < ex->options.in_flight; i++)
        if (ex->slots[i].done) ex->backend->event_destroy(ex->slots[i].done);
    if (ex->ring && ex->backend->pinned_destroy)
        ex->backend->pinned_destroy(ex->device, ex->ring);
    else
        mem_free(ex->ring);
    mem_free(ex->slots);
    mem_free(ex->statistics);
}

struct slot *executor_slot(const struct executor *ex, uint64_t count)
{
    return &ex->slots[count % ex->options.in_flight];
}

/* Waits for what is in flight, of which nobody will hear. */
bool executor_drain(struct executor *ex, struct error *err)
{
    for (; ex->collected < ex->submitted; ex->collected++) {
        const struct slot *slot = executor_slot(ex, ex->collected);
        TRY(executor_wait(ex, slot->done, slot->step.number, err));
    }
    return true;
}

/* Between the device's running statistics and a slot. */
bool executor_copy_statistics(struct executor *ex, const struct slot *slot, bool in, struct error *err)
{
    struct stream *stream = ex->streams[STREAM_COMPUTE];
    uint8_t *at = slot->statistics;
    bool ok = true;
    executor_own_begin(ex, TRACE_RUN_PASS);
    for (size_t i = 0; ok && i < ex->statistic_ranges; i++) {
        const struct byte_range *range = &ex->statistics[i];
        ok = in ? ex->backend->copy_in(ex->device, stream, range->offset, at, range->bytes, err)
                : ex->backend->copy_out(ex->device, stream, at, range->offset, range->bytes, err);
        at += range->bytes;
    }
    executor_own_end(ex);
    return ok;
}
