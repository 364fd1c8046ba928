/* Sets of which any two conflict are antichains of the order. The heaviest weighs as much as the least cover by chains
 * (Dilworth 1950, with weights), which is what all weigh less the largest flow from each buffer to those that come
 * after it, and it is read from that flow's smallest cut. */
#include <string.h>

#include "mem.h"
#include "place_order.h"

#define UNSEEN UINT32_MAX

/* Each buffer stands on the left, where `left` of its weight has not flowed, and on the right, where `right` has room.
 */
struct flow {
    const struct order *order;
    uint64_t *left, *right, *amount; /* amount: count x count */
    uint32_t *left_level, *right_level, *queue;
    uint32_t *left_arc, *right_arc; /* where the search of each goes on */
};

static bool flow_init(struct flow *flow, const struct order *order, struct error *err)
{
    size_t count = order->count;
    *flow = (struct flow){.order = order};
    flow->left = mem_alloc(MEM_SEARCH, count, sizeof *flow->left);
    flow->right = mem_alloc(MEM_SEARCH, count, sizeof *flow->right);
    flow->amount = mem_zalloc(MEM_SEARCH, count * count, sizeof *flow->amount);
    flow->left_level = mem_alloc(MEM_SEARCH, count, sizeof *flow->left_level);
    flow->right_level = mem_alloc(MEM_SEARCH, count, sizeof *flow->right_level);
    flow->queue = mem_alloc(MEM_SEARCH, count, sizeof *flow->queue);
    flow->left_arc = mem_alloc(MEM_SEARCH, count, sizeof *flow->left_arc);
    flow->right_arc = mem_alloc(MEM_SEARCH, count, sizeof *flow->right_arc);
    if (!flow->left || !flow->right || !flow->amount || !flow->left_level || !flow->right_level || !flow->queue ||
        !flow->left_arc || !flow->right_arc)
        return error_memory(err, count * count * sizeof *flow->amount, "the bound of a placement");
    memcpy(flow->left, order->size, count * sizeof *flow->left);
    memcpy(flow->right, order->size, count * sizeof *flow->right);
    return true;
}

static void flow_finish(struct flow *flow)
{
    mem_free(flow->left);
    mem_free(flow->right);
    mem_free(flow->amount);
    mem_free(flow->left_level);
    mem_free(flow->right_level);
    mem_free(flow->queue);
    mem_free(flow->left_arc);
    mem_free(flow->right_arc);
}

static uint64_t *amount_of(const struct flow *flow, size_t from, size_t to)
{
    return &flow->amount[to * flow->order->count + from]; /* rows of what flows into one: they are searched */
}

/* Back from the right side to whoever's flow could go elsewhere. */
static void reach_back(struct flow *flow, size_t to, size_t *tail)
{
    for (uint32_t from = 0; from < flow->order->count; from++)
        if (flow->left_level[from] == UNSEEN && *amount_of(flow, from, to) > 0) {
            flow->left_level[from] = flow->right_level[to] + 1;
            flow->queue[(*tail)++] = from;
        }
}

