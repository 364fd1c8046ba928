#include "all_reduce.h"

/* NCCL's fixed part of a collective, and what its trees reach of a bus. */
#define FIXED_SECONDS   8.4e-6
#define TREE_EFFICIENCY 0.9

const char *all_reduce_name(enum all_reduce_way way)
{
    static const char *const names[ALL_REDUCE_WAYS] = {"ring", "tree", "hierarchical"};
    return names[way];
}

/* Devices of a node, and nodes. A last node that is not full counts as one. */
struct shape {
    double ranks, node, nodes;
};

static struct shape shape_of(const struct machine *machine, size_t ranks)
{
    size_t node = machine->node_devices && machine->node_devices < ranks ? machine->node_devices : ranks;
    size_t nodes = (ranks + node - 1) / node;
    return (struct shape){(double)ranks, (double)node, (double)nodes};
}

bool all_reduce_known(const struct machine *machine, size_t ranks)
{
    if (ranks < 2) return true;
    struct shape shape = shape_of(machine, ranks);
    return (shape.node < 2 || machine->link_bandwidth > 0) && (shape.nodes < 2 || machine->network_bandwidth > 0);
}

/* Levels of a binary tree over so many nodes. */
static double levels(double nodes)
{
    double count = 0;
    for (double reached = 1; reached < nodes; reached *= 2) count++;
    return count;
}

/* Of the links on the way of a ring or tree through all devices. */
static double narrowest(const struct machine *machine, const struct shape *shape)
{
    double inside = machine->link_bandwidth, between = machine->network_bandwidth;
    if (shape->nodes < 2) return inside;
    return shape->node < 2 || between < inside ? between : inside;
}

static double ring_seconds(const struct machine *machine, const struct shape *shape, double bytes)
{
    double between = shape->nodes > 1 ? 2 * (shape->nodes - 1) : 0, inside = 2 * (shape->ranks - 1) - between;
    return 2 * (shape->ranks - 1) / shape->ranks * bytes / narrowest(machine, shape) + inside * machine->link_latency +
           between * machine->network_latency;
}

static double tree_seconds(const struct machine *machine, const struct shape *shape, double bytes)
{
    return 2 * bytes / (TREE_EFFICIENCY * narrowest(machine, shape)) +
           2 * ((shape->node - 1) * machine->link_latency + levels(shape->nodes) * machine->network_latency);
}

static double hierarchical_seconds(const struct machine *machine, const struct shape *shape, double bytes)
{
    if (shape->nodes < 2 || shape->node < 2) return ring_seconds(machine, shape, bytes);
    double inside = 2 * ((shape->node - 1) / shape->node * bytes / machine->link_bandwidth +
                         (shape->node - 1) * machine->link_latency);
    double ring = 2 * (shape->nodes - 1) / shape->nodes * bytes / machine->network_bandwidth +
                  2 * (shape->nodes - 1) * machine->network_latency;
    double tree = 2 * bytes / (TREE_EFFICIENCY * machine->network_bandwidth) +
                  2 * levels(shape->nodes) * machine->network_latency;
    return inside + (ring < tree ? ring : tree);
}

double all_reduce_by(const struct machine *machine, size_t ranks, uint64_t bytes, enum all_reduce_way way)
{
    static double (*const ways[ALL_REDUCE_WAYS])(const struct machine *, const struct shape *,
                                                 double) = {ring_seconds, tree_seconds, hierarchical_seconds};
    if (ranks < 2 || !all_reduce_known(machine, ranks)) return 0;
    struct shape shape = shape_of(machine, ranks);
    return FIXED_SECONDS + ways[way](machine, &shape, (double)bytes);
}

double all_reduce_seconds(const struct machine *machine, size_t ranks, uint64_t bytes, enum all_reduce_way *way)
{
    double least = all_reduce_by(machine, ranks, bytes, ALL_REDUCE_RING);
    if (way) *way = ALL_REDUCE_RING;
    for (int w = ALL_REDUCE_RING + 1; w < ALL_REDUCE_WAYS; w++) {
        double seconds = all_reduce_by(machine, ranks, bytes, (enum all_reduce_way)w);
        if (seconds >= least) continue;
        least = seconds;
        if (way) *way = (enum all_reduce_way)w;
    }
    return least;
}
