#include <inttypes.h>
#include <string.h>

#include "clock.h"
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
                                           .wait_limit_ns = o->wait_limit_ns};
    TRY(ex->backend->device_create(&options, ex->variant->arena_bytes, &ex->device, err));
    TRY(create_streams(ex, err));
    TRY(create_host(ex, err));
    return !o->group || ex->backend->group_join(o->group, ex->device, err);
}

/* Of a micro-batch; placements: 0 where there are none. */
struct input_bytes {
    uint64_t images, placements, labels;
};

static struct input_bytes arena_bytes(const struct graph *graph)
{
    bool made = graph->pixels != NO_TENSOR;
    return (struct input_bytes){.images = graph->tensors[made ? graph->pixels : graph->images].bytes,
                                .placements = made ? graph->tensors[graph->placements].bytes : 0,
                                .labels = graph->tensors[graph->labels].bytes};
}

/* As the caller has it: f32, whatever the images' tensor is, or bytes. */
static struct input_bytes host_bytes(const struct graph *graph)
{
    struct input_bytes bytes = arena_bytes(graph);
    if (graph->pixels == NO_TENSOR) bytes.images = tensor_elements(&graph->tensors[graph->images]) * sizeof(float);
    return bytes;
}

/* Micro-batch number i. */
static struct input part_of(const struct graph *graph, const struct input *input, uint32_t i)
{
    struct input_bytes bytes = host_bytes(graph);
    return (struct input){.images = (const uint8_t *)input->images + i * bytes.images,
                          .placements =
                              input->placements ? input->placements + i * bytes.placements / sizeof(int32_t) : NULL,
                          .labels = input->labels + i * bytes.labels / sizeof(int32_t)};
}

/* The input's bytes are free after the last op that has anything to do with them: as a rule in the body. */
static bool tail_touches_input(const struct executor *ex)
{
    const struct bound_program *train = &ex->train;
    const struct graph *graph = train->graph;
    const struct input_bytes bytes = arena_bytes(graph);
    const struct byte_range input[] = {{.offset = train->images, .bytes = bytes.images},
                                       {.offset = train->placements, .bytes = bytes.placements},
                                       {.offset = train->labels, .bytes = bytes.labels}};
    for (size_t i = train->plan->body_count; i < train->plan->op_count; i++)
        if (op_touches(graph, train->plan, train->dead.first ? &train->dead : NULL, (uint32_t)i, input, 3)) return true;
    return false;
}

static bool create_programs(struct executor *ex, struct error *err)
{
    TRY(bind_both(ex, err));
    size_t body = ex->train.plan->body_count;
    part_init(&ex->body, &ex->train, 0, body);
    part_init(&ex->tail, &ex->train, body, ex->train.plan->op_count);
    part_init(&ex->evaluation, &ex->evaluate, 0, ex->evaluate.plan->op_count);
    ex->tail_touches_input = tail_touches_input(ex);
    return true;
}

/* ---- The ring of steps in flight ---- */

static uint64_t entry_bytes(const struct executor *ex, size_t i)
{
    return ex->variant->graph->tensors[ex->state[i].tensor].bytes;
}

/* Where running statistics lie, neighbours taken together. */
static bool find_statistics(struct executor *ex, struct error *err)
{
    TRY(state_entries_find(ex->variant, &ex->state, &ex->state_count, err));
    if (!ex->options.keep_statistics) return true;
    ex->statistics = mem_alloc(MEM_KERNEL, ex->state_count, sizeof *ex->statistics);
    if (!ex->statistics) return error_memory(err, ex->state_count * sizeof *ex->statistics, "running statistics");
    for (size_t i = 0; i < ex->state_count; i++) {
        if (ex->state[i].kind != STATE_STATISTIC) continue;
        struct byte_range range = {.offset = ex->state[i].offset, .bytes = entry_bytes(ex, i)};
        struct byte_range *last = ex->statistic_ranges ? &ex->statistics[ex->statistic_ranges - 1] : NULL;
        ex->statistic_bytes += range.bytes;
        if (last && last->offset + last->bytes == range.offset)
            last->bytes += range.bytes;
        else
            ex->statistics[ex->statistic_ranges++] = range;
    }
    return true;
}

