/* Streams: queues of commands, run by the calls that wait for them. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vendor.h"

struct CUstream_st *all_streams;
struct clock host_clock; /* what the host knows to have been */
uint32_t lane_time[CLOCK_LANES];
static bool lane_taken[CLOCK_LANES];
uint64_t progress;

uint8_t lane_take(void)
{
    for (unsigned i = 0; i < CLOCK_LANES; i++) {
        if (lane_taken[i]) continue;
        lane_taken[i] = true;
        return (uint8_t)i;
    }
    violate("there are more streams than the stand-in tells apart");
    return CLOCK_LANES - 1;
}

/* ---- Queues ---- */

struct CUstream_st *stream_new(struct device *device, bool blocking)
{
    struct CUstream_st *s = NEW(struct CUstream_st);
    *s = (struct CUstream_st){.next = all_streams, .alive = true, .blocking = blocking, .device = device};
    s->lane = s->graph_lanes[0] = lane_take();
    s->graph_lane_count = 1;
    s->clock.at[s->lane] = lane_time[s->lane];
    all_streams = s;
    counts.streams++;
    return s;
}

struct CUstream_st *stream_find(cudaStream_t handle)
{
    if (handle == NULL || handle == cudaStreamLegacy) return device_now()->legacy;
    for (struct CUstream_st *s = all_streams; s; s = s->next)
        if (s == handle && s->alive) return s;
    return NULL;
}

void stream_push(struct CUstream_st *s, const struct command *command)
{
    if (s->first + s->count == s->capacity) {
        if (s->first > 0) memmove(s->commands, s->commands + s->first, s->count * sizeof *s->commands);
        s->first = 0;
        if (s->count == s->capacity) {
            s->capacity = s->capacity ? 2 * s->capacity : 64;
            s->commands = need(realloc(s->commands, s->capacity * sizeof *s->commands));
        }
    }
    s->commands[s->first + s->count] = *command;
    pace_submitted(&s->commands[s->first + s->count++]);
    s->submitted++;
}

static void push_wait(struct CUstream_st *s, struct CUstream_st *other, uint64_t sequence, const struct clock *clock)
{
    clock_learn(&s->clock, clock);
    if (other->done >= sequence) return;
    struct command c = {.kind = COMMAND_WAIT, .stream = other, .sequence = sequence};
    stream_push(s, &c);
}

void stream_order_legacy(struct CUstream_st *s)
{
    struct CUstream_st *legacy = s->device->legacy;
    clock_learn(&s->clock, &host_clock);
    if (s == legacy) {
        for (struct CUstream_st *other = all_streams; other; other = other->next)
            if (other != s && other->device == s->device && other->blocking)
                push_wait(s, other, other->submitted, &other->clock);
    } else if (s->blocking && s->legacy_seen < legacy->submitted) {
        s->legacy_seen = legacy->submitted;
        push_wait(s, legacy, legacy->submitted, &legacy->clock);
    }
}

cudaError_t stream_work(struct CUstream_st *s, struct work *work)
{
    const struct work asked = *work; /* a capture that is spoilt gives it back */
    cupti_call_begins(&asked, s->device);
    if (s->capture) {
        cudaError_t status = capture_add(s, work);
        cupti_call_ends(&asked, s->device);
        return status;
    }
    work->correlation = cupti_call_ends(&asked, s->device);
    stream_order_legacy(s);
    s->clock.at[s->lane] = ++lane_time[s->lane];
    struct command c = {.kind = COMMAND_WORK, .work = work, .clock = s->clock};
    stream_push(s, &c);
    return cudaSuccess;
}

