/* What a run keeps, to and from the device: parameters, momenta, running statistics, the loss scale. */
#include <inttypes.h>

#include "execute_private.h"

static bool parameter_in(struct executor *ex, const struct tensor *tensor, uint64_t offset, const float *values)
{
    executor_own_begin(ex, TRACE_RUN_PASS);
    bool ok = ex->backend->parameter_in(ex->device, tensor, offset, values, &ex->first);
    executor_own_end(ex);
    return ok;
}

static bool parameter_out(struct executor *ex, const struct tensor *tensor, uint64_t offset, float *values)
{
    executor_own_begin(ex, TRACE_RUN_PASS);
    bool ok = ex->backend->parameter_out(ex->device, tensor, offset, values, &ex->first);
    executor_own_end(ex);
    return ok;
}

size_t executor_state_count(const struct executor *ex) { return ex->state_count; }

uint64_t executor_state_elements(const struct executor *ex, size_t i)
{
    return tensor_elements(&ex->variant->graph->tensors[ex->state[i].tensor]);
}

const struct state_entry *executor_state_entry(const struct executor *ex, size_t i) { return &ex->state[i]; }

bool executor_state_in(struct executor *ex, size_t i, const float *values, struct error *err)
{
    const struct tensor *tensor = &ex->variant->graph->tensors[ex->state[i].tensor];
    TRY(executor_usable(ex, err));
    return executor_settle(ex, parameter_in(ex, tensor, ex->state[i].offset, values), err);
}

bool executor_state_out(struct executor *ex, size_t i, float *values, struct error *err)
{
    const struct tensor *tensor = &ex->variant->graph->tensors[ex->state[i].tensor];
    TRY(executor_usable(ex, err));
    return executor_settle(ex, parameter_out(ex, tensor, ex->state[i].offset, values), err);
}

bool executor_has_loss_scale(const struct executor *ex) { return ex->variant->graph->loss_scale != NO_TENSOR; }

/* Parameters move when nothing is under way; so does the loss scale, which is a tensor like theirs. */
bool executor_loss_scale_in(struct executor *ex, const struct loss_scale *scale, struct error *err)
{
    const struct graph *graph = ex->variant->graph;
    const float values[] = {scale->scale, scale->streak, scale->found, scale->skipped};
    TRY(executor_usable(ex, err));
    return executor_settle(ex, parameter_in(ex, &graph->tensors[graph->loss_scale], ex->train.loss_scale, values), err);
}

bool executor_loss_scale_out(struct executor *ex, struct loss_scale *scale, struct error *err)
{
    const struct graph *graph = ex->variant->graph;
    float values[4];
    TRY(executor_usable(ex, err));
    bool ok = parameter_out(ex, &graph->tensors[graph->loss_scale], ex->train.loss_scale, values);
    if (ok) *scale = (struct loss_scale){values[0], values[1], values[2], values[3]};
    return executor_settle(ex, ok, err);
}

static bool restore_statistics(struct executor *ex, const struct slot *slot, struct error *err)
{
    TRY(executor_drain(ex, err));
    TRY(executor_copy_statistics(ex, slot, true, err));
    TRY(ex->backend->event_record(slot->done, ex->streams[STREAM_COMPUTE], err));
    return executor_wait(ex, slot->done, slot->step.number, err);
}

bool executor_undo_statistics(struct executor *ex, uint64_t step, struct error *err)
{
    TRY(executor_usable(ex, err));
    for (uint32_t i = 0; i < ex->options.in_flight && ex->statistics; i++)
        if (ex->slots[i].step.number == step)
            return executor_settle(ex, restore_statistics(ex, &ex->slots[i], &ex->first), err);
    return error_set(err, ERROR_FAILED, "the running statistics before step %" PRIu64 " are not kept", step + 1);
}
