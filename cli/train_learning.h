/* `fathom train`: how a net learns, of a recipe and of the options that win over it. */
#ifndef FATHOM_TRAIN_LEARNING_H
#define FATHOM_TRAIN_LEARNING_H

#include "command.h"
#include "train_command.h"

#define TRAIN_LEARNING_OWN   18
#define TRAIN_LEARNING_FLAGS (TRAIN_LEARNING_OWN + UPDATE_FLAGS)

/* Fills specs[0, TRAIN_LEARNING_FLAGS). */
void train_learning_specs(struct train_command *c, struct option_spec specs[TRAIN_LEARNING_FLAGS]);
/* Reads the recipe that --recipe names; it says the batch too, except to a net that is planned already. */
bool train_learning_recipe(struct train_command *c, bool planned, struct error *err);
/* The recipe of the command, the model's own where none is named, with what options say otherwise of updates: what a plan
 * is made for. Nothing more where that is done. */
bool train_learning_take(struct train_command *c, const struct model_spec *spec, struct error *err);
/* Fills in what the options of the run leave to the recipe. The dataset is open. ERROR_INPUT where the plan
 * has no room for the optimizer. */
bool train_learning_choose(struct train_command *c, const struct plan *plan, struct error *err);
/* Which recipe it is, and where the steps come from that nobody asked for. */
void train_learning_say(const struct train_command *c, const struct plan *plan);

#endif