/* ---- Running ---- */

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static enum outcome run_command(struct CUstream_st *s, struct command *c)
{
    enum outcome outcome = DONE;
    switch (c->kind) {
    case COMMAND_WORK:
        outcome = work_run(c->work, NULL, s->device, &c->clock, s->lane);
        if (outcome == DONE) work_give(c->work);
        break;
    case COMMAND_GRAPH: outcome = graph_run(c, s); break;
    case COMMAND_RECORD:
        if (c->event->records == c->record) c->event->ms = options.times ? s->device->ms : now_ms();
        break;
    case COMMAND_WAIT: break;
    }
    return outcome;
}

/* A stream that was destroyed and has nothing left to do. */
static void give_lanes(struct CUstream_st *s)
{
    if (s->alive || s->count > 0) return;
    for (unsigned i = 0; i < s->graph_lane_count; i++) lane_taken[s->graph_lanes[i]] = false;
    s->graph_lane_count = 0;
}

static void run_first(struct CUstream_st *s)
{
    struct command c = s->commands[s->first];
    pace_begin(s->device, &c);
    enum outcome outcome = run_command(s, &c);
    s->hung = outcome == HANGS;
    s->waits = outcome == WAITS;
    s->waited = progress;
    if (outcome != DONE) return;
    pace_wait(s->device);
    progress++;
    s->first++;
    s->count--;
    s->done++;
    give_lanes(s);
}

static bool can_run(const struct CUstream_st *s)
{
    if (s->count == 0 || s->hung || (s->waits && s->waited == progress)) return false;
    const struct command *c = &s->commands[s->first];
    return c->kind != COMMAND_WAIT || c->stream->done >= c->sequence;
}

/* Raises what is needed of other streams by the waits among what is needed of this one. False: there are no more. */
static bool scan_needed(struct CUstream_st *s)
{
    bool raised = false;
    for (; s->scanned < s->needed; s->scanned++) {
        const struct command *c = &s->commands[s->first + (size_t)(s->scanned - s->done)];
        if (c->kind != COMMAND_WAIT || c->stream->needed >= c->sequence) continue;
        c->stream->needed = c->sequence;
        raised = true;
    }
    return raised;
}

/* What has to be run until the stream has come so far, in all streams. */
static void find_needed(struct CUstream_st *stream, uint64_t sequence)
{
    for (struct CUstream_st *s = all_streams; s; s = s->next) s->needed = s->scanned = s->done;
    if (sequence > stream->needed) stream->needed = sequence;
    for (bool raised = true; raised;) {
        raised = false;
        for (struct CUstream_st *s = all_streams; s; s = s->next) raised = scan_needed(s) || raised;
    }
}

bool stream_drive(struct CUstream_st *stream, uint64_t sequence)
{
    if (options.nccl_processes) progress++; /* that of other processes is told by nobody */
    bool generous = draw(3) == 0;           /* others get on too */
    find_needed(stream, sequence);
    while (stream->done < sequence && !stream->device->sticky) {
        struct CUstream_st *chosen = NULL;
        uint64_t candidates = 0;
        for (struct CUstream_st *s = all_streams; s; s = s->next)
            if (can_run(s) && (s->done < s->needed || generous) && draw(++candidates) == 0) chosen = s;
        if (!chosen && nccl_is_used && !generous) {
            generous = true; /* other ranks have to get on */
            continue;
        }
        if (!chosen) return false;
        run_first(chosen);
    }
    return stream->done >= sequence && !stream->device->sticky;
}

/* Other threads may still give other ranks what is waited for. */
static bool drive_with_others(struct CUstream_st *s, uint64_t sequence)
{
    for (int i = 0; i < 50000; i++) {
        if (stream_drive(s, sequence)) return true;
        if (s->device->sticky || !nccl_is_used) return false;
        lock_give();
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
        lock_take();
    }
    return false;
}

cudaError_t stream_wait(struct CUstream_st *s, uint64_t sequence, const struct clock *clock)
{
    if (s->device->sticky) return s->device->sticky;
    if (drive_with_others(s, sequence)) {
        clock_learn(&host_clock, clock);
        return cudaSuccess;
    }
    if (s->device->sticky) return s->device->sticky;
    violate("the host waits for a kernel that never ends, with no limit");
    return s->device->sticky = cudaErrorLaunchTimeout;
}

