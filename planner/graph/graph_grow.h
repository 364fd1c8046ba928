/* What a graph's next op belongs to. */
#ifndef FATHOM_GRAPH_GROW_H
#define FATHOM_GRAPH_GROW_H

#include "graph.h"

/* Following ops belong to this layer path / recomputation block. A block runs to the next graph_begin_block. */
void graph_set_layer(struct graph *graph, uint32_t stage, const char *format, ...) __attribute__((format(printf, 3, 4)));
void graph_begin_block(struct graph *graph);

#endif
