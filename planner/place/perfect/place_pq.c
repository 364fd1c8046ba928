#include "place_pq.h"

#include <math.h>
#include <string.h>

#include "mem.h"

bool pq_init(struct pq *pq, size_t leaves, size_t vertices, size_t most_live, struct error *err)
{
    *pq = (struct pq){.leaf_count = leaves, .root = PQ_NONE, .spare = PQ_NONE};
    pq->node_capacity = (uint32_t)(8 * most_live + 64);
    pq->nodes = mem_alloc(MEM_SEARCH, pq->node_capacity, sizeof *pq->nodes);
    pq->node_of = mem_alloc(MEM_SEARCH, leaves, sizeof *pq->node_of);
    pq->vertices = mem_alloc(MEM_SEARCH, vertices, sizeof *pq->vertices);
    pq->ended = mem_alloc(MEM_SEARCH, leaves, sizeof *pq->ended);
    pq->links = mem_alloc(MEM_SEARCH, vertices, sizeof *pq->links);
    pq->list = mem_alloc(MEM_SEARCH, pq->node_capacity, sizeof *pq->list);
    pq->log_orders = mem_alloc(MEM_SEARCH, most_live + 2, sizeof *pq->log_orders);
    if (pq->nodes && pq->node_of && pq->vertices && pq->ended && pq->links && pq->list && pq->log_orders) {
        pq->log_orders[0] = 0;
        for (size_t n = 1; n < most_live + 2; n++) pq->log_orders[n] = pq->log_orders[n - 1] + log((double)n);
        return true;
    }
    pq_finish(pq);
    return error_memory(err, leaves * 8 + vertices * 28 + most_live * 208, "a tree of orders");
}

void pq_finish(struct pq *pq)
{
    mem_free(pq->nodes);
    mem_free(pq->node_of);
    mem_free(pq->vertices);
    mem_free(pq->ended);
    mem_free(pq->links);
    mem_free(pq->list);
    mem_free(pq->log_orders);
    *pq = (struct pq){0};
}

/* ---- Nodes and their children ---- */

static uint32_t make_node(struct pq *pq, enum pq_kind kind)
{
    uint32_t node = pq->spare;
    if (node == PQ_NONE)
        node = pq->node_count++;
    else
        pq->spare = pq->nodes[node].next;
    pq->nodes[node] = (struct pq_node){.kind = (uint8_t)kind,
                                       .parent = PQ_NONE,
                                       .prev = PQ_NONE,
                                       .next = PQ_NONE,
                                       .first = PQ_NONE,
                                       .last = PQ_NONE,
                                       .vertex = PQ_NONE};
    return node;
}

static void free_node(struct pq *pq, uint32_t node)
{
    pq->nodes[node].next = pq->spare;
    pq->spare = node;
}

static void append(struct pq *pq, uint32_t parent, uint32_t child)
{
    struct pq_node *up = &pq->nodes[parent], *node = &pq->nodes[child];
    node->parent = parent;
    node->prev = up->last;
    node->next = PQ_NONE;
    if (up->last == PQ_NONE)
        up->first = child;
    else
        pq->nodes[up->last].next = child;
    up->last = child;
    up->leaves += node->leaves;
    up->children++;
}

static void take_from_parent(struct pq *pq, uint32_t child)
{
    struct pq_node *node = &pq->nodes[child], *up = &pq->nodes[node->parent];
    if (node->prev == PQ_NONE)
        up->first = node->next;
    else
        pq->nodes[node->prev].next = node->next;
    if (node->next == PQ_NONE)
        up->last = node->prev;
    else
        pq->nodes[node->next].prev = node->prev;
    up->leaves -= node->leaves;
    up->children--;
}

static void forget_children(struct pq *pq, uint32_t node)
{
    pq->nodes[node].first = pq->nodes[node].last = PQ_NONE;
    pq->nodes[node].leaves = pq->nodes[node].children = 0;
}

/* `node` takes the place of `old` among its siblings. Leaves above are not counted anew. */
static void take_place(struct pq *pq, uint32_t old, uint32_t node)
{
    struct pq_node *from = &pq->nodes[old], *to = &pq->nodes[node];
    to->parent = from->parent;
    to->prev = from->prev;
    to->next = from->next;
    to->vertex = from->vertex;
    to->turned = from->turned;
    if (from->prev != PQ_NONE) pq->nodes[from->prev].next = node;
    if (from->next != PQ_NONE) pq->nodes[from->next].prev = node;
    if (from->parent == PQ_NONE) {
        pq->root = node;
        return;
    }
    struct pq_node *up = &pq->nodes[from->parent];
    if (up->first == old) up->first = node;
    if (up->last == old) up->last = node;
}

