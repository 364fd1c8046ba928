#include "place_order.h"

#include <string.h>

#include "mem.h"
#include "place_problem.h"

static bool reserve(struct order *order, struct error *err)
{
    size_t count = order->count;
    order->before = mem_zalloc(MEM_SEARCH, count * order->words, sizeof *order->before);
    order->size = mem_alloc(MEM_SEARCH, count, sizeof *order->size);
    order->align = mem_alloc(MEM_SEARCH, count, sizeof *order->align);
    order->fixed = mem_alloc(MEM_SEARCH, count, sizeof *order->fixed);
    order->first = mem_alloc(MEM_SEARCH, count, sizeof *order->first);
    order->last = mem_alloc(MEM_SEARCH, count, sizeof *order->last);
    bool ok = order->before && order->size && order->align && order->fixed && order->first && order->last;
    return ok || error_memory(err, count * order->words * sizeof *order->before, "the order of buffers");
}

void order_finish(struct order *order)
{
    mem_free(order->before);
    mem_free(order->size);
    mem_free(order->align);
    mem_free(order->fixed);
    mem_free(order->first);
    mem_free(order->last);
    *order = (struct order){0};
}

static bool is_at_most(const uint64_t *a, const uint64_t *b, size_t streams)
{
    for (size_t s = 0; s < streams; s++)
        if (a[s] > b[s]) return false;
    return true;
}

static void compare_all(struct order *order, const struct place_clocks *clocks, const uint32_t *index)
{
    size_t streams = clocks->streams;
    for (size_t a = 0; a < order->count; a++)
        for (size_t b = 0; b < order->count; b++)
            if (a != b && is_at_most(clocks->end + index[a] * streams, clocks->start + index[b] * streams, streams))
                order->before[a * order->words + b / 64] |= UINT64_C(1) << b % 64;
}

/* Buffers as intervals of numbers of predecessors (Fishburn 1970): exact where the order is that of intervals. Where
 * two that conflict would not overlap the earlier one is drawn out. */
static void draw_run(struct order *order)
{
    size_t count = order->count;
    memset(order->first, 0, count * sizeof *order->first);
    for (size_t a = 0; a < count; a++)
        for (size_t b = 0; b < count; b++) order->first[b] += order_before(order, a, b);
    for (size_t a = 0; a < count; a++) {
        order->last[a] = (uint32_t)count;
        for (size_t b = 0; b < count; b++)
            if (order_before(order, a, b) && order->first[b] < order->last[a]) order->last[a] = order->first[b];
    }
    order->is_interval = true;
    for (size_t a = 0; a < count; a++) {
        uint32_t least = order->last[a];
        for (size_t b = 0; b < count; b++) {
            if (order->first[b] < least || !order_conflict(order, a, b)) continue;
            order->is_interval = false;
            if (order->first[b] + 1 > order->last[a]) order->last[a] = order->first[b] + 1;
        }
    }
}

bool order_init(struct order *order, const struct place_buffer *buffers, const struct place_clocks *clocks,
                const uint32_t *index, size_t count, struct error *err)
{
    *order = (struct order){.count = count, .words = (count + 63) / 64};
    if (!reserve(order, err)) {
        order_finish(order);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const struct place_buffer *buffer = &buffers[index[i]];
        order->align[i] = buffer->align > 1 ? buffer->align : 1;
        order->size[i] = align_up(buffer->size, order->align[i]);
        order->fixed[i] = buffer->fixed;
        order->any_fixed |= buffer->fixed != PLACE_UNPLACED;
    }
    compare_all(order, clocks, index);
    draw_run(order);
    return true;
}

uint32_t order_components(const struct order *order, uint32_t *component, uint32_t *queue)
{
    uint32_t components = 0;
    for (size_t i = 0; i < order->count; i++) component[i] = UINT32_MAX;
    for (uint32_t i = 0; i < order->count; i++) {
        if (component[i] != UINT32_MAX) continue;
        size_t tail = 0;
        component[i] = components++;
        queue[tail++] = i;
        for (size_t head = 0; head < tail; head++)
            for (uint32_t b = 0; b < order->count; b++) {
                if (component[b] != UINT32_MAX || order_conflict(order, queue[head], b)) continue;
                component[b] = component[i];
                queue[tail++] = b;
            }
    }
    return components;
}
