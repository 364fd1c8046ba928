/* Capture of streams into graphs, and their replay. */
#include <stdlib.h>
#include <string.h>

#include "vendor.h"

struct capture {
    struct capture *next;
    unsigned long long id;
    bool ended;
    cudaError_t spoiled; /* cudaSuccess: valid */
    struct CUstream_st *origin;
    enum cudaStreamCaptureMode mode;
    const void *thread;
    struct CUgraph_st *graph;
};

static struct capture *captures; /* all there were: events may name them */
static unsigned long long last_id;
static uint64_t last_graph; /* executable ones count too */
static _Thread_local enum cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;
static _Thread_local char this_thread; /* its address */

void node_set_add(struct node_set *set, struct CUgraphNode_st *node)
{
    for (size_t i = 0; i < set->count; i++)
        if (set->nodes[i] == node) return;
    if (set->count == set->capacity) {
        set->capacity = set->capacity ? 2 * set->capacity : 4;
        set->nodes = need(realloc(set->nodes, set->capacity * sizeof *set->nodes));
    }
    set->nodes[set->count++] = node;
}

static void node_set_join(struct node_set *set, const struct node_set *other)
{
    for (size_t i = 0; i < other->count; i++) node_set_add(set, other->nodes[i]);
}

/* ---- What a capture forbids ---- */

cudaError_t capture_spoil(struct capture *capture, cudaError_t status)
{
    if (!capture->ended && !capture->spoiled) capture->spoiled = cudaErrorStreamCaptureInvalidated;
    return status;
}

/* Unsafe calls: none while this thread captures, nor while another does for all threads, but where modes are relaxed.
 */
static bool forbids(const struct capture *c)
{
    if (c->ended || thread_mode == cudaStreamCaptureModeRelaxed) return false;
    if (c->thread == &this_thread) return c->mode != cudaStreamCaptureModeRelaxed;
    return thread_mode == cudaStreamCaptureModeGlobal && c->mode == cudaStreamCaptureModeGlobal;
}

cudaError_t capture_forbids(void)
{
    for (struct capture *c = captures; c; c = c->next)
        if (forbids(c)) return capture_spoil(c, cudaErrorStreamCaptureUnsupported);
    return cudaSuccess;
}

cudaError_t capture_refuses(struct CUstream_st *s, cudaError_t status)
{
    if (s->capture) return capture_spoil(s->capture, status);
    if (s != s->device->legacy) return cudaSuccess;
    for (struct CUstream_st *other = all_streams; other; other = other->next) /* the legacy stream would wait for it */
        if (other->capture && other->blocking && other->device == s->device)
            return capture_spoil(other->capture, cudaErrorStreamCaptureImplicit);
    return cudaSuccess;
}

bool event_is_captured(const struct CUevent_st *e) { return e->capture != NULL; }

/* ---- Nodes ---- */

cudaError_t capture_add(struct CUstream_st *s, struct work *work)
{
    struct capture *c = s->capture;
    if (c->spoiled) {
        work_give(work);
        return c->spoiled;
    }
    struct CUgraphNode_st *node = NEW(struct CUgraphNode_st);
    *node = (struct CUgraphNode_st){.work = work, .number = c->graph->nodes.count, .lane = s->capture_lane};
    node_set_join(&node->before, &s->leaves);
    node_set_add(&c->graph->nodes, node);
    s->leaves.count = 0;
    node_set_add(&s->leaves, node);
    node->id = c->graph->id << 32 | (node->number + 1);
    cupti_node_created(node, c->graph);
    return cudaSuccess;
}

cudaError_t capture_record(struct CUstream_st *s, struct CUevent_st *e)
{
    if (s->capture->spoiled) return s->capture->spoiled;
    e->capture = s->capture;
    e->nodes.count = 0;
    node_set_join(&e->nodes, &s->leaves);
    return cudaSuccess;
}

