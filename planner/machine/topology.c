/* What lies between two devices of a host. */
#include "topology_private.h"

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

/* One step towards the host: what it costs, and whether it is a bridge of PCIe that is left behind. */
static uint32_t climb(const struct topology *t, uint32_t place, struct topology_link *link, uint32_t *switches)
{
    const struct topology_place *from = &t->places[place];
    link->bandwidth = topology_slower(link->bandwidth, from->link);
    *switches += from->kind == TOPOLOGY_SWITCH;
    return from->parent;
}

/* Of the slots alone. */
struct topology_link topology_slots_between(const struct topology *t, uint32_t a, uint32_t b)
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
    struct topology_link link = topology_slots_between(t, a, b);
    if (link.path == PATH_SYSTEM) link.bandwidth = topology_slower(link.bandwidth, t->socket_bandwidth);
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
