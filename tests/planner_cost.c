#include <criterion/criterion.h>

#include "cost.h"

Test(cost, the_roofline_takes_the_largest)
{
    const struct device_spec *titan = catalogue_find("titan-x");
    struct cost_speed speed = cost_speed_of(titan, DTYPE_F32);
    cr_assert(speed.known);
    struct op op = {.kind = OP_CONV, .flops = 1000000000000ull, .bytes_moved = 1000};
    double seconds = cost_op_seconds(&speed, &op);
    cr_assert_float_eq(seconds, 1e12 / speed.flops_per_second, 1e-12);
    cr_assert_gt(seconds, 1e12 / titan->flops_f32);
    op.bytes_moved = 1000000000000ull;
    cr_assert_float_eq(cost_op_seconds(&speed, &op), 1e12 / speed.bytes_per_second, 1e-9);
    op = (struct op){.kind = OP_RELU, .flops = 1, .bytes_moved = 8};
    cr_assert_eq(cost_op_seconds(&speed, &op), titan->launch_seconds);
}

Test(cost, unknown_speeds_compare_but_do_not_tell)
{
    struct device_spec generic;
    struct error err = {0};
    cr_assert(machine_generic_gpu("12GiB", 12ull << 30, &generic, &err));
    struct cost_speed speed = cost_speed_of(&generic, DTYPE_F32);
    cr_assert_not(speed.known);
    struct op small = {.kind = OP_CONV, .flops = 1000000000}, large = {.kind = OP_CONV, .flops = 9000000000};
    cr_assert_lt(cost_op_seconds(&speed, &small), cost_op_seconds(&speed, &large));
}

Test(cost, tensor_cores_have_their_own_efficiency)
{
    struct cost_speed f32 = cost_speed_of(catalogue_find("h200"), DTYPE_F32),
                      f16 = cost_speed_of(catalogue_find("h200"), DTYPE_F16),
                      old32 = cost_speed_of(catalogue_find("titan-x"), DTYPE_F32),
                      old16 = cost_speed_of(catalogue_find("titan-x"), DTYPE_F16);
    cr_assert_gt(f16.flops_per_second, 3 * f32.flops_per_second);
    cr_assert_eq(old16.flops_per_second, old32.flops_per_second);
}

Test(cost, a_ring_moves_each_byte_almost_twice)
{
    const struct machine machine = {.link_bandwidth = 1e10, .link_latency = 0};
    cr_assert_eq(cost_all_reduce_seconds(&machine, 1, 1 << 20), 0);
    cr_assert_float_eq(cost_all_reduce_seconds(&machine, 2, 10000000000), 1.0, 1e-9);
    cr_assert_float_eq(cost_all_reduce_seconds(&machine, 8, 10000000000), 1.75, 1e-9);
    const struct machine slow = {.link_bandwidth = 1e10, .link_latency = 0.5};
    cr_assert_float_eq(cost_all_reduce_seconds(&slow, 3, 0), 2.0, 1e-9);
    const struct machine unknown = {0};
    cr_assert_eq(cost_all_reduce_seconds(&unknown, 8, 1 << 20), 0);
}

Test(cost, messages_wait_for_their_bucket_and_for_each_other)
{
    const struct cost_message messages[] = {{1, 0.5}, {2, 3}, {3, 1}};
    cr_assert_eq(cost_messages_end(messages, 0), 0);
    cr_assert_eq(cost_messages_end(messages, 1), 1.5);
    cr_assert_eq(cost_messages_end(messages, 3), 6);
}
