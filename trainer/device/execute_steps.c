/* Steps and evaluations: submitted, collected. */
#include "clock.h"
#include "execute_private.h"

/* ---- Submitting ---- */

static bool launch_bodies(struct executor *ex, const struct slot *slot, const struct step_input *input, bool timed,
                          struct error *err)
{
    struct step step = slot->step;
    for (uint32_t i = 0; i < ex->micro_batches; i++) {
        struct step_input part = input_part(ex->train.graph, input, i);
        step.micro_batch = i;
        TRY(executor_feed(ex, &ex->train, &step, &part, TRACE_RUN_PASS, err));
        TRY(part_launch(ex, &ex->body, timed, step.number, err));
        TRY(executor_free_input(ex, err));
    }
    return true;
}

static bool copy_metrics(struct executor *ex, const struct bound_program *bound, struct slot *slot, struct error *err)
{
    struct stream *stream = ex->streams[STREAM_COMPUTE];
    TRY(ex->backend->copy_out(ex->device, stream, slot->metrics, bound->metrics, 4 * sizeof(float), err));
    return !executor_has_loss_scale(ex) || ex->backend->copy_out(ex->device, stream, slot->loss_scale,
                                                                 bound->loss_scale, sizeof *slot->loss_scale, err);
}

/* What a step leaves in its slot. */
static bool finish_slot(struct executor *ex, const struct bound_program *bound, struct slot *slot, const char *pass,
                        struct error *err)
{
    executor_own_begin(ex, pass);
    bool ok = copy_metrics(ex, bound, slot, err);
    executor_own_end(ex);
    return ok && ex->backend->event_record(slot->done, ex->streams[STREAM_COMPUTE], err);
}

static bool submit(struct executor *ex, struct slot *slot, const struct step_input *given, bool timed,
                   struct error *err)
{
    struct step_input input = executor_stage(ex, slot, ex->micro_batches, given);
    TRY(executor_copy_statistics(ex, slot, false, err));
    TRY(executor_begin_flow(ex, slot->step.number, err));
    TRY(launch_bodies(ex, slot, &input, timed, err));
    TRY(part_launch(ex, &ex->tail, timed, slot->step.number, err));
    executor_end_flow(ex);
    if (ex->tail_touches_input) TRY(executor_free_input(ex, err));
    return finish_slot(ex, &ex->train, slot, TRACE_RUN_PASS, err);
}

static bool differentiate(struct executor *ex, struct slot *slot, const struct step_input *given, struct error *err)
{
    struct step_input input = executor_stage(ex, slot, ex->micro_batches, given);
    TRY(launch_bodies(ex, slot, &input, false, err));
    TRY(ex->backend->event_record(slot->done, ex->streams[STREAM_COMPUTE], err));
    return executor_wait(ex, slot->done, slot->step.number, err);
}

bool executor_differentiate(struct executor *ex, const struct step *step, const struct step_input *input,
                            struct error *err)
{
    struct slot *slot = executor_slot(ex, ex->submitted);
    TRY(executor_usable(ex, err));
    if (ex->submitted != ex->collected) return error_set(err, ERROR_FAILED, "a step is in flight");
    slot->step = *step;
    return executor_settle(ex, differentiate(ex, slot, input, &ex->first), err);
}

static bool see(struct executor *ex, struct slot *slot, const struct step_input *given, uint64_t seen,
                struct error *err)
{
    struct step_input input = executor_stage(ex, slot, ex->micro_batches, given);
    struct step step = slot->step;
    for (uint32_t i = 0; i < ex->micro_batches; i++) {
        struct step_input part = input_part(ex->train.graph, &input, i);
        step.micro_batch = i;
        step.bn_momentum = (float)(1 / (double)(seen + i + 1));
        TRY(executor_feed(ex, &ex->train, &step, &part, op_pass_name(PASS_EVALUATE), err));
        TRY(part_launch(ex, &ex->forward, false, step.number, err));
        TRY(executor_free_input(ex, err));
    }
    TRY(ex->backend->event_record(slot->done, ex->streams[STREAM_COMPUTE], err));
    return executor_wait(ex, slot->done, step.number, err);
}

