#include "cost.h"

#include "cost_table.h"

/* Shares of the peaks that training reaches, fitted to published speeds within 35 % (tests/planner/cost/cost.c):
 * without tensor cores to steps of ResNet-34, 50, 101, VGG-A, D and CIFAR's 164 and 1001 on a Titan X; with them to
 * ResNet-50 on A100 (PyTorch's examples). */
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
                               .asked = asked || device->cudnn_version};
    if (peak <= 0 || device->bandwidth <= 0) return timed ? reached_speed(speed) : speed;
    speed.flops_per_second = peak * reached.arithmetic;
    speed.bytes_per_second = device->bandwidth * reached.memory;
    speed.launch_seconds = device->launch_seconds;
    speed.known = true;
    return speed;
}

double cost_op_seconds(const struct cost_speed *speed, const struct graph *graph, const struct op *op)
{
    enum cost_source source;
    if (op->kind == OP_ALL_REDUCE) return 0;
    if (speed->measured) return cost_table_seconds(speed->measured, speed, graph, op, &source);
    struct cost_work work = cost_work_of(graph, op);
    return cost_roofline_seconds(speed, &work);
}