cudaError_t device_wait(struct device *device)
{
    for (struct CUstream_st *s = all_streams; s; s = s->next) {
        if (s->device != device) continue;
        cudaError_t status = stream_wait(s, s->submitted, &s->clock);
        if (status) return status;
    }
    return device->sticky;
}

/* ---- Calls: streams ---- */

cudaError_t EXPORTED cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    BEGIN("StreamCreateWithFlags", CALL_USUAL);
    if (flags & ~(unsigned)cudaStreamNonBlocking) return call_leave(cudaErrorInvalidValue);
    *stream = stream_new(device_now(), !(flags & cudaStreamNonBlocking));
    return call_leave(cudaSuccess);
}

/* What is queued is still run. */
cudaError_t EXPORTED cudaStreamDestroy(cudaStream_t handle)
{
    BEGIN("StreamDestroy", CALL_USUAL);
    struct CUstream_st *s = handle ? stream_find(handle) : NULL;
    if (!s || s == s->device->legacy) return call_leave(cudaErrorInvalidResourceHandle);
    if (s->capture) capture_spoil(s->capture, cudaSuccess);
    s->alive = false;
    counts.streams--;
    give_lanes(s);
    return call_leave(cudaSuccess);
}

cudaError_t EXPORTED cudaStreamSynchronize(cudaStream_t handle)
{
    BEGIN("StreamSynchronize", CALL_USUAL);
    struct CUstream_st *s = stream_find(handle);
    if (!s) return call_leave(cudaErrorInvalidResourceHandle);
    cudaError_t status = capture_refuses(s, cudaErrorStreamCaptureUnsupported);
    if (!status) status = capture_forbids();
    return call_leave(status ? status : stream_wait(s, s->submitted, &s->clock));
}

cudaError_t EXPORTED cudaStreamQuery(cudaStream_t handle)
{
    BEGIN("StreamQuery", CALL_USUAL);
    struct CUstream_st *s = stream_find(handle);
    if (!s) return call_leave(cudaErrorInvalidResourceHandle);
    cudaError_t status = capture_refuses(s, cudaErrorStreamCaptureUnsupported);
    if (!status) status = capture_forbids();
    if (status) return call_leave(status);
    bool come = s->done >= s->submitted || (draw(2) == 0 && stream_drive(s, s->submitted));
    if (s->device->sticky) return call_leave(s->device->sticky);
    if (come) clock_learn(&host_clock, &s->clock);
    return call_leave(come ? cudaSuccess : cudaErrorNotReady);
}

/* ---- Calls: events ---- */

static struct CUevent_st *all_events;
static struct call record_call = {.name = "EventRecord"}, wait_call = {.name = "StreamWaitEvent"};

static struct CUevent_st *event_find(cudaEvent_t handle)
{
    for (struct CUevent_st *e = all_events; e; e = e->next)
        if (e == handle && e->alive) return e;
    return NULL;
}

cudaError_t EXPORTED cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    BEGIN("EventCreateWithFlags", CALL_USUAL);
    struct CUevent_st *e = NEW(struct CUevent_st);
    *e = (struct CUevent_st){
        .next = all_events, .alive = true, .device = device_now(), .timed = !(flags & cudaEventDisableTiming)};
    all_events = e;
    counts.events++;
    *event = e;
    return call_leave(cudaSuccess);
}

cudaError_t EXPORTED cudaEventDestroy(cudaEvent_t handle)
{
    BEGIN("EventDestroy", CALL_USUAL);
    struct CUevent_st *e = event_find(handle);
    if (!e) return call_leave(cudaErrorInvalidResourceHandle);
    e->alive = false; /* commands that are queued may still name it */
    counts.events--;
    return call_leave(cudaSuccess);
}