bool executor_see(struct executor *ex, const struct step *step, const struct step_input *input, uint64_t batches,
                  struct error *err)
{
    struct slot *slot = executor_slot(ex, ex->submitted);
    TRY(executor_usable(ex, err));
    if (ex->submitted != ex->collected) return error_set(err, ERROR_FAILED, "a step is in flight");
    slot->step = *step;
    return executor_settle(ex, see(ex, slot, input, batches * ex->micro_batches, &ex->first), err);
}

/* A step begins for the sink when the one before has ended. */
static void report_begin(const struct executor *ex)
{
    const struct trace_sink *sink = ex->options.sink;
    if (sink && sink->step_begin)
        sink->step_begin(sink->context, ex->options.member, executor_slot(ex, ex->collected)->step.number,
                         clock_now_ns());
}

static bool times_ops(const struct executor *ex, uint64_t step)
{
    const struct trace_sink *sink = ex->options.sink;
    if (!sink || !sink->op_time || !ex->options.time_ops) return false;
    return !sink->wants_ops || sink->wants_ops(sink->context, step);
}

bool executor_may_overlap(const struct executor *ex, uint64_t step)
{
    const struct trace_sink *sink = ex->options.sink;
    if (step == 0) return true;
    if (times_ops(ex, step - 1) || times_ops(ex, step)) return false;
    if (executor_takes_flow(ex, step - 1) || executor_takes_flow(ex, step)) return false;
    return !sink || !sink->records_step ||
           sink->records_step(sink->context, step - 1) == sink->records_step(sink->context, step);
}

bool executor_submit(struct executor *ex, const struct step *step, const struct step_input *input, struct error *err)
{
    struct slot *slot = executor_slot(ex, ex->submitted);
    TRY(executor_usable(ex, err));
    if (ex->submitted - ex->collected >= ex->options.in_flight)
        return error_set(err, ERROR_FAILED, "%u steps are in flight already", ex->options.in_flight);
    slot->step = *step;
    if (ex->submitted == ex->collected) report_begin(ex);
    TRY(executor_settle(ex, submit(ex, slot, input, times_ops(ex, step->number), &ex->first), err));
    ex->submitted++;
    return true;
}

/* ---- Collecting ---- */

static struct metrics read_metrics(const struct slot *slot)
{
    const float *values = slot->metrics;
    return (struct metrics){values[0], values[1], values[2], values[3], {0}};
}

/* Libraries and recordings take theirs in the first steps; then it changes rarely. */
#define FIRST_LOOKS      3
#define BETWEEN_LOOKS_NS UINT64_C(1000000000)

static bool look_at_memory(struct executor *ex, struct error *err)
{
    const struct trace_sink *sink = ex->options.sink;
    struct device_memory now;
    uint64_t ns = clock_now_ns();
    if (!ex->backend->memory_used || (ex->collected >= FIRST_LOOKS && ns - ex->memory_ns < BETWEEN_LOOKS_NS))
        return true;
    TRY(ex->backend->memory_used(ex->device, &now, err));
    ex->memory_ns = ns;
    if (now.outside_bytes >= ex->memory.outside_bytes) ex->memory = now;
    if (sink && sink->memory && now.outside != DEVICE_OUTSIDE_UNKNOWN)
        sink->memory(sink->context, ex->options.member,
                     now.outside == DEVICE_OUTSIDE_KNOWN ? SAMPLE_DEVICE : SAMPLE_BUT_CONTEXT,
                     now.arena_bytes + now.outside_bytes, ns);
    return true;
}

void executor_remark(const struct executor *ex, char out[DEVICE_REMARK])
{
    out[0] = '\0';
    if (ex->backend->device_remark) ex->backend->device_remark(ex->device, out);
}

bool executor_memory(const struct executor *ex, struct device_memory *most)
{
    *most = ex->memory;
    return ex->memory_ns > 0;
}

