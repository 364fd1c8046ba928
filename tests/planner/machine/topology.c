/* What hangs where, from recorded hosts; what lies between GPUs, and the rings that follow. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "mem.h"
#include "random.h"
#include "topology.h"

static struct topology t;

static void read_recorded(const char *name)
{
    char path[512];
    struct error err = {0};
    snprintf(path, sizeof path, "%s/tests/machines/%s.xml", getenv("FATHOM_SOURCE"), name);
    setenv("HWLOC_XMLFILE", path, 1);
    cr_assert(topology_read(&t, &err), "%s", err.text);
}

static void read_eight(void) { read_recorded("two-sockets-eight-h100"); }
static void end(void) { topology_finish(&t); }

TestSuite(topology, .init = read_eight, .fini = end);

#define ALL 8
static const uint32_t all[ALL] = {0, 1, 2, 3, 4, 5, 6, 7};
#define LINK 63.015385e9 /* of a slot of 16 lanes, PCIe 5 */

static unsigned count_kind(enum topology_kind kind)
{
    unsigned count = 0;
    for (size_t i = 0; i < t.count; i++) count += t.places[i].kind == kind;
    return count;
}

Test(topology, a_recorded_host_has_all_its_parts)
{
    cr_expect_eq(t.places[0].kind, TOPOLOGY_HOST);
    cr_expect_eq(t.places[0].parent, TOPOLOGY_NONE);
    cr_expect_eq(count_kind(TOPOLOGY_PACKAGE), 2);
    cr_expect_eq(count_kind(TOPOLOGY_NODE), 2);
    cr_expect_eq(count_kind(TOPOLOGY_BRIDGE), 4);
    cr_expect_eq(count_kind(TOPOLOGY_NIC), 8);
    cr_expect_eq(t.gpu_count, 8);
    for (uint32_t i = 1; i < t.count; i++) cr_expect_lt(t.places[i].parent, i);
    const struct topology_place *gpu = &t.places[t.gpus[5]];
    cr_expect_str_eq(gpu->bus_id, "0000:54:00.0");
    cr_expect_str_eq(gpu->name, "H100 SXM5 80GB");
    cr_expect_float_eq(gpu->link, LINK, 1e4);
    cr_expect_eq(topology_gpu(&t, "0000:54:00.0"), 5);
    cr_expect_eq(topology_gpu(&t, "0000:55:00.0"), TOPOLOGY_NONE);
    cr_expect_not(t.nvlinks_known);
    cr_expect_float_eq(t.socket_bandwidth, 22e9, 1, "Sapphire Rapids'");
}

Test(topology, paths_are_told_by_where_they_meet)
{
    const struct {
        uint32_t a, b;
        enum topology_path path;
    } rows[] = {{0, 1, PATH_SWITCH}, {0, 2, PATH_NODE}, {1, 3, PATH_NODE}, {0, 4, PATH_SYSTEM}, {7, 3, PATH_SYSTEM}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct topology_link link = topology_between_gpus(&t, rows[i].a, rows[i].b, 1);
        cr_expect_eq(link.path, rows[i].path, "GPUs %u and %u: %s", rows[i].a, rows[i].b,
                     topology_path_name(link.path));
        cr_expect_float_eq(link.bandwidth, rows[i].path == PATH_SYSTEM ? 22e9 : LINK, 1e4);
    }
}

Test(topology, each_gpu_has_a_card_of_its_own)
{
    for (uint32_t i = 0; i < ALL; i++) {
        char name[32];
        snprintf(name, sizeof name, "ib%u, mlx5_%u", (unsigned)i, (unsigned)i);
        uint32_t nic = topology_nic_of(&t, i);
        cr_assert_neq(nic, TOPOLOGY_NONE);
        cr_expect_str_eq(t.places[nic].name, name);
    }
}

/* Those behind a GPU's own switch; a list only where others are left out. */
Test(topology, cards_near_to_gpus_are_listed_as_nccl_takes_them)
{
    const struct {
        uint32_t gpus[ALL];
        size_t count;
        uint32_t near;
        const char *list;
    } rows[] = {{{0}, 1, 2, "=mlx5_0,mlx5_1"},
                {{0, 1}, 2, 2, "=mlx5_0,mlx5_1"},
                {{0, 5}, 2, 4, "=mlx5_0,mlx5_1,mlx5_4,mlx5_5"},
                {{0, 2, 4, 6}, 4, 0, ""}};
    char list[TOPOLOGY_FABRICS];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cr_expect_eq(topology_near_fabrics(&t, rows[i].gpus, rows[i].count, list), rows[i].near, "row %zu", i);
        cr_expect_str_eq(list, rows[i].list);
    }
}

