/* A loss that is no number: which layer made the first one that is not. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "train_private.h"

static bool find_op(void *context, uint32_t rank, struct error *err)
{
    struct run *run = context;
    uint32_t device = run->first_device + rank, op;
    size_t first = run_images_before(run, device) - run_images_before(run, run->first_device);
    struct input share = run_share(run, &run->batch, first);
    TRY(executor_find_not_finite(run->executors[rank], run->done, &share, &op, err));
    run->told[device].not_finite = op == NO_OP ? 0 : op + 1;
    return true;
}

/* A backend without pinned memory reads the batch again: that of this step, unless others were begun after it. */
static bool has_images(const struct run *run) { return run->backend->pinned_create || run->in_flight <= 1; }

void run_name_layer(struct run *run, struct error *err)
{
    const struct plan_device *device = &run->plan->devices[run->good_device];
    const struct graph *graph = run->plan->variants[device->variant].graph;
    if (!err || !has_images(run) || !team_run(run->team, find_op, run, NULL) || !run_hear(run, NULL)) return;
    uint32_t found = run->told[run->good_device].not_finite;
    if (found == 0 || found > graph->op_count) return;
    const struct op *op = &graph->ops[found - 1];
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, "; the first number that is not finite was made by %s of %s",
             op_kind_name(op->kind), graph->layers[op->layer].path);
}
