#include "gradinput.h"

#include "mem.h"

/* A buffer that layers share. */
struct pool {
    uint32_t kind;
    uint64_t free_from; /* the op at which it may be taken again */
    uint64_t size, offset;
};

#define ALONE          UINT32_MAX
#define KIND_WORKSPACE ((uint32_t)OP_KINDS)

struct pools {
    struct pool *list;
    size_t count;
    uint32_t *pool_of; /* per buffer, or ALONE */
};

/* The first pool of the kind that is free, or a new one. */
static uint32_t take_pool(struct pools *pools, uint32_t kind, const struct place_buffer *buffer)
{
    size_t p = 0;
    while (p < pools->count && (pools->list[p].kind != kind || pools->list[p].free_from > buffer->lower)) p++;
    if (p == pools->count) pools->list[pools->count++] = (struct pool){.kind = kind};
    pools->list[p].free_from = buffer->upper;
    if (buffer->size > pools->list[p].size) pools->list[p].size = buffer->size;
    return (uint32_t)p;
}

static bool is_gradient(const struct graph *graph, const struct plan_program *program, uint32_t tensor)
{
    uint32_t origin = program->tensors[tensor].origin;
    return origin != NO_TENSOR && graph->tensors[origin].class == CLASS_ACTIVATION;
}

/* In the order of the ops: that of the buffers' first instants. */
static void share_buffers(const struct graph *graph, const struct plan_program *program, const uint32_t *home,
                          const uint32_t *buffer_of, const struct place_buffer *buffers, struct pools *pools)
{
    for (size_t i = 0; i < program->op_count; i++) {
        const struct plan_op *op = &program->ops[i];
        uint32_t written = op->pass == PASS_BACKWARD ? op->out[0] : NO_TENSOR;
        uint32_t buffer = op->workspace == NO_TENSOR ? NO_TENSOR : buffer_of[home[op->workspace]];
        if (buffer != NO_TENSOR) pools->pool_of[buffer] = take_pool(pools, KIND_WORKSPACE, &buffers[buffer]);
        if (written == NO_TENSOR || !is_gradient(graph, program, written)) continue;
        buffer = buffer_of[home[written]];
        if (buffer != NO_TENSOR && pools->pool_of[buffer] == ALONE && buffers[buffer].lower == i)
            pools->pool_of[buffer] = take_pool(pools, graph->ops[op->op].kind, &buffers[buffer]);
    }
}

static uint64_t stack(struct pools *pools, struct place_buffer *buffers, size_t count)
{
    uint64_t top = 0;
    for (size_t p = 0; p < pools->count; p++) {
        pools->list[p].offset = top;
        top += pools->list[p].size;
    }
    for (size_t b = 0; b < count; b++) {
        bool alone = pools->pool_of[b] == ALONE;
        buffers[b].offset = alone ? top : pools->list[pools->pool_of[b]].offset;
        if (alone) top += buffers[b].size;
    }
    return top;
}

bool gradinput_place(const struct graph *graph, const struct plan_program *program, const uint32_t *home,
                     const uint32_t *buffer_of, struct place_buffer *buffers, size_t count, uint64_t *arena_bytes,
                     struct error *err)
{
    struct pools pools = {.list = mem_alloc(MEM_PLAN, count + 1, sizeof *pools.list),
                          .pool_of = mem_alloc(MEM_PLAN, count + 1, sizeof *pools.pool_of)};
    bool ok = pools.list && pools.pool_of;
    if (!ok) error_memory(err, (count + 1) * sizeof *pools.list, "shared gradient buffers");
    for (size_t b = 0; ok && b < count; b++) pools.pool_of[b] = ALONE;
    if (ok) share_buffers(graph, program, home, buffer_of, buffers, &pools);
    if (ok) *arena_bytes = stack(&pools, buffers, count);
    mem_free(pools.list);
    mem_free(pools.pool_of);
    return ok;
}
