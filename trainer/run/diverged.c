/* A loss that is no number: which layer made the first one that is not, or has weights that are none. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "train_private.h"

static bool find_op(void *context, uint32_t rank, struct error *err)
{
    struct training *run = context;
    uint32_t device = run->first_device + rank, op;
    size_t first = run_images_before(run, device) - run_images_before(run, run->first_device);
    struct step_input share = run_share(run, &run->batch, first);
    TRY(executor_find_not_finite(run->executors[rank], run->done, &share, &op, err));
    run->told[device].not_finite = op == NO_OP ? 0 : op + 1;
    return true;
}

/* A backend without pinned memory reads the batch again: that of this step, unless others were begun after it. */
static bool has_images(const struct training *run) { return run->backend->pinned_create || run->in_flight <= 1; }

static bool has_infinite(const float *values, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (!isfinite(values[i])) return true;
    return false;
}

/* Devices have the same weights: one of this process is looked at, once its steps have ended. */
static bool find_weights(void *context, uint32_t rank, struct error *err)
{
    struct training *run = context;
    struct executor *executor = run->executors[0];
    for (size_t i = 0; rank == 0 && i < executor_state_count(executor) && run->infinite == NO_TENSOR; i++) {
        const struct state_entry *entry = executor_state_entry(executor, i);
        if (entry->kind != STATE_PARAMETER) continue;
        TRY(executor_state_out(executor, i, run->staging, err));
        if (has_infinite(run->staging, executor_state_elements(executor, i))) run->infinite = entry->tensor;
    }
    return true;
}

/* An update may overflow, which the next step is the first to meet with. */
static bool name_update(struct training *run, const struct graph *graph, struct error *err)
{
    run->infinite = NO_TENSOR;
    if (!team_run(run->team, find_weights, run, NULL) || run->infinite == NO_TENSOR) return false;
    char name[TENSOR_NAME];
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used,
             "; the update of step %" PRIu64 " made %s numbers that are not finite", run->done,
             graph_tensor_name(graph, run->infinite, name));
    return true;
}

void run_name_layer(struct training *run, struct error *err)
{
    const struct plan_device *device = &run->plan->devices[run->good_device];
    const struct graph *graph = run->plan->variants[device->variant].graph;
    if (!err || !has_images(run) || !team_run(run->team, find_op, run, NULL) || !run_hear(run, NULL)) return;
    uint32_t found = run->told[run->good_device].not_finite;
    if (found == 0 || found > graph->op_count || name_update(run, graph, err)) return;
    const struct op *op = &graph->ops[found - 1];
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, "; the first number that is not finite was made by %s of %s",
             op_kind_name(op->kind), graph->layers[op->layer].path);
}
