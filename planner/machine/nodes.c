/* How devices are joined when nobody says otherwise, and what --network and --per-node say. */
#include "machine.h"

#include <stdio.h>
#include <string.h>

#include "machine_private.h"
#include "printable.h"
#include "topology.h"
#include "units.h"

/* Of a link's rate, what NCCL counts on (src/graph/topo.h): NVLink 18 of 20 GB/s a link on P100, 20 of 25 and 20.6 of
 * 25 to Hopper, 40.1 of 50 on Blackwell; between cards behind a host's bridge 5/6. */
#define NVLINK_REACHED 0.8
#define PCIE_REACHED   TOPOLOGY_PCIE_REACHED

/* Seconds of one message (NCCL's src/graph/tuning.cc, ring, simple protocol). */
#define NVLINK_LATENCY  3.4e-6
#define PCIE_LATENCY    5.7e-6
#define NETWORK_LATENCY 14e-6

/* A collective goes at the pace of its slowest link. */
void machine_fill_link(struct machine *machine)
{
    double link = 0, network = 0;
    uint32_t node = MACHINE_NODE_DEVICES;
    bool nvlink = true;
    for (size_t i = 0; i < machine->device_count; i++) {
        const struct device_spec *device = &machine->devices[i];
        double reached = device->link_bandwidth * (device->nvlink ? NVLINK_REACHED : PCIE_REACHED);
        nvlink = nvlink && device->nvlink;
        if (i == 0 || reached < link) link = reached;
        if (i == 0 || device->network_bandwidth < network) network = device->network_bandwidth;
        uint32_t own = device->node_devices ? device->node_devices : MACHINE_NODE_DEVICES;
        if (i == 0 || own < node) node = own;
    }
    machine->link_bandwidth = link;
    machine->link_latency = link <= 0 ? 0 : nvlink ? NVLINK_LATENCY : PCIE_LATENCY;
    machine->node_devices = node;
    machine->network_bandwidth = network;
    machine->network_latency = NETWORK_LATENCY;
    if (machine->devices[0].kind == DEVICE_CPU) machine->node_devices = (uint32_t)machine->device_count;
}

void machine_set_ring(struct machine *machine, struct topology_ring ring, bool nvlinks)
{
    bool sold = machine->devices[0].nvlink && !nvlinks;
    if (ring.bandwidth <= 0 || sold) return;
    machine->link_bandwidth = ring.bandwidth;
    machine->link_latency = ring.path == PATH_NVLINK ? NVLINK_LATENCY : PCIE_LATENCY;
    machine->link_path = (uint8_t)(1 + ring.path);
    machine->node_devices = (uint32_t)machine->device_count;
}

/* Between packages of which nothing is known: as between Intel's of Skylake (NCCL's src/graph/topo.h). */
#define SYSTEM_BANDWIDTH 10e9

void machine_set_path(struct machine *machine, enum topology_path path)
{
    machine->link_path = (uint8_t)(1 + path);
    if (path == PATH_NVLINK) return;
    double slot = 0;
    for (size_t i = 0; i < machine->device_count; i++) {
        const struct device_spec *device = &machine->devices[i];
        double own = device->nvlink ? device->host_bandwidth : device->link_bandwidth;
        if (i == 0 || own < slot) slot = own;
    }
    double reached = slot * PCIE_REACHED;
    machine->link_bandwidth = path == PATH_SYSTEM && reached > SYSTEM_BANDWIDTH ? SYSTEM_BANDWIDTH : reached;
    machine->link_latency = machine->link_bandwidth > 0 ? PCIE_LATENCY : 0;
}

void machine_set_nodes(struct machine *machine, uint32_t node_devices, double network_bandwidth)
{
    if (node_devices > 0) machine->node_devices = node_devices;
    if (network_bandwidth > 0) machine->network_bandwidth = network_bandwidth;
}

static bool ends_with(const char *text, size_t length, const char *end)
{
    size_t size = strlen(end);
    return length > size && strncmp(text + length - size, end, size) == 0;
}

/* Bits are told from bytes by their small b: networks are sold in Gb/s. */
bool machine_parse_rate(const char *text, const char *what, double *bytes_per_second, struct error *err)
{
    char number[32];
    size_t length = strlen(text);
    bool bits = ends_with(text, length, "b/s") || ends_with(text, length, "bit/s");
    uint64_t value = 0;
    bool ok = length < sizeof number && ends_with(text, length, "/s");
    if (ok) {
        length -= bits ? ends_with(text, length, "bit/s") ? 5 : 3 : 2;
        snprintf(number, sizeof number, "%.*s%s", (int)length, text, bits ? "B" : "");
        ok = length > 0 && units_parse_bytes(number, what, &value, NULL) && value > 0 && value <= 1000000000000000ull;
    }
    if (!ok)
        return error_set(err, ERROR_INPUT,
                         "%s: '%s' is not a rate; one like 3200Gb/s (bits) or 400GB/s (bytes), of a node, per "
                         "direction, is wanted",
                         what, PRINTABLE_CUT(text, 40));
    *bytes_per_second = (double)value / (bits ? 8 : 1);
    return true;
}
