/* A small run by hand, for the dashboard's tests: two devices, three layers, ten steps. */
#ifndef FATHOM_TUI_ROLLUP_H
#define FATHOM_TUI_ROLLUP_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "rollup.h"

#define EXAMPLE_BUCKETS 41
static uint32_t example_buckets[64][EXAMPLE_BUCKETS];

/* The next so many times, all of them `ns`. */
static struct rollup_histogram example_histogram(uint64_t ns, uint32_t times)
{
    static size_t used;
    uint32_t *buckets = example_buckets[used++ % 64];
    int exponent = (int)log2((double)ns);
    memset(buckets, 0, sizeof example_buckets[0]);
    buckets[0] = times;
    int from = exponent * ROLLUP_OCTAVE + (int)((ldexp((double)ns, -exponent) - 1) * ROLLUP_OCTAVE);
    return (struct rollup_histogram){.buckets = buckets, .from = (uint16_t)from, .size = EXAMPLE_BUCKETS};
}

static struct rollup_op example_op(uint32_t id, const char *layer, const char *kind, const char *pass, uint64_t ns)
{
    struct rollup_op op = {.id = id,
                           .layer = layer,
                           .kind = kind,
                           .pass = pass,
                           .flops = ns * 1000,
                           .bytes_moved = ns * 10,
                           .live_bytes = (id < 4 ? id : 7 - id) * 1000000ull,
                           .count = 10,
                           .total_ns = ns * 10,
                           .least_ns = ns,
                           .most_ns = ns,
                           .last_ns = ns};
    op.histogram = example_histogram(ns, 10);
    return op;
}

static struct rollup_op example_ops[7];
static struct rollup_step example_steps[10];

static void fill_steps(void)
{
    for (uint32_t i = 0; i < 10; i++) {
        example_steps[i] =
            (struct rollup_step){.step = i + 1, .begin_ns = i * 1000000000ull, .end_ns = i * 1000000000ull + 900000000};
        for (int metric = 0; metric < TRACE_METRICS; metric++) example_steps[i].metric[metric] = NAN;
        example_steps[i].metric[METRIC_LOSS] = 2.3f - 0.1f * (float)i;
        example_steps[i].metric[METRIC_IMAGES_PER_SECOND] = 612;
        example_steps[i].metric[METRIC_LEARNING_RATE] = 0.1f;
    }
}

static void fill_device(struct rollup_device *device)
{
    static const char *const names[] = {"weights", "gradients", "kept activations"};
    snprintf(device->name, sizeof device->name, "cpu");
    device->memory_bytes = 8ull << 30;
    device->planned_bytes = 300 << 20;
    device->arena_bytes = 200 << 20;
    device->used_known[SAMPLE_PROCESS] = true;
    device->used_bytes[SAMPLE_PROCESS] = device->peak_bytes[SAMPLE_PROCESS] = 606 << 20;
    device->classes = 3;
    for (uint32_t i = 0; i < 3; i++) {
        snprintf(device->class_names[i], sizeof device->class_names[i], "%s", names[i]);
        device->class_bytes[i] = (uint64_t)(i + 1) * (50 << 20);
    }
}

static struct rollup *example_rollup(void)
{
    static struct rollup rollup;
    memset(&rollup, 0, sizeof rollup);
    example_ops[0] = example_op(0, "stem/conv", "conv", "forward", 1000000);
    example_ops[1] = example_op(1, "stage1/unit1/conv1", "conv", "forward", 3000000);
    example_ops[2] = example_op(2, "stage1/unit1/bn1", "bn", "forward", 500000);
    example_ops[3] = example_op(3, "stage1/unit1/bn1", "bn", "recompute", 400000);
    example_ops[4] = example_op(4, "stage1/unit1/conv1", "conv_bwd_data", "backward", 4000000);
    example_ops[5] = example_op(5, "stage1/unit1/conv1", "conv_bwd_weights", "backward", 5000000);
    example_ops[6] = example_op(6, "update", "sgd_update", "update", 100000);
    fill_steps();
    rollup.has_run = true;
    snprintf(rollup.model, sizeof rollup.model, "resnet-20");
    snprintf(rollup.dataset, sizeof rollup.dataset, "cifar10");
    snprintf(rollup.backend, sizeof rollup.backend, "cpu");
    snprintf(rollup.host, sizeof rollup.host, "here");
    rollup.batch = 128;
    rollup.device_count = 2;
    rollup.iterations = 20;
    rollup.parameters = 269722;
    fill_device(&rollup.devices[0]);
    fill_device(&rollup.devices[1]);
    rollup.ops = example_ops;
    rollup.op_count = 7;
    rollup.steps = example_steps;
    rollup.step_count = 10;
    rollup.events = 70;
    rollup.first_ns = 0;
    rollup.last_ns = 10000000000ull;
    return &rollup;
}

/* ---- The same run on two GPUs ---- */

