/* What the files that make ops of a lowered graph share. */
#ifndef FATHOM_LOWER_MAKING_H
#define FATHOM_LOWER_MAKING_H

#include "lower_private.h"

#define MOST_STANDS 8

/* An op on its way, and the logical ops it stands for. */
struct making {
    struct op op;
    uint32_t stands[MOST_STANDS];
    uint32_t stands_count;
};

static inline const struct op *lowering_op(const struct lowering *l, uint32_t op) { return &l->logical->ops[op]; }

/* A copy of the logical op, which reads weights in 16 bits where those are there. */
struct making lowering_begin(const struct lowering *l, uint32_t logical);
/* One of a BN's ops, without operands. */
struct making lowering_begin_part(const struct lowering *l, uint32_t logical, enum op_kind kind);
void lowering_stand_for(struct making *m, uint32_t logical);
/* Returns its index in the lowered graph; NO_OP when memory is short. */
uint32_t lowering_append(struct lowering *l, struct making *m);
void lowering_emit_same(struct lowering *l, uint32_t logical);
/* One of a BN's small tensors. */
uint32_t lowering_new_table(struct lowering *l, uint32_t bn, enum tensor_role role, enum dtype dtype, uint32_t rows);

/* ---- lower_casts.c ---- */

void lowering_emit_copies(struct lowering *l);
/* Which gradients are written in 16 bits; before any op. */
void lowering_make_half_gradients(struct lowering *l);
/* All gradients of the bucket are made. */
void lowering_emit_widen(struct lowering *l, uint32_t bucket);
/* Of buckets that are not accumulated, which have it before that. */
void lowering_emit_widens(struct lowering *l);

/* ---- lower_conv.c ---- */

void lowering_emit_conv(struct lowering *l, uint32_t logical);
void lowering_emit_conv_weights(struct lowering *l, uint32_t logical);
/* One that writes what it reads comes before the gradient of weights that reads that. */
void lowering_emit_conv_data(struct lowering *l, uint32_t logical);
/* Gradients of weights up to this one, in the order in which they come. */
void lowering_emit_waiting(struct lowering *l, uint32_t logical);
/* A bucket is to be accumulated: what its gradients wait for is made for them alone. */
void lowering_emit_accumulate(struct lowering *l, uint32_t logical);
/* Does the addition too, if there is one. */
void lowering_add_to_gradient(struct lowering *l, struct making *m, uint32_t add);

/* ---- lower_bn.c ---- */

void lowering_emit_bn(struct lowering *l, uint32_t logical);
void lowering_emit_bn_backward(struct lowering *l, uint32_t logical);
/* An addition, and the ReLU after it if `at` is that, by the BN that makes one of its operands. */
void lowering_emit_bn_addition(struct lowering *l, uint32_t at, uint32_t add);
/* By the convolution or the BN's backward pass that makes an operand: there; by a BN: here, or with the ReLU after it. */
void lowering_emit_addition(struct lowering *l, uint32_t logical);

#endif
