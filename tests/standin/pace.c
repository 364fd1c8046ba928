/* The time of a GPU that was made up: with pace=1 work computes nothing and takes as long as this law says, one thing
 * after the other on a device, and whoever waits for it waits so long. The times of records are from the law too. */
#include <time.h>

#include "dnn.h"

#define FLOPS_PER_NS   4000.0 /* of cuDNN's plans */
#define BYTES_PER_NS   20.0
#define THREADS_PER_US 270000.0
#define KERNEL_NS      2500.0
#define PLAN_NS        5000.0
#define COPY_NS        4000.0
#define GRAPH_NS       9000u /* before the first of a graph's nodes */
#define GAP_NS         1300u /* before every other */

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_RAW, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double plan_flops(const struct dnn_graph *graph)
{
    double flops = 0;
    for (uint32_t i = 0; i < graph->op_count; i++) {
        const struct dnn_op *op = &graph->ops[i];
        if (op->kind > DNN_WEIGHTS) continue;
        uint32_t weights = op->kind == DNN_WEIGHTS ? op->out[0] : op->in[1];
        uint32_t result = op->kind == DNN_FORWARD ? op->out[0] : op->kind == DNN_DATA ? op->in[0] : op->in[1];
        const int64_t *w = graph->tensors[weights].dims, *y = graph->tensors[result].dims;
        flops += 2.0 * (double)(y[0] * y[2] * y[3]) * (double)(w[0] * w[1] * w[2] * w[3]);
    }
    return flops;
}

static double law(const struct work *work)
{
    const double threads = (double)work->launch.grid_x * work->launch.grid_y * work->launch.threads;
    switch (work->kind) {
    case WORK_KERNEL: return KERNEL_NS + 1000 * threads / THREADS_PER_US;
    case WORK_CALL: return PLAN_NS + work->call.flops / FLOPS_PER_NS;
    case WORK_COPY:
    case WORK_FILL: return COPY_NS + (double)work->copy.bytes / BYTES_PER_NS;
    case WORK_SUM: break;
    }
    return COPY_NS;
}

void pace_note_plan(struct work *work, const struct dnn_graph *graph) { work->call.flops = plan_flops(graph); }

void pace_submitted(struct command *command)
{
    if (options.pace) command->submitted_ns = now_ns();
}

void pace_begin(struct device *device, const struct command *command)
{
    if (!options.pace) return;
    uint64_t from = command->submitted_ns + (command->kind == COMMAND_GRAPH ? GRAPH_NS : 0);
    if (device->free_ns < from) device->free_ns = from;
}

void pace_run(const struct work *work, struct device *device, struct cupti_run *ran)
{
    double noise = 0.97 + 0.0006 * (double)draw(101); /* 3 % up and down */
    ran->begin = device->free_ns + GAP_NS;
    ran->end = device->free_ns = ran->begin + (uint64_t)(noise * law(work));
}

void pace_wait(const struct device *device)
{
    uint64_t now = options.pace ? now_ns() : 0;
    if (!options.pace || device->free_ns <= now) return;
    uint64_t left = device->free_ns - now;
    nanosleep(&(struct timespec){.tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u)}, NULL);
}
