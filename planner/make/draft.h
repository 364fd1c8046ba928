/* A program with workspaces, lifetimes and homes, before its placement. */
#ifndef FATHOM_DRAFT_H
#define FATHOM_DRAFT_H

#include "chain.h"
#include "program.h"
#include "variant_request.h"

struct draft {
    struct plan_program program;
    uint32_t *home; /* per tensor (liveness.h) */
};

/* Into a zeroed draft; the caller ends it with draft_finish, also after a failure. ERROR_MEMORY, ERROR_INPUT for a
 * schedule that cannot run. */
bool draft_train(const struct variant_request *request, const struct graph *graph,
                 const struct chain_schedule *schedule, struct draft *draft, struct error *err);
bool draft_evaluate(const struct variant_request *request, const struct graph *graph, struct draft *draft,
                    struct error *err);
/* Takes a zeroed object. */
void draft_finish(struct draft *draft);

#endif
