#define _GNU_SOURCE
#include "standin.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clocks.h"
#include "plan.h"

#define GRANULE      64u /* bytes that one clock stands for */
#define MOST_STREAMS 7u
#define HOST_LANE    15u
#define GRAPH_LANE   7u

struct memory {
    struct shadow shadow;
    uint64_t bytes;
};

enum command_kind {
    SET_STEP,
    COPY_IN,
    IMAGE_IN,
    COPY_OUT,
    SQUARES,
    FILL,
    HOST_FILL,
    LAUNCH,
    EVENT_RECORD,
    EVENT_WAIT,
    REPLAY
};

struct command {
    enum command_kind kind;
    uint8_t stream; /* inside a recording */
    uint8_t byte;
    uint64_t offset, bytes;
    void *host, *owned; /* owned: a copy of what was there, freed once it has been copied in */
    struct step step;
    const struct tensor *tensor; /* IMAGE_IN */
    enum dtype dtype;            /* SQUARES */
    struct prepared *prepared;
    struct event *event;
    uint64_t sequence; /* of the event's records; inside a recording the number of the command that recorded */
    struct recording *recording;
    struct clock clock; /* EVENT_RECORD inside a recording, while it is walked */
};

struct queue {
    struct command *commands;
    size_t first, count, capacity;
};

struct stream {
    struct device *device;
    uint8_t number;
    struct queue queue;
    struct clock clock;
    struct recording *capture;
};

struct event {
    struct device *device;
    uint64_t recorded, done; /* sequences */
    struct clock clock;
    struct recording *in; /* recorded there last, as command number `node` */
    size_t node;
};

struct prepared {
    struct device *device;
    struct prepared *real;
    struct op_call call;
};

struct recording {
    struct device *device;
    struct queue nodes;
    struct stream *origin;
    bool ended;
};

struct grave {
    void (*end)(void *object);
    void *object;
};

struct device {
    struct device *real;
    struct memory arena, host;
    pthread_t worker;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct stream *streams[MOST_STREAMS];
    uint32_t stream_count;
    struct stream *unused; /* of the real backend */
    struct clock clock;    /* what the host knows */
    uint32_t graph_at[MOST_STREAMS];
    struct recording *capturing;
    uint64_t random;
    uint64_t patience, queued; /* the worker begins when so many are queued, or when it is waited for */
    uint32_t waiting;
    bool busy, lost, told, hung, stop;
    struct error first;
    uint64_t steps_queued, steps_run;
    struct grave *graves;
    size_t grave_count, grave_capacity;
    void *pinned[64];
    uint64_t pinned_bytes[64];
};

static struct standin_options options;
static struct standin_report report;
static pthread_mutex_t report_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_ullong calls, commands, waits, live;
static struct backend made;

#define REAL (options.real)

__attribute__((format(printf, 1, 2))) static void violate(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    pthread_mutex_lock(&report_lock);
    if (!report.violation[0]) vsnprintf(report.violation, sizeof report.violation, format, list);
    pthread_mutex_unlock(&report_lock);
    va_end(list);
}

static uint64_t draw(struct device *d, uint64_t below)
{
    d->random = d->random * 6364136223846793005u + 1442695040888963407u;
    return (d->random >> 33) % below;
}

static void *need(void *memory)
{
    if (!memory) abort();
    return memory;
}

/* ---- Failures ---- */

/* The lock is held. */
static void lose(struct device *d, const struct error *err)
{
    if (!d->lost) d->first = *err;
    d->lost = true;
    pthread_cond_broadcast(&d->changed);
}

static bool tell(struct device *d, struct error *err)
{
    d->told = true;
    if (err) *err = d->first;
    return false;
}

/* Of every call that can fail. */
static bool enter(struct device *d, const char *slot, struct error *err)
{
    bool fails = atomic_fetch_add(&calls, 1) + 1 == options.fail_call;
    pthread_mutex_lock(&d->lock);
    if (d->told) violate("%s is called on a device that was lost", slot);
    if (fails) lose(d, &(struct error){ERROR_FAILED, "the device is lost", ""});
    bool lost = d->lost;
    if (lost) tell(d, err);
    pthread_mutex_unlock(&d->lock);
    return !lost;
}

