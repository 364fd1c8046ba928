#include <criterion/criterion.h>

#include "cost.h"

static double one_op_seconds(const struct cost_speed *speed, struct cost_work work)
{
    return cost_roofline_seconds(speed, &work);
}

Test(cost, the_roofline_takes_the_larger_and_the_launch)
{
    const struct device_spec *titan = catalogue_find("titan-x");
    struct cost_speed speed = cost_speed_of(titan, DTYPE_F32, NULL);
    cr_assert(speed.known);
    double seconds = one_op_seconds(&speed, (struct cost_work){.flops = 1000000000000ull, .bytes_moved = 1000});
    cr_assert_float_eq(seconds, 1e12 / speed.flops_per_second + titan->launch_seconds, 1e-12);
    cr_assert_gt(seconds, 1e12 / titan->flops_f32);
    seconds = one_op_seconds(&speed, (struct cost_work){.flops = 1000000000000ull, .bytes_moved = 1000000000000ull});
    cr_assert_float_eq(seconds, 1e12 / speed.bytes_per_second + titan->launch_seconds, 1e-9);
    seconds = one_op_seconds(&speed, (struct cost_work){.flops = 1, .bytes_moved = 8});
    cr_assert_float_eq(seconds, titan->launch_seconds, 1e-9);
}

static struct cost_work product(uint64_t rows, uint64_t columns, uint64_t depth)
{
    return (struct cost_work){.flops = 2 * rows * columns * depth, .rows = rows, .columns = columns, .depth = depth};
}

/* 16 and 65 columns fill 1 and 2 tiles of 64; 24 processors work on 24 tiles as long as on one. */
Test(cost, products_are_computed_in_whole_tiles_and_waves)
{
    struct cost_speed speed = {.flops_per_second = 1e12, .bytes_per_second = 1e12, .tile = 64, .tile_depth = 8};
    double full = one_op_seconds(&speed, product(6400, 64, 80));
    cr_assert_float_eq(full, 2 * 6400 * 64 * 80 / 1e12, 1e-15);
    cr_assert_float_eq(one_op_seconds(&speed, product(6400, 16, 80)), full, 1e-15);
    cr_assert_float_eq(one_op_seconds(&speed, product(6400, 65, 80)), 2 * full, 1e-15);
    cr_assert_float_eq(one_op_seconds(&speed, product(6400, 64, 73)), full, 1e-15);
    speed.processors = 24;
    double one_tile = one_op_seconds(&speed, product(64, 64, 80));
    cr_assert_float_eq(one_op_seconds(&speed, product(24 * 64, 64, 80)), one_tile, 1e-15);
    cr_assert_float_eq(one_op_seconds(&speed, product(25 * 64, 64, 80)), 2 * one_tile, 1e-15);
    struct cost_work split = product(64, 64, 24000);
    split.splits = true;
    cr_assert_float_eq(one_op_seconds(&speed, split), 2 * 64 * 64 * 24000 / 1e12, 1e-15);
    speed.tile = 1;
    cr_assert_float_eq(one_op_seconds(&speed, product(64, 16, 80)), 2 * 64 * 16 * 80 / 1e12, 1e-15);
}

/* Forward, and both ways backward, of a convolution are products of the same three extents. */
Test(cost, convolutions_are_products_of_matrices)
{
    struct model_spec spec;
    struct error err = {0};
    const struct graph_options options = {.batch = 4, .micro_batches = 1};
    cr_assert(model_parse("resnet-20", &MODEL_OPTIONS_DEFAULT, &spec, &err), "%s", err.text);
    struct graph *graph = graph_build(&spec, &options, &err);
    size_t products = 0;
    for (size_t i = 0; i < graph->op_count; i++) {
        struct cost_work work = cost_work_of(graph, &graph->ops[i]);
        if (work.rows == 0) continue;
        products++;
        uint64_t flops = 2 * work.rows * work.columns * work.depth;
        bool strided = graph->ops[i].kind == OP_CONV_BWD_DATA && flops != work.flops;
        cr_expect(strided ? flops == 4 * work.flops
                          : work.flops >= flops && work.flops - flops <= work.rows * work.columns + work.depth * 64,
                  "%s: %lu of %lu", op_kind_name(graph->ops[i].kind), (unsigned long)flops, (unsigned long)work.flops);
    }
    cr_expect_gt(products, 19 * 3 - 2);
    graph_destroy(graph);
}

