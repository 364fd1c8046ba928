/* Offsets from the orders of a drawing. Backwards in time, what begins at a vertex leaves its place in the row of what
 * is live to what ends there; whoever were ever neighbours in the row lie one on the other. Rows only ever change in
 * place, so nothing comes to lie on itself. */
#include "place_stack.h"

#include <string.h>

#include "mem.h"

struct edge {
    uint32_t above, next;
};

struct stack {
    const struct drawing *drawing;
    uint32_t *below, *above; /* by item, and of the floor and the ceiling, which come after them */
    bool *leaves;            /* at the vertex at hand */
    uint32_t *edges_of;      /* the last, or PQ_NONE */
    struct edge *edges;
    size_t edge_count, edge_capacity;
    uint32_t floor, ceiling;
};

static bool add_edge(struct stack *stack, uint32_t low, uint32_t high, struct error *err)
{
    if (low == stack->floor || high == stack->ceiling) return true;
    void *edges = stack->edges;
    if (!mem_grow(MEM_SEARCH, &edges, &stack->edge_capacity, stack->edge_count + 1, sizeof *stack->edges))
        return error_memory(err, stack->edge_count * sizeof *stack->edges, "a loose drawing");
    stack->edges = edges;
    stack->edges[stack->edge_count] = (struct edge){high, stack->edges_of[low]};
    stack->edges_of[low] = (uint32_t)stack->edge_count++;
    return true;
}

static bool insert_above(struct stack *stack, uint32_t low, uint32_t item, struct error *err)
{
    uint32_t high = stack->above[low];
    stack->above[low] = stack->below[high] = item;
    stack->below[item] = low;
    stack->above[item] = high;
    return (stack->leaves[low] || add_edge(stack, low, item, err)) &&
           (stack->leaves[high] || add_edge(stack, item, high, err));
}

static bool take_out(struct stack *stack, uint32_t item, struct error *err)
{
    uint32_t low = stack->below[item], high = stack->above[item];
    stack->above[low] = high;
    stack->below[high] = low;
    return stack->leaves[low] || stack->leaves[high] || add_edge(stack, low, high, err);
}

/* What ended at a vertex, upwards. */
static uint32_t ended_item(const struct drawing *drawing, const struct pq_vertex *vertex, uint32_t at)
{
    return drawing->pq.ended[vertex->start + (vertex->turned ? vertex->count - 1 - at : at)];
}

/* Where the largest of what begins is comes what ended, and the others leave, wherever they are. */
static bool undo_vertex(struct stack *stack, size_t number, size_t *lost, struct error *err)
{
    const struct drawing *drawing = stack->drawing;
    const struct vertex *drawn = &drawing->drawn[number];
    const struct pq_vertex *vertex = &drawing->pq.vertices[number];
    const uint32_t *starts = drawing->splits.items + drawn->starts;
    uint32_t largest = starts[0], low;
    for (uint32_t i = 0; i < drawn->start_count; i++) {
        stack->leaves[starts[i]] = true;
        if (drawing->splits.size[starts[i]] > drawing->splits.size[largest]) largest = starts[i];
    }
    low = largest;
    for (uint32_t i = 0; i < vertex->count; i++) {
        TRY(insert_above(stack, low, ended_item(drawing, vertex, i), err));
        low = ended_item(drawing, vertex, i);
    }
    for (; *lost > 0 && drawing->loose.lost[*lost - 1].vertex == number; --*lost) {
        TRY(insert_above(stack, low, drawing->loose.lost[*lost - 1].item, err));
        low = drawing->loose.lost[*lost - 1].item;
    }
    for (uint32_t i = 0; i < drawn->start_count; i++) TRY(take_out(stack, starts[i], err));
    for (uint32_t i = 0; i < drawn->start_count; i++) stack->leaves[starts[i]] = false;
    return true;
}

static bool link_all(struct stack *stack, struct error *err)
{
    const struct pq *pq = &stack->drawing->pq;
    size_t v = pq->vertex_count - 1, lost = stack->drawing->loose.lost_count;
    stack->above[stack->floor] = stack->ceiling;
    stack->below[stack->ceiling] = stack->floor;
    for (uint32_t i = 0, low = stack->floor; i < pq->vertices[v].count; i++) {
        uint32_t item = ended_item(stack->drawing, &pq->vertices[v], i);
        TRY(insert_above(stack, low, item, err));
        low = item;
    }
    while (v-- > 0) TRY(undo_vertex(stack, v, &lost, err));
    return true;
}

/* Each as soon as all that lie under it are. waiting[]: for how many it waits. */
static void raise_all(const struct stack *stack, size_t count, const uint64_t *size, uint32_t *waiting, uint32_t *queue,
                      uint64_t *offset)
{
    size_t items = stack->floor, first = 0, last = 0;
    memset(waiting, 0, items * sizeof *waiting);
    memset(offset, 0, items * sizeof *offset);
    for (size_t e = 0; e < stack->edge_count; e++) waiting[stack->edges[e].above]++;
    for (uint32_t i = 0; i < items; i++)
        if (waiting[i] == 0) queue[last++] = i;
    while (first < last) {
        uint32_t item = queue[first++];
        uint64_t end = offset[item] + (item < count ? size[item] : 0);
        for (uint32_t e = stack->edges_of[item]; e != PQ_NONE; e = stack->edges[e].next) {
            uint32_t above = stack->edges[e].above;
            if (end > offset[above]) offset[above] = end;
            if (--waiting[above] == 0) queue[last++] = above;
        }
    }
}

bool stack_items(const struct drawing *drawing, size_t count, const uint64_t *size, uint64_t *offset, struct error *err)
{
    size_t items = drawing->count;
    struct stack stack = {.drawing = drawing, .floor = (uint32_t)items, .ceiling = (uint32_t)items + 1};
    stack.below = mem_alloc(MEM_SEARCH, items + 2, sizeof *stack.below);
    stack.above = mem_alloc(MEM_SEARCH, items + 2, sizeof *stack.above);
    stack.edges_of = mem_alloc(MEM_SEARCH, items, sizeof *stack.edges_of);
    stack.leaves = mem_zalloc(MEM_SEARCH, items + 2, sizeof *stack.leaves);
    bool ok = stack.below && stack.above && stack.edges_of && stack.leaves;
    if (!ok) error_memory(err, items * 13, "a loose drawing");
    for (size_t i = 0; ok && i < items; i++) stack.edges_of[i] = PQ_NONE;
    ok = ok && link_all(&stack, err);
    if (ok) raise_all(&stack, count, size, stack.below, stack.above, offset);
    mem_free(stack.below);
    mem_free(stack.above);
    mem_free(stack.edges_of);
    mem_free(stack.leaves);
    mem_free(stack.edges);
    return ok;
}
