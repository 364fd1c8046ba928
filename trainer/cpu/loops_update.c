/* The loops that move weights, compiled several times, with other instruction sets and another UPDATE_NAME. The
 * formulas are told in reference_update.c. */
#include <math.h>

#include "loops_private.h"
#include "update_rule.h"

#ifdef __clang__
#define FOR_EACH _Pragma("clang loop vectorize(assume_safety)") for (uint64_t i = 0; i < n; i++)
#else
#define FOR_EACH _Pragma("GCC ivdep") for (uint64_t i = 0; i < n; i++)
#endif
#define ALWAYS_INLINE inline __attribute__((always_inline))

static ALWAYS_INLINE void sgd_any(const struct update_rule *rule, const struct update_range *range, uint64_t n,
                                  bool scaled)
{
    float *w = range->weights, *m = range->state[0];
    const float *g = range->gradients;
    const float rate = rule->rate, momentum = rule->momentum, decay = range->decays ? rule->decay : 0;
    const float through = rule->nesterov ? 1 : 0, kept = rule->nesterov ? momentum : 1, unscale = rule->unscale;
    FOR_EACH
    {
        float gradient = (scaled ? unscale * g[i] : g[i]) + decay * w[i], moved = momentum * m[i] + gradient;
        m[i] = moved;
        w[i] -= rate * (through * gradient + kept * moved);
    }
}

static void sgd(const struct update_rule *rule, const struct update_range *range, uint64_t n)
{
    if (rule->unscale != 1)
        sgd_any(rule, range, n, true);
    else
        sgd_any(rule, range, n, false);
}

static void plain(const struct update_rule *rule, const struct update_range *range, uint64_t n)
{
    float *w = range->weights;
    const float *g = range->gradients;
    const float rate = rule->rate, decay = range->decays ? rule->decay : 0, unscale = rule->unscale;
    FOR_EACH w[i] -= rate * (unscale * g[i] + decay * w[i]);
}

static void rmsprop(const struct update_rule *rule, const struct update_range *range, uint64_t n)
{
    float *w = range->weights, *s = range->state[0];
    const float *g = range->gradients;
    const float rate = rule->rate, decay = range->decays ? rule->decay : 0, unscale = rule->unscale;
    const float kept = rule->beta2, rest = rule->rest2, epsilon = rule->epsilon;
    FOR_EACH
    {
        float gradient = unscale * g[i] + decay * w[i];
        s[i] = kept * s[i] + rest * gradient * gradient;
        w[i] -= rate * (gradient / (sqrtf(s[i]) + epsilon));
    }
}

static void rmsprop_momentum(const struct update_rule *rule, const struct update_range *range, uint64_t n)
{
    float *w = range->weights, *s = range->state[0], *m = range->state[1];
    const float *g = range->gradients;
    const float rate = rule->rate, decay = range->decays ? rule->decay : 0, unscale = rule->unscale;
    const float kept = rule->beta2, rest = rule->rest2, epsilon = rule->epsilon, momentum = rule->momentum;
    FOR_EACH
    {
        float gradient = unscale * g[i] + decay * w[i];
        s[i] = kept * s[i] + rest * gradient * gradient;
        m[i] = momentum * m[i] + gradient / (sqrtf(s[i]) + epsilon);
        w[i] -= rate * m[i];
    }
}

static void adagrad(const struct update_rule *rule, const struct update_range *range, uint64_t n)
{
    float *w = range->weights, *s = range->state[0];
    const float *g = range->gradients;
    const float rate = rule->rate, decay = range->decays ? rule->decay : 0, unscale = rule->unscale;
    const float epsilon = rule->epsilon;
    FOR_EACH
    {
        float gradient = unscale * g[i] + decay * w[i];
        s[i] += gradient * gradient;
        w[i] -= rate * (gradient / (sqrtf(s[i]) + epsilon));
    }
}

static void adadelta(const struct update_rule *rule, const struct update_range *range, uint64_t n)
{
    float *w = range->weights, *s = range->state[0], *d = range->state[1];
    const float *g = range->gradients;
    const float rate = rule->rate, decay = range->decays ? rule->decay : 0, unscale = rule->unscale;
    const float kept = rule->beta2, rest = rule->rest2, epsilon = rule->epsilon;
    FOR_EACH
    {
        float gradient = unscale * g[i] + decay * w[i];
        s[i] = kept * s[i] + rest * gradient * gradient;
        float delta = sqrtf(d[i] + epsilon) / sqrtf(s[i] + epsilon) * gradient;
        d[i] = kept * d[i] + rest * delta * delta;
        w[i] -= rate * delta;
    }
}

static void adam(const struct update_rule *rule, const struct update_range *range, uint64_t n)
{
    float *w = range->weights, *m = range->state[0], *s = range->state[1];
    const float *g = range->gradients;
    const float rate = rule->rate, decay = range->decays ? rule->decay : 0, unscale = rule->unscale;
    const float left = range->decays ? rule->kept : 1, towards = rule->towards, root = rule->root;
    const float kept = rule->beta2, rest = rule->rest2, epsilon = rule->epsilon;
    FOR_EACH
    {
        float gradient = unscale * g[i] + decay * w[i];
        m[i] += towards * (gradient - m[i]);
        s[i] = kept * s[i] + rest * gradient * gradient;
        w[i] = left * w[i] - rate * (m[i] / (sqrtf(s[i]) / root + epsilon));
    }
}

void UPDATE_NAME(const struct update_rule *rule, const struct update_range *range, uint64_t n)
{
    switch (rule->optimizer) {
    case OPTIMIZER_MOMENTUM: sgd(rule, range, n); break;
    case OPTIMIZER_SGD: plain(rule, range, n); break;
    case OPTIMIZER_RMSPROP: rmsprop(rule, range, n); break;
    case OPTIMIZER_RMSPROP_MOMENTUM: rmsprop_momentum(rule, range, n); break;
    case OPTIMIZER_ADAGRAD: adagrad(rule, range, n); break;
    case OPTIMIZER_ADADELTA: adadelta(rule, range, n); break;
    case OPTIMIZER_ADAM:
    case OPTIMIZER_ADAMW: adam(rule, range, n); break;
    case OPTIMIZERS: break;
    }
}
