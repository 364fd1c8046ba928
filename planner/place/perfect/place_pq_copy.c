#include <string.h>

#include "mem.h"
#include "place_pq.h"

bool pq_save(const struct pq *pq, struct pq_copy *copy, struct error *err)
{
    *copy = (struct pq_copy){.node_count = pq->node_count,
                             .spare = pq->spare,
                             .root = pq->root,
                             .vertex_count = pq->vertex_count,
                             .ended_count = pq->ended_count,
                             .link_count = pq->link_count};
    copy->nodes = mem_alloc(MEM_SEARCH, pq->node_count, sizeof *copy->nodes);
    if (!copy->nodes) return error_memory(err, pq->node_count * sizeof *copy->nodes, "a tree of orders");
    memcpy(copy->nodes, pq->nodes, pq->node_count * sizeof *copy->nodes);
    return true;
}

void pq_copy_finish(struct pq_copy *copy)
{
    mem_free(copy->nodes);
    *copy = (struct pq_copy){0};
}

static void find_leaves(struct pq *pq, uint32_t node)
{
    if (pq->nodes[node].kind == PQ_LEAF) pq->node_of[pq->nodes[node].leaf] = node;
    for (uint32_t child = pq->nodes[node].first; child != PQ_NONE; child = pq->nodes[child].next)
        find_leaves(pq, child);
}

void pq_restore(struct pq *pq, const struct pq_copy *copy)
{
    memcpy(pq->nodes, copy->nodes, copy->node_count * sizeof *copy->nodes);
    pq->node_count = copy->node_count;
    pq->spare = copy->spare;
    pq->root = copy->root;
    pq->vertex_count = copy->vertex_count;
    pq->ended_count = copy->ended_count;
    while (pq->link_count > copy->link_count) pq->vertices[pq->links[--pq->link_count]].tied = PQ_NONE;
    find_leaves(pq, pq->root);
}