static uint32_t make_leaf(struct pq *pq, uint32_t leaf)
{
    uint32_t node = make_node(pq, PQ_LEAF);
    pq->nodes[node].leaf = leaf;
    pq->nodes[node].leaves = 1;
    pq->node_of[leaf] = node;
    return node;
}

static uint32_t make_leaves(struct pq *pq, const uint32_t *leaves, size_t count)
{
    if (count == 1) return make_leaf(pq, leaves[0]);
    uint32_t node = make_node(pq, PQ_P);
    for (size_t i = 0; i < count; i++) append(pq, node, make_leaf(pq, leaves[i]));
    return node;
}

/* ---- What is marked ---- */

uint32_t pq_mark(struct pq *pq, const uint32_t *leaves, size_t count)
{
    pq->stamp++;
    for (size_t i = 0; i < count; i++) {
        uint32_t below = PQ_NONE; /* the child that is met for the first time */
        for (uint32_t node = pq->node_of[leaves[i]]; node != PQ_NONE; node = pq->nodes[node].parent) {
            struct pq_node *n = &pq->nodes[node];
            bool new = n->stamp != pq->stamp;
            if (new) n->marked = 0;
            if (new) n->met = PQ_NONE;
            n->stamp = pq->stamp;
            n->marked++;
            if (below != PQ_NONE) {
                pq->nodes[below].next_met = n->met;
                n->met = below;
            }
            below = new ? node : PQ_NONE;
        }
    }
    uint32_t node = pq->node_of[leaves[0]];
    while (pq->nodes[node].marked < count) node = pq->nodes[node].parent;
    return node;
}

/* ---- Rows of nodes ---- */

static void tie(struct pq *pq, uint32_t vertex, uint32_t to, bool turned)
{
    pq->vertices[vertex].tied = to;
    pq->vertices[vertex].turned = turned;
    pq->links[pq->link_count++] = vertex;
}

/* The vertex that turns round with a row goes to one of its nodes, or becomes one with that node's. */
static void hand_on(struct pq *pq, uint32_t vertex, bool turned, uint32_t node)
{
    struct pq_node *n = &pq->nodes[node];
    if (vertex == PQ_NONE) return;
    if (n->vertex != PQ_NONE) {
        tie(pq, vertex, n->vertex, turned != n->turned);
        return;
    }
    n->vertex = vertex;
    n->turned = turned;
}

static void turn_row(struct pq *pq, uint32_t *row, size_t count)
{
    for (size_t i = 0; i < count; i++) pq->nodes[row[i]].turned ^= 1;
    for (size_t i = 0; i < count / 2; i++) {
        uint32_t swap = row[i];
        row[i] = row[count - 1 - i];
        row[count - 1 - i] = swap;
    }
}

/* Nodes that a P-node holds together: one, or a P-node of several. */
struct bunch {
    uint32_t node;
    bool made;
};

static void add_to_bunch(struct pq *pq, struct bunch *bunch, uint32_t child)
{
    if (bunch->node == PQ_NONE) {
        bunch->node = child;
        return;
    }
    if (!bunch->made) {
        uint32_t only = bunch->node;
        bunch->node = make_node(pq, PQ_P);
        bunch->made = true;
        append(pq, bunch->node, only);
    }
    append(pq, bunch->node, child);
}

struct parts {
    struct bunch full;
    uint32_t empty; /* the only child that is left, the node itself with several, or PQ_NONE */
    uint32_t partial[2];
};

/* Takes what is not empty from a P-node. The node keeps what is left, if that is several. */
static struct parts take_apart(struct pq *pq, uint32_t node)
{
    struct parts parts = {{PQ_NONE, false}, PQ_NONE, {PQ_NONE, PQ_NONE}};
    size_t partial = 0;
    for (uint32_t child = pq->nodes[node].met, next; child != PQ_NONE; child = next) {
        next = pq->nodes[child].next_met;
        take_from_parent(pq, child);
        if (pq_state_of(pq, child) == PQ_PARTIAL)
            parts.partial[partial++] = child;
        else
            add_to_bunch(pq, &parts.full, child);
    }
    if (parts.full.made) {
        pq->nodes[parts.full.node].stamp = pq->stamp;
        pq->nodes[parts.full.node].marked = pq->nodes[parts.full.node].leaves;
    }
    pq->nodes[node].stamp = 0;
    if (pq->nodes[node].children > 0) parts.empty = pq->nodes[node].children > 1 ? node : pq->nodes[node].first;
    return parts;
}