/* A card without RDMA counts for nothing; a GPU with none behind its switches has no choice made for it. */
Test(topology, cards_that_are_far_or_have_no_rdma_are_not_chosen)
{
    char list[TOPOLOGY_FABRICS];
    const uint32_t first[] = {0}, both[] = {0, 2};
    for (size_t i = 0; i < t.count; i++)
        if (strcmp(t.places[i].fabric, "mlx5_1") == 0 || strcmp(t.places[i].fabric, "mlx5_2") == 0 ||
            strcmp(t.places[i].fabric, "mlx5_3") == 0)
            t.places[i].fabric[0] = '\0';
    cr_expect_eq(topology_near_fabrics(&t, first, 1, list), 1);
    cr_expect_str_eq(list, "=mlx5_0");
    cr_expect_eq(topology_near_fabrics(&t, both, 2, list), 0, "the third GPU's nearest is behind another bridge");
    cr_expect_str_eq(list, "");
    cr_expect_eq(topology_near_fabrics(&t, both, 0, list), 0);
}

/* ---- Rings ---- */

Test(topology, a_ring_over_slots_is_as_slow_as_its_slowest_link)
{
    struct topology_ring two = topology_ring(&t, all, 2, 0, 0), four = topology_ring(&t, all, 4, 0, 0);
    struct topology_ring eight = topology_ring(&t, all, ALL, 0, 0);
    cr_expect(two.path == PATH_SWITCH && four.path == PATH_NODE && eight.path == PATH_SYSTEM);
    cr_expect_float_eq(two.bandwidth, LINK * 5 / 6, 1e4);
    cr_expect_float_eq(four.bandwidth, LINK * 5 / 6, 1e4);
    cr_expect_float_eq(eight.bandwidth, 22e9, 1e4);
    cr_expect_eq(topology_ring(&t, all, 1, 0, 0).bandwidth, 0);
}

/* A DGX-1's V100s: two squares with diagonals, and one link or two from each GPU to its partner in the other. */
Test(topology, a_ring_over_nvlinks_is_found_where_there_is_one)
{
    static const uint8_t links[][3] = {{0, 1, 1}, {0, 2, 1}, {0, 3, 2}, {0, 4, 2}, {1, 2, 2}, {1, 3, 1},
                                       {1, 5, 2}, {2, 3, 2}, {2, 6, 1}, {3, 7, 1}, {4, 5, 1}, {4, 6, 1},
                                       {4, 7, 2}, {5, 6, 2}, {5, 7, 1}, {6, 7, 2}};
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        t.nvlinks[links[i][0]][links[i][1]] = t.nvlinks[links[i][1]][links[i][0]] = links[i][2];
    struct topology_ring ring = topology_ring(&t, all, ALL, 20e9, 12.6e9);
    cr_expect_eq(ring.path, PATH_NVLINK);
    cr_expect_float_eq(ring.bandwidth, 40e9, 1, "0 3 2 1 5 6 7 4: two links each");
    const uint32_t apart[2] = {0, 6}; /* no link from one to the other */
    ring = topology_ring(&t, apart, 2, 20e9, 12.6e9);
    cr_expect_eq(ring.path, PATH_SYSTEM);
    cr_expect_float_eq(ring.bandwidth, 12.6e9 * 5 / 6, 1, "the slot is slower than the link between processors");
}

/* Every order of few GPUs against the search. */
static double best_of(double w[6][6], uint8_t *order, size_t placed, size_t count, double least)
{
    double best = 0;
    if (placed == count) return least < w[order[count - 1]][order[0]] ? least : w[order[count - 1]][order[0]];
    for (size_t k = placed; k < count; k++) {
        uint8_t swap = order[placed];
        order[placed] = order[k];
        order[k] = swap;
        double link = w[order[placed - 1]][order[placed]];
        double found = best_of(w, order, placed + 1, count, link < least ? link : least);
        if (found > best) best = found;
        order[k] = order[placed];
        order[placed] = swap;
    }
    return best;
}

Test(topology, no_ring_is_better_than_the_one_that_is_found)
{
    struct random random = random_begin(1, RANDOM_SAMPLE, 7, 7);
    for (int round = 0; round < 100; round++) {
        size_t count = 2 + (size_t)round % 5;
        double w[6][6] = {{0}};
        uint8_t order[6] = {0, 1, 2, 3, 4, 5};
        for (size_t a = 0; a < count; a++)
            for (size_t b = 0; b < a; b++) {
                t.nvlinks[a][b] = t.nvlinks[b][a] = (uint8_t)(1 + random_below(&random, 9));
                w[a][b] = w[b][a] = t.nvlinks[a][b];
            }
        struct topology_ring ring = topology_ring(&t, all, count, 1, 0);
        cr_expect_float_eq(ring.bandwidth, best_of(w, order, 1, count, 1e9), 1e-9, "round %d", round);
    }
}

/* ---- Into a machine ---- */

static void join(const char *devices, struct machine *machine)
{
    const char *bus_ids[ALL];
    struct error err = {0};
    cr_assert(machine_parse(devices, machine, &err), "%s", err.text);
    for (size_t i = 0; i < machine->device_count; i++) bus_ids[i] = t.places[t.gpus[i]].bus_id;
    topology_join(&t, bus_ids, machine);
}

