/* What --gpus says, the catalogue behind it, GPUs as their driver tells of them, and what is near one. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine_kit.h"
#include "mem.h"

Test(machine, reads_counts_sizes_and_names)
{
    const struct {
        const char *text, *first, *last;
        size_t count;
        uint64_t last_bytes;
    } rows[] = {
        {"2x12GiB", "12GiB", "12GiB", 2, 12 * GIB},
        {"12GB", "12GB", "12GB", 1, 12000000000ull},
        {"titan-x", "titan-x", "titan-x", 1, 12 * GIB},
        {"TITAN X", "titan-x", "titan-x", 1, 12 * GIB},
        {"NVIDIA GeForce GTX TITAN X", "titan-x", "titan-x", 1, 12 * GIB},
        {"8xh200", "h200", "h200", 8, 141 * GIB},
        {"8*h200", "h200", "h200", 8, 141 * GIB},
        {"h100, 2x24GiB", "h100", "24GiB", 3, 24 * GIB},
        {"4090", "rtx-4090", "rtx-4090", 1, 24 * GIB},
        {"2x1080ti", "gtx-1080-ti", "gtx-1080-ti", 2, 11 * GIB},
        {"NVIDIA A100-SXM4-80GB", "a100-80gb", "a100-80gb", 1, 80 * GIB},
        {"4096x16GiB", "16GiB", "16GiB", 4096, 16 * GIB},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct machine machine = parse(rows[i].text);
        cr_assert_eq(machine.device_count, rows[i].count, "%s", rows[i].text);
        const struct device_spec *last = &machine.devices[machine.device_count - 1];
        cr_expect_str_eq(machine.devices[0].name, rows[i].first, "%s", rows[i].text);
        cr_expect_str_eq(last->name, rows[i].last, "%s", rows[i].text);
        cr_expect_eq(last->memory_bytes, rows[i].last_bytes, "%s", rows[i].text);
        cr_expect_eq(last->comm_bytes > 0, rows[i].count > 1, "%s", rows[i].text);
        machine_finish(&machine);
    }
}

Test(machine, a_size_has_no_speed)
{
    struct machine machine = parse("2x12GiB");
    cr_assert_eq(machine.devices[0].flops_f32, 0);
    cr_assert_eq(machine.devices[0].bandwidth, 0);
    cr_assert_eq(machine.link_bandwidth, 0);
    machine_finish(&machine);
}

Test(machine, the_slowest_link_counts)
{
    struct machine slow = parse("titan-x"), mixed = parse("h100,titan-x");
    cr_assert_float_eq(mixed.link_bandwidth, slow.devices[0].link_bandwidth * 5 / 6, 1);
    cr_assert_gt(mixed.link_latency, 0);
    machine_finish(&slow);
    machine_finish(&mixed);
}

Test(machine, nodes_and_networks_are_those_the_devices_are_sold_in)
{
    const struct {
        const char *text;
        uint32_t node;
        double network;
    } rows[] = {{"16xh100", 8, 400e9}, {"16xb200", 8, 400e9},    {"a100", 8, 200e9},     {"v100", 8, 50e9},
                {"gb200", 72, 3600e9}, {"2xtitan-x", 8, 1.25e9}, {"2xl40s", 8, 3.125e9}, {"h100,l40s", 8, 3.125e9}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct machine machine = parse(rows[i].text);
        cr_expect_eq(machine.node_devices, rows[i].node, "%s", rows[i].text);
        cr_expect_eq(machine.network_bandwidth, rows[i].network, "%s", rows[i].text);
        cr_expect_gt(machine.network_latency, machine.link_latency, "%s", rows[i].text);
        machine_set_nodes(&machine, 0, 0);
        cr_expect_eq(machine.node_devices, rows[i].node);
        machine_set_nodes(&machine, 4, 1e9);
        cr_expect(machine.node_devices == 4 && machine.network_bandwidth == 1e9);
        machine_finish(&machine);
    }
}

Test(machine, rates_are_bits_or_bytes)
{
    const struct {
        const char *text;
        double rate;
    } rows[] = {{"3200Gb/s", 400e9}, {"400GB/s", 400e9}, {"100Gbit/s", 12.5e9}, {"1GiB/s", 1073741824.0}};
    static const char *const wrong[] = {"", "/s", "b/s", "5", "5GB", "xGb/s", "0B/s", "1e400Gb/s", "99999999999Tb/s"};
    struct error err = {0};
    double rate = 7;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cr_expect(machine_parse_rate(rows[i].text, "--network", &rate, &err), "%s", err.text);
        cr_expect_float_eq(rate, rows[i].rate, 1, "%s: %g", rows[i].text, rate);
    }
    rate = 7;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cr_expect_not(machine_parse_rate(wrong[i], "--network", &rate, &err), "%s", wrong[i]);
        cr_expect(err.kind == ERROR_INPUT && rate == 7);
    }
}

Test(machine, virtual_devices_share_the_host)
{
    struct machine one = parse("cpu"), four = parse("4xcpu");
    cr_assert_eq(four.device_count, 4);
    cr_assert_eq(four.devices[0].kind, DEVICE_CPU);
    cr_assert_leq(4 * four.devices[0].memory_bytes, one.devices[0].memory_bytes);
    cr_assert_gt(4 * four.devices[0].memory_bytes + 4, one.devices[0].memory_bytes);
    cr_assert_eq(4 * four.devices[0].context_bytes, one.devices[0].context_bytes);
    cr_assert_gt(one.devices[0].op_bytes, 0);
    cr_expect_leq(one.devices[0].reserve_bytes, 512ull << 20, "the reserve does not grow with the host");
    cr_expect_eq(device_usable_bytes(&one.devices[0]), one.devices[0].memory_bytes - one.devices[0].reserve_bytes);
    machine_finish(&one);
    machine_finish(&four);
}

Test(machine, auto_finds_something)
{
    struct machine machine = parse("auto");
    struct host host;
    struct error err = {0};
    cr_assert(host_read(&host, &err), "%s", err.text);
    cr_assert_eq(machine.device_count, host.gpu_count ? host.gpu_count : 1);
    cr_assert_gt(host.cores, 0);
    cr_assert_gt(host.memory_bytes, 0);
    cr_assert_neq(host.cpu[0], '\0');
    machine_finish(&machine);
}

Test(machine, refuses_what_names_no_device)
{
    const char *const texts[] = {"",
                                 "x",
                                 "2x",
                                 "0xh200",
                                 "h201",
                                 "4096",
                                 "2x4096",
                                 "12GiBs",
                                 "-1x12GiB",
                                 "1KiB",
                                 "h100,",
                                 ",h100",
                                 "h100,,h100",
                                 "cpu,h100",
                                 "titan-y",
                                 "5000x12GiB",
                                 "99999999999999999999xh200",
                                 "2048xh100,2049xh100",
                                 "2xauto",
                                 "9999TiB",
                                 "no-such-file.json",
                                 "/",
                                 "12GiB/x",
                                 "1e3GiB,nanGiB"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct machine machine = {.device_count = 77};
        struct error err = {0};
        uint64_t before = mem_current_bytes(MEM_PLAN);
        cr_expect_not(machine_parse(texts[i], &machine, &err), "'%s'", texts[i]);
        cr_expect_eq(err.kind, ERROR_INPUT, "'%s'", texts[i]);
        cr_expect_gt(strlen(err.text), 10);
        cr_expect_eq(machine.device_count, 77, "'%s' touched the machine", texts[i]);
        cr_expect_eq(mem_current_bytes(MEM_PLAN), before, "'%s' leaks", texts[i]);
    }
}

Test(machine, suggests_the_nearest_names)
{
    const struct {
        const char *text, *near;
    } rows[] = {{"h201", "h200"}, {"titanx2", "titan-x"}, {"rtx-3080", "rtx-3090"}, {"a100-60gb", "a100-80gb"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct machine machine = {0};
        struct error err = {0};
        cr_assert_not(machine_parse(rows[i].text, &machine, &err));
        cr_expect(strstr(err.text, rows[i].near), "%s", err.text);
    }
    const char *const others[] = {"cuda", "gpu", "foo", "mi300x"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct machine machine = {0};
        struct error err = {0};
        cr_assert_not(machine_parse(others[i], &machine, &err));
        cr_expect_null(strstr(err.text, "near"), "%s", err.text);
    }
}

Test(machine, survives_failing_allocations)
{
    const char *const texts[] = {"h100,2x24GiB,titan-x", "2xcpu"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        uint64_t before = mem_current_bytes(MEM_PLAN);
        for (uint64_t n = 1;; n++) {
            struct machine machine = {.device_count = 77};
            struct error err = {0};
            mem_fail_at(n);
            bool ok = machine_parse(texts[i], &machine, &err);
            if (!mem_fail_at(0)) {
                cr_assert(ok);
                machine_finish(&machine);
                cr_assert_gt(n, 1);
                break;
            }
            cr_assert_not(ok);
            cr_assert_eq(err.kind, ERROR_MEMORY);
            cr_assert_eq(machine.device_count, 77);
            cr_assert_eq(mem_current_bytes(MEM_PLAN), before);
        }
        cr_assert_eq(mem_current_bytes(MEM_PLAN), before);
    }
}

Test(catalogue, is_sane)
{
    size_t count;
    const struct device_spec *entries = catalogue_entries(&count);
    cr_assert_geq(count, 20);
    for (size_t i = 0; i < count; i++) {
        const struct device_spec *e = &entries[i];
        cr_expect_eq(catalogue_find(e->name), e, "%s is found under its own name", e->name);
        cr_expect_eq(e->kind, DEVICE_GPU);
        cr_expect(e->memory_bytes >= 8 * GIB && e->memory_bytes <= 512 * GIB, "%s", e->name);
        cr_expect_gt(e->reserve_bytes, 0);
        cr_expect_lt(e->reserve_bytes, e->memory_bytes / 8, "%s", e->name);
        cr_expect_geq(e->context_bytes, 300 << 20);
        cr_expect_lt(e->context_bytes + e->comm_bytes, e->memory_bytes / 8, "%s", e->name);
        cr_expect(e->flops_f16 >= e->flops_f32 && e->flops_f32 > 2e12, "%s", e->name);
        cr_expect(e->bandwidth > 2e11 && e->bandwidth < 2e13, "%s", e->name);
        cr_expect(e->launch_seconds > 1e-7 && e->launch_seconds < 1e-4);
        cr_expect_gt(e->link_bandwidth, 1e9);
        cr_expect_gt(e->host_bandwidth, 1e10, "%s: 16 lanes of PCIe 3 at least", e->name);
        cr_expect_gt(strlen(e->source), 10);
        cr_expect(e->capability >= 350 && e->capability <= 1200 && e->capability % 10 == 0, "%s", e->name);
    }
    cr_expect_null(catalogue_find(""));
    cr_expect_null(catalogue_find("nvidia"));
    cr_expect_eq(catalogue_find("NVIDIA H100 80GB HBM3"), catalogue_find("h100"));
    cr_expect_eq(catalogue_find("Tesla K80"), catalogue_find("k80"));
    cr_expect(device_can_train(catalogue_find("t4")) && !device_can_train(catalogue_find("v100")));
}

/* ---- GPUs as their driver tells of them ---- */

