#include "execute.h"

#include <inttypes.h>

#include "bind.h"
#include "clock.h"
#include "mem.h"
#include "occupancy.h"

#define DEAD_BYTE 0xFF /* four of them are a NaN, as are two in 16-bit formats */

struct executor {
    struct executor_options options;
    const struct backend *backend;
    const struct plan_variant *variant;
    uint32_t micro_batches;
    struct device *device;
    struct stream *streams[PLAN_STREAMS];
    struct event *crossing[PLAN_STREAMS]; /* of each stream, for the points where all meet */
    struct event *origin;                 /* device times count from here */
    struct bound_program train, evaluate;
    struct state_entry *state;
    size_t state_count;
    struct recording *recording;
    bool recorded;
    bool timed, updated; /* of the last step */
};

/* ---- Making ---- */

static bool wants_events(const struct executor *ex)
{
    return ex->options.time_ops && ex->options.sink && ex->backend->event_elapsed_ns;
}

static bool bind_one(struct executor *ex, bool evaluate, struct error *err)
{
    struct bind_options o = {.backend = ex->backend,
                             .device = ex->device,
                             .graph = ex->variant->graph,
                             .program = evaluate ? &ex->variant->evaluate : &ex->variant->train,
                             .evaluate = evaluate,
                             .fill_dead = ex->options.fill_dead,
                             .timed = !evaluate && wants_events(ex)};
    return bind_program(evaluate ? &ex->evaluate : &ex->train, &o, err);
}

static bool create_streams(struct executor *ex, struct error *err)
{
    for (int i = 0; i < PLAN_STREAMS; i++) {
        TRY(ex->backend->stream_create(ex->device, &ex->streams[i], err));
        TRY(ex->backend->event_create(ex->device, &ex->crossing[i], err));
    }
    return !wants_events(ex) || ex->backend->event_create(ex->device, &ex->origin, err);
}

