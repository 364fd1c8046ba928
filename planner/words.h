/* How a plan is told to people: the verdict, and names of memory classes. */
#ifndef FATHOM_WORDS_H
#define FATHOM_WORDS_H

#include <stddef.h>

#include "plan.h"

/* "kept activations", "context and libraries"; memory_class_name is for files. Static. */
const char *words_memory_class(enum memory_class class_);

/* "2 x 12GiB", "h100 + 2 x 24GiB": equal neighbours are counted. Into out; returns out. */
char *words_devices(const struct plan *plan, char *out, size_t size);

/* "resnet-1001 fits 2 x 12GiB at batch 128: peak 7.40 of 12.0 GiB on each; 1.2 % more
 * computation". Into out; returns out. */
#define WORDS_VERDICT 400
char *words_verdict(const struct plan *plan, char *out, size_t size);

#endif