static struct device_spec spec_of(struct machine_gpu gpu)
{
    struct machine machine = {0};
    struct error err = {0};
    cr_assert(machine_of_gpus(&gpu, 1, &machine, &err), "%s", err.text);
    struct device_spec spec = machine.devices[0];
    machine_finish(&machine);
    return spec;
}

Test(machine, a_gpu_here_is_the_card_of_its_name_with_the_memory_it_has)
{
    const uint64_t total = 143771ull * MIB;
    struct device_spec spec = spec_of((struct machine_gpu){"NVIDIA H200", total, UINT64_MAX, 900, 132});
    cr_expect_str_eq(spec.name, "h200");
    cr_expect_eq(spec.flops_f16, catalogue_find("h200")->flops_f16);
    cr_expect_eq(spec.comm_bytes, 0, "it is alone");
    cr_expect_eq(device_usable_bytes(&spec), total - 64 * MIB);
    spec = spec_of((struct machine_gpu){"NVIDIA H200", total, total - 40 * GIB, 900, 132});
    cr_expect_eq(device_usable_bytes(&spec), total - 64 * MIB - 40 * GIB);
    spec = spec_of((struct machine_gpu){"NVIDIA H200", total, 0, 900, 132});
    cr_expect_eq(device_usable_bytes(&spec), 0);
    spec = spec_of((struct machine_gpu){"NVIDIA A100-SXM4-80GB", 81152ull * MIB, UINT64_MAX, 800, 108});
    cr_expect_str_eq(spec.name, "a100-80gb");
    spec = spec_of((struct machine_gpu){"NVIDIA GeForce GTX 1080", 8112ull * MIB, UINT64_MAX, 610, 20});
    cr_expect_not(device_can_train(&spec));
}

