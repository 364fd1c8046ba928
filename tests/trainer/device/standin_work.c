/* Commands in their queues: what they touch, in which order they may be run, and the worker that runs them. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "plan.h"
#include "standin_private.h"

/* ---- Clocks ---- */

void standin_touch(struct memory *m, const struct clock *clock, uint8_t lane, uint64_t offset, uint64_t bytes,
                   bool writes, const char *what)
{
    static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER; /* of all devices' threads */
    struct conflict c;
    pthread_mutex_lock(&one);
    bool ok = shadow_touch(&m->shadow, clock, lane, offset, bytes, writes, &c);
    pthread_mutex_unlock(&one);
    if (ok) return;
    standin_violate("%s %s byte %llu, which lane %u %s with nothing between them", what, c.writes ? "writes" : "reads",
                    (unsigned long long)c.offset, c.lane, c.wrote ? "writes" : "reads");
}

static void touch_op(struct device *d, const struct op_call *call, const struct clock *clock, uint8_t lane)
{
    const struct op *op = call->op;
    const char *what = op_kind_name(op->kind);
    bool leaves = call->pass == PASS_OFFLOAD, comes = call->pass == PASS_FETCH;
    if (leaves || comes) {
        standin_touch(leaves ? &d->arena : &d->host, clock, lane, call->in[0], call->in_tensor[0]->bytes, false,
                      "a copy");
        standin_touch(leaves ? &d->host : &d->arena, clock, lane, call->out[0], call->in_tensor[0]->bytes, true,
                      "a copy");
        return;
    }
    bool updates = op->kind == OP_BN && call->pass == PASS_FORWARD; /* running statistics */
    unsigned outputs = call->pass == PASS_EVALUATE && op->kind != OP_SOFTMAX_LOSS ? 1 : op->outputs;
    for (unsigned i = 0; i < op->inputs; i++)
        if (call->in_tensor[i])
            standin_touch(&d->arena, clock, lane, call->in[i], call->in_tensor[i]->bytes, updates && i >= 3, what);
    for (unsigned i = 0; i < outputs; i++)
        if (call->out_tensor[i])
            standin_touch(&d->arena, clock, lane, call->out[i], call->out_tensor[i]->bytes, true, what);
    standin_touch(&d->arena, clock, lane, call->workspace, call->workspace_bytes, true, what);
}

static void touch_command(struct device *d, const struct command *c, const struct clock *clock, uint8_t lane)
{
    switch (c->kind) {
    case IMAGE_IN:
    case COPY_IN: standin_touch(&d->arena, clock, lane, c->offset, c->bytes, true, "a copy to the device"); break;
    case COPY_OUT: standin_touch(&d->arena, clock, lane, c->offset, c->bytes, false, "a copy from the device"); break;
    case SQUARES: standin_touch(&d->arena, clock, lane, c->offset, c->bytes, false, "a sum of squares"); break;
    case FILL: standin_touch(&d->arena, clock, lane, c->offset, c->bytes, true, "a fill"); break;
    case HOST_FILL: standin_touch(&d->host, clock, lane, c->offset, c->bytes, true, "a fill of host memory"); break;
    case LAUNCH: touch_op(d, &c->prepared->call, clock, lane); break;
    default: break;
    }
}

bool standin_walk(struct device *d, struct recording *r, struct clock *clock)
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

static uint64_t draw(struct device *d, uint64_t below)
{
    d->random = d->random * 6364136223846793005u + 1442695040888963407u;
    return (d->random >> 33) % below;
}

static void push(struct queue *q, const struct command *c)
{
    if (q->first + q->count == q->capacity) {
        if (q->first > 0) memmove(q->commands, q->commands + q->first, q->count * sizeof *q->commands);
        q->first = 0;
        if (q->count == q->capacity) {
            q->capacity = q->capacity ? 2 * q->capacity : 64;
            q->commands = standin_need(realloc(q->commands, q->capacity * sizeof *q->commands));
        }
    }
    q->commands[q->first + q->count++] = *c;
}

static bool run_command(struct device *d, struct command *c, struct error *err);

/* Which command a recorded one waits for is its `sequence`. */
static bool replay_nodes(struct device *d, struct recording *r, struct error *err)
{
    size_t left = r->nodes.count, at[MOST_STREAMS] = {0};
    bool *done = standin_need(calloc(left + 1, sizeof *done)), ok = true;
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
    uint64_t number = atomic_fetch_add(&standin.commands, 1) + 1;
    if (number == standin.options.hang_command) {
        d->hung = true;
        return true;
    }
    if (d->hung) return true;
    if (number == standin.options.fail_command) return error_set(err, ERROR_FAILED, "the device is lost");
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
    if (!ok) standin_lose(d, &err);
    if (c.kind == SET_STEP) d->steps_run = c.step.number;
    if (ok && !d->hung && c.kind == EVENT_RECORD && c.event->done < c.sequence) c.event->done = c.sequence;
    if (d->queued == 0) d->patience = draw(d, 600);
    pthread_cond_broadcast(&d->changed);
}

void *standin_work(void *argument)
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

bool standin_put(struct stream *s, struct command c, struct error *err)
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