Test(cost, unknown_speeds_compare_but_do_not_tell)
{
    struct device_spec generic;
    struct error err = {0};
    cr_assert(machine_generic_gpu("12GiB", 12ull << 30, &generic, &err));
    struct cost_speed speed = cost_speed_of(&generic, DTYPE_F32, NULL);
    cr_assert_not(speed.known);
    cr_assert_lt(one_op_seconds(&speed, (struct cost_work){.flops = 1000000000}),
                 one_op_seconds(&speed, (struct cost_work){.flops = 9000000000}));
}

Test(cost, tensor_cores_have_their_own_efficiency)
{
    struct cost_speed f32 = cost_speed_of(catalogue_find("h200"), DTYPE_F32, NULL),
                      f16 = cost_speed_of(catalogue_find("h200"), DTYPE_F16, NULL),
                      old32 = cost_speed_of(catalogue_find("titan-x"), DTYPE_F32, NULL),
                      old16 = cost_speed_of(catalogue_find("titan-x"), DTYPE_F16, NULL);
    cr_assert_gt(f16.flops_per_second, 3 * f32.flops_per_second);
    cr_assert_eq(old16.flops_per_second, old32.flops_per_second);
}

static double step_seconds(const char *model, enum dataset_kind dataset, uint32_t batch, const char *device,
                           enum dtype dtype)
{
    struct model_spec spec;
    struct error err = {0};
    const struct graph_options options = {.batch = batch, .micro_batches = 1, .dtype = dtype};
    struct model_options form = MODEL_OPTIONS_DEFAULT;
    form.dataset = (int)dataset;
    cr_assert(model_parse(model, &form, &spec, &err), "%s", err.text);
    struct graph *graph = graph_build(&spec, &options, &err);
    cr_assert(graph, "%s", err.text);
    struct cost_speed speed = cost_speed_of(catalogue_find(device), dtype, NULL);
    double seconds = 0;
    for (uint32_t i = 0; i < graph->backward_end; i++) seconds += cost_op_seconds(&speed, graph, &graph->ops[i]);
    graph_destroy(graph);
    return seconds;
}

Test(cost, predicts_published_speeds)
{
    const struct {
        const char *model, *device;
        uint32_t batch;
        enum dtype dtype;
        double seconds;
        bool cifar;
    } rows[] = {
        {"resnet-34", "titan-x", 32, DTYPE_F32, 0.231},
        {"resnet-50", "titan-x", 32, DTYPE_F32, 0.403},
        {"resnet-101", "titan-x", 32, DTYPE_F32, 0.649},
        {"vgg-a", "titan-x", 32, DTYPE_F32, 0.372},
        {"vgg-d", "titan-x", 32, DTYPE_F32, 0.687},
        {"bn-inception", "titan-x", 32, DTYPE_F32, 0.192},
        {"inception-v3", "titan-x", 32, DTYPE_F32, 0.494},
        /* NVIDIA DeepLearningExamples, ResNet50 v1.5 for PyTorch, one GPU */
        {"resnet-50", "a100-80gb", 256, DTYPE_F16, 256 / 2470.0},
        {"resnet-50", "v100", 256, DTYPE_F16, 256 / 1200.0},
        {"resnet-50", "v100", 128, DTYPE_F32, 128 / 367.0},
        /* narrow and deep: arXiv:1605.07146, figure 5 */
        {"resnet-164", "titan-x", 32, DTYPE_F32, 0.085, true},
        {"resnet-1001", "titan-x", 32, DTYPE_F32, 0.512, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double seconds = step_seconds(rows[i].model, rows[i].cifar ? DATASET_CIFAR10 : DATASET_IMAGENET, rows[i].batch,
                                      rows[i].device, rows[i].dtype);
        cr_expect(seconds < 1.35 * rows[i].seconds && 1.35 * seconds > rows[i].seconds,
                  "%s on %s: %g s, published %g s", rows[i].model, rows[i].device, seconds, rows[i].seconds);
    }
    /* MLPerf 3.1: 7,083 images/s with every fusion; ours has none. */
    double seconds = step_seconds("resnet-50", DATASET_IMAGENET, 256, "h100", DTYPE_F16);
    cr_expect(seconds > 256 / 7083.0 && seconds < 256 / 3500.0, "%g", seconds);
}
