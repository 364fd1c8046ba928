/* How weights move in a step: the numbers of its optimizer, and the loops that move them. */
#ifndef FATHOM_UPDATE_RULE_H
#define FATHOM_UPDATE_RULE_H

#include "optimizer.h"

/* Scalars are computed in double and rounded once, as torch.optim does. Those of other optimizers mean nothing. */
struct update_rule {
    enum optimizer optimizer;
    bool nesterov, spares; /* spares: weights alone decay, not gamma, beta and biases */
    float rate;            /* Adam's is corrected for the zeros that it began with */
    float decay;           /* times the weight, added to its gradient; AdamW's is in `kept` */
    float kept;            /* AdamW: the part of a weight that is left */
    float unscale;         /* gradients are multiplied by this: of the loss scale and of clipping */
    float momentum;
    float towards;         /* Adam: the part by which the mean moves to the gradient, 1 - beta1 */
    float beta2, rest2;    /* the part of the squares' mean that is kept, and 1 minus it */
    float root;            /* Adam: square root of the squares' correction */
    float epsilon;
};
/* Elements of a bucket that lie together and decay alike. state: NULL where the optimizer has none. */
struct update_range {
    float *weights;
    const float *gradients;
    float *state[OPTIMIZER_MOST_BUFFERS];
    bool decays;
};
typedef void (*update_loop)(const struct update_rule *rule, const struct update_range *range, uint64_t count);

/* loops_update.c, once per instruction set: every element by the same operations wherever a range begins. */
void update_plain(const struct update_rule *rule, const struct update_range *range, uint64_t count);
#ifdef __x86_64__
void update_avx2(const struct update_rule *rule, const struct update_range *range, uint64_t count);
void update_avx512(const struct update_rule *rule, const struct update_range *range, uint64_t count);
#endif

#endif