Test(machine, a_gpu_here_that_the_catalogue_lacks_is_its_properties)
{
    const uint64_t total = 16384ull * MIB;
    static const struct machine_gpu rows[] = {{"NVIDIA H200 MIG 1g.18gb", 16384ull * MIB, UINT64_MAX, 900, 16},
                                              {"NVIDIA H200", 16384ull * MIB, UINT64_MAX, 900, 16},
                                              {"NVIDIA Something 9", 16384ull * MIB, UINT64_MAX, 1300, 16},
                                              {"NVIDIA T4", 16384ull * MIB, UINT64_MAX, 800, 16}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct device_spec spec = spec_of(rows[i]);
        cr_expect_null(machine_gpu_entry(&rows[i]), "%s", rows[i].name);
        cr_expect_str_eq(spec.name, rows[i].name);
        cr_expect_eq(spec.capability, rows[i].capability);
        cr_expect_eq(spec.processors, 16);
        cr_expect_eq(spec.flops_f32, 0, "unknown");
        cr_expect_eq(device_usable_bytes(&spec), total - 64 * MIB);
    }
}

Test(machine, several_gpus_here_are_linked)
{
    const struct machine_gpu gpus[] = {{"NVIDIA H100 80GB HBM3", 81079ull * MIB, UINT64_MAX, 900, 132},
                                       {"Tesla T4", 14930ull * MIB, UINT64_MAX, 750, 40}};
    struct machine machine = {0};
    struct error err = {0};
    cr_assert(machine_of_gpus(gpus, 2, &machine, &err), "%s", err.text);
    cr_expect_str_eq(machine.devices[0].name, "h100");
    cr_expect_str_eq(machine.devices[1].name, "t4");
    cr_expect_gt(machine.devices[1].comm_bytes, 0);
    cr_expect_float_eq(machine.link_bandwidth, machine.devices[1].link_bandwidth * 5 / 6, 1);
    machine_finish(&machine);
}

