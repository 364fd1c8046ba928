#ifndef FATHOM_MODEL_PRIVATE_H
#define FATHOM_MODEL_PRIVATE_H

#include "model.h"

/* What the options say of numbers and of the stride, else the usual, once the kinds of unit and shortcut are known. */
bool model_fill_numbers(const struct model_options *options, struct model_spec *spec, struct error *err);

#endif
