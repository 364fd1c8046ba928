/* Which network cards are near to GPUs. */
#include <stdio.h>
#include <string.h>

#include "topology.h"

static bool has_fabric(const struct topology *t, uint32_t i)
{
    return t->places[i].kind == TOPOLOGY_NIC && t->places[i].fabric[0];
}

static enum topology_path nearest_fabric(const struct topology *t, uint32_t gpu)
{
    enum topology_path best = TOPOLOGY_PATHS;
    for (uint32_t i = 0; i < t->count; i++) {
        if (!has_fabric(t, i)) continue;
        enum topology_path path = topology_between(t, t->gpus[gpu], i).path;
        if (path < best) best = path;
    }
    return best;
}

/* To one of the GPUs none is nearer. */
static bool is_near(const struct topology *t, uint32_t nic, const uint32_t *gpus, size_t count)
{
    for (size_t k = 0; k < count; k++)
        if (topology_between(t, t->gpus[gpus[k]], nic).path == nearest_fabric(t, gpus[k])) return true;
    return false;
}

uint32_t topology_near_fabrics(const struct topology *t, const uint32_t *gpus, size_t count,
                               char list[TOPOLOGY_FABRICS])
{
    uint32_t near = 0, all = 0;
    size_t used = 0;
    *list = '\0';
    for (size_t k = 0; k < count; k++)
        if (nearest_fabric(t, gpus[k]) > PATH_SWITCHES) return 0;
    for (uint32_t i = 0; i < t->count; i++) {
        if (!has_fabric(t, i)) continue;
        all++;
        if (!is_near(t, i, gpus, count)) continue;
        used += (size_t)snprintf(list + used, TOPOLOGY_FABRICS - used, "%s%s", near++ ? "," : "=", t->places[i].fabric);
        if (used >= TOPOLOGY_FABRICS) break;
    }
    if (near > 0 && near < all && used < TOPOLOGY_FABRICS) return near;
    *list = '\0';
    return 0;
}
