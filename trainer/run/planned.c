/* What a process is to hold under a plan. */
#include "train.h"

/* The code, libraries and tables of a process are shared out to the plan's virtual devices; each of several processes
 * has them whole. Returns what its own devices do not count. */
static uint64_t others_context_bytes(const struct plan *plan, const struct train_part *part)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < plan->device_count; i++)
        if (i - part->first >= part->count) bytes += plan->devices[i].spec.context_bytes;
    return bytes;
}

/* Its batches are of its own devices' images; in the plan the first device's are of all images. */
static uint64_t batches_bytes(const struct plan *plan, const struct graph *graph, uint32_t images)
{
    return PLAN_LOADER_BATCHES * graph_loaded_bytes(graph) * images + plan->decode_bytes;
}

static uint64_t largest_parameter(const struct graph *graph)
{
    uint64_t most = 0;
    for (size_t i = 0; i < graph->parameter_count; i++) {
        uint64_t bytes = graph->tensors[graph->parameters[i]].bytes;
        if (bytes > most) most = bytes;
    }
    return most;
}

static uint64_t largest_sum(const struct graph *graph)
{
    uint64_t most = 0;
    for (size_t i = 0; i < graph->op_count; i++) {
        if (graph->ops[i].kind != OP_ALL_REDUCE) continue;
        uint64_t bytes = graph->tensors[ALL_REDUCE_MESSAGE(&graph->ops[i])].bytes;
        if (bytes > most) most = bytes;
    }
    return most;
}

/* What one of several processes holds beyond its devices' peaks. */
static uint64_t rank_bytes(const struct plan *plan, const struct backend *backend, const struct train_part *part)
{
    const struct graph *graph = plan->variants[plan->devices[part->first].variant].graph;
    uint32_t images = 0;
    for (size_t i = part->first; i < part->first + part->count; i++) images += plan->devices[i].images;
    uint64_t bytes = others_context_bytes(plan, part) + batches_bytes(plan, graph, images);
    if (part->first > 0) bytes += largest_parameter(graph);
    if (backend && backend->group_bytes) bytes += backend->group_bytes(part->ranks, largest_sum(graph));
    return bytes;
}

uint64_t train_planned_bytes(const struct plan *plan, const struct backend *backend, const struct train_part *part)
{
    uint64_t bytes = 0;
    for (size_t i = part->first; i < part->first + part->count; i++) bytes += plan->devices[i].peak_bytes;
    if (!part->ranks || plan->devices[0].spec.kind != DEVICE_CPU) return bytes;
    const struct graph *graph = plan->variants[plan->devices[0].variant].graph;
    if (part->first == 0) bytes -= batches_bytes(plan, graph, plan->batch);
    return bytes + rank_bytes(plan, backend, part);
}