static cudaError_t record(struct CUevent_st *e, struct CUstream_st *s)
{
    if (record_call.count == options.drop_record) return cudaSuccess;
    if (s->capture) return capture_record(s, e);
    e->capture = NULL;
    stream_order_legacy(s);
    struct command c = {.kind = COMMAND_RECORD, .event = e, .record = ++e->records};
    stream_push(s, &c);
    e->stream = s;
    e->sequence = s->submitted;
    e->clock = s->clock;
    return cudaSuccess;
}

cudaError_t EXPORTED cudaEventRecord(cudaEvent_t handle, cudaStream_t stream)
{
    cudaError_t status = call_enter(&record_call, CALL_USUAL);
    struct CUevent_st *e = event_find(handle);
    struct CUstream_st *s = status ? NULL : stream_find(stream);
    if (status) return call_leave(status);
    return call_leave(e && s && e->device == s->device ? record(e, s) : cudaErrorInvalidResourceHandle);
}

static cudaError_t wait_for(struct CUstream_st *s, struct CUevent_st *e)
{
    bool captured = false;
    if (wait_call.count == options.drop_wait) return cudaSuccess;
    cudaError_t status = capture_wait(s, e, &captured);
    if (status || captured || !e->stream) return status;
    stream_order_legacy(s);
    push_wait(s, e->stream, e->sequence, &e->clock);
    return cudaSuccess;
}

cudaError_t EXPORTED cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t handle, unsigned flags)
{
    cudaError_t status = call_enter(&wait_call, CALL_USUAL);
    if (status) return call_leave(status);
    struct CUevent_st *e = event_find(handle);
    struct CUstream_st *s = stream_find(stream);
    if (flags) return call_leave(cudaErrorInvalidValue);
    return call_leave(e && s ? wait_for(s, e) : cudaErrorInvalidResourceHandle);
}

/* Half of the time it has not come yet. */
cudaError_t EXPORTED cudaEventQuery(cudaEvent_t handle)
{
    BEGIN("EventQuery", CALL_USUAL);
    struct CUevent_st *e = event_find(handle);
    if (!e) return call_leave(cudaErrorInvalidResourceHandle);
    if (event_is_captured(e)) return call_leave(capture_spoil(e->capture, cudaErrorCapturedEvent));
    cudaError_t status = capture_forbids();
    if (status) return call_leave(status);
    if (!e->stream) return call_leave(cudaSuccess);
    bool come = e->stream->done >= e->sequence || (draw(2) == 0 && stream_drive(e->stream, e->sequence));
    if (e->stream->device->sticky) return call_leave(e->stream->device->sticky);
    if (come) clock_learn(&host_clock, &e->clock);
    return call_leave(come ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t EXPORTED cudaEventSynchronize(cudaEvent_t handle)
{
    BEGIN("EventSynchronize", CALL_USUAL);
    struct CUevent_st *e = event_find(handle);
    if (!e) return call_leave(cudaErrorInvalidResourceHandle);
    if (event_is_captured(e)) return call_leave(capture_spoil(e->capture, cudaErrorCapturedEvent));
    cudaError_t status = capture_forbids();
    if (status || !e->stream) return call_leave(status);
    return call_leave(stream_wait(e->stream, e->sequence, &e->clock));
}

cudaError_t EXPORTED cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    BEGIN("EventElapsedTime", CALL_USUAL);
    struct CUevent_st *a = event_find(from), *b = event_find(to);
    if (!a || !b || !a->timed || !b->timed || !a->stream || !b->stream)
        return call_leave(cudaErrorInvalidResourceHandle);
    if (event_is_captured(a) || event_is_captured(b)) return call_leave(cudaErrorCapturedEvent);
    if (a->stream->done < a->sequence || b->stream->done < b->sequence) return call_leave(cudaErrorNotReady);
    *ms = (float)(b->ms - a->ms);
    return call_leave(cudaSuccess);
}