static size_t lay_out(struct pq *pq, uint32_t node, bool turned, uint32_t *row);

static size_t lay_out_child(struct pq *pq, uint32_t child, bool turned, uint32_t *row)
{
    if (pq_state_of(pq, child) == PQ_PARTIAL) return lay_out(pq, child, turned, row);
    row[0] = child;
    return 1;
}

static size_t lay_out_run(struct pq *pq, uint32_t node, uint32_t *row)
{
    bool backwards = !pq_may_read(pq, node);
    size_t count = 0;
    for (uint32_t child = backwards ? pq->nodes[node].last : pq->nodes[node].first, next; child != PQ_NONE;
         child = next) {
        next = backwards ? pq->nodes[child].prev : pq->nodes[child].next;
        if (backwards) pq->nodes[child].turned ^= 1;
        count += lay_out_child(pq, child, false, row + count);
    }
    return count;
}

/* A partial node as a row, what is empty first and then what is full, or the other way round. The node is no more,
 * unless it holds what is empty. */
static size_t lay_out(struct pq *pq, uint32_t node, bool turned, uint32_t *row)
{
    size_t count = 0;
    uint32_t vertex = pq->nodes[node].vertex;
    bool vertex_turned = pq->nodes[node].turned, kept = false;
    if (pq->nodes[node].kind == PQ_Q) {
        count = lay_out_run(pq, node, row);
    } else {
        struct parts parts = take_apart(pq, node);
        kept = parts.empty == node;
        pq->nodes[node].vertex = PQ_NONE;
        if (parts.empty != PQ_NONE) row[count++] = parts.empty;
        if (parts.partial[0] != PQ_NONE) count += lay_out(pq, parts.partial[0], false, row + count);
        if (parts.full.node != PQ_NONE) row[count++] = parts.full.node;
    }
    if (turned) turn_row(pq, row, count);
    hand_on(pq, vertex, vertex_turned, row[0]);
    if (!kept) free_node(pq, node);
    return count;
}

/* ---- Replacing ---- */

/* Leaves below a node in order; vertices that turn round with what is below are tied to the new one. The nodes are no
 * more. */
static void take_out(struct pq *pq, uint32_t node, uint32_t vertex)
{
    if (pq->nodes[node].kind == PQ_LEAF) pq->ended[pq->ended_count++] = pq->nodes[node].leaf;
    for (uint32_t child = pq->nodes[node].first, next; child != PQ_NONE; child = next) {
        next = pq->nodes[child].next;
        if (pq->nodes[child].vertex != PQ_NONE) tie(pq, pq->nodes[child].vertex, vertex, pq->nodes[child].turned);
        take_out(pq, child, vertex);
    }
    free_node(pq, node);
}

/* Takes the full ones out of a row and puts the new node in their place, which turns round with the row. */
static size_t replace_in_row(struct pq *pq, uint32_t *row, size_t count, uint32_t vertex, uint32_t new)
{
    size_t kept = 0;
    bool placed = false;
    for (size_t i = 0; i < count; i++) {
        if (pq_state_of(pq, row[i]) != PQ_FULL) {
            row[kept++] = row[i];
            continue;
        }
        if (pq->nodes[row[i]].vertex != PQ_NONE) tie(pq, pq->nodes[row[i]].vertex, vertex, pq->nodes[row[i]].turned);
        take_out(pq, row[i], vertex);
        if (!placed) row[kept++] = new;
        placed = true;
    }
    pq->nodes[new].vertex = vertex;
    return kept;
}

/* What is not empty of a P-node as a row: two partial ones at the ends. */
static size_t lay_out_bunch(struct pq *pq, const struct parts *parts, uint32_t *row)
{
    size_t count = 0;
    if (parts->partial[0] != PQ_NONE) count = lay_out(pq, parts->partial[0], false, row);
    if (parts->full.node != PQ_NONE) row[count++] = parts->full.node;
    if (parts->partial[1] != PQ_NONE) count += lay_out(pq, parts->partial[1], true, row + count);
    return count;
}

static void set_children(struct pq *pq, uint32_t node, const uint32_t *row, size_t count)
{
    forget_children(pq, node);
    for (size_t i = 0; i < count; i++) append(pq, node, row[i]);
}

