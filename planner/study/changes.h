/* What one change of a request, all else as it was, would save and cost: plans made for comparison with the request's
 * own. */
#ifndef FATHOM_CHANGES_H
#define FATHOM_CHANGES_H

#include "make.h"

/* One thing changed in a request, all else as it was. */
enum change_kind {
    CHANGE_RECOMPUTE,     /* value: enum recompute_policy */
    CHANGE_BUDGET,        /* value: bytes of an arena: blocks run again under it */
    CHANGE_OFFLOAD,       /* value: such a budget, or 0 for the same memory: activations may wait in host memory */
    CHANGE_RECONSTRUCT,   /* value as CHANGE_OFFLOAD's: blocks may re-create their input from their output */
    CHANGE_WORKSPACE,     /* value: bytes that one op may work in */
    CHANGE_DTYPE,         /* value: enum dtype */
    CHANGE_MICRO_BATCHES, /* value: so many */
    CHANGE_BATCH,         /* value: images */
    CHANGE_DEVICES,       /* value: so many, the further ones like the last */
    CHANGE_KINDS
};

struct change {
    enum change_kind kind;
    uint64_t value;
    bool fits, changes_bn; /* of the plan that was made for it */
    uint64_t peak_bytes;   /* of its fullest device, with what lies outside the arena */
    int64_t saved_bytes;   /* against the plan's fullest device; negative: takes more */
    bool quick;            /* made roughly (plan_request.rough): with that flag a plan is mostly faster, in other memory */
    double time_ratio;     /* predicted time of an image against the plan's (by computation where speeds are unknown) */
};

#define CHANGES_MOST 10
/* Of the plan's peak: below it a change buys time rather than memory. */
#define CHANGE_WORTH 0.02

/* What each single change of the request would save and cost, for every plan that was made for one and takes less memory or
 * time than `plan`, the request's own: first those that fit, among them those that save memory (change_saves_memory), most first,
 * then the fastest. A change that cannot be planned is left out. At most two dozen plans are made: of more than
 * PLAN_ROUGH_BLOCKS blocks roughly, and exactly where such a one does not fit. */
bool changes_find(const struct plan_request *request, const struct plan *plan,
                           struct change changes[CHANGES_MOST], size_t *count, struct error *err);

/* Whether it buys memory that is worth saying, rather than time. */
bool change_saves_memory(const struct change *change);

/* "--batch 64": what to write for it, into out; returns out. */
char *change_words(const struct change *change, char *out, size_t size);

/* What the plan's request comes to when less is computed again than the plan does, with the plan's micro-batches: others[0]
 * with everything kept, others[1] with only elementwise ops redone; each NULL where the plan does no more than that itself.
 * The caller destroys them, also after a failure. */
bool changes_less_again(const struct plan_request *request, const struct plan *plan, struct plan *others[2],
                        struct error *err);

#endif
