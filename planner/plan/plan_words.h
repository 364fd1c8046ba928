/* How a plan is told to people: the verdict, and names of memory classes. */
#ifndef FATHOM_PLAN_WORDS_H
#define FATHOM_PLAN_WORDS_H

#include <stddef.h>

#include "plan.h"

/* "kept activations", "context and libraries"; memory_class_name is for files. update: of the plan, for what its optimizer
 * keeps ("momentum"); NULL = of several plans. Static. */
const char *words_memory_class(const struct update_needs *update, enum memory_class class);

/* "results of the forward pass that the backward pass reads": a class in a few words. Static. */
const char *words_memory_meaning(enum memory_class class, enum device_kind device);

/* "the convolution", "the gradient of the convolution's input": what an op of this kind computes. Static. */
const char *words_op_kind(enum op_kind kind);

/* "in the backward pass": when an op of this pass runs. Static. */
const char *words_pass(enum op_pass pass);

/* "2 x 12GiB", "h100 + 2 x 24GiB": equal neighbours are counted. Into out; returns out. */
char *words_devices(const struct plan *plan, char *out, size_t size);

/* "12.3 % more", where that would read 0.0 "less than 0.1 % more", and "no more". Into out; returns out. */
#define WORDS_MORE 24
char *words_more(double fraction, char out[WORDS_MORE]);

/* "stem to stage2", "all but the classifier": the layers that are not trained; empty where all are. Into out; returns out. */
#define WORDS_FROZEN 32
char *words_frozen(uint32_t frozen, char out[WORDS_FROZEN]);

/* Why `fathom train` cannot run the plan on such GPUs, a sentence without its full stop; empty when it can or that is not
 * known. Into out; returns out. */
#define WORDS_UNTRAINABLE 240
char *words_untrainable(const struct plan *plan, char out[WORDS_UNTRAINABLE]);

/* Instead of "fits" and "does not fit" where the models' error (certainty.h) is larger than the difference. */
#define WORDS_CLOSE "is close to the limit of"

/* "resnet-1001 fits 2 x 12GiB at batch 128: peak 7.40 of 12.0 GiB on each; 1.2 % more
 * computation". Into out; returns out. */
#define WORDS_VERDICT 400
char *words_verdict(const struct plan *plan, char *out, size_t size);

#endif