/* Beside what is left of a P-node, or alone in its place. */
static void put_beside(struct pq *pq, uint32_t node, uint32_t new)
{
    if (pq->nodes[node].children > 0) {
        append(pq, node, new);
        return;
    }
    take_place(pq, node, new);
    free_node(pq, node);
}

static void replace_in_p(struct pq *pq, uint32_t node, uint32_t vertex, uint32_t new)
{
    struct parts parts = take_apart(pq, node);
    size_t count = lay_out_bunch(pq, &parts, pq->list);
    count = replace_in_row(pq, pq->list, count, vertex, new);
    if (parts.partial[0] == PQ_NONE) { /* free to turn round: nothing is tied to anything */
        pq->nodes[new].vertex = PQ_NONE;
        put_beside(pq, node, new);
        return;
    }
    uint32_t row = make_node(pq, PQ_Q);
    set_children(pq, row, pq->list, count);
    put_beside(pq, node, row);
}

static void replace_in_q(struct pq *pq, uint32_t node, uint32_t vertex, uint32_t new)
{
    size_t count = 0;
    bool met = false;
    for (uint32_t child = pq->nodes[node].first, next; child != PQ_NONE; child = next) {
        next = pq->nodes[child].next;
        enum pq_state state = pq_state_of(pq, child);
        bool turned = met || next == PQ_NONE || pq_state_of(pq, next) == PQ_EMPTY;
        count += lay_out_child(pq, child, turned, pq->list + count);
        met |= state != PQ_EMPTY;
    }
    count = replace_in_row(pq, pq->list, count, vertex, new);
    set_children(pq, node, pq->list, count);
}

static void count_leaves(struct pq *pq, uint32_t node, uint32_t less, uint32_t more)
{
    for (; node != PQ_NONE; node = pq->nodes[node].parent) pq->nodes[node].leaves += more - less;
}

static uint32_t begin_vertex(struct pq *pq, size_t count)
{
    pq->vertices[pq->vertex_count] =
        (struct pq_vertex){.start = pq->ended_count, .count = (uint32_t)count, .tied = PQ_NONE};
    return (uint32_t)pq->vertex_count++;
}

void pq_replace(struct pq *pq, const uint32_t *leaves, size_t count, const uint32_t *others, size_t other_count)
{
    uint32_t root = pq_mark(pq, leaves, count), vertex = begin_vertex(pq, count), up = pq->nodes[root].parent;
    uint32_t new = make_leaves(pq, others, other_count);
    if (pq_state_of(pq, root) == PQ_FULL) {
        take_place(pq, root, new);
        take_out(pq, root, vertex);
    } else if (pq->nodes[root].kind == PQ_P) {
        replace_in_p(pq, root, vertex, new);
    } else {
        replace_in_q(pq, root, vertex, new);
    }
    count_leaves(pq, up, (uint32_t)count, (uint32_t)other_count);
}

/* A node without children goes as well, and one child takes its parent's place. */
void pq_drop(struct pq *pq, uint32_t leaf)
{
    uint32_t node = pq->node_of[leaf], up = pq->nodes[node].parent;
    for (uint32_t above = pq->nodes[up].parent; above != PQ_NONE; above = pq->nodes[above].parent)
        pq->nodes[above].leaves--;
    uint32_t beside = pq->nodes[node].next != PQ_NONE ? pq->nodes[node].next : pq->nodes[node].prev;
    hand_on(pq, pq->nodes[node].vertex, pq->nodes[node].turned, beside);
    take_from_parent(pq, node);
    free_node(pq, node);
    if (pq->nodes[up].children > 1) return;
    take_place(pq, up, pq->nodes[up].first);
    free_node(pq, up);
}

void pq_begin(struct pq *pq, const uint32_t *leaves, size_t count)
{
    pq->node_count = pq->stamp = 0;
    pq->spare = PQ_NONE;
    pq->vertex_count = pq->ended_count = pq->link_count = 0;
    pq->root = make_leaves(pq, leaves, count);
}

/* Who is tied last has its own order first. */
void pq_end(struct pq *pq)
{
    uint32_t vertex = begin_vertex(pq, pq->nodes[pq->root].leaves);
    take_out(pq, pq->root, vertex);
    pq->root = PQ_NONE;
    for (size_t i = pq->link_count; i-- > 0;) {
        struct pq_vertex *tied = &pq->vertices[pq->links[i]];
        tied->turned ^= pq->vertices[tied->tied].turned;
    }
}
