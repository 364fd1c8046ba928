/* Launching parts of a program: op by op, or as a recording. */
#include "clock.h"
#include "execute_private.h"

void part_init(struct part *part, const struct bound_program *bound, size_t from, size_t to)
{
    *part = (struct part){.bound = bound, .from = from, .to = to};
    for (size_t i = from; i < to; i++) part->uses[bound->ops[i].stream] = true;
}

void part_finish(struct part *part, const struct backend *backend)
{
    if (part->recording) backend->recording_destroy(part->recording);
    *part = (struct part){0};
}

/* ---- One op ---- */

static bool fill_dead(struct executor *ex, const struct bound_program *bound, size_t op, struct error *err)
{
    if (!bound->dead.first) return true;
    struct stream *stream = ex->streams[bound->ops[op].stream];
    for (uint32_t i = bound->dead.first[op]; i < bound->dead.first[op + 1]; i++) {
        const struct byte_range *range = &bound->dead.ranges[i];
        bool (*fill)(struct device *, struct stream *, uint64_t, uint64_t, uint8_t, struct error *) =
            range->host ? ex->backend->host_fill : ex->backend->fill;
        executor_own_begin(ex, TRACE_RUN_PASS);
        bool ok = fill(ex->device, stream, range->offset, range->bytes, DEAD_BYTE, err);
        executor_own_end(ex);
        if (!ok) return false;
    }
    return true;
}

/* The sink knows of the launch, so that what the backend starts can be told to be this op's. */
static bool launch_prepared(struct executor *ex, const struct bound_program *bound, size_t i, struct error *err)
{
    const struct bound_op *op = &bound->ops[i];
    executor_launch_begin(ex, (uint32_t)i, op_pass_name(bound->plan->ops[i].pass));
    bool ok = ex->backend->op_launch(op->prepared, ex->streams[op->stream], err);
    executor_launch_end(ex);
    return ok;
}

/* Ops before the part need no waiting for: the part began when all streams had met. */
static bool wait_for_others(struct executor *ex, const struct part *part, size_t i, struct error *err)
{
    const struct bound_op *op = &part->bound->ops[i];
    for (size_t s = 0; s < PLAN_STREAMS; s++) {
        uint32_t other = op->waits.op[s];
        if (other == NO_OP || other < part->from) continue;
        TRY(ex->backend->event_wait(part->bound->ops[other].done, ex->streams[op->stream], err));
    }
    return true;
}

static bool launch_op(struct executor *ex, const struct part *part, size_t i, bool timed, struct error *err)
{
    const struct backend *backend = ex->backend;
    const struct bound_op *op = &part->bound->ops[i];
    struct stream *stream = ex->streams[op->stream];
    TRY(wait_for_others(ex, part, i, err));
    bool events = timed && op->begin, host = timed && !op->begin, flow = executor_flow_is_on(ex);
    if (flow) TRY(executor_take_flow(ex, i, true, err));
    if (events) TRY(backend->event_record(op->begin, stream, err));
    uint64_t begin = host ? clock_now_ns() : 0;
    TRY(launch_prepared(ex, part->bound, i, err));
    const struct trace_sink *sink = ex->options.sink;
    if (host) sink->op_time(sink->context, ex->options.member, (uint32_t)i, begin, clock_now_ns());
    if (events) TRY(backend->event_record(op->end, stream, err));
    if (flow) TRY(executor_take_flow(ex, i, false, err));
    TRY(fill_dead(ex, part->bound, i, err));
    return !op->done || backend->event_record(op->done, stream, err);
}

/* ---- A part, op by op ---- */

/* The part's other streams start where the computing one is. */
static bool fork_streams(struct executor *ex, const struct part *part, struct error *err)
{
    const struct backend *backend = ex->backend;
    TRY(backend->event_record(ex->crossing[STREAM_COMPUTE], ex->streams[STREAM_COMPUTE], err));
    for (int i = STREAM_COMPUTE + 1; i < PLAN_STREAMS; i++)
        if (part->uses[i]) TRY(backend->event_wait(ex->crossing[STREAM_COMPUTE], ex->streams[i], err));
    return true;
}