/* The image tensor takes the loader's floats as they are. */
static bool check_input(const struct executor *ex, struct error *err)
{
    const struct tensor *images = &ex->variant->graph->tensors[ex->variant->graph->images];
    if (images->dtype == DTYPE_F32) return true;
    return error_set(err, ERROR_INPUT, "the plan's images are %s; the loader delivers f32", dtype_name(images->dtype));
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

static bool create_parts(struct executor *ex, struct error *err)
{
    const struct backend *backend = ex->backend;
    uint64_t arena = ex->variant->arena_bytes;
    TRY(check_input(ex, err));
    const struct device_options device = {
        .number = ex->options.device, .ordinal = ex->options.device, .threads = ex->options.threads, .fill = DEAD_BYTE};
    TRY(backend->device_create(&device, arena, &ex->device, err));
    TRY(create_streams(ex, err));
    TRY(create_host(ex, err));
    if (ex->options.group) TRY(backend->group_join(ex->options.group, ex->device, err));
    TRY(bind_one(ex, false, err));
    TRY(bind_one(ex, true, err));
    return state_entries_find(ex->variant, &ex->state, &ex->state_count, err);
}

bool executor_create(const struct executor_options *options, struct executor **out, struct error *err)
{
    struct executor *ex = mem_zalloc(MEM_KERNEL, 1, sizeof *ex);
    if (!ex) return error_memory(err, sizeof *ex, "an executor");
    const struct plan_device *device = &options->plan->devices[options->device];
    ex->options = *options;
    ex->backend = options->backend;
    ex->variant = &options->plan->variants[device->variant];
    ex->micro_batches = device->micro_batches;
    if (!create_parts(ex, err)) {
        executor_destroy(ex);
        return false;
    }
    *out = ex;
    return true;
}

void executor_destroy(struct executor *ex)
{
    if (!ex) return;
    if (ex->recording) ex->backend->recording_destroy(ex->recording);
    unbind_program(&ex->evaluate, ex->backend);
    unbind_program(&ex->train, ex->backend);
    if (ex->origin) ex->backend->event_destroy(ex->origin);
    for (int i = 0; i < PLAN_STREAMS; i++) {
        if (ex->crossing[i]) ex->backend->event_destroy(ex->crossing[i]);
        if (ex->streams[i]) ex->backend->stream_destroy(ex->streams[i]);
    }
    if (ex->device) ex->backend->device_destroy(ex->device);
    mem_free(ex->state);
    mem_free(ex);
}

/* ---- Running ---- */

static bool fill_dead(struct executor *ex, const struct bound_program *bound, size_t op, struct error *err)
{
    if (!bound->dead.first) return true;
    struct stream *stream = ex->streams[bound->ops[op].stream];
    for (uint32_t i = bound->dead.first[op]; i < bound->dead.first[op + 1]; i++) {
        const struct byte_range *range = &bound->dead.ranges[i];
        bool (*fill)(struct device *, struct stream *, uint64_t, uint64_t, uint8_t, struct error *) =
            range->host ? ex->backend->host_fill : ex->backend->fill;
        TRY(fill(ex->device, stream, range->offset, range->bytes, DEAD_BYTE, err));
    }
    return true;
}

/* The sink knows of the launch, so that what the backend starts can be told to be this op's. */
static bool launch_prepared(struct executor *ex, const struct bound_program *bound, size_t i, struct error *err)
{
    const struct bound_op *op = &bound->ops[i];
    const struct trace_sink *sink = ex->options.sink;
    if (sink && sink->launch_begin)
        sink->launch_begin(sink->context, ex->options.device, (uint32_t)i, op_pass_name(bound->plan->ops[i].pass));
    bool ok = ex->backend->op_launch(op->prepared, ex->streams[op->stream], err);
    if (sink && sink->launch_end) sink->launch_end(sink->context, ex->options.device);
    return ok;
}

static bool launch_op(struct executor *ex, const struct bound_program *bound, size_t i, bool timed, struct error *err)
{
    const struct backend *backend = ex->backend;
    const struct bound_op *op = &bound->ops[i];
    struct stream *stream = ex->streams[op->stream];
    for (size_t s = 0; s < PLAN_STREAMS; s++)
        if (op->waits.op[s] != NO_OP) TRY(backend->event_wait(bound->ops[op->waits.op[s]].done, stream, err));
    bool events = timed && op->begin, host = timed && !op->begin;
    if (events) TRY(backend->event_record(op->begin, stream, err));
    uint64_t begin = host ? clock_now_ns() : 0;
    TRY(launch_prepared(ex, bound, i, err));
    const struct trace_sink *sink = ex->options.sink;
    if (host) sink->op(sink->context, ex->options.device, (uint32_t)i, begin, clock_now_ns());
    if (events) TRY(backend->event_record(op->end, stream, err));
    TRY(fill_dead(ex, bound, i, err));
    return !op->done || backend->event_record(op->done, stream, err);
}

static bool synchronize(struct executor *ex, struct error *err)
{
    for (int i = 0; i < PLAN_STREAMS; i++) {
        bool done = false;
        TRY(ex->backend->event_record(ex->crossing[i], ex->streams[i], err));
        TRY(ex->backend->event_synchronize(ex->crossing[i], UINT64_MAX, &done, err));
    }
    return true;
}

static bool report_events(struct executor *ex, size_t from, size_t to, uint64_t origin_ns, struct error *err)
{
    struct trace_sink *sink = ex->options.sink;
    TRY(synchronize(ex, err));
    for (size_t i = from; i < to; i++) {
        uint64_t begin, end;
        TRY(ex->backend->event_elapsed_ns(ex->origin, ex->train.ops[i].begin, &begin, err));
        TRY(ex->backend->event_elapsed_ns(ex->origin, ex->train.ops[i].end, &end, err));
        sink->op(sink->context, ex->options.device, (uint32_t)i, origin_ns + begin, origin_ns + end);
    }
    return true;
}

/* All streams go on only when all have come here: ops before and after may share any bytes. */
static bool cross_streams(struct executor *ex, const struct bound_program *bound, struct error *err)
{
    const struct backend *backend = ex->backend;
    for (int i = 1; i < PLAN_STREAMS; i++) {
        if (!bound->uses[i]) continue;
        TRY(backend->event_record(ex->crossing[i], ex->streams[i], err));
        TRY(backend->event_wait(ex->crossing[i], ex->streams[STREAM_COMPUTE], err));
    }
    TRY(backend->event_record(ex->crossing[STREAM_COMPUTE], ex->streams[STREAM_COMPUTE], err));
    for (int i = 1; i < PLAN_STREAMS; i++)
        if (bound->uses[i]) TRY(backend->event_wait(ex->crossing[STREAM_COMPUTE], ex->streams[i], err));
    return true;
}

static bool launch_range(struct executor *ex, const struct bound_program *bound, size_t from, size_t to, bool timed,
                         struct error *err)
{
    uint64_t origin_ns = clock_now_ns();
    bool events = timed && ex->origin;
    if (events) TRY(ex->backend->event_record(ex->origin, ex->streams[0], err));
    for (size_t i = from; i < to; i++) TRY(launch_op(ex, bound, i, timed, err));
    return !events || report_events(ex, from, to, origin_ns, err);
}

static bool copy_input(struct executor *ex, const struct bound_program *bound, const struct step *step,
                       const float *images, const int32_t *labels, struct error *err)
{
    const struct backend *backend = ex->backend;
    const struct tensor *image_tensor = &bound->graph->tensors[bound->graph->images];
    const struct tensor *label_tensor = &bound->graph->tensors[bound->graph->labels];
    size_t first = (size_t)step->micro_batch * bound->graph->options.batch;
    size_t pixels = (size_t)(tensor_elements(image_tensor) / bound->graph->options.batch);
    TRY(backend->set_step(ex->device, ex->streams[0], step, err));
    TRY(backend->copy_in(ex->device, ex->streams[0], bound->images, images + first * pixels, image_tensor->bytes, err));
    return backend->copy_in(ex->device, ex->streams[0], bound->labels, labels + first, label_tensor->bytes, err);
}

/* The whole step as one launch, recorded the first time. */
static bool replay_step(struct executor *ex, struct error *err)
{
    const struct backend *backend = ex->backend;
    if (!ex->recorded) {
        TRY(backend->record_begin(ex->device, ex->streams[0], &ex->recording, err));
        TRY(launch_range(ex, &ex->train, 0, ex->train.plan->op_count, false, err));
        TRY(cross_streams(ex, &ex->train, err));
        TRY(backend->record_end(ex->recording, err));
        ex->recorded = true;
    }
    return backend->replay(ex->recording, ex->streams[0], err);
}

static bool can_replay(const struct executor *ex, bool timed)
{
    const struct backend *backend = ex->backend;
    return backend->record_begin && ex->micro_batches == 1 && !timed && !ex->options.fill_dead;
}

static bool launch_body(struct executor *ex, struct step *step, const float *images, const int32_t *labels,
                        struct error *err)
{
    const struct bound_program *train = &ex->train;
    size_t body = train->plan->body_count;
    ex->updated = can_replay(ex, ex->timed) || body == train->plan->op_count;
    if (can_replay(ex, ex->timed)) {
        step->micro_batch = 0;
        TRY(copy_input(ex, train, step, images, labels, err));
        return replay_step(ex, err);
    }
    for (step->micro_batch = 0; step->micro_batch < ex->micro_batches; step->micro_batch++) {
        TRY(copy_input(ex, train, step, images, labels, err));
        TRY(launch_range(ex, train, 0, body, ex->timed, err));
        if (ex->micro_batches > 1) TRY(cross_streams(ex, train, err));
    }
    return true;
}

static bool wants_ops(const struct executor *ex, uint64_t step)
{
    const struct trace_sink *sink = ex->options.sink;
    if (!sink || !sink->op || !ex->options.time_ops) return false;
    return !sink->wants_ops || sink->wants_ops(sink->context, step);
}

static bool read_metrics(struct executor *ex, const struct bound_program *bound, struct metrics *metrics,
                         struct error *err)
{
    float values[4];
    TRY(ex->backend->copy_out(ex->device, ex->streams[0], values, bound->metrics, sizeof values, err));
    TRY(synchronize(ex, err));
    *metrics = (struct metrics){values[0], values[1], values[2], values[3]};
    return true;
}

bool executor_begin_step(struct executor *ex, const struct step *step, const float *images, const int32_t *labels,
                         struct metrics *metrics, struct error *err)
{
    struct trace_sink *sink = ex->options.sink;
    struct step now = *step;
    ex->timed = wants_ops(ex, step->number);
    ex->updated = false;
    if (sink && sink->step_begin) sink->step_begin(sink->context, ex->options.device, step->number, clock_now_ns());
    TRY(launch_body(ex, &now, images, labels, err));
    return read_metrics(ex, &ex->train, metrics, err);
}

bool executor_end_step(struct executor *ex, const struct step *step, struct error *err)
{
    struct trace_sink *sink = ex->options.sink;
    const struct bound_program *train = &ex->train;
    if (!ex->updated) {
        ex->updated = true;
        TRY(launch_range(ex, train, train->plan->body_count, train->plan->op_count, ex->timed, err));
        TRY(cross_streams(ex, train, err));
        TRY(synchronize(ex, err));
    }
    if (sink && sink->step_end) sink->step_end(sink->context, ex->options.device, step->number, clock_now_ns());
    return true;
}

bool executor_has_updated(const struct executor *ex) { return ex->updated; }

bool executor_evaluate(struct executor *ex, const struct step *step, const float *images, const int32_t *labels,
                       struct metrics *metrics, struct error *err)
{
    struct step now = *step;
    now.micro_batch = 0;
    TRY(copy_input(ex, &ex->evaluate, &now, images, labels, err));
    TRY(launch_range(ex, &ex->evaluate, 0, ex->evaluate.plan->op_count, false, err));
    TRY(cross_streams(ex, &ex->evaluate, err));
    return read_metrics(ex, &ex->evaluate, metrics, err);
}

/* ---- State ---- */

size_t executor_state_count(const struct executor *ex) { return ex->state_count; }

uint64_t executor_state_elements(const struct executor *ex, size_t i)
{
    return tensor_elements(&ex->variant->graph->tensors[ex->state[i].tensor]);
}

bool executor_state_in(struct executor *ex, size_t i, const float *values, struct error *err)
{
    const struct tensor *tensor = &ex->variant->graph->tensors[ex->state[i].tensor];
    return ex->backend->parameter_in(ex->device, tensor, ex->state[i].offset, values, err);
}

bool executor_state_out(struct executor *ex, size_t i, float *values, struct error *err)
{
    const struct tensor *tensor = &ex->variant->graph->tensors[ex->state[i].tensor];
    return ex->backend->parameter_out(ex->device, tensor, ex->state[i].offset, values, err);
}

/* ---- Describing ---- */

/* What is to stay free is not counted: used bytes are compared with these. The arena was taken whole. */
static void describe_device(const struct plan *plan, uint32_t number, struct trace_sink *sink)
{
    const struct plan_device *device = &plan->devices[number];
    const char *names[MEMORY_CLASSES];
    uint64_t bytes[MEMORY_CLASSES];
    for (int i = 0; i < MEMORY_CLASSES; i++) {
        names[i] = memory_class_name((enum memory_class)i);
        bytes[i] = device->classes[i];
    }
    uint64_t arena = plan->variants[device->variant].arena_bytes;
    struct trace_device report = {.device = number,
                                  .name = device->spec.name,
                                  .memory_bytes = device->spec.memory_bytes,
                                  .planned_bytes = device->peak_bytes,
                                  .arena_bytes = arena,
                                  .images = device->images,
                                  .class_names = names,
                                  .class_bytes = bytes,
                                  .classes = MEMORY_CLASSES};
    if (sink->device) sink->device(sink->context, &report);
    if (sink->memory) sink->memory(sink->context, number, SAMPLE_ARENA, arena, clock_now_ns());
}

bool executor_describe(const struct plan *plan, uint32_t device, struct trace_sink *sink, struct error *err)
{
    if (!sink) return true;
    describe_device(plan, device, sink);
    if (!sink->op_table) return true;
    const struct plan_variant *variant = &plan->variants[plan->devices[device].variant];
    const struct graph *graph = variant->graph;
    const struct plan_program *program = &variant->train;
    struct trace_op *ops = mem_alloc(MEM_TRACE, program->op_count, sizeof *ops);
    uint64_t *live = ops ? occupancy_curve(graph, program, err) : NULL;
    bool ok = live != NULL;
    if (!ops) error_memory(err, program->op_count * sizeof *ops, "the trace's table of ops");
    for (uint32_t i = 0; ok && i < program->op_count; i++) {
        const struct plan_op *op = &program->ops[i];
        const struct op *graph_op = &graph->ops[op->op];
        bool copies = plan_op_copies(op);
        ops[i] = (struct trace_op){.id = i,
                                   .device = device,
                                   .layer = graph->layers[graph_op->layer].path,
                                   .kind = copies ? "copy" : op_kind_name(graph_op->kind),
                                   .pass = op_pass_name(op->pass),
                                   .flops = copies ? 0 : graph_op->flops,
                                   .bytes_moved = copies ? program->tensors[op->in[0]].bytes : graph_op->bytes_moved,
                                   .live_bytes = live[i]};
    }
    if (ok) sink->op_table(sink->context, ops, program->op_count);
    mem_free(ops);
    mem_free(live);
    return ok;
}
