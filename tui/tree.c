#include "tree.h"

#include <math.h>
#include <string.h>

#include "hash.h"
#include "mem.h"

static bool is_node(const struct tree_node *n, uint32_t parent, const char *name, size_t length, const char *pass)
{
    if (n->parent != parent || n->length != length || memcmp(n->name, name, length) != 0) return false;
    return n->pass && pass ? strcmp(n->pass, pass) == 0 : !n->pass && !pass;
}

static size_t slot_of(const struct tree *tree, uint32_t parent, const char *name, size_t length, const char *pass)
{
    size_t mask = tree->slot_count - 1, hash = (size_t)hash_bytes(name, length, parent);
    size_t slot = (pass ? (size_t)hash_bytes(pass, strlen(pass), hash) : hash) & mask;
    for (;; slot = (slot + 1) & mask) {
        uint32_t node = tree->slots[slot];
        if (node == TREE_NONE) return slot;
        if (is_node(&tree->nodes[node], parent, name, length, pass)) return slot;
    }
}

static bool grow_slots(struct tree *tree, struct error *err)
{
    if (tree->slot_count >= 2 * (tree->node_count + 2)) return true;
    size_t count = tree->slot_count ? tree->slot_count * 2 : 256;
    uint32_t *slots = mem_alloc(MEM_SCREEN, count, sizeof *slots);
    if (!slots) return error_memory(err, count * sizeof *slots, "the layer tree");
    memset(slots, 0xFF, count * sizeof *slots);
    mem_free(tree->slots);
    tree->slots = slots;
    tree->slot_count = count;
    for (uint32_t i = 1; i < tree->node_count; i++) {
        const struct tree_node *n = &tree->nodes[i];
        tree->slots[slot_of(tree, n->parent, n->name, n->length, n->pass)] = i;
    }
    return true;
}

static uint32_t add_node(struct tree *tree, uint32_t parent, const char *name, size_t length, uint32_t op,
                         struct error *err)
{
    void *nodes = tree->nodes;
    if (!mem_grow(MEM_SCREEN, &nodes, &tree->node_capacity, tree->node_count + 1, sizeof *tree->nodes)) {
        error_memory(err, tree->node_count * sizeof *tree->nodes, "the layer tree");
        return TREE_NONE;
    }
    tree->nodes = nodes;
    uint32_t id = (uint32_t)tree->node_count++;
    tree->nodes[id] = (struct tree_node){.open = id < tree->kept && tree->nodes[id].open,
                                         .name = name,
                                         .length = (uint32_t)length,
                                         .parent = parent,
                                         .first_child = TREE_NONE,
                                         .last_child = TREE_NONE,
                                         .next = TREE_NONE,
                                         .op = op};
    if (parent == TREE_NONE) return id;
    struct tree_node *p = &tree->nodes[parent];
    tree->nodes[id].depth = p->depth + 1;
    if (p->last_child == TREE_NONE)
        p->first_child = id;
    else
        tree->nodes[p->last_child].next = id;
    p->last_child = id;
    return id;
}

/* A leaf's has a pass and an op. */
static uint32_t find_or_add(struct tree *tree, uint32_t parent, const char *name, size_t length, const char *pass,
                            uint32_t op, struct error *err)
{
    if (!grow_slots(tree, err)) return TREE_NONE;
    size_t slot = slot_of(tree, parent, name, length, pass);
    if (tree->slots[slot] != TREE_NONE) return tree->slots[slot];
    uint32_t id = add_node(tree, parent, name, length, op, err);
    if (id == TREE_NONE) return id;
    tree->nodes[id].pass = pass;
    tree->slots[slot] = id;
    return id;
}

static bool add_op(struct tree *tree, const struct rollup *rollup, uint32_t op, struct error *err)
{
    uint32_t node = 0;
    const char *path = rollup->ops[op].layer;
    while (*path) {
        size_t length = strcspn(path, "/");
        node = find_or_add(tree, node, path, length, NULL, TREE_NONE, err);
        if (node == TREE_NONE) return false;
        path += length + (path[length] == '/');
    }
    const char *kind = rollup->ops[op].kind;
    void *leaves = tree->leaves;
    if (!mem_grow(MEM_SCREEN, &leaves, &tree->leaf_capacity, (size_t)op + 1, sizeof *tree->leaves))
        return error_memory(err, ((size_t)op + 1) * sizeof *tree->leaves, "the layer tree");
    tree->leaves = leaves;
    tree->leaves[op] = find_or_add(tree, node, kind, strlen(kind), rollup->ops[op].pass, op, err);
    return tree->leaves[op] != TREE_NONE;
}