static void join_capture(struct CUstream_st *s, struct capture *c)
{
    s->capture = c;
    s->leaves.count = 0;
    s->capture_lane = c->graph->lanes++;
    if (c->graph->lanes > MOST_GRAPH_LANES) {
        violate("a capture takes more streams than the stand-in tells apart");
        s->capture_lane = 0;
        c->graph->lanes = MOST_GRAPH_LANES;
    }
}

cudaError_t capture_wait(struct CUstream_st *s, struct CUevent_st *e, bool *captured)
{
    struct capture *c = e->capture;
    *captured = c || s->capture;
    if (!*captured) return cudaSuccess;
    if (s->capture && s->capture->spoiled) return s->capture->spoiled;
    if (!c) return capture_spoil(s->capture, cudaErrorStreamCaptureIsolation);
    if (c->ended)
        return s->capture ? capture_spoil(s->capture, cudaErrorStreamCaptureIsolation) : cudaErrorCapturedEvent;
    if (c->spoiled) return c->spoiled;
    if (s == s->device->legacy) return capture_spoil(c, cudaErrorStreamCaptureImplicit);
    if (s->capture && s->capture != c) {
        capture_spoil(s->capture, cudaSuccess);
        return capture_spoil(c, cudaErrorStreamCaptureMerge);
    }
    if (!s->capture) join_capture(s, c);
    node_set_join(&s->leaves, &e->nodes);
    return cudaSuccess;
}

/* ---- Calls ---- */

cudaError_t EXPORTED cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode)
{
    BEGIN("ThreadExchangeStreamCaptureMode", CALL_WITHOUT_DEVICE);
    enum cudaStreamCaptureMode was = thread_mode;
    thread_mode = *mode;
    *mode = was;
    return call_leave(cudaSuccess);
}

cudaError_t EXPORTED cudaStreamBeginCapture(cudaStream_t handle, enum cudaStreamCaptureMode mode)
{
    BEGIN("StreamBeginCapture", CALL_USUAL);
    struct CUstream_st *s = stream_find(handle);
    if (!s) return call_leave(cudaErrorInvalidResourceHandle);
    if (s == s->device->legacy) return call_leave(cudaErrorStreamCaptureUnsupported);
    if (s->capture) return call_leave(cudaErrorIllegalState);
    struct capture *c = NEW(struct capture);
    *c = (struct capture){.next = captures, .id = ++last_id, .origin = s, .mode = mode, .thread = &this_thread};
    c->graph = NEW(struct CUgraph_st);
    c->graph->alive = true;
    c->graph->id = ++last_graph;
    captures = c;
    join_capture(s, c);
    return call_leave(cudaSuccess);
}

/* Marks what leads to the origin's end; numbers are a topological order. */
static bool all_joined(const struct capture *c)
{
    const struct node_set *nodes = &c->graph->nodes;
    bool *leads = need(calloc(nodes->count + 1, sizeof *leads)), joined = true;
    for (size_t i = 0; i < c->origin->leaves.count; i++) leads[c->origin->leaves.nodes[i]->number] = true;
    for (size_t i = nodes->count; i-- > 0;) {
        const struct CUgraphNode_st *node = nodes->nodes[i];
        joined = joined && leads[i];
        for (size_t k = 0; leads[i] && k < node->before.count; k++) leads[node->before.nodes[k]->number] = true;
    }
    free(leads);
    return joined;
}

static bool is_update(const struct work *work)
{
    return work->kind == WORK_KERNEL && strstr(work->launch.kernel->host->name, "update");
}

/* Whether something that was recorded after a node need not wait for it, but for the updates at the end. */
static bool is_free(const struct node_set *nodes, size_t at)
{
    bool *waits = need(calloc(nodes->count, sizeof *waits)), found = false;
    waits[at] = true;
    for (size_t i = at + 1; i < nodes->count; i++) {
        const struct node_set *before = &nodes->nodes[i]->before;
        for (size_t k = 0; k < before->count; k++) waits[i] = waits[i] || waits[before->nodes[k]->number];
        found = found || (!waits[i] && nodes->nodes[i]->work->kind != WORK_SUM && !is_update(nodes->nodes[i]->work));
    }
    free(waits);
    return found;
}

