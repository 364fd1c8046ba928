/* What devices do with their shares of a batch: each share is planned once, whoever asks. */
#ifndef FATHOM_SHARE_PLANS_H
#define FATHOM_SHARE_PLANS_H

#include "plan_request.h"

/* So many images on a device of one kind. */
struct share {
    uint32_t kind, images, micro_batches;
    bool made; /* false: it cannot be within the request's budget */
    bool fits;
    uint64_t arena_bytes;   /* also where it is not made; of those that are wanted only if they fit then a guess */
    uint64_t peak_bytes;    /* with what lies outside the arena */
    uint64_t growing_bytes; /* part of it that images take */
    double seconds;         /* of its part of the step; compares shares only, where a speed is unknown */
    enum recompute_policy policy;
    uint64_t cap_bytes;          /* of one op's workspace, as in the request that it was made for */
    uint32_t ops;                /* of its graph */
    uint64_t unfolded_bytes;     /* workspace_most_unfolded of its graph */
    struct plan_variant variant; /* while held */
    bool held;
    uint64_t asked; /* when last */
    uint32_t index; /* of its variant in the plan that took it */
};

struct share_plans {
    const struct plan_request *request;
    struct plan frame;    /* a plan's head, for predictions */
    uint32_t *kind_of;    /* of each device */
    uint32_t *first_of;   /* of each kind: its first device */
    uint32_t *devices_of; /* of each kind: how many */
    size_t kinds;
    bool speeds_known; /* of all kinds */
    double *weight_of; /* of each kind: what its stand-in's seconds count where speeds are unknown */
    struct share **shares;
    size_t count, capacity;
    uint64_t asked;
    struct error unfit; /* why a share could not be made */
};

/* The caller ends it with share_plans_finish, also after a failure. The request is borrowed. */
bool share_plans_begin(const struct plan_request *request, const struct plan *plan, struct share_plans *shares,
                  struct error *err);
void share_plans_finish(struct share_plans *shares);

/* Plans a share, or finds it. Where memory is tight, all convolutions may get less workspace. *share is the book's,
 * valid until share_plans_finish. A budget below the least arena is no failure (share->made is false, shares->unfit says
 * why). */
bool share_plans_get(struct share_plans *shares, uint32_t kind, uint32_t images, uint32_t micro_batches, struct share **share,
                struct error *err);

/* Fills the plan's devices and variants: images[device_count], all cut in micro_batches. ERROR_UNFIT where a share
 * cannot be made. The plan has no variants before. If it fits, what the request wants to know of its variants alone is
 * worked out now (plan_request.bound). */
bool share_plans_take(struct share_plans *shares, const uint32_t *images, uint32_t micro_batches, struct plan *plan,
                 struct error *err);

#endif
