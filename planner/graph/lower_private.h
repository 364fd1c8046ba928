/* What the files that lower a graph share: what was chosen (lower_choose.c), and the graph that comes of it
 * (lower_emit.c, lower_making.h). */
#ifndef FATHOM_LOWER_PRIVATE_H
#define FATHOM_LOWER_PRIVATE_H

#include "graph_private.h"
#include "lower.h"

/* What becomes of a BN, and the lowered graph's tensors of it once they are made. */
struct lowered_bn {
    uint32_t backward;  /* its OP_BN_BWD */
    bool applied;       /* y has a tensor from the forward pass on */
    bool late;          /* y is made in the backward pass, for gradients of weights of block `late_block` alone */
    bool late_made;
    uint32_t late_block;
    uint32_t waiting;   /* the last gradient of weights that waits for y, which the BN's backward pass makes; or NO_OP */
    bool spread;        /* dx has none: gradients of convolutions read it through the coefficients */
    uint32_t keeper;    /* the OP_CONV_BWD_DATA that reads through them and writes dx, or NO_OP */
    uint32_t shutter;   /* the OP_CONV_BWD_DATA that masks dy and writes the gradient sums, or NO_OP */
    uint32_t norm, gradient_sums, coefficients;
};

/* Tensors of the logical graph keep their indices in the lowered one until it is finished. */
struct lowering {
    const struct graph *logical;
    struct graph *lowered;
    uint32_t bits;
    /* per logical tensor */
    uint32_t *producer; /* the op that makes it, or NO_OP */
    uint32_t *readers;  /* operands that read it */
    uint32_t *sums;     /* the lowered tensor with its sums, or NO_TENSOR */
    uint32_t *copy;     /* of weights, their gradients, and the buckets of either: that in 16 bits, or NO_TENSOR */
    uint32_t *singles;  /* of a bucket of gradients: how many of them are written in f32 */
    /* per logical op */
    uint32_t *partner; /* of an addition: the op that does it (a convolution, a BN, or a BN's backward), and of that one,
                        * and of a ReLU that a BN does: its addition; else NO_OP */
    bool *rectified;   /* of an addition that a BN does: that does the ReLU after it too */
    uint32_t *summed;  /* of a convolution: a BN whose sums it writes; of a gradient of data: whose gradient sums */
    uint32_t *made;    /* the lowered op that stands for it above all */
    uint32_t *shut;    /* of a gradient of data: the OP_RELU_BWD that it does, and of that one: the gradient; or NO_OP */
    uint32_t *kept;    /* of a gradient of data, and of the weights': the BN whose dx it writes or reads so; or NO_OP */
    uint32_t *waits;   /* of one that waits: the one before it, or NO_OP */
    struct lowered_bn *bn; /* of forward ops */
};

bool lowering_choose(struct lowering *l);
/* All ops; false when memory is short: the lowered graph then has the error. */
bool lowering_emit(struct lowering *l);

static inline bool lowers_bn(const struct lowering *l) { return (l->bits & LOWER_BN_PARTS) != 0; }

/* The BN that makes this tensor, or NO_OP. */
uint32_t lowering_bn_of(const struct lowering *l, uint32_t tensor);
/* The BN through whose coefficients this gradient is read, or NO_OP. */
uint32_t lowering_spread_of(const struct lowering *l, uint32_t gradient);
/* Whether this op reads its input through the norm of `bn`, which makes it. */
bool lowering_reads_norm(const struct lowering *l, const struct op *op, uint32_t bn);

#endif
