/* Memory against time: what a step costs on one device under ever smaller budgets. Every point is a plan that was made
 * and verified. */
#ifndef FATHOM_FRONTIER_H
#define FATHOM_FRONTIER_H

#include "errors.h"
#include "plan.h"

#define FRONTIER_BUDGETS 12
#define FRONTIER_MOST    (FRONTIER_BUDGETS + 1)

struct frontier_point {
    uint64_t arena_bytes, peak_bytes; /* peak_bytes: with what lies outside the arena */
    enum recompute_policy recompute;
    uint32_t recomputed_convolutions;
    double extra_flops_fraction;
    double step_seconds; /* predicted; 0 = unknown */
};

/* Ascending memory, strictly descending cost. */
struct frontier {
    struct frontier_point points[FRONTIER_MOST];
    size_t count;
    uint64_t memory_bytes; /* of the device: points beyond it are what a larger one would give */
    bool timed;            /* whether the cost is step_seconds, else extra_flops_fraction */
};

/* Plans the least arena, the one that keeps everything, the one that redoes BN-ReLU, and budgets in equal ratios in
 * between; a plan that another beats in both memory and cost is left out. 0 micro-batches mean one. ERROR_INPUT for
 * several devices; otherwise as plan_make. */
bool frontier_find(const struct plan_request *request, struct frontier *frontier, struct error *err);

/* Draws it as SVG under the title, written atomically. ERROR_MEMORY, or the file's error. */
bool frontier_draw(const struct frontier *frontier, const char *title, const char *path, struct error *err);

static inline double frontier_cost(const struct frontier *frontier, const struct frontier_point *point)
{
    return frontier->timed ? point->step_seconds : 1 + point->extra_flops_fraction;
}

#endif
