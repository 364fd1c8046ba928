/* Orders of what is live, as a PQ-tree (Booth and Lueker, JCSS 13, 1976): all orders of a set in which certain subsets
 * stand together. Children of a P-node may be permuted, those of a Q-node reversed.
 *
 * In a packing without waste the buffers that end at an instant leave to those that begin the very bytes they had. If
 * these bytes are one range, the ending ones stand together in the order of offsets, and the beginning ones take their
 * place: this is planarity testing (Lempel, Even, Cederbaum, 1967), with instants as vertices and buffers as edges, and
 * the packing is read from the planar drawing. */
#ifndef FATHOM_PLACE_PQ_H
#define FATHOM_PLACE_PQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

#define PQ_NONE UINT32_MAX

enum pq_kind { PQ_LEAF, PQ_P, PQ_Q };

struct pq_node {
    uint32_t parent, prev, next, first, last;
    uint32_t leaves;  /* below it */
    uint32_t children;
    uint32_t leaf;    /* of a leaf: its number */
    uint32_t marked;  /* leaves below it that the question at hand is about, where `stamp` is the question's */
    uint32_t stamp;
    uint32_t met, next_met; /* children with such leaves, as a list */
    uint32_t vertex;  /* of a Q-node's child: the vertex whose order turns round whenever the Q-node does, or PQ_NONE */
    uint8_t kind;
    uint8_t turned; /* that order runs against the children's */
};

/* What one vertex replaced: its leaves in an order of their own, from `start` on in ended[]. */
struct pq_vertex {
    size_t start;
    uint32_t count;
    uint32_t tied;  /* the vertex whose order turns round with this one's, or PQ_NONE */
    bool turned;    /* against it; after pq_end: whether this one is to be read backwards */
};

struct pq {
    struct pq_node *nodes;
    uint32_t node_count, node_capacity, spare, root;
    uint32_t *node_of; /* by leaf */
    size_t leaf_count;
    uint32_t stamp;
    struct pq_vertex *vertices;
    size_t vertex_count;
    uint32_t *ended; /* leaves, by vertex */
    size_t ended_count;
    uint32_t *links; /* vertices in the order in which they were tied */
    size_t link_count;
    uint32_t *list;  /* scratch: nodes in a row */
    double *log_orders; /* of so many in a row: the logarithms of factorials */
};

/* Room for so many leaves in all and vertices, and so many leaves at once. Ended by pq_finish, which takes a zeroed
 * object. On failure *pq is finished already. */
bool pq_init(struct pq *pq, size_t leaves, size_t vertices, size_t most_live, struct error *err);
void pq_finish(struct pq *pq);

/* These leaves, in any order. */
void pq_begin(struct pq *pq, const uint32_t *leaves, size_t count);

/* The logarithm of in how many orders so many stand, no more than live at once. */
static inline double pq_log_orders(const struct pq *pq, uint32_t count) { return pq->log_orders[count]; }

/* How many orders are lost when these leaves stand together, as the logarithm of a ratio; INFINITY when they cannot. */
double pq_join_loss(struct pq *pq, const uint32_t *leaves, size_t count);
/* They do from now on, are taken out and leave their place to others. Only where pq_join_loss said that they can. */
void pq_replace(struct pq *pq, const uint32_t *leaves, size_t count, const uint32_t *others, size_t other_count);

/* Takes a leaf out, of which nothing more is asked. There are others. */
void pq_drop(struct pq *pq, uint32_t leaf);

/* Numbers the leaves by what can stand together without more ado: those whose numbers differ are apart as yet. Returns
 * how many numbers there are; block[] is by leaf. */
uint32_t pq_number_blocks(struct pq *pq, const uint32_t *leaves, size_t count, uint32_t *block);

/* For the files of the tree: counts the marked leaves below every node; the lowest node that has them all. */
uint32_t pq_mark(struct pq *pq, const uint32_t *leaves, size_t count);

enum pq_state { PQ_EMPTY, PQ_PARTIAL, PQ_FULL };

static inline enum pq_state pq_state_of(const struct pq *pq, uint32_t node)
{
    const struct pq_node *n = &pq->nodes[node];
    if (n->stamp != pq->stamp) return PQ_EMPTY;
    return n->marked == n->leaves ? PQ_FULL : PQ_PARTIAL;
}

/* Whether what is marked below a partial Q-node comes last as it stands. */
bool pq_may_read(const struct pq *pq, uint32_t node);

/* A tree as it was at some time, to go back to. Ended by pq_copy_finish, which takes a zeroed object. */
struct pq_copy {
    struct pq_node *nodes;
    uint32_t node_count, spare, root;
    size_t vertex_count, ended_count, link_count;
};
bool pq_save(const struct pq *pq, struct pq_copy *copy, struct error *err);
void pq_restore(struct pq *pq, const struct pq_copy *copy);
void pq_copy_finish(struct pq_copy *copy);

/* The order of all leaves that are left becomes that of a last vertex, and each vertex learns which way its own is to
 * be read. */
void pq_end(struct pq *pq);

#endif
