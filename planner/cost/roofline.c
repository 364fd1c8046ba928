#include "roofline.h"

static struct cost_work product(const struct op *op, uint64_t rows, uint64_t columns, uint64_t depth, bool splits)
{
    return (struct cost_work){op->flops, op->bytes_moved, rows, columns, depth, splits};
}

static uint64_t pixels(const struct tensor *t) { return (uint64_t)t->dims[0] * t->dims[1] * t->dims[2]; }

struct cost_work cost_work_of(const struct graph *graph, const struct op *op)
{
    const struct tensor *tensors = graph->tensors;
    const struct tensor *w, *y;
    switch (op->kind) {
    case OP_CONV:
    case OP_FC:
        w = &tensors[op->in[1]], y = &tensors[op->out[0]];
        return product(op, pixels(y), w->dims[0], tensor_elements(w) / w->dims[0], false);
    case OP_CONV_BWD_DATA:
    case OP_FC_BWD_DATA:
        w = &tensors[op->in[1]], y = &tensors[op->out[0]];
        return product(op, pixels(y), w->dims[3], tensor_elements(w) / w->dims[3], false);
    case OP_CONV_BWD_WEIGHTS:
    case OP_FC_BWD_WEIGHTS:
        w = &tensors[op->out[0]], y = &tensors[op->in[1]];
        return product(op, tensor_elements(w) / w->dims[0], w->dims[0], pixels(y), true);
    default: return (struct cost_work){.flops = op->flops, .bytes_moved = op->bytes_moved};
    }
}

static double whole(uint64_t extent, uint32_t part) { return (double)((extent + part - 1) / part); }

/* What is computed over what is wanted. */
static double waste(const struct cost_speed *speed, const struct cost_work *work)
{
    if (work->rows == 0 || speed->tile < 2) return 1;
    double tiles = whole(work->rows, speed->tile) * whole(work->columns, speed->tile);
    double computed = tiles * speed->tile * speed->tile * whole(work->depth, speed->tile_depth) * speed->tile_depth;
    double wanted = (double)work->rows * (double)work->columns * (double)work->depth;
    double side = speed->processors, idle = 1;
    if (side > 0 && !work->splits) idle = whole((uint64_t)tiles, speed->processors) * side / tiles;
    return idle * computed / wanted;
}

double cost_roofline_seconds(const struct cost_speed *speed, const struct cost_work *work)
{
    double arithmetic = waste(speed, work) * (double)work->flops / speed->flops_per_second;
    double traffic = (double)work->bytes_moved / speed->bytes_per_second;
    return speed->launch_seconds + (arithmetic > traffic ? arithmetic : traffic);
}
