#include <inttypes.h>

#include "execute_private.h"
#include "mem.h"

/* ---- Making ---- */

static bool wants_events(const struct executor *ex)
{
    return ex->options.time_ops && ex->options.sink && ex->backend->event_elapsed_ns;
}

static struct bind_options bind_options_of(const struct executor *ex, bool evaluate)
{
    return (struct bind_options){.backend = ex->backend,
                                 .device = ex->device,
                                 .graph = ex->variant->graph,
                                 .program = evaluate ? &ex->variant->evaluate : &ex->variant->train,
                                 .evaluate = evaluate,
                                 .fill_dead = ex->options.fill_dead,
                                 .timed = !evaluate && wants_events(ex)};
}

/* Both programs' at once: what they have in common is done once. */
static bool foresee(struct executor *ex, struct error *err)
{
    const struct bound_program *const programs[] = {&ex->train, &ex->evaluate};
    size_t count = 0, all = ex->train.plan->op_count + ex->evaluate.plan->op_count;
    if (!ex->backend->foresee) return true;
    const struct op_call **calls = mem_alloc(MEM_KERNEL, all, sizeof *calls);
    if (!calls) return error_memory(err, all * sizeof *calls, "the ops to prepare");
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < programs[i]->plan->op_count; k++) calls[count++] = &programs[i]->calls[k];
    bool ok = ex->backend->foresee(ex->device, calls, count, err);
    mem_free(calls);
    return ok;
}

static bool bind_both(struct executor *ex, struct error *err)
{
    const struct bind_options train = bind_options_of(ex, false), evaluate = bind_options_of(ex, true);
    return bind_calls(&ex->train, &train, err) && bind_calls(&ex->evaluate, &evaluate, err) && foresee(ex, err) &&
           bind_program(&ex->train, &train, err) && bind_program(&ex->evaluate, &evaluate, err);
}

static bool create_streams(struct executor *ex, struct error *err)
{
    const struct backend *backend = ex->backend;
    for (int i = 0; i < EXECUTOR_STREAMS; i++) TRY(backend->stream_create(ex->device, &ex->streams[i], err));
    for (int i = 0; i < PLAN_STREAMS; i++) TRY(backend->event_create(ex->device, &ex->crossing[i], err));
    TRY(backend->event_create(ex->device, &ex->uploaded, err));
    TRY(backend->event_create(ex->device, &ex->input_free, err));
    return !wants_events(ex) || backend->event_create_timed(ex->device, &ex->origin, err);
}

/* Where activations wait. */
static bool create_host(struct executor *ex, struct error *err)
{
    const struct backend *backend = ex->backend;
    uint64_t bytes = ex->variant->host_bytes;
    if (bytes == 0) return true;
    if (!backend->host_create)
        return error_set(err, ERROR_INPUT,
                         "the plan offloads %" PRIu64 " bytes of activations, which the %s backend cannot; plan again "
                         "with --offload none",
                         bytes, backend->name);
    return backend->host_create(ex->device, bytes, err);
}

static bool create_device(struct executor *ex, struct error *err)
{
    const struct executor_options *o = &ex->options;
    const struct device_options options = {.number = o->device,
                                           .ordinal = o->ordinal,
                                           .threads = o->threads,
                                           .deterministic = o->deterministic,
                                           .tf32 = o->tf32,
                                           .tune = o->tune,
                                           .carried = o->carried,
                                           .teller = o->teller,
                                           .stopping = o->stopping,
                                           .fill = DEAD_BYTE,
                                           .apart_bytes = plan_apart_bytes(ex->variant->graph),
                                           .wait_limit_ns = o->wait_limit_ns,
                                           .meet_limit_ns = o->meet_limit_ns};
    TRY(ex->backend->device_create(&options, ex->variant->arena_bytes, &ex->device, err));
    TRY(create_streams(ex, err));
    TRY(create_host(ex, err));
    return !o->group || ex->backend->group_join(o->group, ex->device, err);
}

static size_t find_loss(const struct plan_program *program, const struct graph *graph)
{
    size_t i = 0;
    while (i < program->body_count && graph->ops[program->ops[i].op].kind != OP_SOFTMAX_LOSS) i++;
    return i;
}

/* The last fully connected layer among the ops of an evaluation. */
static size_t find_classifier(const struct executor *ex)
{
    const struct plan_program *program = &ex->variant->evaluate;
    size_t last = 0;
    for (size_t i = 0; i < program->op_count; i++)
        if (ex->variant->graph->ops[program->ops[i].op].kind == OP_FC) last = i;
    return last;
}

static bool create_programs(struct executor *ex, struct error *err)
{
    TRY(bind_both(ex, err));
    size_t body = ex->train.plan->body_count;
    part_init(&ex->body, &ex->train, 0, body);
    part_init(&ex->forward, &ex->train, 0, find_loss(ex->train.plan, ex->train.graph));
    part_init(&ex->tail, &ex->train, body, ex->train.plan->op_count);
    part_init(&ex->evaluation, &ex->evaluate, 0, ex->evaluate.plan->op_count);
    part_init(&ex->features, &ex->evaluate, 0, find_classifier(ex));
    ex->tail_touches_input = executor_tail_touches_input(ex);
    return true;
}

bool executor_create(const struct executor_options *options, struct executor **out, struct error *err)
{
    struct executor *ex = mem_zalloc(MEM_KERNEL, 1, sizeof *ex);
    if (!ex) return error_memory(err, sizeof *ex, "an executor");
    const struct plan_device *device = &options->plan->devices[options->device];
    ex->options = *options;
    if (ex->options.in_flight == 0) ex->options.in_flight = 1;
    ex->backend = options->backend;
    ex->variant = &options->plan->variants[device->variant];
    ex->micro_batches = device->micro_batches;
    if (!create_device(ex, err) || !create_programs(ex, err) || !executor_find_statistics(ex, err) ||
        !executor_create_ring(ex, err) || !executor_create_flow(ex, err)) {
        executor_destroy(ex);
        return false;
    }
    *out = ex;
    return true;
}

/* ---- Ending ---- */

static void destroy_events(struct executor *ex)
{
    struct event *events[] = {ex->origin, ex->uploaded, ex->input_free};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        if (events[i]) ex->backend->event_destroy(events[i]);
    for (int i = 0; i < PLAN_STREAMS; i++)
        if (ex->crossing[i]) ex->backend->event_destroy(ex->crossing[i]);
}

void executor_destroy(struct executor *ex)
{
    if (!ex) return;
    if (!ex->lost) executor_drain(ex, NULL);
    part_finish(&ex->body, ex->backend);
    part_finish(&ex->tail, ex->backend);
    part_finish(&ex->forward, ex->backend);
    part_finish(&ex->evaluation, ex->backend);
    part_finish(&ex->features, ex->backend);
    unbind_program(&ex->evaluate, ex->backend);
    unbind_program(&ex->train, ex->backend);
    destroy_events(ex);
    executor_destroy_flow(ex);
    executor_destroy_ring(ex);
    for (int i = 0; i < EXECUTOR_STREAMS; i++)
        if (ex->streams[i]) ex->backend->stream_destroy(ex->streams[i]);
    if (ex->device) ex->backend->device_destroy(ex->device);
    mem_free(ex->state);
    mem_free(ex);
}