static bool forbid(struct device *d, const char *what, struct error *err)
{
    violate("%s", what);
    pthread_mutex_lock(&d->lock);
    lose(d, &(struct error){ERROR_FAILED, "what a recording forbids", ""});
    tell(d, err);
    pthread_mutex_unlock(&d->lock);
    return false;
}

/* ---- Clocks ---- */

static void touch(struct memory *m, const struct clock *clock, uint8_t lane, uint64_t offset, uint64_t bytes,
                  bool writes, const char *what)
{
    static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER; /* of all devices' threads */
    struct conflict c;
    pthread_mutex_lock(&one);
    bool ok = shadow_touch(&m->shadow, clock, lane, offset, bytes, writes, &c);
    pthread_mutex_unlock(&one);
    if (ok) return;
    violate("%s %s byte %llu, which lane %u %s with nothing between them", what, c.writes ? "writes" : "reads",
            (unsigned long long)c.offset, c.lane, c.wrote ? "writes" : "reads");
}

static void touch_op(struct device *d, const struct op_call *call, const struct clock *clock, uint8_t lane)
{
    const struct op *op = call->op;
    const char *what = op_kind_name(op->kind);
    bool leaves = call->pass == PASS_OFFLOAD, comes = call->pass == PASS_FETCH;
    if (leaves || comes) {
        touch(leaves ? &d->arena : &d->host, clock, lane, call->in[0], call->in_tensor[0]->bytes, false, "a copy");
        touch(leaves ? &d->host : &d->arena, clock, lane, call->out[0], call->in_tensor[0]->bytes, true, "a copy");
        return;
    }
    bool updates = op->kind == OP_BN && call->pass == PASS_FORWARD; /* running statistics */
    unsigned outputs = call->pass == PASS_EVALUATE && op->kind != OP_SOFTMAX_LOSS ? 1 : op->outputs;
    for (unsigned i = 0; i < op->inputs; i++)
        if (call->in_tensor[i])
            touch(&d->arena, clock, lane, call->in[i], call->in_tensor[i]->bytes, updates && i >= 3, what);
    for (unsigned i = 0; i < outputs; i++)
        if (call->out_tensor[i]) touch(&d->arena, clock, lane, call->out[i], call->out_tensor[i]->bytes, true, what);
    touch(&d->arena, clock, lane, call->workspace, call->workspace_bytes, true, what);
}

static void touch_command(struct device *d, const struct command *c, const struct clock *clock, uint8_t lane)
{
    switch (c->kind) {
    case IMAGE_IN:
    case COPY_IN: touch(&d->arena, clock, lane, c->offset, c->bytes, true, "a copy to the device"); break;
    case COPY_OUT: touch(&d->arena, clock, lane, c->offset, c->bytes, false, "a copy from the device"); break;
    case SQUARES: touch(&d->arena, clock, lane, c->offset, c->bytes, false, "a sum of squares"); break;
    case FILL: touch(&d->arena, clock, lane, c->offset, c->bytes, true, "a fill"); break;
    case HOST_FILL: touch(&d->host, clock, lane, c->offset, c->bytes, true, "a fill of host memory"); break;
    case LAUNCH: touch_op(d, &c->prepared->call, clock, lane); break;
    default: break;
    }
}

/* What a replay that begins with *clock touches, and what is known at its end. Says whether all streams came back. */
static bool walk(struct device *d, struct recording *r, struct clock *clock)
{
    struct clock at[MOST_STREAMS] = {{{0}}};
    at[r->origin->number] = *clock;
    for (size_t i = 0; i < r->nodes.count; i++) {
        struct command *c = &r->nodes.commands[i];
        struct clock *mine = &at[c->stream];
        if (c->kind == EVENT_RECORD) {
            c->clock = *mine;
        } else if (c->kind == EVENT_WAIT) {
            clock_learn(mine, &r->nodes.commands[c->sequence].clock);
        } else {
            mine->at[GRAPH_LANE + c->stream] = ++d->graph_at[c->stream];
            touch_command(d, c, mine, (uint8_t)(GRAPH_LANE + c->stream));
        }
    }
    *clock = at[r->origin->number];
    for (unsigned s = 0; s < MOST_STREAMS; s++)
        if (clock->at[GRAPH_LANE + s] < at[s].at[GRAPH_LANE + s]) return false;
    return true;
}

/* ---- Running ---- */

