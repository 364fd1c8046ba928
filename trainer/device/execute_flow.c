/* Norms of units in the steps that the options name: taken while these run, op by op, and told when they have ended. */
#include <math.h>

#include "clock.h"
#include "execute_private.h"
#include "flow_takes.h"
#include "mem.h"

struct flow {
    struct flow_takes takes;
    void *memory;             /* of the next two: pinned where the backend has such */
    double *squares;          /* of each norm */
    struct loss_scale *scale; /* by which gradients are multiplied */
    float *norms;
    bool on, pending; /* the step that is being submitted is one; one is in flight */
};

static size_t norm_count(const struct flow *flow) { return (size_t)flow->takes.unit_count * TRACE_NORMS; }

static uint64_t memory_bytes(const struct flow *flow)
{
    return norm_count(flow) * sizeof *flow->squares + sizeof *flow->scale;
}

/* ---- Making ---- */

static bool take_memory(struct executor *ex, struct error *err)
{
    struct flow *flow = ex->flow;
    const uint64_t bytes = memory_bytes(flow);
    flow->norms = mem_alloc(MEM_KERNEL, norm_count(flow), sizeof *flow->norms);
    if (!flow->norms) return error_memory(err, norm_count(flow) * sizeof *flow->norms, "the norms of units");
    if (ex->backend->pinned_create) TRY(ex->backend->pinned_create(ex->device, bytes, &flow->memory, err));
    if (!flow->memory) flow->memory = mem_alloc(MEM_KERNEL, bytes, 1);
    if (!flow->memory) return error_memory(err, bytes, "the norms of units");
    flow->squares = flow->memory;
    flow->scale = (struct loss_scale *)(void *)(flow->squares + norm_count(flow));
    return true;
}

bool executor_create_flow(struct executor *ex, struct error *err)
{
    const struct trace_sink *sink = ex->options.sink;
    if (ex->options.flow_every == 0 || !sink || !sink->norms) return true;
    if (!ex->backend->add_squares)
        return error_set(err, ERROR_INPUT, "--flow-every: the %s backend takes no norms", ex->backend->name);
    ex->flow = mem_zalloc(MEM_KERNEL, 1, sizeof *ex->flow);
    if (!ex->flow) return error_memory(err, sizeof *ex->flow, "the norms of units");
    TRY(flow_takes_find(&ex->train, ex->micro_batches, &ex->flow->takes, err) && take_memory(ex, err));
    if (sink->unit_table)
        sink->unit_table(sink->context, ex->options.member, ex->flow->takes.units, ex->flow->takes.unit_count);
    return true;
}

void executor_destroy_flow(struct executor *ex)
{
    if (!ex->flow) return;
    if (ex->backend->pinned_destroy && ex->flow->memory)
        ex->backend->pinned_destroy(ex->device, ex->flow->memory);
    else
        mem_free(ex->flow->memory);
    mem_free(ex->flow->norms);
    flow_takes_finish(&ex->flow->takes);
    mem_free(ex->flow);
}

/* ---- A step ---- */

bool executor_takes_flow(const struct executor *ex, uint64_t step)
{
    return ex->flow && (step == 0 || (step + 1) % ex->options.flow_every == 0);
}

bool executor_flow_is_on(const struct executor *ex) { return ex->flow && ex->flow->on; }

bool executor_begin_flow(struct executor *ex, uint64_t step, struct error *err)
{
    struct flow *flow = ex->flow;
    if (!executor_takes_flow(ex, step)) return true;
    if (flow->pending) return error_set(err, ERROR_FAILED, "the norms of another step are still being taken");
    flow->on = flow->pending = true;
    for (size_t i = 0; i < norm_count(flow); i++) flow->squares[i] = 0;
    flow->scale->scale = 1;
    if (!executor_has_loss_scale(ex)) return true;
    executor_own_begin(ex, TRACE_RUN_PASS);
    bool ok = ex->backend->copy_out(ex->device, ex->streams[STREAM_COMPUTE], flow->scale, ex->train.loss_scale,
                                    sizeof *flow->scale, err);
    executor_own_end(ex);
    return ok;
}

void executor_end_flow(struct executor *ex)
{
    if (ex->flow) ex->flow->on = false;
}

static bool take(struct executor *ex, const struct flow_take *t, struct error *err)
{
    executor_own_begin(ex, TRACE_RUN_PASS);
    bool ok = ex->backend->add_squares(ex->device, ex->streams[STREAM_COMPUTE], t->offset, t->dtype, t->elements,
                                       &ex->flow->squares[t->norm], err);
    executor_own_end(ex);
    return ok;
}

bool executor_take_flow(struct executor *ex, size_t op, bool before, struct error *err)
{
    const struct flow_takes *takes = &ex->flow->takes;
    for (uint32_t i = takes->first[op]; i < takes->first[op + 1]; i++)
        if (takes->items[i].before == before) TRY(take(ex, &takes->items[i], err));
    return true;
}

/* ---- Its end ---- */

static float norm_of(const struct flow *flow, size_t i)
{
    double norm = sqrt(flow->squares[i]);
    if (!flow->takes.known[i]) return NAN;
    if (i % TRACE_NORMS != NORM_OUTPUT) norm /= (double)flow->scale->scale;
    return isfinite(norm) ? (float)norm : INFINITY;
}

void executor_tell_flow(struct executor *ex, uint64_t step)
{
    const struct trace_sink *sink = ex->options.sink;
    struct flow *flow = ex->flow;
    if (!executor_takes_flow(ex, step) || !flow->pending) return;
    flow->pending = false;
    for (size_t i = 0; i < norm_count(flow); i++) flow->norms[i] = norm_of(flow, i);
    sink->norms(sink->context, ex->options.member, step, flow->norms, flow->takes.unit_count, clock_now_ns());
}
