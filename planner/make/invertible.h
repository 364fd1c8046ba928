/* Blocks y = x + F(x) whose input can be had back from their output: the additive coupling with an identity shortcut
 * (as in reversible nets, arXiv:1707.04585, but with F kept at hand rather than invertible by construction). */
#ifndef FATHOM_INVERTIBLE_H
#define FATHOM_INVERTIBLE_H

#include <stdbool.h>

#include "plan.h"

struct addition {
    uint32_t op;      /* the OP_ADD that ends the block */
    uint32_t summand; /* F(x): what it adds to the block's input */
};

/* Whether the block ends in the sum of its very input and something that can be made again from what KEEP_CONVOLUTIONS
 * keeps (program.h), without that input. Projections, gates, scaled and dropped shortcuts, and units with an op after
 * the addition are not such blocks. *addition is filled on success. */
bool invertible_find(const struct graph *graph, const struct graph_block *block, struct addition *addition);

/* How many blocks are; and how many inputs a program makes again so. */
size_t invertible_count(const struct graph *graph);
size_t invertible_reconstructed(const struct plan_program *program);

#endif