static void push(struct queue *q, const struct command *c)
{
    if (q->first + q->count == q->capacity) {
        if (q->first > 0) memmove(q->commands, q->commands + q->first, q->count * sizeof *q->commands);
        q->first = 0;
        if (q->count == q->capacity) {
            q->capacity = q->capacity ? 2 * q->capacity : 64;
            q->commands = need(realloc(q->commands, q->capacity * sizeof *q->commands));
        }
    }
    q->commands[q->first + q->count++] = *c;
}

static bool run_command(struct device *d, struct command *c, struct error *err);

/* Which command a recorded one waits for is its `sequence`. */
static bool replay_nodes(struct device *d, struct recording *r, struct error *err)
{
    size_t left = r->nodes.count, at[MOST_STREAMS] = {0};
    bool *done = need(calloc(left + 1, sizeof *done)), ok = true;
    while (ok && left > 0) {
        uint64_t from = draw(d, MOST_STREAMS);
        size_t found = SIZE_MAX;
        for (uint64_t k = 0; k < MOST_STREAMS && found == SIZE_MAX; k++) {
            uint8_t s = (uint8_t)((from + k) % MOST_STREAMS);
            while (at[s] < r->nodes.count && (done[at[s]] || r->nodes.commands[at[s]].stream != s)) at[s]++;
            if (at[s] == r->nodes.count) continue;
            const struct command *c = &r->nodes.commands[at[s]];
            if (c->kind != EVENT_WAIT || done[c->sequence]) found = at[s];
        }
        if (found == SIZE_MAX) abort(); /* the first of the commands left waits for none of them */
        ok = run_command(d, &r->nodes.commands[found], err);
        done[found] = true;
        left--;
    }
    free(done);
    return ok;
}

static bool run_real(struct device *d, struct command *c, struct error *err)
{
    switch (c->kind) {
    case SET_STEP: return REAL->set_step(d->real, d->unused, &c->step, err);
    case COPY_IN: return REAL->copy_in(d->real, d->unused, c->offset, c->owned ? c->owned : c->host, c->bytes, err);
    case IMAGE_IN: return REAL->image_in(d->real, d->unused, c->tensor, c->offset, c->owned ? c->owned : c->host, err);
    case COPY_OUT: return REAL->copy_out(d->real, d->unused, c->host, c->offset, c->bytes, err);
    case SQUARES:
        return REAL->add_squares(d->real, d->unused, c->offset, c->dtype, c->bytes / dtype_bytes(c->dtype, 1), c->host,
                                 err);
    case FILL: return REAL->fill(d->real, d->unused, c->offset, c->bytes, c->byte, err);
    case HOST_FILL: return REAL->host_fill(d->real, d->unused, c->offset, c->bytes, c->byte, err);
    case LAUNCH: return REAL->op_launch(c->prepared->real, d->unused, err);
    case REPLAY: return replay_nodes(d, c->recording, err);
    default: return true;
    }
}

static bool run_command(struct device *d, struct command *c, struct error *err)
{
    uint64_t number = atomic_fetch_add(&commands, 1) + 1;
    if (number == options.hang_command) {
        d->hung = true;
        return true;
    }
    if (d->hung) return true;
    if (number == options.fail_command) return error_set(err, ERROR_FAILED, "the device is lost");
    return run_real(d, c, err);
}

/* A stream whose first command may be run; NULL = none. The lock is held. */
static struct stream *pick(struct device *d)
{
    uint64_t from = draw(d, MOST_STREAMS);
    if (!d->waiting && d->queued <= d->patience) return NULL;
    for (uint32_t k = 0; k < d->stream_count; k++) {
        struct stream *s = d->streams[(from + k) % d->stream_count];
        const struct command *c = s->queue.commands ? &s->queue.commands[s->queue.first] : NULL;
        if (s->queue.count > 0 && (c->kind != EVENT_WAIT || c->event->done >= c->sequence)) return s;
    }
    return NULL;
}

/* The lock is held, but not while the command runs. */
static void run_first(struct device *d, struct stream *s)
{
    struct command c = s->queue.commands[s->queue.first++];
    struct error err = {0};
    s->queue.count--;
    d->busy = true;
    pthread_mutex_unlock(&d->lock);
    bool ok = run_command(d, &c, &err);
    free(c.owned);
    pthread_mutex_lock(&d->lock);
    d->busy = false;
    d->queued--;
    if (!ok) lose(d, &err);
    if (c.kind == SET_STEP) d->steps_run = c.step.number;
    if (ok && !d->hung && c.kind == EVENT_RECORD && c.event->done < c.sequence) c.event->done = c.sequence;
    if (d->queued == 0) d->patience = draw(d, 600);
    pthread_cond_broadcast(&d->changed);
}