/* Steps from those on the left whose weight has not flowed. False when no room can be reached. */
static bool find_levels(struct flow *flow)
{
    size_t count = flow->order->count, tail = 0;
    bool found = false;
    for (uint32_t i = 0; i < count; i++) {
        flow->right_level[i] = UNSEEN;
        flow->left_level[i] = flow->left[i] > 0 ? 0 : UNSEEN;
        if (flow->left[i] > 0) flow->queue[tail++] = i;
    }
    for (size_t head = 0; head < tail; head++) {
        uint32_t from = flow->queue[head];
        for (size_t to = 0; to < count; to++) {
            if (flow->right_level[to] != UNSEEN || !order_before(flow->order, from, to)) continue;
            flow->right_level[to] = flow->left_level[from] + 1;
            found |= flow->right[to] > 0;
            reach_back(flow, to, &tail);
        }
    }
    return found;
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t push(struct flow *flow, uint32_t from, uint64_t most);

/* Into the room of the right side, or on in place of another's flow. */
static uint64_t push_into(struct flow *flow, uint32_t to, uint64_t most)
{
    if (flow->right[to] > 0) {
        uint64_t pushed = least(most, flow->right[to]);
        flow->right[to] -= pushed;
        return pushed;
    }
    for (; flow->right_arc[to] < flow->order->count; flow->right_arc[to]++) {
        uint32_t other = flow->right_arc[to];
        uint64_t there = *amount_of(flow, other, to);
        if (there == 0 || flow->left_level[other] != flow->right_level[to] + 1) continue;
        uint64_t pushed = push(flow, other, least(most, there));
        *amount_of(flow, other, to) -= pushed;
        if (pushed > 0) return pushed;
    }
    return 0;
}

/* One path with rising levels; how much went along it. */
static uint64_t push(struct flow *flow, uint32_t from, uint64_t most)
{
    for (; flow->left_arc[from] < flow->order->count; flow->left_arc[from]++) {
        uint32_t to = flow->left_arc[from];
        if (!order_before(flow->order, from, to) || flow->right_level[to] != flow->left_level[from] + 1) continue;
        uint64_t pushed = push_into(flow, to, most);
        *amount_of(flow, from, to) += pushed;
        if (pushed > 0) return pushed;
    }
    return 0;
}

/* Dinic's algorithm (1970). */
static void fill(struct flow *flow)
{
    size_t count = flow->order->count;
    while (find_levels(flow)) {
        memset(flow->left_arc, 0, count * sizeof *flow->left_arc);
        memset(flow->right_arc, 0, count * sizeof *flow->right_arc);
        for (uint32_t i = 0; i < count; i++)
            for (uint64_t pushed = 1; pushed > 0 && flow->left[i] > 0; flow->left[i] -= pushed)
                pushed = push(flow, i, flow->left[i]);
    }
}

static bool find_heaviest(const struct order *order, bool *member, struct error *err)
{
    struct flow flow;
    bool ok = flow_init(&flow, order, err);
    if (ok) fill(&flow);
    for (size_t i = 0; ok && i < order->count; i++)
        member[i] = order->size[i] > 0 && flow.left_level[i] != UNSEEN && flow.right_level[i] == UNSEEN;
    flow_finish(&flow);
    return ok;
}

/* Around the buffer at whose beginning most conflicts with it in the drawn run: all that conflict with all before them.
 */
static void find_heavy(const struct order *order, bool *member, uint64_t *weight)
{
    uint64_t best = 0;
    size_t at = 0;
    for (size_t i = 0; i < order->count; i++) {
        weight[i] = 0; /* of those live in the drawn run when i begins, in so far as they conflict with it */
        for (size_t j = 0; j < order->count; j++)
            if (order->first[j] <= order->first[i] && order->first[i] < order->last[j] && order_conflict(order, i, j))
                weight[i] += order->size[j];
        if (weight[i] > best) best = weight[i], at = i;
    }
    memset(member, 0, order->count * sizeof *member);
    for (size_t j = 0; j < order->count; j++) {
        bool fits = order->size[j] > 0 && order_conflict(order, at, j);
        for (size_t k = 0; fits && k < j; k++) fits = !member[k] || order_conflict(order, j, k);
        member[j] = fits;
    }
}

bool order_find_clique(const struct order *order, bool *member, uint64_t *bytes, struct error *err)
{
    *bytes = 0;
    if (order->count <= CLOCKS_MOST_EXACT) {
        TRY(find_heaviest(order, member, err));
    } else {
        uint64_t *weight = mem_alloc(MEM_SEARCH, order->count, sizeof *weight);
        if (!weight) return error_memory(err, order->count * sizeof *weight, "the bound of a placement");
        find_heavy(order, member, weight);
        mem_free(weight);
    }
    for (size_t i = 0; i < order->count; i++)
        if (member[i]) *bytes += order->size[i];
    return true;
}
