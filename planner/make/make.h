/* From a request to a proved plan. */
#ifndef FATHOM_MAKE_H
#define FATHOM_MAKE_H

#include "plan_request.h"

/* Makes and verifies a plan. A plan that does not fit is returned with fits = false (ask advise.h what would); errors are
 * ERROR_INPUT for impossible requests, ERROR_UNFIT for a recompute budget below the least arena, and ERROR_MEMORY. The
 * caller ends it with plan_destroy. */
struct plan *plan_make(const struct plan_request *request, struct error *err);

/* Bytes that a device's arena holds of a model at any batch: those of parameters and of what the optimizer keeps all the
 * time, those of gradients while a step's are summed up. */
struct plan_lasting {
    uint64_t weight_bytes, optimizer_bytes, gradient_bytes;
};

/* ERROR_INPUT for a model that cannot be, ERROR_MEMORY. */
bool plan_lasting_find(const struct plan_request *request, struct plan_lasting *lasting, struct error *err);

/* Whether a budget is below the bytes of parameters and of what the optimizer keeps, which no batch, schedule or copy makes
 * fewer: nothing meets it. ERROR_MEMORY. */
bool plan_budget_hopeless(const struct plan_request *request, bool *hopeless, struct error *err);

#endif