static void *work(void *argument)
{
    struct device *d = argument;
    pthread_mutex_lock(&d->lock);
    while (!d->stop) {
        struct stream *s = d->lost || d->hung ? NULL : pick(d);
        if (s)
            run_first(d, s);
        else
            pthread_cond_wait(&d->changed, &d->lock);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

static bool put(struct stream *s, struct command c, struct error *err)
{
    struct device *d = s->device;
    (void)err;
    if (s->capture) {
        c.stream = s->number;
        push(&s->capture->nodes, &c);
        return true;
    }
    clock_learn(&s->clock, &d->clock);
    s->clock.at[s->number]++;
    touch_command(d, &c, &s->clock, s->number);
    pthread_mutex_lock(&d->lock);
    push(&s->queue, &c);
    d->queued++;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
    return true;
}

/* ---- Slots: devices ---- */

static void bury(struct device *d, void (*end)(void *), void *object)
{
    atomic_fetch_sub(&live, 1);
    pthread_mutex_lock(&d->lock);
    if (d->grave_count == d->grave_capacity) {
        d->grave_capacity = d->grave_capacity ? 2 * d->grave_capacity : 64;
        d->graves = need(realloc(d->graves, d->grave_capacity * sizeof *d->graves));
    }
    d->graves[d->grave_count++] = (struct grave){end, object};
    pthread_mutex_unlock(&d->lock);
}

static struct memory memory_of(uint64_t bytes)
{
    return (struct memory){{need(calloc(bytes / GRANULE + 1, sizeof(struct granule))), GRANULE}, bytes};
}

static bool device_create(const struct device_options *o, uint64_t arena_bytes, struct device **device,
                          struct error *err)
{
    if (atomic_fetch_add(&calls, 1) + 1 == options.fail_call) return error_set(err, ERROR_FAILED, "the device is lost");
    struct device *d = need(calloc(1, sizeof *d));
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->changed, NULL);
    d->random = options.seed * 977 + o->number;
    d->arena = memory_of(arena_bytes);
    if (!REAL->device_create(o, arena_bytes, &d->real, err)) {
        free(d->arena.shadow.granules);
        free(d);
        return false;
    }
    struct error unused = {0};
    if (!REAL->stream_create(d->real, &d->unused, &unused)) abort();
    if (pthread_create(&d->worker, NULL, work, d) != 0) abort();
    atomic_fetch_add(&live, 1);
    *device = d;
    return true;
}

static void device_destroy(struct device *d)
{
    if (!d) return;
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->worker, NULL);
    for (size_t i = 0; i < d->grave_count; i++) d->graves[i].end(d->graves[i].object);
    REAL->stream_destroy(d->unused);
    REAL->device_destroy(d->real);
    free(d->graves);
    free(d->arena.shadow.granules);
    free(d->host.shadow.granules);
    free(d);
    atomic_fetch_sub(&live, 1);
}

static bool set_step(struct device *d, struct stream *s, const struct step *step, struct error *err)
{
    if (!enter(d, "set_step", err)) return false;
    if (s->capture) return forbid(d, "a step block is set inside a recording", err);
    pthread_mutex_lock(&d->lock);
    uint64_t ahead = step->number > d->steps_run ? step->number - d->steps_run : 0;
    pthread_mutex_unlock(&d->lock);
    pthread_mutex_lock(&report_lock);
    if (ahead > report.most_ahead) report.most_ahead = ahead;
    pthread_mutex_unlock(&report_lock);
    return put(s, (struct command){.kind = SET_STEP, .step = *step}, err);
}

/* ---- Slots: buffers ---- */

static bool is_pinned(const struct device *d, const void *memory)
{
    for (size_t i = 0; i < 64; i++) {
        const char *from = d->pinned[i];
        if (from && (const char *)memory >= from && (const char *)memory < from + d->pinned_bytes[i]) return true;
    }
    return false;
}

