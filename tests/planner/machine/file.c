/* Machine files: what is written is read, what is left out is filled in, and what is wrong is named. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "machine_kit.h"
#include "mem.h"

static char folder[] = "/tmp/fathom-machine-XXXXXX";
static char path[96];

static void make_path(void)
{
    cr_assert(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/machine.json", folder);
}

static void remove_path(void)
{
    unlink(path);
    cr_assert_eq(rmdir(folder), 0, "something was left beside the machine file");
}

static void write_path(const char *text)
{
    struct error err = {0};
    cr_assert(files_write(path, text, strlen(text), &err), "%s", err.text);
}

Test(machine_file, reads_back_equal, .init = make_path, .fini = remove_path)
{
    struct machine written = parse("h100,2x24GiB,titan-x,rtx-3090,rtx-5090"), read = {0};
    struct error err = {0};
    cr_assert(machine_write_file(&written, path, &err), "%s", err.text);
    cr_assert(machine_parse(path, &read, &err), "%s", err.text);
    cr_assert_eq(read.device_count, written.device_count);
    cr_assert_eq(read.link_bandwidth, written.link_bandwidth);
    cr_assert_eq(read.link_latency, written.link_latency);
    cr_assert_eq(read.node_devices, written.node_devices);
    cr_assert_eq(read.network_bandwidth, written.network_bandwidth);
    cr_assert_eq(read.network_latency, written.network_latency);
    for (size_t i = 0; i < read.device_count; i++) {
        struct device_spec a = read.devices[i], b = written.devices[i];
        cr_expect_str_eq(a.source, b.source);
        cr_expect_str_eq(a.name, b.name);
        cr_expect_eq(a.memory_bytes, b.memory_bytes);
        cr_expect_eq(a.context_bytes, b.context_bytes);
        cr_expect_eq(a.comm_bytes, b.comm_bytes);
        cr_expect_eq(a.reserve_bytes, b.reserve_bytes);
        cr_expect_eq(a.workspace_bytes, b.workspace_bytes);
        cr_expect_eq(a.flops_f32, b.flops_f32);
        cr_expect_eq(a.flops_f16, b.flops_f16);
        cr_expect_eq(a.bandwidth, b.bandwidth);
        cr_expect_eq(a.launch_seconds, b.launch_seconds);
        cr_expect_eq(a.link_bandwidth, b.link_bandwidth);
        cr_expect_eq(a.host_bandwidth, b.host_bandwidth);
        cr_expect_eq(a.capability, b.capability);
    }
    machine_finish(&written);
    machine_finish(&read);
}

Test(machine_file, fills_what_is_left_out, .init = make_path, .fini = remove_path)
{
    struct error err = {0};
    struct machine machine;
    write_path("{\"version\":1,\"devices\":[{\"name\":\"titan-x\",\"memory_bytes\":12884901888,\"context_bytes\":1000},"
               "{\"name\":\"mine\",\"memory_bytes\":12884901888,\"count\":2,\"source\":\"measured\"}]}");
    cr_assert(machine_parse(path, &machine, &err), "%s", err.text);
    cr_assert_eq(machine.device_count, 3);
    cr_expect_eq(machine.devices[0].context_bytes, 1000);
    cr_expect_eq(machine.devices[0].bandwidth, catalogue_find("titan-x")->bandwidth);
    cr_expect_str_eq(machine.devices[2].name, "mine");
    cr_expect_eq(machine.devices[0].capability, 520);
    cr_expect_eq(machine.devices[2].capability, 0);
    cr_expect_eq(machine.devices[2].flops_f32, 0);
    cr_expect_str_eq(machine.devices[2].source, "measured");
    machine_finish(&machine);
}

Test(machine_file, names_the_faulty_field, .init = make_path, .fini = remove_path)
{
#define DEVICE "\"name\":\"a\",\"memory_bytes\":12884901888"
    const struct {
        const char *text, *wanted;
    } rows[] = {
        {"", "not JSON"},
        {"{\"version\":1,", "line"},
        {"[]", "not an object"},
        {"{\"devices\":[]}", "'version'"},
        {"{\"version\":2,\"devices\":[]}", "'version'"},
        {"{\"version\":1}", "'devices'"},
        {"{\"version\":1,\"devices\":[]}", "'devices'"},
        {"{\"version\":1,\"devices\":[3]}", "devices[0]"},
        {"{\"version\":1,\"devices\":[{" DEVICE "}],\"extra\":1}", "'extra'"},
        {"{\"version\":1,\"devices\":[{\"memory_bytes\":1}]}", "'name'"},
        {"{\"version\":1,\"devices\":[{\"name\":\"\",\"memory_bytes\":12884901888}]}", "'name'"},
        {"{\"version\":1,\"devices\":[{\"name\":\"a\"}]}", "'memory_bytes'"},
        {"{\"version\":1,\"devices\":[{\"name\":\"a\",\"memory_bytes\":-1}]}", "'memory_bytes'"},
        {"{\"version\":1,\"devices\":[{\"name\":\"a\",\"memory_bytes\":1.5}]}", "'memory_bytes'"},
        {"{\"version\":1,\"devices\":[{\"name\":\"a\",\"memory_bytes\":9223372036854775807}]}", "'memory_bytes'"},
        {"{\"version\":1,\"devices\":[{" DEVICE ",\"memory\":1}]}", "'memory'"},
        {"{\"version\":1,\"devices\":[{" DEVICE "},{" DEVICE ",\"kind\":\"tpu\"}]}", "devices[1]: field 'kind'"},
        {"{\"version\":1,\"devices\":[{" DEVICE ",\"count\":0}]}", "'count'"},
        {"{\"version\":1,\"devices\":[{" DEVICE ",\"count\":5000}]}", "'count'"},
        {"{\"version\":1,\"devices\":[{" DEVICE ",\"bandwidth\":-1}]}", "'bandwidth'"},
        {"{\"version\":1,\"devices\":[{" DEVICE ",\"compute_capability\":9.05}]}", "'compute_capability' is 9.05"},
        {"{\"version\":1,\"devices\":[{" DEVICE ",\"compute_capability\":-1}]}", "'compute_capability'"},
        {"{\"version\":1,\"devices\":[{" DEVICE ",\"compute_capability\":900}]}", "'compute_capability'"},
        {"{\"version\":1,\"devices\":[{" DEVICE ",\"compute_capability\":\"9.0\"}]}", "'compute_capability'"},
        {"{\"version\":1,\"devices\":[{" DEVICE ",\"reserve_bytes\":12884901888}]}", "reserve_bytes"},
        {"{\"version\":1,\"devices\":[{" DEVICE ",\"source\":5}]}", "'source'"},
        {"{\"version\":1,\"devices\":[{" DEVICE "}],\"link\":{\"speed\":1}}", "'speed'"},
        {"{\"version\":1,\"devices\":[{" DEVICE ",\"kind\":\"cpu\"},{" DEVICE "}]}", "one kind"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct machine machine = {.device_count = 77};
        struct error err = {0};
        uint64_t before = mem_current_bytes(MEM_PLAN);
        write_path(rows[i].text);
        cr_expect_not(machine_parse(path, &machine, &err), "%s", rows[i].text);
        cr_expect_eq(err.kind, ERROR_INPUT, "%s", err.text);
        cr_expect(strstr(err.text, rows[i].wanted), "%s -> %s", rows[i].text, err.text);
        cr_expect_eq(machine.device_count, 77);
        cr_expect_eq(mem_current_bytes(MEM_PLAN), before, "%s leaks", rows[i].text);
    }
}

/* A tree of it would take twenty times its bytes: it is refused before there is one. */
Test(machine_file, more_values_than_devices_can_have, .init = make_path, .fini = remove_path)
{
    static char text[1 << 20] = "{\"version\":1,\"devices\":[0";
    struct machine machine = {0};
    struct error err = {0};
    for (size_t i = strlen(text); i + 4 < sizeof text; i += 2) memcpy(text + i, ",0", 2);
    write_path(text);
    cr_assert_not(machine_parse(path, &machine, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    cr_assert(strstr(err.text, "more than the 163840 values"), "%s", err.text);
}

Test(machine_file, survives_failing_allocations, .init = make_path, .fini = remove_path)
{
    uint64_t plan = mem_current_bytes(MEM_PLAN), general = mem_current_bytes(MEM_GENERAL);
    write_path("{\"version\":1,\"devices\":[{" DEVICE ",\"source\":\"here\"},{" DEVICE ",\"count\":3}]}");
    for (uint64_t n = 1;; n++) {
        struct machine machine = {.device_count = 77};
        struct error err = {0};
        mem_fail_at(n);
        bool ok = machine_parse(path, &machine, &err);
        if (!mem_fail_at(0)) {
            cr_assert(ok);
            machine_finish(&machine);
            break;
        }
        cr_assert_not(ok);
        cr_assert_eq(machine.device_count, 77);
        cr_assert_eq(mem_current_bytes(MEM_PLAN), plan);
        cr_assert_eq(mem_current_bytes(MEM_GENERAL), general);
    }
}

Test(machine_file, an_unwritable_path_leaves_nothing)
{
    struct machine machine = parse("titan-x");
    struct error err = {0};
    cr_assert_not(machine_write_file(&machine, "/nonexistent-folder/machine.json", &err));
    cr_assert_neq(err.kind, ERROR_NONE);
    machine_finish(&machine);
}
