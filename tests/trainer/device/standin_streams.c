/* Streams, events and recordings of a device that is none. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <time.h>

#include "standin_private.h"

/* ---- Streams and events ---- */

static bool stream_create(struct device *d, struct stream **stream, struct error *err)
{
    if (!standin_enter(d, "stream_create", err)) return false;
    if (d->stream_count == MOST_STREAMS) abort();
    struct stream *s = standin_need(calloc(1, sizeof *s));
    s->device = d;
    s->number = (uint8_t)d->stream_count;
    pthread_mutex_lock(&d->lock);
    d->streams[d->stream_count++] = s;
    pthread_mutex_unlock(&d->lock);
    atomic_fetch_add(&standin.live, 1);
    *stream = s;
    return true;
}

static void end_stream(void *object)
{
    struct stream *s = object;
    for (size_t i = 0; i < s->queue.count; i++) free(s->queue.commands[s->queue.first + i].owned);
    free(s->queue.commands);
    free(s);
}

static void stream_destroy(struct stream *s) { standin_bury(s->device, end_stream, s); }

static bool event_create(struct device *d, struct event **event, struct error *err)
{
    if (!standin_enter(d, "event_create", err)) return false;
    *event = standin_need(calloc(1, sizeof **event));
    (*event)->device = d;
    atomic_fetch_add(&standin.live, 1);
    return true;
}

static void event_destroy(struct event *e) { standin_bury(e->device, free, e); }

static bool event_record(struct event *e, struct stream *s, struct error *err)
{
    if (!standin_enter(e->device, "event_record", err)) return false;
    struct command c = {.kind = EVENT_RECORD, .event = e};
    e->in = s->capture;
    if (s->capture) {
        e->node = s->capture->nodes.count;
        return standin_put(s, c, err);
    }
    c.sequence = ++e->recorded;
    bool ok = standin_put(s, c, err);
    e->clock = s->clock;
    return ok;
}

static bool event_wait(struct event *e, struct stream *s, struct error *err)
{
    struct device *d = e->device;
    if (!standin_enter(d, "event_wait", err)) return false;
    bool recorded_now = e->in && e->in == d->capturing;
    if (e->in && !recorded_now)
        return standin_forbid(d, "a stream waits for an event of a recording that has ended", err);
    if (s->capture && !recorded_now) return standin_forbid(d, "a recorded stream waits for an event from outside", err);
    if (atomic_fetch_add(&standin.waits, 1) + 1 == standin.options.drop_wait) return true;
    if (recorded_now) {
        s->capture = d->capturing;
        return standin_put(s, (struct command){.kind = EVENT_WAIT, .event = e, .sequence = e->node}, err);
    }
    clock_learn(&s->clock, &e->clock);
    return standin_put(s, (struct command){.kind = EVENT_WAIT, .event = e, .sequence = e->recorded}, err);
}

static struct timespec after(uint64_t ns)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    ns = (ns < UINT64_C(3600000000000) ? ns : UINT64_C(3600000000000)) + (uint64_t)t.tv_nsec;
    return (struct timespec){t.tv_sec + (time_t)(ns / 1000000000), (long)(ns % 1000000000)};
}

static bool event_synchronize(struct event *e, uint64_t limit_ns, bool *done, struct error *err)
{
    struct device *d = e->device;
    if (!standin_enter(d, "event_synchronize", err)) return false;
    struct timespec until = after(limit_ns);
    uint64_t wanted = e->recorded;
    pthread_mutex_lock(&d->lock);
    d->waiting++;
    pthread_cond_broadcast(&d->changed);
    while (!d->lost && e->done < wanted)
        if (pthread_cond_timedwait(&d->changed, &d->lock, &until) != 0) break;
    d->waiting--;
    *done = e->done >= wanted;
    bool lost = d->lost;
    if (lost) standin_tell(d, err);
    if (!lost && !*done) d->told = true; /* nobody may go on with it */
    pthread_mutex_unlock(&d->lock);
    if (!lost && *done) clock_learn(&d->clock, &e->clock);
    return !lost;
}

/* ---- Recordings ---- */

static bool record_begin(struct device *d, struct stream *s, struct recording **recording, struct error *err)
{
    if (!standin_enter(d, "record_begin", err)) return false;
    if (d->capturing) return standin_forbid(d, "a recording begins inside another", err);
    struct recording *r = standin_need(calloc(1, sizeof *r));
    *r = (struct recording){.device = d, .origin = s};
    d->capturing = s->capture = *recording = r;
    atomic_fetch_add(&standin.live, 1);
    return true;
}

static void stop_recording(struct recording *r)
{
    for (uint32_t i = 0; i < r->device->stream_count; i++)
        if (r->device->streams[i]->capture == r) r->device->streams[i]->capture = NULL;
    if (r->device->capturing == r) r->device->capturing = NULL;
}

/* Whether every stream of it was joined to the first: the origin knows all that the others did. */
static bool is_joined(const struct recording *r)
{
    uint32_t count[MOST_STREAMS] = {0};
    struct clock at[MOST_STREAMS] = {{{0}}}, *known = standin_need(calloc(r->nodes.count + 1, sizeof *known));
    for (size_t i = 0; i < r->nodes.count; i++) {
        const struct command *c = &r->nodes.commands[i];
        if (c->kind == EVENT_WAIT) clock_learn(&at[c->stream], &known[c->sequence]);
        if (c->kind != EVENT_RECORD && c->kind != EVENT_WAIT) at[c->stream].at[c->stream] = ++count[c->stream];
        known[i] = at[c->stream];
    }
    bool joined = true;
    for (unsigned s = 0; s < MOST_STREAMS; s++) joined = joined && at[r->origin->number].at[s] == count[s];
    free(known);
    return joined;
}

static bool record_end(struct recording *r, struct error *err)
{
    if (!standin_enter(r->device, "record_end", err)) return false;
    stop_recording(r);
    r->ended = true;
    pthread_mutex_lock(&standin.report_lock);
    standin.report.recordings++;
    pthread_mutex_unlock(&standin.report_lock);
    return is_joined(r) || standin_forbid(r->device, "a recording ends before its streams have been joined", err);
}

static bool replay(struct recording *r, struct stream *s, struct error *err)
{
    struct device *d = r->device;
    if (!standin_enter(d, "replay", err)) return false;
    if (!r->ended || s->capture)
        return standin_forbid(d, "a recording is replayed before its end or inside another", err);
    pthread_mutex_lock(&standin.report_lock);
    standin.report.replays++;
    pthread_mutex_unlock(&standin.report_lock);
    clock_learn(&s->clock, &d->clock);
    if (!standin_walk(d, r, &s->clock)) standin_violate("a replay ends before its streams have been joined");
    return standin_put(s, (struct command){.kind = REPLAY, .recording = r}, err);
}

static void end_recording(void *object)
{
    struct recording *r = object;
    free(r->nodes.commands);
    free(r);
}

static void recording_destroy(struct recording *r)
{
    stop_recording(r);
    standin_bury(r->device, end_recording, r);
}

static bool recording_is_spoilt(const struct recording *r) { return r->spoilt; }

void standin_set_streams(struct backend *made)
{
    made->stream_create = stream_create;
    made->stream_destroy = stream_destroy;
    made->event_create = event_create;
    made->event_destroy = event_destroy;
    made->event_record = event_record;
    made->event_wait = event_wait;
    made->event_synchronize = event_synchronize;
    if (!standin.options.recordings) return;
    made->record_begin = record_begin;
    made->record_end = record_end;
    made->replay = replay;
    made->recording_destroy = recording_destroy;
    made->recording_is_spoilt = recording_is_spoilt;
}
