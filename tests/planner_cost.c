#include <criterion/criterion.h>

#include "cost.h"

Test(cost, the_roofline_takes_the_largest)
{
    const struct device_spec *titan = catalogue_find("titan-x");
    struct cost_speed speed = cost_speed_of(titan, DTYPE_F32, NULL);
    cr_assert(speed.known);
    struct op op = {.kind = OP_CONV, .flops = 1000000000000ull, .bytes_moved = 1000};
    double seconds = cost_op_seconds(&speed, NULL, &op);
    cr_assert_float_eq(seconds, 1e12 / speed.flops_per_second, 1e-12);
    cr_assert_gt(seconds, 1e12 / titan->flops_f32);
    op.bytes_moved = 1000000000000ull;
    cr_assert_float_eq(cost_op_seconds(&speed, NULL, &op), 1e12 / speed.bytes_per_second, 1e-9);
    op = (struct op){.kind = OP_RELU, .flops = 1, .bytes_moved = 8};
    cr_assert_eq(cost_op_seconds(&speed, NULL, &op), titan->launch_seconds);
}

Test(cost, unknown_speeds_compare_but_do_not_tell)
{
    struct device_spec generic;
    struct error err = {0};
    cr_assert(machine_generic_gpu("12GiB", 12ull << 30, &generic, &err));
    struct cost_speed speed = cost_speed_of(&generic, DTYPE_F32, NULL);
    cr_assert_not(speed.known);
    struct op small = {.kind = OP_CONV, .flops = 1000000000}, large = {.kind = OP_CONV, .flops = 9000000000};
    cr_assert_lt(cost_op_seconds(&speed, NULL, &small), cost_op_seconds(&speed, NULL, &large));
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

static double step_seconds(const char *model, uint32_t batch, const char *device, enum dtype dtype)
{
    struct model_spec spec;
    struct error err = {0};
    const struct graph_options options = {.batch = batch, .micro_batches = 1, .dtype = dtype};
    cr_assert(model_parse(model, &(struct model_options){DATASET_IMAGENET, -1, -1, 0, 0}, &spec, &err), "%s", err.text);
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
    } rows[] = {
        {"resnet-34", "titan-x", 32, DTYPE_F32, 0.231},  {"resnet-50", "titan-x", 32, DTYPE_F32, 0.403},
        {"resnet-101", "titan-x", 32, DTYPE_F32, 0.649}, {"vgg-a", "titan-x", 32, DTYPE_F32, 0.372},
        {"vgg-d", "titan-x", 32, DTYPE_F32, 0.687},      {"resnet-50", "a100-40gb", 256, DTYPE_F16, 256 / 2470.0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double seconds = step_seconds(rows[i].model, rows[i].batch, rows[i].device, rows[i].dtype);
        cr_expect(seconds < 1.35 * rows[i].seconds && 1.35 * seconds > rows[i].seconds,
                  "%s on %s: %g s, published %g s", rows[i].model, rows[i].device, seconds, rows[i].seconds);
    }
    /* MLPerf 3.1: 7,083 images/s with every fusion; ours has none. */
    double seconds = step_seconds("resnet-50", 256, "h100", DTYPE_F16);
    cr_expect(seconds > 256 / 7083.0 && seconds < 256 / 3500.0, "%g", seconds);
}
