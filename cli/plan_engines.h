/* `fathom plan --engines`: the workspaces of a plan from cuDNN's engines (engines.h) instead of the planner's estimate. */
#ifndef FATHOM_PLAN_ENGINES_H
#define FATHOM_PLAN_ENGINES_H

#include <stdio.h>

#include "engines.h"
#include "json.h"
#include "plan.h"
#include "plan_request.h"

struct plan_engines {
    struct engines *engines;       /* NULL = not asked for */
    const char *carried;           /* the file given, NULL = none */
    struct machine *machine;       /* the request's */
    struct workspace_tier tier;    /* for what has no engine */
    struct engine_rules rules;
    const char *command;           /* that speaks: "plan", "train" */
    bool told;                     /* of a fault */
};

/* The request then takes its workspaces from engines, and its devices say so. how: "auto" or a file of answers; NULL = not
 * asked for. Where cuDNN cannot be asked under "auto", a sentence on standard error says so and the request stays as it
 * was. ERROR_INPUT for devices that are unlike or no GPUs, and when a file that is there cannot be used, or one that is
 * not cannot be made. The caller ends it with plan_engines_end, also after a failure. */
bool plan_engines_begin(const char *how, struct machine *machine, struct plan_request *request,
                        struct plan_engines *engines, struct error *err);
/* Takes a zeroed object. */
void plan_engines_end(struct plan_engines *engines);

/* After a plan was made: false when answers were missing, so that it must be made again; a sentence on standard error has
 * said why, and the request is as it would be without --engines. *err is set when it cannot be made without them. */
bool plan_engines_held(struct plan_engines *engines, struct plan_request *request, struct error *err);
/* For the file that was asked for: has cuDNN build the plans of the engines that a trainer will take under this plan. building (may be
 * NULL): before each, of so many. Nothing where cuDNN is not here. */
bool plan_engines_build(struct plan_engines *engines, const struct plan *plan,
                        void (*building)(void *context, size_t done, size_t all), void *context,
                        struct error *err);
/* Writes the file that was asked for. */
bool plan_engines_save(struct plan_engines *engines, struct error *err);

/* The engine and workspace of every distinct convolution of a variant, the largest first. */
void plan_engines_print(struct plan_engines *engines, const struct plan_variant *variant, FILE *to);

#endif
