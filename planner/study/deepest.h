/* How deep a model of the same form may be on given devices. Every answer comes from plans that were made. */
#ifndef FATHOM_DEEPEST_H
#define FATHOM_DEEPEST_H

#include "errors.h"
#include "plan_request.h"

/* One plan that was made in the search. */
struct deepest_step {
    uint32_t depth;
    bool fits;
    uint32_t fitting, unfit; /* so far: the deepest that fits, the shallowest that does not; 0 = none yet */
};
typedef void (*deepest_progress_fn)(void *context, const struct deepest_step *step);

struct deepest {
    struct plan *plan; /* of the deepest model that fits, or of the shallowest of the form, which does not; owned */
    uint32_t unfit;    /* the next depth of the form, found not to fit; 0 = there is none up to MODEL_DEEPEST */
    uint32_t plans;    /* made for it */
};

/* Goes up from the depth of request->spec while models of its form (model_form_depths) fit, and closes in between the
 * deepest that did and the shallowest that did not until they are neighbours. As with the largest batch, 0
 * micro-batches mean one: in enough pieces more would fit, with other statistics of batch normalisation. With
 * RECOMPUTE_AUTO a model counts as fitting when no convolution need run again; with RECOMPUTE_BUDGET, where every plan is
 * a search of its own, only depths up to DEEPEST_AGAIN are tried. progress may be NULL. ERROR_INPUT for a family of fixed depths; otherwise as plan_make. The caller ends found->plan with
 * plan_destroy; on failure there is none. */
#define DEEPEST_AGAIN 20000u
bool deepest_find(const struct plan_request *request, deepest_progress_fn progress, void *context,
                  struct deepest *found, struct error *err);

#endif
