#include "cost.h"

#include "cost_table.h"

/* Shares of the peaks that training reaches, fitted to published speeds within 35 % (tests/planner/cost/cost.c): without
 * tensor cores to steps of ResNet-34, 50, 101, VGG-A, D and CIFAR's 164 and 1001 on a Titan X; with them to ResNet-50
 * on A100 (PyTorch's examples). */
struct efficiency {
    double arithmetic, memory;
};
static const struct efficiency without_tensor_cores = {0.65, 0.40};
static const struct efficiency with_tensor_cores_f32 = {0.65, 0.70};
static const struct efficiency with_tensor_cores_f16 = {0.40, 0.70};

/* Smallest tiles of cuDNN's and cuBLAS's products: 64 channels wide (sm_90), 32 terms deep on tensor cores (HMMA
 * kernels, "..._64x64_32x..."), 8 without. */
#define TILE                    64
#define TILE_DEPTH              8
#define TILE_DEPTH_TENSOR_CORES 32

/* Stands in for a device of unknown speed: a Titan X (Maxwell). Only ratios between ops matter. */
#define STANDIN_FLOPS     6.14e12
#define STANDIN_BANDWIDTH 336.5e9
#define STANDIN_LAUNCH    5e-6

/* A device of unknown speed is as fast as its run was. */
static struct cost_speed reached_speed(struct cost_speed speed)
{
    double flops, bytes;
    cost_table_rates(speed.measured, &flops, &bytes);
    if (flops <= 0 || bytes <= 0) return speed;
    speed.flops_per_second = flops;
    speed.bytes_per_second = bytes;
    speed.launch_seconds = 0;
    speed.tile = 1;
    return speed;
}

struct cost_speed cost_speed_of(const struct device_spec *device, enum dtype dtype, const struct cost_table *measured)
{
    bool half = dtype == DTYPE_F16 || dtype == DTYPE_BF16;
    bool tensor_cores = device->flops_f16 > 3 * device->flops_f32;
    double peak = half ? device->flops_f16 : device->flops_f32;
    struct efficiency reached = !tensor_cores ? without_tensor_cores
                                : half        ? with_tensor_cores_f16
                                              : with_tensor_cores_f32;
    bool asked = device->kind != DEVICE_GPU, timed = measured && cost_table_applies(measured, device);
    struct cost_speed speed = {.flops_per_second = STANDIN_FLOPS * without_tensor_cores.arithmetic,
                               .bytes_per_second = STANDIN_BANDWIDTH * without_tensor_cores.memory,
                               .launch_seconds = STANDIN_LAUNCH,
                               .tile = asked ? 1 : TILE,
                               .tile_depth = half && tensor_cores ? TILE_DEPTH_TENSOR_CORES : TILE_DEPTH,
                               .processors = device->processors,
                               .measured = timed ? measured : NULL,
                               .known = timed,
                               .asked = asked};
    if (peak <= 0 || device->bandwidth <= 0) return timed ? reached_speed(speed) : speed;
    speed.flops_per_second = peak * reached.arithmetic;
    speed.bytes_per_second = device->bandwidth * reached.memory;
    speed.launch_seconds = device->launch_seconds;
    speed.known = true;
    return speed;
}

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

double cost_op_seconds(const struct cost_speed *speed, const struct graph *graph, const struct op *op)
{
    enum cost_source source;
    if (op->kind == OP_ALL_REDUCE) return 0;
    if (speed->measured) return cost_table_seconds(speed->measured, speed, graph, op, &source);
    struct cost_work work = cost_work_of(graph, op);
    return cost_roofline_seconds(speed, &work);
}
