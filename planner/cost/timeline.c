#include "timeline.h"

#include "all_reduce.h"
#include "mem.h"
#include "workspace.h"

struct clocks {
    const struct timeline_request *request;
    struct timeline *timeline;
    double now;                /* of the compute stream */
    double free[PLAN_STREAMS]; /* from when a stream is free; of the compute stream: now */
    double *there;             /* per plan tensor: from when its value is */
};

static double later(double a, double b) { return a > b ? a : b; }

/* A copy cannot be shorter than an op's start. */
static double copy_seconds(const struct timeline_request *request, uint64_t bytes)
{
    double rate = request->host_bandwidth > 0 ? request->host_bandwidth : TIMELINE_STANDIN_HOST_BANDWIDTH;
    return later((double)bytes / rate, request->speed->launch_seconds);
}

static void wait_until(struct clocks *c, double moment, bool body)
{
    if (moment <= c->now) return;
    if (body) c->timeline->stalled += moment - c->now;
    c->now = moment;
}

static void copy(struct clocks *c, const struct plan_op *op, bool body)
{
    double seconds = copy_seconds(c->request, c->request->program->tensors[op->in[0]].bytes);
    double begin = later(c->free[op->stream], c->there[op->in[0]]);
    if (op->pass == PASS_FETCH) begin = later(begin, c->now);
    double end = begin + seconds;
    c->free[op->stream] = c->there[op->out[0]] = end;
    if (op->pass == PASS_OFFLOAD) wait_until(c, end, body);
}

/* Rounding to 16 bits before, and back after, each a pass over the bucket and the message. */
static double convert_seconds(const struct timeline_request *request, const struct op *op)
{
    const struct tensor *tensors = request->graph->tensors;
    if (op->outputs == 1) return 0;
    struct cost_work work = {.bytes_moved = tensors[op->in[0]].bytes + tensors[ALL_REDUCE_MESSAGE(op)].bytes};
    return 2 * cost_roofline_seconds(request->speed, &work);
}

/* On a stream of its own, but for virtual devices, which do one thing after the other. */
static void reduce(struct clocks *c, const struct op *op)
{
    double *messages = &c->timeline->messages;
    if (!c->request->machine) return;
    uint64_t bytes = c->request->graph->tensors[ALL_REDUCE_MESSAGE(op)].bytes;
    double seconds =
        convert_seconds(c->request, op) + all_reduce_seconds(c->request->machine, c->request->ranks, bytes, NULL);
    *messages = later(*messages, c->now) + seconds;
    if (c->request->machine->devices[0].kind != DEVICE_CPU) return;
    c->timeline->summing += seconds; /* the threads that would compute meanwhile add up */
    c->now = *messages;
}

static void compute(struct clocks *c, const struct plan_op *op, bool body)
{
    const struct graph *graph = c->request->graph;
    const struct op *graph_op = &graph->ops[op->op];
    double seconds = workspace_op_seconds(c->request->speed, graph, c->request->program, op);
    for (uint32_t k = 0; k < OP_MOST_INPUTS; k++)
        if (op->in[k] != NO_TENSOR) wait_until(c, c->there[op->in[k]], body);
    if (graph_op->kind == OP_ALL_REDUCE) reduce(c, graph_op);
    c->now += seconds;
    for (uint32_t k = 0; k < OP_MOST_OUTPUTS; k++)
        if (op->out[k] != NO_TENSOR) c->there[op->out[k]] = c->now;
    if (plan_op_repeats(op)) c->timeline->recompute += seconds;
    if (op->pass == PASS_UPDATE) c->timeline->update += seconds;
}

bool timeline_make(const struct timeline_request *request, struct timeline *timeline, struct error *err)
{
    const struct plan_program *program = request->program;
    struct clocks c = {.request = request, .timeline = timeline};
    c.there = mem_zalloc(MEM_PLAN, program->tensor_count, sizeof *c.there);
    if (!c.there) return error_memory(err, program->tensor_count * sizeof *c.there, "a step's time");
    *timeline = (struct timeline){0};
    for (size_t i = 0; i < program->op_count; i++) {
        bool body = i < program->body_count;
        if (plan_op_copies(&program->ops[i]))
            copy(&c, &program->ops[i], body);
        else
            compute(&c, &program->ops[i], body);
        if (body) timeline->body = c.now;
    }
    timeline->rest = c.now - timeline->body;
    mem_free(c.there);
    return true;
}