static uint64_t round_up(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

/* Pinned, the ring holds the inputs too: their copies go on while the caller fills the next. */
static bool create_ring(struct executor *ex, struct error *err)
{
    const struct backend *backend = ex->backend;
    bool stages = backend->pinned_create != NULL;
    struct input_bytes bytes_of = stages ? host_bytes(ex->variant->graph) : (struct input_bytes){0};
    uint64_t images = round_up(ex->micro_batches * bytes_of.images);
    uint64_t placements = round_up(ex->micro_batches * bytes_of.placements);
    uint64_t input = images + placements + round_up(ex->micro_batches * bytes_of.labels);
    uint64_t figures = round_up(4 * sizeof(float) + sizeof(struct loss_scale));
    uint64_t each = input + figures + round_up(ex->statistic_bytes);
    uint64_t bytes = ex->options.in_flight * each;
    ex->slots = mem_zalloc(MEM_KERNEL, ex->options.in_flight, sizeof *ex->slots);
    if (!ex->slots) return error_memory(err, ex->options.in_flight * sizeof *ex->slots, "steps in flight");
    if (stages) TRY(backend->pinned_create(ex->device, bytes, &ex->ring, err));
    if (!stages) ex->ring = mem_alloc(MEM_KERNEL, bytes, 1);
    if (!ex->ring) return error_memory(err, bytes, "steps in flight");
    for (uint32_t i = 0; i < ex->options.in_flight; i++) {
        struct slot *slot = &ex->slots[i];
        uint8_t *at = (uint8_t *)ex->ring + i * each;
        slot->images = stages ? at : NULL;
        slot->placements = stages && placements ? (int32_t *)(void *)(at + images) : NULL;
        slot->labels = stages ? (int32_t *)(void *)(at + images + placements) : NULL;
        slot->metrics = (float *)(void *)(at + input);
        slot->loss_scale = (struct loss_scale *)(void *)(slot->metrics + 4);
        slot->statistics = ex->statistic_bytes ? at + input + figures : NULL;
        TRY(backend->event_create(ex->device, &slot->done, err));
    }
    return true;
}

static void destroy_ring(struct executor *ex)
{
    for (uint32_t i = 0; ex->slots && i < ex->options.in_flight; i++)
        if (ex->slots[i].done) ex->backend->event_destroy(ex->slots[i].done);
    if (ex->ring && ex->backend->pinned_destroy)
        ex->backend->pinned_destroy(ex->device, ex->ring);
    else
        mem_free(ex->ring);
    mem_free(ex->slots);
    mem_free(ex->statistics);
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
    if (!create_device(ex, err) || !create_programs(ex, err) || !find_statistics(ex, err) || !create_ring(ex, err)) {
        executor_destroy(ex);
        return false;
    }
    *out = ex;
    return true;
}

static void destroy_events(struct executor *ex)
{
    struct event *events[] = {ex->origin, ex->uploaded, ex->input_free};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        if (events[i]) ex->backend->event_destroy(events[i]);
    for (int i = 0; i < PLAN_STREAMS; i++)
        if (ex->crossing[i]) ex->backend->event_destroy(ex->crossing[i]);
}

static struct slot *slot_of(const struct executor *ex, uint64_t count)
{
    return &ex->slots[count % ex->options.in_flight];
}

/* Waits for what is in flight, of which nobody will hear. */
static bool drain(struct executor *ex, struct error *err)
{
    for (; ex->collected < ex->submitted; ex->collected++) {
        const struct slot *slot = slot_of(ex, ex->collected);
        TRY(executor_wait(ex, slot->done, slot->step.number, err));
    }
    return true;
}

void executor_destroy(struct executor *ex)
{
    if (!ex) return;
    if (!ex->lost) drain(ex, NULL);
    part_finish(&ex->body, ex->backend);
    part_finish(&ex->tail, ex->backend);
    part_finish(&ex->evaluation, ex->backend);
    unbind_program(&ex->evaluate, ex->backend);
    unbind_program(&ex->train, ex->backend);
    destroy_events(ex);
    destroy_ring(ex);
    for (int i = 0; i < EXECUTOR_STREAMS; i++)
        if (ex->streams[i]) ex->backend->stream_destroy(ex->streams[i]);
    if (ex->device) ex->backend->device_destroy(ex->device);
    mem_free(ex->state);
    mem_free(ex);
}

/* ---- Errors that stick ---- */

static bool is_usable(const struct executor *ex, struct error *err)
{
    if (ex->lost && err) *err = ex->first;
    return !ex->lost;
}

/* The end of each use of the device, whose error went to ex->first. */
static bool settle(struct executor *ex, bool ok, struct error *err)
{
    ex->lost = !ok;
    if (!ok && err) *err = ex->first;
    return ok;
}

/* ---- Steps ---- */

/* Images and labels of one micro-batch, on a stream of their own: it waits for the input's bytes alone. */
static bool upload(struct executor *ex, const struct bound_program *bound, const struct input *input, struct error *err)
{
    const struct backend *backend = ex->backend;
    const struct graph *graph = bound->graph;
    struct stream *stream = ex->streams[STREAM_UPLOAD];
    TRY(backend->event_wait(ex->input_free, stream, err));
    struct input_bytes bytes = arena_bytes(graph);
    if (graph->pixels == NO_TENSOR) {
        TRY(backend->image_in(ex->device, stream, &graph->tensors[graph->images], bound->images, input->images, err));
    } else {
        TRY(backend->copy_in(ex->device, stream, bound->images, input->images, bytes.images, err));
        TRY(backend->copy_in(ex->device, stream, bound->placements, input->placements, bytes.placements, err));
    }
    TRY(backend->copy_in(ex->device, stream, bound->labels, input->labels, bytes.labels, err));
    TRY(backend->event_record(ex->uploaded, stream, err));
    return backend->event_wait(ex->uploaded, ex->streams[STREAM_COMPUTE], err);
}

/* What a micro-batch needs before its ops. */
static bool feed(struct executor *ex, const struct bound_program *bound, const struct step *step,
                 const struct input *input, const char *pass, struct error *err)
{
    executor_own_begin(ex, pass);
    bool ok =
        ex->backend->set_step(ex->device, ex->streams[STREAM_COMPUTE], step, err) && upload(ex, bound, input, err);
    executor_own_end(ex);
    return ok;
}

static bool free_input(struct executor *ex, struct error *err)
{
    return ex->backend->event_record(ex->input_free, ex->streams[STREAM_COMPUTE], err);
}

static bool launch_bodies(struct executor *ex, const struct slot *slot, const struct input *input, bool timed,
                          struct error *err)
{
    struct step step = slot->step;
    for (uint32_t i = 0; i < ex->micro_batches; i++) {
        struct input part = part_of(ex->train.graph, input, i);
        step.micro_batch = i;
        TRY(feed(ex, &ex->train, &step, &part, TRACE_RUN_PASS, err));
        TRY(part_launch(ex, &ex->body, timed, step.number, err));
        TRY(free_input(ex, err));
    }
    return true;
}

/* Between the device's running statistics and a slot. */
static bool copy_statistics(struct executor *ex, const struct slot *slot, bool in, struct error *err)
{
    struct stream *stream = ex->streams[STREAM_COMPUTE];
    uint8_t *at = slot->statistics;
    bool ok = true;
    executor_own_begin(ex, TRACE_RUN_PASS);
    for (size_t i = 0; ok && i < ex->statistic_ranges; i++) {
        const struct byte_range *range = &ex->statistics[i];
        ok = in ? ex->backend->copy_in(ex->device, stream, range->offset, at, range->bytes, err)
                : ex->backend->copy_out(ex->device, stream, at, range->offset, range->bytes, err);
        at += range->bytes;
    }
    executor_own_end(ex);
    return ok;
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

/* So many micro-batches where their copies can go on while the caller fills the next. */
static struct input stage(const struct executor *ex, const struct slot *slot, uint32_t parts, const struct input *input)
{
    struct input_bytes bytes = host_bytes(ex->variant->graph);
    if (!ex->backend->pinned_create) return *input;
    memcpy(slot->images, input->images, parts * bytes.images);
    if (bytes.placements) memcpy(slot->placements, input->placements, parts * bytes.placements);
    memcpy(slot->labels, input->labels, parts * bytes.labels);
    return (struct input){slot->images, slot->placements, slot->labels};
}

static bool submit(struct executor *ex, struct slot *slot, const struct input *given, bool timed, struct error *err)
{
    struct input input = stage(ex, slot, ex->micro_batches, given);
    TRY(copy_statistics(ex, slot, false, err));
    TRY(launch_bodies(ex, slot, &input, timed, err));
    TRY(part_launch(ex, &ex->tail, timed, slot->step.number, err));
    if (ex->tail_touches_input) TRY(free_input(ex, err));
    return finish_slot(ex, &ex->train, slot, TRACE_RUN_PASS, err);
}

/* A step begins for the sink when the one before has ended. */
static void report_begin(const struct executor *ex)
{
    const struct trace_sink *sink = ex->options.sink;
    if (sink && sink->step_begin)
        sink->step_begin(sink->context, ex->options.member, slot_of(ex, ex->collected)->step.number, clock_now_ns());
}

static bool times_ops(const struct executor *ex, uint64_t step)
{
    const struct trace_sink *sink = ex->options.sink;
    if (!sink || !sink->op || !ex->options.time_ops) return false;
    return !sink->wants_ops || sink->wants_ops(sink->context, step);
}

bool executor_may_overlap(const struct executor *ex, uint64_t step)
{
    const struct trace_sink *sink = ex->options.sink;
    if (step == 0) return true;
    if (times_ops(ex, step - 1) || times_ops(ex, step)) return false;
    return !sink || !sink->records_step ||
           sink->records_step(sink->context, step - 1) == sink->records_step(sink->context, step);
}

bool executor_submit(struct executor *ex, const struct step *step, const struct input *input, struct error *err)
{
    struct slot *slot = slot_of(ex, ex->submitted);
    TRY(is_usable(ex, err));
    if (ex->submitted - ex->collected >= ex->options.in_flight)
        return error_set(err, ERROR_FAILED, "%u steps are in flight already", ex->options.in_flight);
    slot->step = *step;
    if (ex->submitted == ex->collected) report_begin(ex);
    TRY(settle(ex, submit(ex, slot, input, times_ops(ex, step->number), &ex->first), err));
    ex->submitted++;
    return true;
}

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
    if (sink && sink->memory && now.outside == DEVICE_OUTSIDE_KNOWN)
        sink->memory(sink->context, ex->options.member, SAMPLE_DEVICE, now.arena_bytes + now.outside_bytes, ns);
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
    const struct slot *slot = slot_of(ex, ex->collected);
    TRY(is_usable(ex, err));
    if (ex->submitted == ex->collected) return error_set(err, ERROR_FAILED, "no step is in flight");
    bool came = executor_wait(ex, slot->done, slot->step.number, &ex->first);
    TRY(settle(ex, came && look_at_memory(ex, &ex->first), err));
    if (metrics) *metrics = read_metrics(slot);
    if (metrics && executor_has_loss_scale(ex)) metrics->loss_scale = *slot->loss_scale;
    if (sink && sink->step_end) sink->step_end(sink->context, ex->options.member, slot->step.number, clock_now_ns());
    if (++ex->collected < ex->submitted) report_begin(ex);
    return true;
}

/* ---- Evaluation ---- */

static bool evaluate(struct executor *ex, struct slot *slot, const struct input *given, struct error *err)
{
    struct input input = stage(ex, slot, 1, given);
    const char *evaluate_pass = op_pass_name(PASS_EVALUATE);
    TRY(feed(ex, &ex->evaluate, &slot->step, &input, evaluate_pass, err));
    TRY(part_launch(ex, &ex->evaluation, false, slot->step.number, err));
    TRY(free_input(ex, err));
    TRY(finish_slot(ex, &ex->evaluate, slot, evaluate_pass, err));
    return executor_wait(ex, slot->done, slot->step.number, err);
}

bool executor_evaluate(struct executor *ex, const struct step *step, const struct input *input, struct metrics *metrics,
                       struct error *err)
{
    struct slot *slot = slot_of(ex, ex->submitted);
    TRY(is_usable(ex, err));
    if (ex->submitted != ex->collected) return error_set(err, ERROR_FAILED, "a step is in flight");
    slot->step = *step;
    slot->step.micro_batch = 0;
    TRY(settle(ex, evaluate(ex, slot, input, &ex->first), err));
    *metrics = read_metrics(slot);
    return true;
}

/* Nothing runs after them in a program of evaluation, so that their bytes are still theirs. */
bool executor_probabilities(struct executor *ex, float *out, struct error *err)
{
    const struct plan_program *program = &ex->variant->evaluate;
    const struct graph *graph = ex->variant->graph;
    TRY(is_usable(ex, err));
    for (size_t i = program->op_count; i-- > 0;) {
        const struct plan_op *op = &program->ops[i];
        if (graph->ops[op->op].kind != OP_SOFTMAX_LOSS) continue;
        const struct plan_tensor *tensor = &program->tensors[op->out[0]];
        executor_own_begin(ex, op_pass_name(PASS_EVALUATE));
        bool ok = ex->backend->copy_out(ex->device, ex->streams[STREAM_COMPUTE], out, tensor->offset, tensor->bytes,
                                        &ex->first);
        executor_own_end(ex);
        return settle(ex, ok, err);
    }
    return error_set(err, ERROR_FAILED, "the plan's evaluation makes no probabilities");
}

/* ---- State ---- */

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

bool executor_state_in(struct executor *ex, size_t i, const float *values, struct error *err)
{
    const struct tensor *tensor = &ex->variant->graph->tensors[ex->state[i].tensor];
    TRY(is_usable(ex, err));
    return settle(ex, parameter_in(ex, tensor, ex->state[i].offset, values), err);
}

bool executor_state_out(struct executor *ex, size_t i, float *values, struct error *err)
{
    const struct tensor *tensor = &ex->variant->graph->tensors[ex->state[i].tensor];
    TRY(is_usable(ex, err));
    return settle(ex, parameter_out(ex, tensor, ex->state[i].offset, values), err);
}

bool executor_has_loss_scale(const struct executor *ex) { return ex->variant->graph->loss_scale != NO_TENSOR; }

/* Parameters move when nothing is under way; so does the loss scale, which is a tensor like theirs. */
bool executor_loss_scale_in(struct executor *ex, const struct loss_scale *scale, struct error *err)
{
    const struct graph *graph = ex->variant->graph;
    const float values[] = {scale->scale, scale->streak, scale->found, scale->skipped};
    TRY(is_usable(ex, err));
    return settle(ex, parameter_in(ex, &graph->tensors[graph->loss_scale], ex->train.loss_scale, values), err);
}

bool executor_loss_scale_out(struct executor *ex, struct loss_scale *scale, struct error *err)
{
    const struct graph *graph = ex->variant->graph;
    float values[4];
    TRY(is_usable(ex, err));
    bool ok = parameter_out(ex, &graph->tensors[graph->loss_scale], ex->train.loss_scale, values);
    if (ok) *scale = (struct loss_scale){values[0], values[1], values[2], values[3]};
    return settle(ex, ok, err);
}

static bool restore_statistics(struct executor *ex, const struct slot *slot, struct error *err)
{
    TRY(drain(ex, err));
    TRY(copy_statistics(ex, slot, true, err));
    TRY(ex->backend->event_record(slot->done, ex->streams[STREAM_COMPUTE], err));
    return executor_wait(ex, slot->done, slot->step.number, err);
}

bool executor_undo_statistics(struct executor *ex, uint64_t step, struct error *err)
{
    TRY(is_usable(ex, err));
    for (uint32_t i = 0; i < ex->options.in_flight && ex->statistics; i++)
        if (ex->slots[i].step.number == step) return settle(ex, restore_statistics(ex, &ex->slots[i], &ex->first), err);
    return error_set(err, ERROR_FAILED, "the running statistics before step %" PRIu64 " are not kept", step + 1);
}
