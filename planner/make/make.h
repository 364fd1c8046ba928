/* From a request to a proved plan. */
#ifndef FATHOM_MAKE_H
#define FATHOM_MAKE_H

#include "plan_request.h"

/* Makes and verifies a plan. A plan that does not fit is returned with fits = false (ask advise.h what would); errors are
 * ERROR_INPUT for impossible requests, ERROR_UNFIT for a recompute budget below the least arena, and ERROR_MEMORY. The
 * caller ends it with plan_destroy. */
struct plan *plan_make(const struct plan_request *request, struct error *err);

/* Whether a budget is below the bytes of parameters and of what the optimizer keeps, which no batch, schedule or copy makes
 * fewer: nothing meets it. ERROR_MEMORY. */
bool plan_budget_hopeless(const struct plan_request *request, bool *hopeless, struct error *err);

#endif