/* A copy of so many bytes of host memory to the device. */
static bool put_copy(struct stream *s, struct command c, const void *host, uint64_t bytes, struct error *err)
{
    struct device *d = s->device;
    c.host = (void *)(uintptr_t)host;
    if (s->capture && !is_pinned(d, host)) return forbid(d, "a recording copies from memory that is not pinned", err);
    if (!is_pinned(d, host)) c.owned = memcpy(need(malloc(bytes + 1)), host, bytes);
    return put(s, c, err);
}

static bool copy_in(struct device *d, struct stream *s, uint64_t offset, const void *host, uint64_t bytes,
                    struct error *err)
{
    return enter(d, "copy_in", err) &&
           put_copy(s, (struct command){.kind = COPY_IN, .offset = offset, .bytes = bytes}, host, bytes, err);
}

static bool image_in(struct device *d, struct stream *s, const struct tensor *tensor, uint64_t offset,
                     const float *host, struct error *err)
{
    struct command c = {.kind = IMAGE_IN, .offset = offset, .bytes = tensor->bytes, .tensor = tensor};
    return enter(d, "image_in", err) && put_copy(s, c, host, tensor_elements(tensor) * sizeof *host, err);
}

/* Waits until the stream is empty. */
static bool finish_stream(struct stream *s, struct error *err)
{
    struct device *d = s->device;
    pthread_mutex_lock(&d->lock);
    d->waiting++;
    pthread_cond_broadcast(&d->changed);
    while (!d->lost && (s->queue.count > 0 || d->busy)) pthread_cond_wait(&d->changed, &d->lock);
    d->waiting--;
    bool lost = d->lost;
    if (lost) tell(d, err);
    pthread_mutex_unlock(&d->lock);
    if (!lost) clock_learn(&d->clock, &s->clock);
    return !lost;
}

static bool copy_out(struct device *d, struct stream *s, void *host, uint64_t offset, uint64_t bytes, struct error *err)
{
    if (!enter(d, "copy_out", err)) return false;
    struct command c = {.kind = COPY_OUT, .offset = offset, .bytes = bytes, .host = host};
    if (s->capture && !is_pinned(d, host)) return forbid(d, "a recording copies to memory that is not pinned", err);
    return put(s, c, err) && (is_pinned(d, host) || finish_stream(s, err));
}

/* To pinned memory alone, when the stream comes to it. */
static bool add_squares(struct device *d, struct stream *s, uint64_t offset, enum dtype dtype, uint64_t count,
                        double *sum, struct error *err)
{
    if (!enter(d, "add_squares", err)) return false;
    struct command c = {
        .kind = SQUARES, .offset = offset, .bytes = dtype_bytes(dtype, count), .host = sum, .dtype = dtype};
    if (!is_pinned(d, sum)) return forbid(d, "a sum of squares goes to memory that is not pinned", err);
    return put(s, c, err);
}

static bool fill(struct device *d, struct stream *s, uint64_t offset, uint64_t bytes, uint8_t byte, struct error *err)
{
    return enter(d, "fill", err) &&
           put(s, (struct command){.kind = FILL, .offset = offset, .bytes = bytes, .byte = byte}, err);
}

static bool host_fill(struct device *d, struct stream *s, uint64_t offset, uint64_t bytes, uint8_t byte,
                      struct error *err)
{
    return enter(d, "host_fill", err) &&
           put(s, (struct command){.kind = HOST_FILL, .offset = offset, .bytes = bytes, .byte = byte}, err);
}

static bool host_create(struct device *d, uint64_t bytes, struct error *err)
{
    if (!enter(d, "host_create", err)) return false;
    d->host = memory_of(bytes);
    return REAL->host_create(d->real, bytes, err);
}

static void touch_by_host(struct device *d, uint64_t offset, uint64_t bytes, bool writes)
{
    d->clock.at[HOST_LANE]++;
    touch(&d->arena, &d->clock, HOST_LANE, offset, bytes, writes, "a parameter's move");
    pthread_mutex_lock(&d->lock);
    if (d->queued > 0) violate("a parameter moves while the device works");
    pthread_mutex_unlock(&d->lock);
}

static bool parameter_in(struct device *d, const struct tensor *tensor, uint64_t offset, const float *host,
                         struct error *err)
{
    if (!enter(d, "parameter_in", err)) return false;
    touch_by_host(d, offset, tensor->bytes, true);
    return REAL->parameter_in(d->real, tensor, offset, host, err);
}