bool executor_collect(struct executor *ex, struct metrics *metrics, struct error *err)
{
    const struct trace_sink *sink = ex->options.sink;
    const struct slot *slot = executor_slot(ex, ex->collected);
    TRY(executor_usable(ex, err));
    if (ex->submitted == ex->collected) return error_set(err, ERROR_FAILED, "no step is in flight");
    bool came = executor_wait(ex, slot->done, slot->step.number, &ex->first);
    TRY(executor_settle(ex, came && look_at_memory(ex, &ex->first), err));
    if (metrics) *metrics = read_metrics(slot);
    if (metrics && executor_has_loss_scale(ex)) metrics->loss_scale = *slot->loss_scale;
    executor_tell_flow(ex, slot->step.number);
    if (sink && sink->step_end) sink->step_end(sink->context, ex->options.member, slot->step.number, clock_now_ns());
    if (++ex->collected < ex->submitted) report_begin(ex);
    return true;
}

/* ---- Evaluation ---- */

static bool evaluate(struct executor *ex, struct part *part, struct slot *slot, const struct step_input *given,
                     struct error *err)
{
    struct step_input input = executor_stage(ex, slot, 1, given);
    const char *evaluate_pass = op_pass_name(PASS_EVALUATE);
    TRY(executor_feed(ex, &ex->evaluate, &slot->step, &input, evaluate_pass, err));
    TRY(part_launch(ex, part, false, slot->step.number, err));
    TRY(executor_free_input(ex, err));
    TRY(finish_slot(ex, &ex->evaluate, slot, evaluate_pass, err));
    return executor_wait(ex, slot->done, slot->step.number, err);
}

static bool evaluate_part(struct executor *ex, struct part *part, const struct step *step,
                          const struct step_input *input, struct metrics *metrics, struct error *err)
{
    struct slot *slot = executor_slot(ex, ex->submitted);
    TRY(executor_usable(ex, err));
    if (ex->submitted != ex->collected) return error_set(err, ERROR_FAILED, "a step is in flight");
    slot->step = *step;
    slot->step.micro_batch = 0;
    TRY(executor_settle(ex, evaluate(ex, part, slot, input, &ex->first), err));
    *metrics = read_metrics(slot);
    return true;
}

bool executor_evaluate(struct executor *ex, const struct step *step, const struct step_input *input,
                       struct metrics *metrics, struct error *err)
{
    return evaluate_part(ex, &ex->evaluation, step, input, metrics, err);
}

/* Of a tensor that no op has written over. */
static bool copy_values(struct executor *ex, const struct plan_tensor *tensor, float *out, struct error *err)
{
    executor_own_begin(ex, op_pass_name(PASS_EVALUATE));
    bool ok =
        ex->backend->copy_out(ex->device, ex->streams[STREAM_COMPUTE], out, tensor->offset, tensor->bytes, &ex->first);
    executor_own_end(ex);
    return executor_settle(ex, ok, err);
}

bool executor_features(struct executor *ex, const struct step *step, const struct step_input *input, float *out,
                       struct error *err)
{
    struct metrics unused;
    const struct plan_program *program = &ex->variant->evaluate;
    const struct plan_tensor *read = &program->tensors[program->ops[ex->features.to].in[0]];
    if (ex->variant->graph->options.dtype != DTYPE_F32)
        return error_set(err, ERROR_INPUT, "the plan keeps activations in %s; features are read in f32",
                         dtype_name(ex->variant->graph->options.dtype));
    return evaluate_part(ex, &ex->features, step, input, &unused, err) && copy_values(ex, read, out, err);
}

/* Nothing runs after them in a program of evaluation, so that their bytes are still theirs. */
bool executor_probabilities(struct executor *ex, float *out, struct error *err)
{
    const struct plan_program *program = &ex->variant->evaluate;
    const struct graph *graph = ex->variant->graph;
    TRY(executor_usable(ex, err));
    for (size_t i = program->op_count; i-- > 0;) {
        const struct plan_op *op = &program->ops[i];
        if (graph->ops[op->op].kind != OP_SOFTMAX_LOSS) continue;
        return copy_values(ex, &program->tensors[op->out[0]], out, err);
    }
    return error_set(err, ERROR_FAILED, "the plan's evaluation makes no probabilities");
}