/* ---- Near a GPU ---- */

Test(host, a_thread_stays_on_the_node_of_its_gpu)
{
    char path[512];
    uint32_t node = 7;
    struct host host;
    struct error err = {0};
    snprintf(path, sizeof path, "%s/tests/machines/two-nodes.xml", getenv("FATHOM_SOURCE"));
    setenv("HWLOC_XMLFILE", path, 1);
    cr_assert(host_read(&host, &err), "%s", err.text);
    cr_assert_eq(host.gpu_count, 2);
    cr_expect_str_eq(host.gpus[1].bus_id, "0000:97:00.0");
    cr_expect_eq(host.gpus[0].numa_node, 0);
    cr_expect_eq(host.gpus[1].numa_node, 1);
    cr_expect_str_eq(host.gpus[1].name, "H200 SXM 141GB");
    cr_expect(host_stay_near("0000:97:00.0", &node) && node == 1);
    cr_expect(host_stay_near("0000:17:00.0", &node) && node == 0);
    cr_expect_not(host_stay_near("0000:33:00.0", &node), "no such device");
    cr_expect_not(host_stay_near("rubbish", &node));
    setenv("HWLOC_SYNTHETIC", "numa:1 core:2 pu:1", 1);
    unsetenv("HWLOC_XMLFILE");
    cr_expect_not(host_stay_near("0000:97:00.0", &node), "one node: nothing to choose");
}

static void *note_processors(void *set)
{
    sched_getaffinity(0, sizeof(cpu_set_t), set);
    return NULL;
}

/* Two GPUs of the second node, which is the second processor: threads that are made afterwards run there alone. */
Test(host, a_rank_stays_on_the_node_of_its_gpus)
{
    static const char *const together[] = {"0000:53:00.0", "0000:74:00.0"}, *const apart[] = {"0000:13:00.0",
                                                                                              "0000:53:00.0"};
    char path[512];
    uint32_t node;
    cpu_set_t before, after;
    pthread_t thread;
    snprintf(path, sizeof path, "%s/tests/machines/two-sockets-eight-h100.xml", getenv("FATHOM_SOURCE"));
    setenv("HWLOC_XMLFILE", path, 1);
    cr_expect_not(host_stay_near_all(apart, 2, &node), "on two nodes");
    cr_expect_not(host_stay_near_all(NULL, 0, &node));
    cr_expect(host_stay_near_all(together, 2, &node) && node == 1);
    snprintf(path, sizeof path, "%s/tests/machines/two-nodes.xml", getenv("FATHOM_SOURCE"));
    setenv("HWLOC_XMLFILE", path, 1);
    setenv("HWLOC_THISSYSTEM", "1", 1); /* binding is done, not only said */
    note_processors(&before);
    if (!CPU_ISSET(0, &before) || !CPU_ISSET(1, &before))
        cr_skip_test("this process may not run on processors 0 and 1");
    cr_expect(host_stay_near_all(&(const char *){"0000:97:00.0"}, 1, &node) && node == 1);
    cr_assert_eq(pthread_create(&thread, NULL, note_processors, &after), 0);
    pthread_join(thread, NULL);
    cr_expect(CPU_ISSET(1, &after) && CPU_COUNT(&after) == 1);
}
