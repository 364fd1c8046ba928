/* All-reduce by topology: sums done by hand, and what must hold for any bandwidths and latencies. */
#include <criterion/criterion.h>

#include "all_reduce.h"
#include "random.h"

#define FIXED 8.4e-6

static const struct machine one_node = {.link_bandwidth = 1e10, .node_devices = 8, .network_bandwidth = 1e9};

Test(all_reduce, a_ring_moves_each_byte_almost_twice)
{
    cr_assert_eq(all_reduce_seconds(&one_node, 1, 1 << 20, NULL), 0);
    cr_assert_float_eq(all_reduce_by(&one_node, 2, 10000000000, ALL_REDUCE_RING), FIXED + 1.0, 1e-9);
    cr_assert_float_eq(all_reduce_by(&one_node, 8, 10000000000, ALL_REDUCE_RING), FIXED + 1.75, 1e-9);
    const struct machine slow = {.link_bandwidth = 1e10, .link_latency = 0.5, .node_devices = 8};
    cr_assert_float_eq(all_reduce_by(&slow, 3, 0, ALL_REDUCE_RING), FIXED + 2.0, 1e-9);
}

/* 16 devices in 2 nodes: 30 messages of which 2 leave their node; the network is the narrower. */
Test(all_reduce, over_nodes_by_hand)
{
    const struct machine two = {.link_bandwidth = 8e9,
                                .link_latency = 1e-3,
                                .node_devices = 8,
                                .network_bandwidth = 4e9,
                                .network_latency = 1e-2};
    cr_assert_float_eq(all_reduce_by(&two, 16, 4000000000, ALL_REDUCE_RING), FIXED + 1.875 + 28e-3 + 2e-2, 1e-9);
    cr_assert_float_eq(all_reduce_by(&two, 16, 3600000000, ALL_REDUCE_TREE), FIXED + 2.0 + 14e-3 + 2e-2, 1e-9);
    /* 2 x (7/8 x 0.5 + 7 ms) inside, 1 s + 20 ms between */
    cr_assert_float_eq(all_reduce_by(&two, 16, 4000000000, ALL_REDUCE_HIERARCHICAL), FIXED + 0.875 + 14e-3 + 1.0 + 2e-2,
                       1e-9);
}

Test(all_reduce, nodes_of_one_device_use_the_network_alone)
{
    const struct machine single = {.node_devices = 1, .network_bandwidth = 1e9, .network_latency = 1e-3};
    cr_assert(all_reduce_known(&single, 4));
    cr_assert_float_eq(all_reduce_by(&single, 4, 1000000000, ALL_REDUCE_RING), FIXED + 1.5 + 6e-3, 1e-9);
    cr_assert_eq(all_reduce_by(&single, 4, 1 << 20, ALL_REDUCE_HIERARCHICAL),
                 all_reduce_by(&single, 4, 1 << 20, ALL_REDUCE_RING));
}

Test(all_reduce, an_unknown_speed_gives_no_time)
{
    const struct machine nothing = {.node_devices = 8}, no_network = {.link_bandwidth = 1e10, .node_devices = 8};
    cr_assert(all_reduce_known(&nothing, 1));
    cr_assert_not(all_reduce_known(&nothing, 2));
    cr_assert_eq(all_reduce_seconds(&nothing, 8, 1 << 20, NULL), 0);
    cr_assert(all_reduce_known(&no_network, 8));
    cr_assert_not(all_reduce_known(&no_network, 9));
    cr_assert_eq(all_reduce_seconds(&no_network, 9, 1 << 20, NULL), 0);
}

Test(all_reduce, trees_win_small_messages_on_many_nodes_and_rings_large_ones_on_few)
{
    struct machine machine = {0};
    struct error err = {0};
    enum all_reduce_way way;
    cr_assert(machine_parse("1024xh100", &machine, &err), "%s", err.text);
    all_reduce_seconds(&machine, 1024, 64 << 10, &way);
    cr_assert_eq(way, ALL_REDUCE_TREE);
    all_reduce_seconds(&machine, 16, 4ull << 30, &way);
    cr_assert_eq(way, ALL_REDUCE_RING);
    double before = 1;
    for (uint64_t bytes = 1 << 10; bytes < 1ull << 34; bytes *= 2) {
        double ratio =
            all_reduce_by(&machine, 256, bytes, ALL_REDUCE_RING) / all_reduce_by(&machine, 256, bytes, ALL_REDUCE_TREE);
        cr_expect(bytes == 1 << 10 || ratio <= before, "the ring gains with the size");
        before = ratio;
    }
    cr_expect_lt(before, 1);
    machine_finish(&machine);
}

/* A network much slower than the links makes two levels pay: a flat ring of many devices waits at it more often. */
Test(all_reduce, two_levels_win_between_the_two)
{
    const struct machine machine = {.link_bandwidth = 4e11,
                                    .link_latency = 3e-6,
                                    .node_devices = 8,
                                    .network_bandwidth = 5e9,
                                    .network_latency = 14e-6};
    enum all_reduce_way way;
    all_reduce_seconds(&machine, 64, 25 << 20, &way);
    cr_assert_eq(way, ALL_REDUCE_HIERARCHICAL, "%s", all_reduce_name(way));
}

static double any(struct random *random, double least, double most)
{
    return least + (most - least) * random_below(random, 1u << 30) / (1u << 30);
}

Test(all_reduce, better_machines_are_never_slower)
{
    struct random random = random_begin(11, RANDOM_SEARCH, 0, 0);
    for (int round = 0; round < 20000; round++) {
        struct machine m = {.link_bandwidth = any(&random, 1e9, 1e12),
                            .link_latency = any(&random, 0, 1e-4),
                            .node_devices = 1 + random_below(&random, 16),
                            .network_bandwidth = any(&random, 1e8, 1e12),
                            .network_latency = any(&random, 0, 1e-3)};
        size_t ranks = 2 + random_below(&random, 200);
        uint64_t bytes = random_below(&random, 1u << 30);
        double seconds = all_reduce_seconds(&m, ranks, bytes, NULL);
        for (int w = 0; w < ALL_REDUCE_WAYS; w++)
            cr_assert_leq(seconds, all_reduce_by(&m, ranks, bytes, (enum all_reduce_way)w));
        struct machine better[4] = {m, m, m, m};
        better[0].link_bandwidth *= 1.5;
        better[1].link_latency /= 2;
        better[2].network_bandwidth *= 1.5;
        better[3].network_latency /= 2;
        for (int i = 0; i < 4; i++) cr_assert_leq(all_reduce_seconds(&better[i], ranks, bytes, NULL), seconds);
        cr_assert_geq(all_reduce_seconds(&m, ranks, bytes + 4096, NULL), seconds);
        /* no way sends each byte less than about twice through the narrowest place */
        double most = m.link_bandwidth > m.network_bandwidth ? m.link_bandwidth : m.network_bandwidth;
        cr_assert_geq(seconds, 2 * ((double)ranks - 1) / (double)ranks * (double)bytes / most * 0.999);
    }
}