Test(topology, a_machine_is_joined_as_its_host_is)
{
    struct machine sold, found;
    join("8xh100", &sold);
    cr_expect_eq(sold.link_path, 0, "NVLinks of which nobody could be asked are as they are sold");
    cr_expect_float_eq(sold.link_bandwidth, 360e9, 1e6);
    t.nvlinks_known = true;
    for (int i = 0; i < ALL; i++) t.switched[i] = 18;
    join("8xh100", &found);
    cr_expect_eq(found.link_path, 1 + PATH_NVLINK);
    cr_expect_float_eq(found.link_bandwidth, 18 * 20.6e9, 1e6);
    cr_expect_eq(found.node_devices, 8);
    machine_finish(&found);
    memset(t.switched, 0, sizeof t.switched); /* cards for slots, all bridges of NVLink taken out */
    join("8xh100", &found);
    cr_expect_eq(found.link_path, 1 + PATH_SYSTEM);
    cr_expect_float_eq(found.link_bandwidth, 22e9, 1e6);
    cr_expect_gt(found.link_latency, sold.link_latency);
    machine_finish(&found);
    join("2xl40s", &found);
    cr_expect_eq(found.link_path, 1 + PATH_SWITCH);
    machine_finish(&found);
    machine_finish(&sold);
}

Test(topology, network_cards_that_are_up_add_up)
{
    cr_expect_eq(topology_network(&t), 0, "nothing is known of the ports of a recorded host");
    for (size_t i = 0; i < t.count; i++)
        if (t.places[i].kind == TOPOLOGY_NIC) t.places[i].rate = 50e9;
    cr_expect_float_eq(topology_network(&t), 400e9, 1);
    t.places[topology_nic_of(&t, 0)].link = 25e9;
    cr_expect_float_eq(topology_network(&t), 375e9, 1, "no faster than its slot");
}

/* ---- The driver's library ---- */

static void take_nvml(const char *links)
{
    const char *library = getenv("FATHOM_TEST_NVML");
    cr_assert(library && dlopen(library, RTLD_NOW), "%s", dlerror());
    setenv("FATHOM_NVML_LINKS", links, 1);
    topology_find_nvlinks(&t);
    cr_assert(t.nvlinks_known);
}

Test(topology, nvml_tells_of_switches)
{
    take_nvml("switch*18");
    for (uint32_t i = 0; i < ALL; i++) cr_expect_eq(t.switched[i], 18);
    struct topology_link link = topology_between_gpus(&t, 0, 7, 20.6e9);
    cr_expect(link.path == PATH_NVLINK && link.nvlinks == 18);
}

Test(topology, nvml_tells_of_links_from_one_to_the_other)
{
    take_nvml("0000:13:00.0=0000:14:00.0*4 0000:14:00.0=0000:53:00.0*2 0000:14:00.0=0000:99:00.0*1");
    cr_expect(t.nvlinks[0][1] == 4 && t.nvlinks[1][0] == 4 && t.nvlinks[1][4] == 2 && t.nvlinks[4][1] == 2);
    cr_expect_eq(t.nvlinks[0][4], 0);
    cr_expect_eq(topology_between_gpus(&t, 0, 2, 1).path, PATH_NODE);
}

/* ---- Other hosts ---- */

Test(topology_of, two_nodes_without_switches)
{
    read_recorded("two-nodes");
    cr_expect_eq(t.gpu_count, 2);
    cr_expect_eq(topology_between_gpus(&t, 0, 1, 1).path, PATH_SYSTEM);
    cr_expect_eq(topology_nic_of(&t, 0), TOPOLOGY_NONE);
    topology_finish(&t);
}

Test(topology_of, a_made_up_host_without_cards)
{
    struct error err = {0};
    unsetenv("HWLOC_XMLFILE");
    setenv("HWLOC_SYNTHETIC", "pack:2 [numa(memory=1GB)] core:3 pu:2", 1);
    cr_assert(topology_read(&t, &err), "%s", err.text);
    cr_expect_eq(count_kind(TOPOLOGY_PACKAGE), 2);
    cr_expect_eq(count_kind(TOPOLOGY_NODE), 2);
    cr_expect_eq(t.places[1].cores, 3);
    cr_expect_eq(t.gpu_count, 0);
    topology_finish(&t);
}

Test(topology_of, no_memory_is_an_error_and_leaks_nothing)
{
    struct error err = {0};
    uint64_t before = mem_current_bytes(MEM_GENERAL);
    mem_fail_at(1);
    bool ok = topology_read(&t, &err);
    mem_fail_at(0);
    cr_expect_not(ok);
    cr_expect_eq(err.kind, ERROR_MEMORY);
    cr_expect_eq(mem_current_bytes(MEM_GENERAL), before);
}
