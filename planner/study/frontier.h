/* Memory against time: what a step costs under ever smaller budgets. Every point is a plan that was made and verified.
 */
#ifndef FATHOM_FRONTIER_H
#define FATHOM_FRONTIER_H

#include "errors.h"
#include "plan_request.h"

#define FRONTIER_BUDGETS 12
#define FRONTIER_MOST    (FRONTIER_BUDGETS + 1) /* plans that are made */

struct frontier_point {
    uint64_t arena_bytes, peak_bytes; /* of the fullest device; peak_bytes: with what lies outside the arena */
    double memory_share;              /* of the fullest device's own memory */
    enum recompute_policy recompute;
    uint32_t recomputed_convolutions; /* of the device with the most */
    uint32_t lean_convolutions;       /* that do with less workspace than they could use, likewise */
    uint32_t micro_batches;
    uint64_t offloaded_bytes; /* pinned host memory of the device with the most */
    double extra_flops_fraction;
    double step_seconds; /* predicted; 0 = unknown */
};

/* Ascending memory, strictly descending cost. */
struct frontier {
    struct frontier_point points[FRONTIER_MOST + 1];
    size_t count;
    struct frontier_point own; /* of the plan that was given */
    size_t own_index;          /* where it is among the points; count when one of them beats it */
    uint64_t memory_bytes; /* that a plan may fill, of the first device */
    bool by_share;         /* unequal devices: memory is the fullest one's share of its own, else peak_bytes */
    bool timed;            /* whether the cost is step_seconds, else extra_flops_fraction */
};

/* So many of at most so many plans are made; false ends the search with ERROR_FAILED. */
typedef bool (*frontier_progress_fn)(void *context, uint32_t done, uint32_t most);

/* Devices of equal memory: plans the least arena, the one that keeps everything, the one that redoes BN-ReLU, and
 * budgets in equal ratios in between. Unequal devices: plans for ever smaller parts, equal for all, of each one's
 * memory, down from what the fastest split takes that keeps everything to where none fits; shares of the batch are
 * chosen anew each time. A plan that another beats in both memory and cost is left out. 0 micro-batches mean one.
 * plan: the request's own, a point as well; NULL = none. progress may be NULL. Errors as plan_make. */
bool frontier_find(const struct plan_request *request, const struct plan *plan, frontier_progress_fn progress,
                   void *context, struct frontier *frontier, struct error *err);


/* What its memory is measured by: bytes, or a share. */
static inline double frontier_size(const struct frontier *frontier, const struct frontier_point *point)
{
    return frontier->by_share ? point->memory_share : (double)point->peak_bytes;
}

static inline double frontier_cost(const struct frontier *frontier, const struct frontier_point *point)
{
    return frontier->timed ? point->step_seconds : 1 + point->extra_flops_fraction;
}

#endif
