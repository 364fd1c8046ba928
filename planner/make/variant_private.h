/* A variant in the making: candidates for how its blocks are kept, each drafted, placed and timed. */
#ifndef FATHOM_VARIANT_PRIVATE_H
#define FATHOM_VARIANT_PRIVATE_H

#include "draft.h"
#include "keep.h"
#include "place.h"
#include "variant.h"
#include "variant_request.h"

/* A schedule drafted and placed; without a draft (home is NULL) it was not worth placing. */
struct candidate {
    struct draft draft;
    struct place_result placed;
    uint64_t arena_bytes;  /* or its bound, when that alone is over the limit */
    uint64_t enough_bytes; /* an arena of so many was not made smaller yet; 0 = it is as small as can be */
    uint64_t limit_bytes;  /* of the arena */
    uint64_t host_bytes;
    enum recompute_policy policy; /* what it amounts to */
    double seconds;               /* of a step on simulated streams, without all-reduces; 0 = not looked at */
    double chain_seconds;         /* by the blocks' measures */
    uint64_t chain_limit;         /* of the chain, for schedules within which a bound can be told; 0 = for none */
    double bound_seconds;         /* of chain_seconds: no schedule of the form within that takes less; 0 = unknown */
    bool exceeded;                /* its search met limits that did not fit, as schedules needed more than they allow */
};
/* Takes a zeroed object. */
void candidate_finish(struct candidate *candidate);

struct making {
    const struct variant_request *request;
    struct plan_variant *variant;
    uint64_t evaluate_bytes; /* of arena, for the evaluation program */
};

/* What the arena may take beside what lies outside it: the policy's budget, and what the device has left. */
uint64_t making_arena_limit(const struct making *making, size_t train_ops, uint64_t host_bytes);

/* Whether what waits in host memory is within what a device may have of it. */
bool making_host_fits(const struct making *making, const struct candidate *candidate);

/* Drafts a schedule, and places it if its bound is within the limit, or in any case, no better than it takes to fit.
 * *fits, by the arena alone, and *candidate: what came of it. */
bool making_try(const struct making *making, const struct chain_schedule *schedule, bool in_any_case,
                struct candidate *candidate, bool *fits, struct error *err);

/* As well as can be: the arena that a plan with the candidate has. */
bool making_place_finally(const struct making *making, struct candidate *candidate, struct error *err);

/* The fastest candidate that fits, by the blocks' measures; *fits = false: the smallest, or
 * none (plan_request.only_if_fits). The caller ends it with
 * candidate_finish, also after a failure. */
bool variant_search(const struct making *making, struct candidate *best, bool *fits, struct error *err);

/* candidate->seconds, if they are not known. */
bool variant_time(const struct making *making, struct candidate *candidate, struct error *err);

/* The faster of *best, when that fits, and of *other, which fits: becomes *best, by simulated streams. */
bool variant_take_faster(const struct making *making, struct candidate *best, bool *fits, struct candidate *other,
                         struct error *err);

/* The same with what a schedule makes, which is placed only if it is faster, but takes `least` seconds or more, and
 * taken only if it fits, on the host too. */
bool variant_try_faster(const struct making *making, const struct chain_schedule *schedule, double least,
                        struct candidate *best, bool *fits, struct error *err);

/* Where some blocks' waiting in host memory makes a variant fit that keeps all of them under `mode`, and no block runs
 * twice: taken as *best when that is faster, or the first that fits. */
bool variant_spread(const struct making *making, enum keep_mode mode, struct candidate *best, bool *fits,
                    struct error *err);

#endif
