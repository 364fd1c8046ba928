/* What lies between two devices of a host, and what a ring through several reaches. */
#include "topology.h"

#include <string.h>

#include "ascii.h"
#include "mem.h"

void topology_finish(struct topology *topology)
{
    mem_free(topology->places);
    *topology = (struct topology){0};
}

struct topology_place *topology_add(struct topology *topology, enum topology_kind kind, uint32_t parent)
{
    void *places = topology->places;
    if (!mem_grow(MEM_GENERAL, &places, &topology->capacity, topology->count + 1, sizeof *topology->places))
        return NULL;
    topology->places = places;
    struct topology_place *place = &topology->places[topology->count];
    *place = (struct topology_place){.kind = kind, .parent = parent};
    if (kind == TOPOLOGY_GPU && topology->gpu_count < HOST_MOST_GPUS) {
        place->number = topology->gpu_count;
        topology->gpus[topology->gpu_count++] = (uint32_t)topology->count;
    }
    topology->count++;
    return place;
}

uint32_t topology_gpu(const struct topology *topology, const char *bus_id)
{
    for (uint32_t i = 0; i < topology->gpu_count; i++)
        if (ascii_same(topology->places[topology->gpus[i]].bus_id, bus_id)) return i;
    return TOPOLOGY_NONE;
}

const char *topology_path_name(enum topology_path path)
{
    static const char *const names[TOPOLOGY_PATHS] = {"NV", "PIX", "PXB", "PHB", "NODE", "SYS"};
    return names[path];
}

const char *topology_path_words(enum topology_path path)
{
    static const char *const words[TOPOLOGY_PATHS] = {"NVLink",
                                                      "a PCIe switch",
                                                      "PCIe switches",
                                                      "the processor's PCIe bridge",
                                                      "PCIe bridges of one NUMA node",
                                                      "the link between processors"};
    return words[path];
}

const char *topology_path_word(enum topology_path path)
{
    static const char *const words[TOPOLOGY_PATHS] = {"nvlink", "switch", "switches", "bridge", "node", "system"};
    return words[path];
}

/* ---- Between two places ---- */

static uint32_t depth_of(const struct topology *t, uint32_t place)
{
    uint32_t depth = 0;
    for (; t->places[place].parent != TOPOLOGY_NONE; place = t->places[place].parent) depth++;
    return depth;
}

/* The slower of two, where they are known. */
static double slower(double a, double b) { return a <= 0 ? b : b <= 0 || a < b ? a : b; }

/* One step towards the host: what it costs, and whether it is a bridge of PCIe that is left behind. */
static uint32_t climb(const struct topology *t, uint32_t place, struct topology_link *link, uint32_t *switches)
{
    const struct topology_place *from = &t->places[place];
    link->bandwidth = slower(link->bandwidth, from->link);
    *switches += from->kind == TOPOLOGY_SWITCH;
    return from->parent;
}

/* Of the slots alone. */
static struct topology_link slots_between(const struct topology *t, uint32_t a, uint32_t b)
{
    struct topology_link link = {0};
    uint32_t switches = 0, deep = depth_of(t, a), other = depth_of(t, b);
    for (; deep > other; deep--) a = climb(t, a, &link, &switches);
    for (; other > deep; other--) b = climb(t, b, &link, &switches);
    while (a != b) {
        a = climb(t, a, &link, &switches);
        b = climb(t, b, &link, &switches);
    }
    switch (t->places[a].kind) {
    case TOPOLOGY_SWITCH: link.path = switches > 2 ? PATH_SWITCHES : PATH_SWITCH; break;
    case TOPOLOGY_BRIDGE: link.path = PATH_BRIDGE; break;
    case TOPOLOGY_NODE: link.path = PATH_NODE; break;
    default: link.path = PATH_SYSTEM; break;
    }
    return link;
}

struct topology_link topology_between(const struct topology *t, uint32_t a, uint32_t b)
{
    struct topology_link link = slots_between(t, a, b);
    if (link.path == PATH_SYSTEM) link.bandwidth = slower(link.bandwidth, t->socket_bandwidth);
    return link;
}

/* Through NVLink's switches two GPUs reach each other over all links of either. */
static uint32_t nvlinks_between(const struct topology *t, uint32_t a, uint32_t b)
{
    uint32_t switched = t->switched[a] < t->switched[b] ? t->switched[a] : t->switched[b];
    return t->nvlinks[a][b] > switched ? t->nvlinks[a][b] : switched;
}

struct topology_link topology_between_gpus(const struct topology *t, uint32_t a, uint32_t b, double nvlink_rate)
{
    uint32_t nvlinks = nvlinks_between(t, a, b);
    if (nvlinks == 0) return topology_between(t, t->gpus[a], t->gpus[b]);
    return (struct topology_link){.path = PATH_NVLINK, .nvlinks = nvlinks, .bandwidth = nvlinks * nvlink_rate};
}

/* How many of a path's nearest cards come before this one, for GPUs that are as near to several. */
static uint32_t rank_of(const struct topology *t, uint32_t gpu, enum topology_path path)
{
    uint32_t before = 0;
    for (uint32_t i = 0; i < gpu; i++) before += topology_between(t, t->gpus[i], t->gpus[gpu]).path <= path;
    return before;
}

uint32_t topology_nic_of(const struct topology *t, uint32_t gpu)
{
    uint32_t nearest[64], count = 0;
    enum topology_path best = TOPOLOGY_PATHS;
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->places[i].kind != TOPOLOGY_NIC) continue;
        enum topology_path path = topology_between(t, t->gpus[gpu], i).path;
        if (path > best) continue;
        if (path < best) count = 0;
        best = path;
        if (count < sizeof nearest / sizeof *nearest) nearest[count++] = i;
    }
    return count == 0 ? TOPOLOGY_NONE : nearest[rank_of(t, gpu, best) % count];
}

/* ---- Rings ---- */

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
            double sold = slots_between(t, t->gpus[gpus[i]], t->gpus[gpus[k]]).bandwidth;
            double pcie = slower(sold, slot) * TOPOLOGY_PCIE_REACHED;
            if (link.path == PATH_SYSTEM) pcie = slower(pcie, t->socket_bandwidth);
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
        all[has_rdma(place)] += slower(place->rate, place->link);
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
        slot = slower(slot, device->nvlink ? device->host_bandwidth : device->link_bandwidth);
        nvlink = slower(nvlink, topology_nvlink_rate(device->capability));
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
