/* How each optimizer moves a weight, as torch.optim (PyTorch 2) has it: element by element, to be read. */
#include <math.h>

#include "reference_private.h"
#include "update.h"

/* A weight, its gradient (decay added), and what is kept of it. */
struct element {
    float *w, g, *a, *b;
};

/* Sutskever et al. (ICML 2013) as Torch and PyTorch write it: the learning rate outside the momentum. */
static void momentum(const struct update_rule *r, struct element e)
{
    *e.a = r->momentum * *e.a + e.g;
    *e.w -= r->rate * (r->nesterov ? e.g + r->momentum * *e.a : *e.a);
}

/* Tieleman and Hinton, lecture 6.5 of Neural Networks for Machine Learning (2012). */
static float rmsprop_step(const struct update_rule *r, struct element e)
{
    *e.a = r->beta2 * *e.a + r->rest2 * e.g * e.g;
    return e.g / (sqrtf(*e.a) + r->epsilon);
}

static void rmsprop_momentum(const struct update_rule *r, struct element e)
{
    *e.b = r->momentum * *e.b + rmsprop_step(r, e);
    *e.w -= r->rate * *e.b;
}

/* Duchi et al., JMLR 12 (2011). */
static void adagrad(const struct update_rule *r, struct element e)
{
    *e.a += e.g * e.g;
    *e.w -= r->rate * (e.g / (sqrtf(*e.a) + r->epsilon));
}

/* Zeiler, arXiv:1212.5701, algorithm 1. */
static void adadelta(const struct update_rule *r, struct element e)
{
    *e.a = r->beta2 * *e.a + r->rest2 * e.g * e.g;
    float delta = sqrtf(*e.b + r->epsilon) / sqrtf(*e.a + r->epsilon) * e.g;
    *e.b = r->beta2 * *e.b + r->rest2 * delta * delta;
    *e.w -= r->rate * delta;
}

/* Kingma and Ba, arXiv:1412.6980, algorithm 1; with `kept` below 1 Loshchilov and Hutter, arXiv:1711.05101,
 * algorithm 2. */
static void adam(const struct update_rule *r, struct element e, bool decays)
{
    if (decays) *e.w *= r->kept;
    *e.a += r->towards * (e.g - *e.a);
    *e.b = r->beta2 * *e.b + r->rest2 * e.g * e.g;
    *e.w -= r->rate * (*e.a / (sqrtf(*e.b) / r->root + r->epsilon));
}

static void move(const struct update_rule *r, struct element e, bool decays)
{
    switch (r->optimizer) {
    case OPTIMIZER_MOMENTUM: momentum(r, e); break;
    case OPTIMIZER_SGD: *e.w -= r->rate * e.g; break;
    case OPTIMIZER_RMSPROP: *e.w -= r->rate * rmsprop_step(r, e); break;
    case OPTIMIZER_RMSPROP_MOMENTUM: rmsprop_momentum(r, e); break;
    case OPTIMIZER_ADAGRAD: adagrad(r, e); break;
    case OPTIMIZER_ADADELTA: adadelta(r, e); break;
    case OPTIMIZER_ADAM:
    case OPTIMIZER_ADAMW: adam(r, e, decays); break;
    case OPTIMIZERS: break;
    }
}

static void move_range(const struct update_rule *rule, const struct update_range *range, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct element e = {.w = &range->weights[i], .g = range->gradients[i] * rule->unscale};
        if (range->decays) e.g += rule->decay * *e.w;
        if (range->state[0]) e.a = &range->state[0][i];
        if (range->state[1]) e.b = &range->state[1][i];
        move(rule, e, range->decays);
    }
}

bool cpu_reference_update(const struct prepared *p, struct error *err)
{
    (void)err;
    struct update_rule rule = update_rule_of(p);
    if (!update_is_skipped(p, update_operands(p->call.op).scale))
        update_elements(p, &rule, move_range, 0, elements_out(p));
    return true;
}