static void count_free_sums(const struct node_set *nodes)
{
    for (size_t i = 0; i < nodes->count; i++)
        counts.free_sums += nodes->nodes[i]->work->kind == WORK_SUM && is_free(nodes, i);
}

static void free_nodes(struct node_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        cupti_node_destroyed(set->nodes[i]);
        work_give(set->nodes[i]->work);
        free(set->nodes[i]->before.nodes);
        free(set->nodes[i]);
    }
    free(set->nodes);
    *set = (struct node_set){0};
}

static cudaError_t end(struct capture *c, cudaGraph_t *graph)
{
    cudaError_t status = c->spoiled ? c->spoiled : all_joined(c) ? cudaSuccess : cudaErrorStreamCaptureUnjoined;
    for (struct CUstream_st *s = all_streams; s; s = s->next) {
        if (s->capture != c) continue;
        s->capture = NULL;
        s->leaves.count = 0;
    }
    c->ended = true;
    *graph = status ? NULL : c->graph;
    counts.graphs += !status;
    if (!status) count_free_sums(&c->graph->nodes);
    if (status) free_nodes(&c->graph->nodes);
    if (status) free(c->graph);
    c->graph = NULL;
    return status;
}

cudaError_t EXPORTED cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t *graph)
{
    BEGIN("StreamEndCapture", CALL_USUAL);
    struct CUstream_st *s = stream_find(handle);
    *graph = NULL;
    if (!s) return call_leave(cudaErrorInvalidResourceHandle);
    struct capture *c = s->capture;
    if (!c) return call_leave(cudaErrorIllegalState);
    if (c->mode != cudaStreamCaptureModeRelaxed && c->thread != &this_thread)
        return call_leave(capture_spoil(c, cudaErrorStreamCaptureWrongThread));
    if (c->origin != s) return call_leave(capture_spoil(c, cudaErrorStreamCaptureUnmatched));
    return call_leave(end(c, graph));
}

cudaError_t EXPORTED cudaStreamGetCaptureInfo(cudaStream_t handle, enum cudaStreamCaptureStatus *status,
                                              unsigned long long *id, cudaGraph_t *graph,
                                              const cudaGraphNode_t **dependencies, const cudaGraphEdgeData **edges,
                                              size_t *count)
{
    BEGIN("StreamGetCaptureInfo", CALL_USUAL);
    struct CUstream_st *s = stream_find(handle);
    if (!s) return call_leave(cudaErrorInvalidResourceHandle);
    const struct capture *c = s->capture;
    *status = !c           ? cudaStreamCaptureStatusNone
              : c->spoiled ? cudaStreamCaptureStatusInvalidated
                           : cudaStreamCaptureStatusActive;
    if (id && c) *id = c->id;
    if (graph && c) *graph = c->graph;
    if (dependencies && c) *dependencies = s->leaves.nodes;
    if (edges) *edges = NULL;
    if (count && c) *count = s->leaves.count;
    return call_leave(cudaSuccess);
}

/* ---- Graphs ---- */

cudaError_t EXPORTED cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count)
{
    BEGIN("GraphGetNodes", CALL_USUAL);
    if (!graph || !graph->alive) return call_leave(cudaErrorInvalidValue);
    for (size_t i = 0; nodes && i < *count; i++) nodes[i] = i < graph->nodes.count ? graph->nodes.nodes[i] : NULL;
    if (!nodes || *count > graph->nodes.count) *count = graph->nodes.count;
    return call_leave(cudaSuccess);
}

cudaError_t EXPORTED cudaGraphNodeGetType(cudaGraphNode_t node, enum cudaGraphNodeType *type)
{
    BEGIN("GraphNodeGetType", CALL_USUAL);
    static const enum cudaGraphNodeType types[] = {
        [WORK_KERNEL] = cudaGraphNodeTypeKernel, [WORK_COPY] = cudaGraphNodeTypeMemcpy,
        [WORK_FILL] = cudaGraphNodeTypeMemset,   [WORK_CALL] = cudaGraphNodeTypeKernel,
        [WORK_SUM] = cudaGraphNodeTypeKernel,
    };
    *type = types[node->work->kind];
    return call_leave(cudaSuccess);
}