static enum tree_pass pass_of(const char *pass)
{
    if (strcmp(pass, "forward") == 0) return TREE_FORWARD;
    if (strcmp(pass, "recompute") == 0 || strcmp(pass, "reconstruct") == 0) return TREE_RECOMPUTE;
    return strcmp(pass, "backward") == 0 ? TREE_BACKWARD : TREE_OTHER;
}

static void add_times(struct tree_node *leaf, const struct rollup *rollup, const struct rollup_op *op,
                      const uint64_t steps[ROLLUP_MOST_DEVICES])
{
    uint64_t runs = rollup_runs_a_step(rollup, op, steps[op->device]);
    leaf->total_ns += op->total_ns;
    leaf->count += op->count;
    leaf->devices |= UINT64_C(1) << op->device;
    if (op->count == 0) return;
    leaf->step_ns += (double)runs * (double)op->total_ns / (double)op->count;
    leaf->unknown_steps = leaf->unknown_steps || runs == 0;
}

/* A node is made after its parent, so one pass from the end adds children into parents. */
static void add_up(struct tree *tree, const struct rollup *rollup)
{
    uint64_t steps[ROLLUP_MOST_DEVICES];
    rollup_timed_steps(rollup, steps);
    for (size_t i = 0; i < tree->node_count; i++) {
        struct tree_node *n = &tree->nodes[i];
        memset(n->ns, 0, sizeof n->ns);
        n->total_ns = n->count = n->devices = 0;
        n->step_ns = 0;
        n->unknown_steps = false;
    }
    for (size_t i = 0; i < tree->op_count; i++) {
        struct tree_node *n = &tree->nodes[tree->leaves[i]];
        add_times(n, rollup, &rollup->ops[i], steps);
    }
    for (size_t i = tree->node_count; i-- > 1;) {
        struct tree_node *n = &tree->nodes[i];
        if (n->pass) n->ns[pass_of(n->pass)] = n->total_ns;
        struct tree_node *p = &tree->nodes[n->parent];
        for (int pass = 0; pass < TREE_PASSES; pass++) p->ns[pass] += n->ns[pass];
        p->total_ns += n->total_ns;
        p->count += n->count;
        p->devices |= n->devices;
        p->step_ns += n->step_ns;
        p->unknown_steps = p->unknown_steps || n->unknown_steps;
    }
}

double tree_step_ns(const struct tree_node *node)
{
    return node->unknown_steps || node->count == 0 ? (double)NAN : node->step_ns / __builtin_popcountll(node->devices);
}

bool tree_update(struct tree *tree, const struct rollup *rollup, struct error *err)
{
    if (tree->node_count == 0) {
        if (add_node(tree, TREE_NONE, "", 0, TREE_NONE, err) == TREE_NONE) return false;
        tree->nodes[0].open = true;
    }
    if (rollup->op_count < tree->op_count) tree_forget(tree); /* another run */
    while (tree->op_count < rollup->op_count) {
        TRY(add_op(tree, rollup, (uint32_t)tree->op_count, err));
        tree->op_count++;
    }
    add_up(tree, rollup);
    return tree_flatten(tree, err);
}

/* Names are borrowed from strings that stay where they are for a rollup's life. Of the nodes stays whether they are
 * open, for those that the same table makes anew, in the same order. */
void tree_forget(struct tree *tree)
{
    if (tree->node_count == 0) return;
    tree->kept = tree->node_count;
    tree->visible_count = 0;
    tree->fit_nodes = 0;
    tree->node_count = 1;
    tree->nodes[0].first_child = tree->nodes[0].last_child = TREE_NONE;
    if (tree->slots) memset(tree->slots, 0xFF, tree->slot_count * sizeof *tree->slots);
    tree->op_count = 0;
}

