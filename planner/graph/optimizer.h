/* How weights move: what each way keeps of them beside the weights themselves, and its numbers. The formulas, epsilons and
 * defaults are those of torch.optim (PyTorch 2); trainer/cpu/reference_update.c is readable. */
#ifndef FATHOM_OPTIMIZER_H
#define FATHOM_OPTIMIZER_H

#include <stdbool.h>
#include <stdint.h>

/* SGD and RMSprop keep a buffer less where their momentum is 0. */
enum optimizer {
    OPTIMIZER_MOMENTUM, /* SGD with momentum, Nesterov's too */
    OPTIMIZER_SGD,
    OPTIMIZER_RMSPROP,
    OPTIMIZER_RMSPROP_MOMENTUM,
    OPTIMIZER_ADAGRAD,
    OPTIMIZER_ADADELTA,
    OPTIMIZER_ADAM,
    OPTIMIZER_ADAMW,
    OPTIMIZERS
};
/* "adam", as files and options have it: static. */
const char *optimizer_name(enum optimizer optimizer);

/* Buffers of a weight's size, and what PyTorch's state_dict calls each ("exp_avg_sq"); static. */
#define OPTIMIZER_MOST_BUFFERS 2
uint32_t optimizer_buffers(enum optimizer optimizer);
const char *optimizer_buffer_name(enum optimizer optimizer, uint32_t buffer);

/* What torch.optim takes where nobody says otherwise. */
struct optimizer_defaults {
    double learning_rate, weight_decay, epsilon;
    double beta1, beta2; /* Adam's; beta2 is RMSprop's alpha and Adadelta's rho as well */
};
struct optimizer_defaults optimizer_defaults(enum optimizer optimizer);

/* What the updates of a run need of its plan. */
struct update_needs {
    enum optimizer optimizer;
    bool clips;    /* gradients, by the norm of all of them */
    bool averages; /* of the weights over steps are kept */
};
static inline bool update_needs_same(const struct update_needs *a, const struct update_needs *b)
{
    return a->optimizer == b->optimizer && a->clips == b->clips && a->averages == b->averages;
}

#endif