cudaError_t EXPORTED cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags)
{
    BEGIN("GraphInstantiate", CALL_USUAL);
    (void)flags;
    if (!graph || !graph->alive) return call_leave(cudaErrorInvalidValue);
    struct CUgraphExec_st *x = NEW(struct CUgraphExec_st);
    x->alive = true;
    x->lanes = graph->lanes;
    uint64_t id = ++last_graph;
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const struct CUgraphNode_st *from = graph->nodes.nodes[i];
        struct CUgraphNode_st *node = NEW(struct CUgraphNode_st);
        *node = (struct CUgraphNode_st){.work = from->work, .id = id << 32 | (i + 1), .number = i, .lane = from->lane};
        node->work->users++;
        for (size_t k = 0; k < from->before.count; k++)
            node_set_add(&node->before, x->nodes.nodes[from->before.nodes[k]->number]);
        node_set_add(&x->nodes, node);
        cupti_node_cloned(node, from);
    }
    counts.graphs++;
    *exec = x;
    return call_leave(cudaSuccess);
}

cudaError_t EXPORTED cudaGraphDestroy(cudaGraph_t graph)
{
    BEGIN("GraphDestroy", CALL_WITHOUT_DEVICE);
    if (!graph || !graph->alive) return call_leave(cudaErrorInvalidValue);
    graph->alive = false;
    counts.graphs--;
    free_nodes(&graph->nodes);
    return call_leave(cudaSuccess);
}

/* While it runs, CUDA keeps it until it has. */
cudaError_t EXPORTED cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    BEGIN("GraphExecDestroy", CALL_WITHOUT_DEVICE);
    if (!exec || !exec->alive) return call_leave(cudaErrorInvalidValue);
    exec->alive = false;
    counts.graphs--;
    if (!exec->last || exec->last->done >= exec->last_sequence) free_nodes(&exec->nodes);
    return call_leave(cudaSuccess);
}

cudaError_t EXPORTED cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream)
{
    BEGIN("GraphUpload", CALL_USUAL);
    return call_leave(exec && exec->alive && stream_find(stream) ? cudaSuccess : cudaErrorInvalidValue);
}

/* ---- Replay ---- */

/* What follows in the stream follows all of the graph, so its end is known now: each lane's last node. */
static void advance_clock(struct CUstream_st *s, struct CUgraphExec_st *x, struct command *c)
{
    while (s->graph_lane_count < x->lanes) s->graph_lanes[s->graph_lane_count++] = lane_take();
    for (unsigned l = 0; l < x->lanes; l++) c->graph_at[l] = lane_time[s->graph_lanes[l]];
    for (size_t i = 0; i < x->nodes.count; i++) lane_time[s->graph_lanes[x->nodes.nodes[i]->lane]]++;
    c->clock = s->clock;
    for (unsigned l = 0; l < x->lanes; l++) s->clock.at[s->graph_lanes[l]] = lane_time[s->graph_lanes[l]];
}

cudaError_t EXPORTED cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t handle)
{
    BEGIN("GraphLaunch", CALL_USUAL);
    struct CUstream_st *s = stream_find(handle);
    if (!x || !x->alive || !s) return call_leave(cudaErrorInvalidValue);
    cudaError_t status = capture_refuses(s, cudaErrorStreamCaptureUnsupported);
    if (status) return call_leave(status);
    stream_order_legacy(s);
    if (x->last && x->last != s && x->last->done < x->last_sequence) { /* one launch at a time */
        struct command wait = {.kind = COMMAND_WAIT, .stream = x->last, .sequence = x->last_sequence};
        stream_push(s, &wait);
    }
    for (size_t i = 0; i < x->nodes.count; i++) /* a copy is to read what is there now */
        if (x->nodes.nodes[i]->work->kind == WORK_COPY) work_note_source(x->nodes.nodes[i]->work);
    struct command c = {.kind = COMMAND_GRAPH, .graph = x};
    advance_clock(s, x, &c);
    stream_push(s, &c);
    x->last = s;
    x->last_sequence = s->submitted;
    graph_was_launched = true;
    return call_leave(cudaSuccess);
}