/* The next node in depth-first order that does not lie inside a closed one. */
static uint32_t next_visible(const struct tree *tree, uint32_t node)
{
    const struct tree_node *n = &tree->nodes[node];
    if (n->open && n->first_child != TREE_NONE) return n->first_child;
    while (node != TREE_NONE && tree->nodes[node].next == TREE_NONE) node = tree->nodes[node].parent;
    return node == TREE_NONE ? TREE_NONE : tree->nodes[node].next;
}

bool tree_flatten(struct tree *tree, struct error *err)
{
    tree->visible_count = 0;
    if (tree->node_count == 0) return true;
    for (uint32_t node = next_visible(tree, 0); node != TREE_NONE; node = next_visible(tree, node)) {
        void *visible = tree->visible;
        if (!mem_grow(MEM_SCREEN, &visible, &tree->visible_capacity, tree->visible_count + 1, sizeof *tree->visible))
            return error_memory(err, tree->visible_count * sizeof *tree->visible, "the layer tree");
        tree->visible = visible;
        tree->visible[tree->visible_count++] = node;
    }
    return true;
}

bool tree_toggle(struct tree *tree, size_t line)
{
    if (line >= tree->visible_count) return false;
    struct tree_node *n = &tree->nodes[tree->visible[line]];
    if (n->first_child == TREE_NONE) return false;
    n->open = !n->open;
    tree->touched = true;
    return true;
}

#define MOST_LEVELS 16
#define LARGE_PART  10 /* a node is opened by itself when it has more than one in so many leaves: no stem, no head */

/* How many leaves lie below each node, which is made after its parent; to be freed. NULL when memory is short. */
static uint32_t *count_leaves(const struct tree *tree)
{
    uint32_t *leaves = mem_zalloc(MEM_SCREEN, tree->node_count, sizeof *leaves);
    for (size_t i = tree->node_count; leaves && i-- > 1;) {
        leaves[i] += tree->nodes[i].first_child == TREE_NONE;
        leaves[tree->nodes[i].parent] += leaves[i];
    }
    return leaves;
}

static bool is_large(const uint32_t *leaves, size_t node) { return (uint64_t)leaves[node] * LARGE_PART > leaves[0]; }

/* The deepest level of which all lines fit when large nodes above it are open. */
static uint32_t levels_in(const struct tree *tree, const uint32_t *leaves, size_t rows)
{
    size_t lines[MOST_LEVELS] = {0}, sum = 0;
    uint32_t level = 1;
    for (size_t i = 1; i < tree->node_count; i++) {
        const struct tree_node *n = &tree->nodes[i];
        if (n->depth < MOST_LEVELS && is_large(leaves, n->parent)) lines[n->depth]++;
    }
    for (uint32_t d = 1; d < MOST_LEVELS && lines[d] > 0; d++) {
        sum += lines[d];
        if (sum <= rows) level = d;
    }
    return level;
}

void tree_open_to_fit(struct tree *tree, size_t rows)
{
    if (tree->touched || tree->node_count == 0) return;
    if (tree->fit_rows == rows && tree->fit_nodes == tree->node_count) return;
    uint32_t *leaves = count_leaves(tree);
    if (!leaves) return;
    const uint32_t level = levels_in(tree, leaves, rows);
    for (size_t i = 1; i < tree->node_count; i++)
        tree->nodes[i].open = tree->nodes[i].depth < level && is_large(leaves, i);
    mem_free(leaves);
    tree->fit_rows = rows;
    tree->fit_nodes = tree->node_count;
    tree_flatten(tree, NULL);
}

size_t tree_parent_line(const struct tree *tree, size_t line)
{
    if (line >= tree->visible_count) return line;
    uint32_t parent = tree->nodes[tree->visible[line]].parent;
    for (size_t i = line; i-- > 0;)
        if (tree->visible[i] == parent) return i;
    return line;
}

void tree_finish(struct tree *tree)
{
    mem_free(tree->nodes);
    mem_free(tree->slots);
    mem_free(tree->leaves);
    mem_free(tree->visible);
    *tree = (struct tree){0};
}
