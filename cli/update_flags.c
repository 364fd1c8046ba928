#include "update_flags.h"

#include <math.h>
#include <string.h>

struct update_flags update_flags_none(void)
{
    return (struct update_flags){.momentum = NAN,
                                 .beta1 = NAN,
                                 .beta2 = NAN,
                                 .epsilon = NAN,
                                 .weight_decay = NAN,
                                 .clip_norm = NAN,
                                 .average_weights = NAN};
}

void update_flags_specs(struct update_flags *f, struct option_spec out[UPDATE_FLAGS])
{
    const struct option_spec specs[UPDATE_FLAGS] = {
        {"optimizer", 0, OPTION_TEXT, &f->optimizer, 0, 0},
        {"momentum", 0, OPTION_REAL, &f->momentum, 0, 0.9999},
        {"nesterov", 0, OPTION_FLAG, &f->nesterov, 0, 0},
        {"beta1", 0, OPTION_REAL, &f->beta1, 0, 0.9999999},
        {"beta2", 0, OPTION_REAL, &f->beta2, 0, 0.9999999},
        {"epsilon", 0, OPTION_REAL, &f->epsilon, 1e-30, 1},
        {"weight-decay", 0, OPTION_REAL, &f->weight_decay, 0, 1},
        {"decay-all", 0, OPTION_FLAG, &f->decay_all, 0, 0},
        {"no-decay-bn", 0, OPTION_FLAG, &f->no_decay_bn, 0, 0},
        {"clip-norm", 0, OPTION_REAL, &f->clip_norm, 0, 1e12},
        {"average-weights", 0, OPTION_REAL, &f->average_weights, 0, 0.9999999},
    };
    memcpy(out, specs, sizeof specs);
}

/* Numbers that the optimizer does not have say nothing, and would be taken for something. */
static bool check_numbers(const struct update_flags *f, const struct recipe *r, struct error *err)
{
    const struct optimizer_defaults own = optimizer_defaults(r->optimizer);
    bool sgd = r->optimizer == OPTIMIZER_MOMENTUM;
    const struct {
        const char *flag;
        bool given, has;
    } numbers[] = {{"--beta1", !isnan(f->beta1), own.beta1 > 0},
                   {"--beta2", !isnan(f->beta2), own.beta2 > 0},
                   {"--epsilon", !isnan(f->epsilon), own.epsilon > 0},
                   {"--momentum", f->momentum > 0, sgd || r->optimizer == OPTIMIZER_RMSPROP},
                   {"--nesterov", f->nesterov, sgd}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (numbers[i].given && !numbers[i].has)
            return error_set(err, ERROR_INPUT, "%s: found for the optimizer %s, which has none", numbers[i].flag,
                             sgd ? "sgd" : optimizer_name(r->optimizer));
    return true;
}

/* It looks ahead along the momentum; without any the update is plain SGD's, and was not meant. */
static bool check_nesterov(const struct recipe *r, struct error *err)
{
    if (!r->nesterov || r->momentum > 0) return true;
    return error_set(err, ERROR_INPUT, "nesterov: found with momentum 0; --momentum above 0 is wanted, or no nesterov");
}

static void take(double given, double *value)
{
    if (!isnan(given)) *value = given;
}

bool update_flags_apply(const struct update_flags *f, struct recipe *r, struct error *err)
{
    enum optimizer optimizer = r->optimizer;
    bool nesterov = f->nesterov;
    if (f->optimizer) TRY(recipe_parse_optimizer(f->optimizer, "--optimizer", &optimizer, &nesterov, err));
    if (f->decay_all && f->no_decay_bn)
        return error_set(err, ERROR_INPUT, "--decay-all and --no-decay-bn are opposites: one of them is wanted");
    recipe_take_optimizer(r, optimizer);
    TRY(check_numbers(f, r, err));
    r->nesterov = r->nesterov || nesterov;
    r->decay_all = f->decay_all || (r->decay_all && !f->no_decay_bn);
    take(f->momentum, &r->momentum);
    take(f->beta1, &r->beta1);
    take(f->beta2, &r->beta2);
    take(f->epsilon, &r->epsilon);
    take(f->weight_decay, &r->weight_decay);
    take(f->clip_norm, &r->clip_norm);
    take(f->average_weights, &r->average_weights);
    return check_nesterov(r, err);
}
