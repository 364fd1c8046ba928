/* What would fit, and how much more would. Every answer comes from a plan that was made for it, never from a formula.
 */
#ifndef FATHOM_ADVISE_H
#define FATHOM_ADVISE_H

#include <stddef.h>

#include "errors.h"
#include "plan_request.h"

/* No larger batch is looked for. */
#define ADVICE_MOST_BATCH (1u << 20)

/* The largest batch of a whole step for which plan_make(request with that batch) fits, with the request's micro-batches
 * (0: in one piece, as any batch fits in enough pieces); 0 when not even one image per device, or one group of images
 * per micro-batch, does. Only batches that can be cut so count, into equal micro-batches of whole groups. `known` is a plan
 * of the same request (its batch may fit or not) and guides the search; NULL = none. Between the answer and the next
 * larger batch that was tried (found not to fit) there is none left. At most `most_plans` plans are made (0 = as many
 * as it takes); when they run out *exact is false and *batch the largest found to fit. */
bool advise_largest_batch(const struct plan_request *request, const struct plan *known, uint32_t most_plans,
                          uint32_t *batch, bool *exact, struct error *err);

enum advice_kind {
    ADVICE_RECOMPUTE,     /* let activations be computed again */
    ADVICE_BATCH,         /* value: the largest batch that fits */
    ADVICE_MICRO_BATCHES, /* value: so many micro-batches */
    ADVICE_MEMORY,        /* value: the least GiB per device */
    ADVICE_DEVICES,       /* value: the least number of devices of the last one's kind */
    ADVICE_OFFLOAD,       /* activations may wait in host memory */
    ADVICE_RECONSTRUCT,   /* blocks may re-create their input, to rounding */
    ADVICE_WORKSPACE,     /* value: MiB of one op's workspace */
    ADVICE_KINDS
};

struct advice {
    enum advice_kind kind;
    uint32_t value;
    double extra_flops_fraction; /* of the plan that was made for it: the largest over its devices */
    uint32_t micro_batches;
    bool changes_bn;
    uint32_t bn_group; /* as in the plan: where groups are asked for the sentence says nothing of batch normalisation */
    bool rough; /* a better value may work too: the search for it ended early */
    bool mild;  /* looked for among plans that run no convolution again; others would go further */
};

/* What would make a request fit that does not. Only what works is listed; none may be. */
bool advise_unfit(const struct plan_request *request, const struct plan *unfit, struct advice advice[ADVICE_KINDS],
                  size_t *count, struct error *err);

/* What would meet a budget that plan_make finds to be below the least arena (ERROR_UNFIT); a few dozen plans are made
 * at most. */
bool advise_budget(const struct plan_request *request, struct advice advice[ADVICE_KINDS], size_t *count,
                   struct error *err);

/* "--batch 306, the largest that fits (1.2 % more computation)", into out; returns
 * out. */
char *advise_sentence(const struct advice *advice, char *out, size_t size);

#endif