/* The computing stream goes on when the others have come to their ends. */
static bool join_streams(struct executor *ex, const struct part *part, struct error *err)
{
    const struct backend *backend = ex->backend;
    for (int i = STREAM_COMPUTE + 1; i < PLAN_STREAMS; i++) {
        if (!part->uses[i]) continue;
        TRY(backend->event_record(ex->crossing[i], ex->streams[i], err));
        TRY(backend->event_wait(ex->crossing[i], ex->streams[STREAM_COMPUTE], err));
    }
    return true;
}

static bool report_events(struct executor *ex, const struct part *part, uint64_t origin_ns, uint64_t number,
                          struct error *err)
{
    struct trace_sink *sink = ex->options.sink;
    TRY(ex->backend->event_record(ex->crossing[STREAM_COMPUTE], ex->streams[STREAM_COMPUTE], err));
    TRY(executor_wait(ex, ex->crossing[STREAM_COMPUTE], number, err));
    for (size_t i = part->from; i < part->to; i++) {
        uint64_t begin, end;
        TRY(ex->backend->event_elapsed_ns(ex->origin, part->bound->ops[i].begin, &begin, err));
        TRY(ex->backend->event_elapsed_ns(ex->origin, part->bound->ops[i].end, &end, err));
        sink->op_time(sink->context, ex->options.member, (uint32_t)i, origin_ns + begin, origin_ns + end);
    }
    return true;
}

static bool launch_ops(struct executor *ex, const struct part *part, bool timed, uint64_t number, struct error *err)
{
    uint64_t origin_ns = clock_now_ns();
    bool events = timed && ex->origin;
    if (events) TRY(ex->backend->event_record(ex->origin, ex->streams[STREAM_COMPUTE], err));
    TRY(fork_streams(ex, part, err));
    for (size_t i = part->from; i < part->to; i++) TRY(launch_op(ex, part, i, timed, err));
    TRY(join_streams(ex, part, err));
    return !events || report_events(ex, part, origin_ns, number, err);
}

bool part_launch_watched(struct executor *ex, const struct part *part,
                         bool (*look)(void *context, size_t op, bool *enough, struct error *err), void *context,
                         struct error *err)
{
    bool enough = false;
    TRY(fork_streams(ex, part, err));
    for (size_t i = part->from; i < part->to && !enough; i++)
        TRY(launch_op(ex, part, i, false, err) && look(context, i, &enough, err));
    return join_streams(ex, part, err);
}

/* ---- A part as a recording ---- */

static bool record(struct executor *ex, struct part *part, uint64_t number, struct error *err)
{
    const struct backend *backend = ex->backend;
    TRY(backend->record_begin(ex->device, ex->streams[STREAM_COMPUTE], &part->recording, err));
    TRY(launch_ops(ex, part, false, number, err));
    return backend->record_end(part->recording, err);
}

/* What spoils one may be mended by the launch that comes instead; after so many it is left at launches. */
#define MOST_SPOILT 64

/* *replays: false where the recording was spoilt, and nothing else was. */
static bool have_recording(struct executor *ex, struct part *part, uint64_t number, bool *replays, struct error *err)
{
    const struct backend *backend = ex->backend;
    const struct teller *teller = ex->options.teller;
    struct error why = {0};
    *replays = part->recording || (part->spoilt < MOST_SPOILT && record(ex, part, number, &why));
    if (*replays || part->spoilt == MOST_SPOILT) return true;
    if (!part->recording || !backend->recording_is_spoilt || !backend->recording_is_spoilt(part->recording)) {
        *err = why;
        return false;
    }
    backend->recording_destroy(part->recording);
    part->recording = NULL;
    if (++part->spoilt == MOST_SPOILT && teller)
        teller->tell(teller->context, ex->options.member,
                     "its steps are not recorded, but launched op by op, which is slower", false);
    return true;
}

/* Libraries take memory and load kernels when an op first runs, which no recording may see: that launch is an ordinary
 * one. */
bool part_launch(struct executor *ex, struct part *part, bool timed, uint64_t number, struct error *err)
{
    bool records = ex->backend->record_begin && !ex->options.no_recordings;
    if (part->from == part->to) return true;
    if (!records || timed || executor_flow_is_on(ex) || !part->launched) {
        part->launched = true;
        return launch_ops(ex, part, timed, number, err);
    }
    TRY(have_recording(ex, part, number, &records, err));
    return records ? ex->backend->replay(part->recording, ex->streams[STREAM_COMPUTE], err)
                   : launch_ops(ex, part, false, number, err);
}