/* A launch that is under way: it may wait for other ranks and go on later. */
struct replay {
    size_t *missing; /* of each node, what it waits for */
    size_t *ready, ready_count;
    size_t *first, *after; /* the nodes that follow node i: after[first[i]] to after[first[i + 1]] */
    struct clock *clocks;
    bool *began;
    uint32_t at[MOST_GRAPH_LANES];
};

static void find_followers(struct replay *r, const struct node_set *nodes)
{
    size_t edges = 0, count = nodes->count;
    for (size_t i = 0; i < count; i++) {
        const struct node_set *before = &nodes->nodes[i]->before;
        r->missing[i] = before->count;
        edges += before->count;
        for (size_t k = 0; k < before->count; k++) r->first[before->nodes[k]->number + 2]++;
        if (before->count == 0) r->ready[r->ready_count++] = i;
    }
    for (size_t i = 2; i < count + 2; i++) r->first[i] += r->first[i - 1];
    r->after = need(calloc(edges + 1, sizeof *r->after));
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < nodes->nodes[i]->before.count; k++)
            r->after[r->first[nodes->nodes[i]->before.nodes[k]->number + 1]++] = i;
}

static struct replay *replay_new(const struct command *c)
{
    const struct node_set *nodes = &c->graph->nodes;
    struct replay *r = NEW(struct replay);
    r->missing = need(calloc(nodes->count + 1, sizeof *r->missing));
    r->ready = need(calloc(nodes->count + 1, sizeof *r->ready));
    r->first = need(calloc(nodes->count + 2, sizeof *r->first));
    r->clocks = need(calloc(nodes->count + 1, sizeof *r->clocks));
    r->began = need(calloc(nodes->count + 1, sizeof *r->began));
    memcpy(r->at, c->graph_at, sizeof r->at);
    find_followers(r, nodes);
    return r;
}

static void replay_free(struct replay *r)
{
    free(r->missing);
    free(r->ready);
    free(r->first);
    free(r->after);
    free(r->clocks);
    free(r->began);
    free(r);
}

static enum outcome run_node(const struct command *c, struct CUstream_st *s, struct CUgraphNode_st *node)
{
    struct replay *r = s->replay;
    struct clock *clock = &r->clocks[node->number];
    uint8_t lane = s->graph_lanes[node->lane];
    if (!r->began[node->number]) {
        *clock = c->clock;
        for (size_t k = 0; k < node->before.count; k++) clock_learn(clock, &r->clocks[node->before.nodes[k]->number]);
        clock->at[lane] = ++r->at[node->lane];
        r->began[node->number] = true;
    }
    return work_run(node->work, node, s->device, clock, lane);
}

static void finish_node(struct replay *r, size_t place)
{
    size_t node = r->ready[place];
    r->ready[place] = r->ready[--r->ready_count];
    for (size_t k = r->first[node]; k < r->first[node + 1]; k++)
        if (--r->missing[r->after[k]] == 0) r->ready[r->ready_count++] = r->after[k];
    progress++;
}

/* Nodes of one lane run in the order of its stream, which their edges are. */
enum outcome graph_run(const struct command *c, struct CUstream_st *s)
{
    struct CUgraphExec_st *x = c->graph;
    if (!s->replay) s->replay = replay_new(c);
    struct replay *r = s->replay;
    while (r->ready_count > 0) {
        size_t place = (size_t)draw(r->ready_count), tried = 0;
        enum outcome outcome = WAITS;
        for (; outcome == WAITS && tried < r->ready_count; tried++) { /* others get on beside what waits */
            if (tried > 0) place = (place + 1) % r->ready_count;
            outcome = run_node(c, s, x->nodes.nodes[r->ready[place]]);
        }
        if (outcome != DONE) return outcome;
        finish_node(r, place);
    }
    replay_free(r);
    s->replay = NULL;
    counts.graph_launches++;
    return DONE;
}