static bool parameter_out(struct device *d, const struct tensor *tensor, uint64_t offset, float *host,
                          struct error *err)
{
    if (!enter(d, "parameter_out", err)) return false;
    touch_by_host(d, offset, tensor->bytes, false);
    return REAL->parameter_out(d->real, tensor, offset, host, err);
}

static bool pinned_create(struct device *d, uint64_t bytes, void **memory, struct error *err)
{
    if (!enter(d, "pinned_create", err)) return false;
    size_t i = 0;
    while (d->pinned[i]) i++;
    d->pinned[i] = *memory = need(malloc(bytes + 1));
    memset(*memory, 0xFF, bytes);
    d->pinned_bytes[i] = bytes;
    atomic_fetch_add(&live, 1);
    return true;
}

static void pinned_destroy(struct device *d, void *memory) { bury(d, free, memory); }

/* ---- Slots: streams and events ---- */

static bool stream_create(struct device *d, struct stream **stream, struct error *err)
{
    if (!enter(d, "stream_create", err)) return false;
    if (d->stream_count == MOST_STREAMS) abort();
    struct stream *s = need(calloc(1, sizeof *s));
    s->device = d;
    s->number = (uint8_t)d->stream_count;
    pthread_mutex_lock(&d->lock);
    d->streams[d->stream_count++] = s;
    pthread_mutex_unlock(&d->lock);
    atomic_fetch_add(&live, 1);
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

static void stream_destroy(struct stream *s) { bury(s->device, end_stream, s); }

static bool event_create(struct device *d, struct event **event, struct error *err)
{
    if (!enter(d, "event_create", err)) return false;
    *event = need(calloc(1, sizeof **event));
    (*event)->device = d;
    atomic_fetch_add(&live, 1);
    return true;
}

static void event_destroy(struct event *e) { bury(e->device, free, e); }

static bool event_record(struct event *e, struct stream *s, struct error *err)
{
    if (!enter(e->device, "event_record", err)) return false;
    struct command c = {.kind = EVENT_RECORD, .event = e};
    e->in = s->capture;
    if (s->capture) {
        e->node = s->capture->nodes.count;
        return put(s, c, err);
    }
    c.sequence = ++e->recorded;
    bool ok = put(s, c, err);
    e->clock = s->clock;
    return ok;
}

static bool event_wait(struct event *e, struct stream *s, struct error *err)
{
    struct device *d = e->device;
    if (!enter(d, "event_wait", err)) return false;
    bool recorded_now = e->in && e->in == d->capturing;
    if (e->in && !recorded_now) return forbid(d, "a stream waits for an event of a recording that has ended", err);
    if (s->capture && !recorded_now) return forbid(d, "a recorded stream waits for an event from outside", err);
    if (atomic_fetch_add(&waits, 1) + 1 == options.drop_wait) return true;
    if (recorded_now) {
        s->capture = d->capturing;
        return put(s, (struct command){.kind = EVENT_WAIT, .event = e, .sequence = e->node}, err);
    }
    clock_learn(&s->clock, &e->clock);
    return put(s, (struct command){.kind = EVENT_WAIT, .event = e, .sequence = e->recorded}, err);
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
    if (!enter(d, "event_synchronize", err)) return false;
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
    if (lost) tell(d, err);
    if (!lost && !*done) d->told = true; /* nobody may go on with it */
    pthread_mutex_unlock(&d->lock);
    if (!lost && *done) clock_learn(&d->clock, &e->clock);
    return !lost;
}

/* ---- Slots: ops ---- */

static bool op_prepare(struct device *d, const struct op_call *call, struct prepared **prepared, struct error *err)
{
    if (!enter(d, "op_prepare", err)) return false;
    struct prepared *p = need(calloc(1, sizeof *p));
    p->device = d;
    p->call = *call;
    if (!REAL->op_prepare(d->real, call, &p->real, err)) {
        free(p);
        return false;
    }
    atomic_fetch_add(&live, 1);
    *prepared = p;
    return true;
}

static bool op_launch(struct prepared *p, struct stream *s, struct error *err)
{
    return enter(p->device, "op_launch", err) && put(s, (struct command){.kind = LAUNCH, .prepared = p}, err);
}

static void end_prepared(void *object)
{
    struct prepared *p = object;
    REAL->op_release(p->real);
    free(p);
}

static void op_release(struct prepared *p) { bury(p->device, end_prepared, p); }

/* ---- Slots: groups ---- */

static bool group_create(const struct group_id *id, uint32_t rank, uint32_t size, struct ranks *ranks,
                         struct group **group, struct error *err)
{
    if (atomic_fetch_add(&calls, 1) + 1 == options.fail_call) return error_set(err, ERROR_FAILED, "the device is lost");
    if (!REAL->group_create(id, rank, size, ranks, group, err)) return false;
    atomic_fetch_add(&live, 1);
    return true;
}

static bool group_join(struct group *group, struct device *d, struct error *err)
{
    return enter(d, "group_join", err) && REAL->group_join(group, d->real, err);
}

static void group_destroy(struct group *group)
{
    REAL->group_destroy(group);
    atomic_fetch_sub(&live, 1);
}

/* ---- Slots: recordings ---- */

static bool record_begin(struct device *d, struct stream *s, struct recording **recording, struct error *err)
{
    if (!enter(d, "record_begin", err)) return false;
    if (d->capturing) return forbid(d, "a recording begins inside another", err);
    struct recording *r = need(calloc(1, sizeof *r));
    *r = (struct recording){.device = d, .origin = s};
    d->capturing = s->capture = *recording = r;
    atomic_fetch_add(&live, 1);
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
    struct clock at[MOST_STREAMS] = {{{0}}}, *known = need(calloc(r->nodes.count + 1, sizeof *known));
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
    if (!enter(r->device, "record_end", err)) return false;
    stop_recording(r);
    r->ended = true;
    pthread_mutex_lock(&report_lock);
    report.recordings++;
    pthread_mutex_unlock(&report_lock);
    return is_joined(r) || forbid(r->device, "a recording ends before its streams have been joined", err);
}

static bool replay(struct recording *r, struct stream *s, struct error *err)
{
    struct device *d = r->device;
    if (!enter(d, "replay", err)) return false;
    if (!r->ended || s->capture) return forbid(d, "a recording is replayed before its end or inside another", err);
    pthread_mutex_lock(&report_lock);
    report.replays++;
    pthread_mutex_unlock(&report_lock);
    clock_learn(&s->clock, &d->clock);
    if (!walk(d, r, &s->clock)) violate("a replay ends before its streams have been joined");
    return put(s, (struct command){.kind = REPLAY, .recording = r}, err);
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
    bury(r->device, end_recording, r);
}

/* ---- Beginning and end ---- */

const struct backend *standin_begin(const struct standin_options *o)
{
    options = *o;
    report = (struct standin_report){0};
    atomic_store(&calls, 0);
    atomic_store(&commands, 0);
    atomic_store(&waits, 0);
    atomic_store(&live, 0);
    made = (struct backend){.name = REAL->name,
                            .in_host_memory = REAL->in_host_memory,
                            .op_workspace = REAL->op_workspace,
                            .device_create = device_create,
                            .device_destroy = device_destroy,
                            .set_step = set_step,
                            .copy_in = copy_in,
                            .image_in = image_in,
                            .copy_out = copy_out,
                            .fill = fill,
                            .parameter_in = parameter_in,
                            .parameter_out = parameter_out,
                            .stream_create = stream_create,
                            .stream_destroy = stream_destroy,
                            .event_create = event_create,
                            .event_destroy = event_destroy,
                            .event_record = event_record,
                            .event_wait = event_wait,
                            .event_synchronize = event_synchronize,
                            .op_prepare = op_prepare,
                            .op_launch = op_launch,
                            .op_release = op_release,
                            .group_name = REAL->group_name,
                            .group_create = group_create,
                            .group_join = group_join,
                            .group_abort = REAL->group_abort,
                            .group_destroy = group_destroy,
                            .host_create = host_create,
                            .host_fill = host_fill,
                            .activation_dtypes = REAL->activation_dtypes,
                            .lowering = REAL->lowering};
    if (o->recordings) {
        made.record_begin = record_begin;
        made.record_end = record_end;
        made.replay = replay;
        made.recording_destroy = recording_destroy;
    }
    if (o->pinned) {
        made.add_squares = add_squares;
        made.pinned_create = pinned_create;
        made.pinned_destroy = pinned_destroy;
    }
    backend_check(&made);
    return &made;
}

struct standin_report standin_end(void)
{
    report.calls = atomic_load(&calls);
    report.commands = atomic_load(&commands);
    report.waits = atomic_load(&waits);
    report.live = atomic_load(&live);
    return report;
}