/* The example's ops do 1 TFLOP/s and move 10 GB/s. */
static inline struct rollup *example_peaks(double flops, double bandwidth)
{
    struct rollup *rollup = example_rollup();
    for (size_t d = 0; d < 2; d++) {
        rollup->devices[d].peak_flops = flops;
        rollup->devices[d].peak_bandwidth = bandwidth;
    }
    return rollup;
}

#define EXAMPLE_KERNELS 10
static struct rollup_kernel example_kernels[EXAMPLE_KERNELS];

/* As often as its op, or twice as often. */
static struct rollup_kernel example_kernel(const char *name, const struct rollup_op *op, uint64_t ns, uint32_t columns)
{
    struct rollup_kernel kernel = {.times = example_op(0, "", "", op ? op->pass : TRACE_RUN_PASS, ns),
                                   .name = name,
                                   .op = op ? op->id : TRACE_OF_RUN,
                                   .stream = 7,
                                   .grid = {columns, columns ? 1 : 0, columns ? 1 : 0}};
    if (op) kernel.times.layer = op->layer;
    if (op) kernel.times.kind = op->kind;
    kernel.times.most_ns = 2 * ns;
    return kernel;
}

static inline struct rollup *example_gpu_rollup(void)
{
    static const char gemm[] = "sm90_xmma_fprop_implicit_gemm_f16f16_f16f32_f32_nhwckrsc_nhwc_tilesize128x128x64_stage4_warpgroupsize1x1x1_g1_execute_kernel";
    struct rollup *rollup = example_rollup();
    const struct rollup_op *ops = example_ops;
    struct rollup_kernel *k = example_kernels;
    k[0] = example_kernel(gemm, &ops[0], 1000000, 512);
    k[1] = example_kernel(gemm, &ops[1], 2900000, 256);
    k[2] = example_kernel("bn_sums_f32", &ops[2], 300000, 64);
    k[3] = example_kernel("bn_apply_f32", &ops[2], 200000, 64);
    k[4] = example_kernel("bn_apply_f32", &ops[3], 400000, 64);
    k[5] = example_kernel("conv_dgrad", &ops[4], 4000000, 128);
    k[6] = example_kernel("conv_wgrad", &ops[5], 5000000, 128);
    k[7] = example_kernel("sgd_update", &ops[6], 100000, 264);
    k[8] = example_kernel("copy HtoD", NULL, 20000, 0);
    k[9] = example_kernel("set_step", NULL, 3000, 1);
    k[7].grid[1] = 2;
    k[8].stream = 14;
    k[8].work = WORK_COPY;
    k[1].times.count = 20; /* in two micro-batches */
    k[1].times.total_ns *= 2;
    k[1].times.histogram = example_histogram(2900000, 20);
    rollup->kernels = k;
    rollup->kernel_count = EXAMPLE_KERNELS;
    snprintf(rollup->backend, sizeof rollup->backend, "cuda");
    for (int d = 0; d < 2; d++) {
        struct rollup_device *device = &rollup->devices[d];
        snprintf(device->name, sizeof device->name, "NVIDIA H100 80GB HBM3");
        device->memory_bytes = 80ull << 30;
        device->used_known[SAMPLE_ARENA] = device->used_known[SAMPLE_DEVICE] = true;
        device->peak_bytes[SAMPLE_ARENA] = device->arena_bytes;
        device->peak_bytes[SAMPLE_DEVICE] = 297 << 20;
    }
    return rollup;
}

/* Of the first GPU all is known, of the second little. */
static inline void example_gpu_counters(struct rollup *rollup)
{
    static struct rollup_counter counters[COUNTER_GPU_END];
    static const struct {
        enum trace_gpu_counter counter;
        double values[2];
    } known[] = {{COUNTER_GPU_BUSY, {97, NAN}},           {COUNTER_GPU_MEMORY_USED, {61.2 * (1 << 30), NAN}},
                 {COUNTER_GPU_POWER, {612, NAN}},         {COUNTER_GPU_POWER_LIMIT, {700, NAN}},
                 {COUNTER_GPU_TEMPERATURE, {71, 83}},     {COUNTER_GPU_CLOCK, {1755e6, 1410e6}},
                 {COUNTER_GPU_MEMORY_CLOCK, {2619e6, NAN}}, {COUNTER_GPU_THROTTLED, {0, 0x24}}};
    memset(counters, 0, sizeof counters);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        struct rollup_counter *counter = &counters[known[i].counter];
        counter->name = counter->unit = "";
        for (int d = 0; d < 2; d++)
            if (!isnan(known[i].values[d]))
                counter->devices[d] =
                    (struct rollup_value){.count = 1, .last = known[i].values[d], .last_ns = rollup->last_ns};
    }
    rollup->counters = counters;
    rollup->counter_count = sizeof counters / sizeof counters[0];
}

#endif
