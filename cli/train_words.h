/* `fathom train`: what it says before a run and after one that did not come to its end. */
#ifndef FATHOM_TRAIN_WORDS_H
#define FATHOM_TRAIN_WORDS_H

#include "text.h"
#include "train_command.h"

/* The command line as it was given, as a shell takes it. */
void train_words_command(int argc, char **argv, struct text *text);
/* What is about to run, and on what. */
void train_words_begin(const struct plan *plan, const struct train_command *c, const struct backend *backend);
/* The last line of a run that did not come to its end. */
void train_words_stopped(const struct train_command *c, const struct train_result *result);

#endif
