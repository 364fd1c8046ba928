/* The options that say how weights move: they change a recipe. `fathom plan` takes them for what they need of memory. */
#ifndef FATHOM_UPDATE_FLAGS_H
#define FATHOM_UPDATE_FLAGS_H

#include "command.h"
#include "recipe.h"

#define UPDATE_FLAGS 11

struct update_flags { /* NULL, false, NAN = not given */
    const char *optimizer;
    double momentum, beta1, beta2, epsilon, weight_decay, clip_norm, average_weights;
    bool nesterov, decay_all, no_decay_bn;
};
struct update_flags update_flags_none(void);

/* Fills specs[0, UPDATE_FLAGS). */
void update_flags_specs(struct update_flags *flags, struct option_spec specs[UPDATE_FLAGS]);
/* The recipe becomes what was given. ERROR_INPUT names the flag. */
bool update_flags_apply(const struct update_flags *flags, struct recipe *recipe, struct error *err);

#endif
