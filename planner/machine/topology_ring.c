/* What a ring through several devices of a host reaches, its network, and both in a machine's description. */
#include <string.h>

#include "mem.h"
#include "topology_private.h"

double topology_nvlink_rate(uint32_t capability)
{
    const struct {
        uint32_t from;
        double rate;
    } known[] = {{1000, 40.1e9}, {900, 20.6e9}, {890, 20e9}, {860, 12e9}, {700, 20e9}, {600, 18e9}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (capability >= known[i].from) return known[i].rate;
    return 20e9;
}

#define MOST_SEARCHED 12u

struct ring_search {
    size_t count;
    double bandwidth[HOST_MOST_GPUS][HOST_MOST_GPUS];
    enum topology_path path[HOST_MOST_GPUS][HOST_MOST_GPUS];
};

static void measure_links(struct ring_search *s, const struct topology *t, const uint32_t *gpus, double nvlink_rate,
                          double slot)
{
    for (size_t i = 0; i < s->count; i++)
        for (size_t k = 0; k < s->count; k++) {
            if (i == k) continue;
            struct topology_link link = topology_between_gpus(t, gpus[i], gpus[k], nvlink_rate);
            s->path[i][k] = link.path;
            double sold = topology_slots_between(t, t->gpus[gpus[i]], t->gpus[gpus[k]]).bandwidth;
            double pcie = topology_slower(sold, slot) * TOPOLOGY_PCIE_REACHED;
            if (link.path == PATH_SYSTEM) pcie = topology_slower(pcie, t->socket_bandwidth);
            s->bandwidth[i][k] = link.path == PATH_NVLINK ? link.bandwidth : pcie;
        }
}

static struct topology_ring ring_of(const struct ring_search *s, const uint8_t *order)
{
    struct topology_ring ring = {PATH_NVLINK, 0};
    for (size_t i = 0; i < s->count; i++) {
        uint8_t a = order[i], b = order[(i + 1) % s->count];
        if (s->path[a][b] > ring.path) ring.path = s->path[a][b];
        if (i == 0 || s->bandwidth[a][b] < ring.bandwidth) ring.bandwidth = s->bandwidth[a][b];
    }
    return ring;
}

/* Of all paths from device 0 through a set of others that end in one of them: the fastest's slowest link, and who came
 * before (Held and Karp, J. SIAM 10(1), 1962, with the slowest link for the sum). */
struct ring_table {
    double best[1u << (MOST_SEARCHED - 1)][MOST_SEARCHED - 1];
    uint8_t before[1u << (MOST_SEARCHED - 1)][MOST_SEARCHED - 1];
};

static double least(double a, double b) { return a < b ? a : b; }

static void fill_table(const struct ring_search *s, struct ring_table *table)
{
    size_t others = s->count - 1;
    for (uint32_t set = 1; set < 1u << others; set++)
        for (uint8_t end = 0; end < others; end++) {
            uint32_t rest = set & ~(1u << end);
            table->best[set][end] = -1;
            if (!(set >> end & 1)) continue;
            if (rest == 0) table->best[set][end] = s->bandwidth[0][end + 1];
            for (uint8_t from = 0; from < others; from++) {
                if (!(rest >> from & 1)) continue;
                double reached = least(table->best[rest][from], s->bandwidth[from + 1][end + 1]);
                if (reached <= table->best[set][end]) continue;
                table->best[set][end] = reached;
                table->before[set][end] = from;
            }
        }
}

static void best_order(const struct ring_search *s, const struct ring_table *table, uint8_t *order)
{
    size_t others = s->count - 1;
    uint32_t set = (1u << others) - 1;
    uint8_t end = 0;
    for (uint8_t i = 1; i < others; i++)
        if (least(table->best[set][i], s->bandwidth[i + 1][0]) > least(table->best[set][end], s->bandwidth[end + 1][0]))
            end = i;
    for (size_t at = others; at > 0; at--) {
        uint8_t before = table->before[set][end];
        order[at] = (uint8_t)(end + 1);
        set &= ~(1u << end);
        end = before;
    }
    order[0] = 0;
}

struct topology_ring topology_ring(const struct topology *t, const uint32_t *gpus, size_t count, double nvlink_rate,
                                   double slot)
{
    struct topology_ring none = {PATH_SYSTEM, 0};
    struct ring_search *s = count > 1 && count <= HOST_MOST_GPUS ? mem_zalloc(MEM_GENERAL, 1, sizeof *s) : NULL;
    if (!s) return none;
    uint8_t order[HOST_MOST_GPUS];
    s->count = count;
    measure_links(s, t, gpus, nvlink_rate, slot);
    for (size_t i = 0; i < count; i++) order[i] = (uint8_t)i;
    struct ring_table *table = count <= MOST_SEARCHED ? mem_alloc(MEM_GENERAL, 1, sizeof *table) : NULL;
    if (table) {
        fill_table(s, table);
        best_order(s, table, order);
    }
    struct topology_ring ring = ring_of(s, order);
    mem_free(table);
    mem_free(s);
    return ring;
}

/* ---- The network ---- */

static bool has_rdma(const struct topology_place *place)
{
    return strstr(place->name, "mlx") || strstr(place->name, "ib");
}

double topology_network(const struct topology *t)
{
    double all[2] = {0, 0};
    for (size_t i = 0; i < t->count; i++) {
        const struct topology_place *place = &t->places[i];
        if (place->kind != TOPOLOGY_NIC || place->rate <= 0) continue;
        all[has_rdma(place)] += topology_slower(place->rate, place->link);
    }
    return all[1] > 0 ? all[1] : all[0];
}

/* ---- Into a machine ---- */

void topology_join(const struct topology *t, const char *const *bus_ids, struct machine *machine)
{
    uint32_t gpus[HOST_MOST_GPUS];
    double slot = 0, nvlink = 0, network = topology_network(t);
    if (network > 0) machine->network_bandwidth = network;
    if (machine->device_count < 2 || machine->device_count > HOST_MOST_GPUS) return;
    for (size_t i = 0; i < machine->device_count; i++) {
        const struct device_spec *device = &machine->devices[i];
        gpus[i] = topology_gpu(t, bus_ids[i]);
        if (gpus[i] == TOPOLOGY_NONE) return;
        slot = topology_slower(slot, device->nvlink ? device->host_bandwidth : device->link_bandwidth);
        nvlink = topology_slower(nvlink, topology_nvlink_rate(device->capability));
    }
    machine_set_ring(machine, topology_ring(t, gpus, machine->device_count, nvlink, slot), t->nvlinks_known);
}

void topology_join_host(const char *const *bus_ids, struct machine *machine)
{
    struct topology topology;
    struct error unsaid = {0};
    for (size_t i = 0; i < machine->device_count; i++)
        if (!bus_ids[i] || !*bus_ids[i]) return;
    if (machine->device_count < 2 || !topology_read(&topology, &unsaid)) return;
    topology_join(&topology, bus_ids, machine);
    topology_finish(&topology);
}
