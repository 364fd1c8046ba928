/* Stages, units, layers and their ops as a tree with times: built from the op table's layer paths. */
#ifndef FATHOM_TREE_H
#define FATHOM_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "rollup.h"

#define TREE_NONE UINT32_MAX

enum tree_pass { TREE_FORWARD, TREE_RECOMPUTE, TREE_BACKWARD, TREE_OTHER, TREE_PASSES };

struct tree_node {
    const char *name; /* of its own segment; `length` bytes, not NUL-terminated; borrowed from the rollup */
    uint32_t length;
    uint32_t parent, first_child, last_child, next;
    uint32_t depth;
    uint32_t op; /* index into rollup.ops of a leaf's first op, else TREE_NONE */
    const char *pass; /* of a leaf, which is all ops of one layer, kind and pass, on whatever device; else NULL */
    bool open;
    uint64_t ns[TREE_PASSES], total_ns, count;
    double step_ns;   /* of a step, of all devices together */
    uint64_t devices; /* a bit each */
    bool unknown_steps; /* of one of its ops: nor is step_ns known */
};

struct tree {
    struct tree_node *nodes; /* nodes[0] is the root */
    size_t node_count, node_capacity;
    size_t kept; /* before tree_forget there were so many */
    uint32_t *slots; /* hash of (parent, segment, pass) to node */
    size_t slot_count;
    size_t op_count;   /* ops it was built from */
    uint32_t *leaves;  /* of each of them, its leaf */
    size_t leaf_capacity;
    uint32_t *visible; /* nodes whose ancestors are all open, in order */
    size_t visible_count, visible_capacity;
    bool touched;    /* somebody has opened or closed a node: what is open is theirs */
    size_t fit_rows, fit_nodes; /* what tree_open_to_fit was done for last */
};

/* Takes new ops in, then adds up times. Open nodes stay open. */
bool tree_update(struct tree *tree, const struct rollup *rollup, struct error *err);
/* Of a step on one of the node's devices; NAN = unknown. */
double tree_step_ns(const struct tree_node *node);
/* Opens or closes the visible-th line's node; returns false for a leaf. */
bool tree_toggle(struct tree *tree, size_t line);
/* Opens as many levels as so many lines can show, of nodes with a good part of all ops, until somebody has touched the tree. */
void tree_open_to_fit(struct tree *tree, size_t rows);
/* Line of the parent of the node at `line`, or `line` itself at the top. */
size_t tree_parent_line(const struct tree *tree, size_t line);
/* Rebuilds the visible lines after nodes were opened or closed. */
bool tree_flatten(struct tree *tree, struct error *err);
/* Keeps nothing of the rollup that it was built from. Takes zeroed objects. */
void tree_forget(struct tree *tree);
/* Takes zeroed objects. */
void tree_finish(struct tree *tree);

#endif
