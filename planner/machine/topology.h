/* What hangs where on a host: packages, NUMA nodes, bridges and switches of PCIe, GPUs, network cards, and NVLinks between
 * GPUs; what lies between two GPUs, and how fast a ring through several can be.
 *
 * The tree is hwloc's (host.c), which reads the system, or a file that HWLOC_XMLFILE names; NVLinks are the driver's library's
 * (topology_links.c). */
#ifndef FATHOM_TOPOLOGY_H
#define FATHOM_TOPOLOGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "machine.h"

enum topology_kind {
    TOPOLOGY_HOST,
    TOPOLOGY_PACKAGE,
    TOPOLOGY_NODE,   /* of memory (NUMA) */
    TOPOLOGY_BRIDGE, /* from processors to PCIe */
    TOPOLOGY_SWITCH, /* from PCIe to PCIe: a port, or a switch's side of one */
    TOPOLOGY_GPU,
    TOPOLOGY_NIC
};

#define TOPOLOGY_NONE UINT32_MAX

struct topology_place {
    enum topology_kind kind;
    uint32_t parent;       /* an earlier place; TOPOLOGY_NONE: the host, which is the first */
    uint32_t number;       /* a package's and a NUMA node's is the system's, a GPU's its place among them */
    char name[96];         /* a package's processor, a product, network interfaces */
    char fabric[32];       /* a network card's device of RDMA ("mlx5_0"); empty: it has none, or its port does not work */
    char bus_id[16];       /* "0000:17:00.0"; empty: not on a bus */
    uint32_t cores;        /* of a package or NUMA node */
    uint64_t memory_bytes; /* of a NUMA node; 0 = unknown */
    double link;           /* bytes per second, per direction, of its PCIe link; 0 = unknown */
    double rate;           /* of a network card: to the network, bytes per second, per direction; 0 = unknown */
};

struct topology {
    struct topology_place *places; /* each after its parent; owned */
    size_t count, capacity;
    uint32_t gpus[HOST_MOST_GPUS]; /* places, by number */
    uint32_t gpu_count;
    uint8_t nvlinks[HOST_MOST_GPUS][HOST_MOST_GPUS]; /* from one to the other, straight */
    uint8_t switched[HOST_MOST_GPUS];                /* to NVLink's switches */
    bool nvlinks_known;                              /* the driver's library has been asked */
    double socket_bandwidth; /* bytes per second between packages, per direction, about; 0 = unknown */
};

/* This host's, with its NVLinks where the driver's library is there. The caller ends it with topology_finish. */
bool topology_read(struct topology *topology, struct error *err);
/* Takes a zeroed one. */
void topology_finish(struct topology *topology);
/* Adds a place, with its parent and kind alone; NULL: no memory. */
struct topology_place *topology_add(struct topology *topology, enum topology_kind kind, uint32_t parent);
/* Asks the driver's library for NVLinks between its GPUs; nothing where it is not there. */
void topology_find_nvlinks(struct topology *topology);

/* The number of the GPU with this bus id, whatever its case; TOPOLOGY_NONE = none. */
uint32_t topology_gpu(const struct topology *topology, const char *bus_id);

/* How two places are joined, nearest first; names as `nvidia-smi topo -m` has them. */
enum topology_path {
    PATH_NVLINK,
    PATH_SWITCH,   /* PIX: one switch of PCIe between them */
    PATH_SWITCHES, /* PXB: several */
    PATH_BRIDGE,   /* PHB: the processors' bridge */
    PATH_NODE,     /* NODE: several of those at one NUMA node */
    PATH_SYSTEM,   /* SYS: from one NUMA node or package to another */
    TOPOLOGY_PATHS
};
const char *topology_path_name(enum topology_path path);  /* "PIX" */
const char *topology_path_words(enum topology_path path); /* "a PCIe switch" */
const char *topology_path_word(enum topology_path path);  /* in machine files: "switch" */

struct topology_link {
    enum topology_path path;
    uint32_t nvlinks;
    double bandwidth; /* bytes per second, per direction, as it is sold; 0 = unknown */
};
/* Between two places, NVLink left out. */
struct topology_link topology_between(const struct topology *topology, uint32_t a, uint32_t b);
/* Between two GPUs, by number; nvlink_rate: bytes per second of one NVLink. */
struct topology_link topology_between_gpus(const struct topology *topology, uint32_t a, uint32_t b, double nvlink_rate);
/* The GPU's nearest network card, a place; of several as near the first that no earlier GPU has. TOPOLOGY_NONE = none. */
uint32_t topology_nic_of(const struct topology *topology, uint32_t gpu);

/* The network cards of RDMA near to some GPUs, by number, as NCCL_IB_HCA takes them: "=mlx5_0,mlx5_1". Each of the GPUs has one or
 * more behind the same switches of PCIe; all that are as near are in the list. Returns how many; 0, and an empty list, where a
 * GPU has none there, or where no other card would be left out. */
#define TOPOLOGY_FABRICS 512
uint32_t topology_near_fabrics(const struct topology *topology, const uint32_t *gpus, size_t count,
                               char list[TOPOLOGY_FABRICS]);

/* What NCCL counts on (src/graph/topo.h) of a PCIe link, and of one NVLink on a GPU of this capability. */
#define TOPOLOGY_PCIE_REACHED (5.0 / 6)
double topology_nvlink_rate(uint32_t capability);

/* A ring through GPUs: the best one's slowest link. */
struct topology_ring {
    enum topology_path path;
    double bandwidth; /* that can be reached; 0 = unknown */
};
/* slot: of a GPU's PCIe link as it is sold, where the host does not tell. Up to 12 GPUs all rings are looked at; above that the
 * one in the order of slots, which enters every switch and package once. */
struct topology_ring topology_ring(const struct topology *topology, const uint32_t *gpus, size_t count,
                                   double nvlink_rate, double slot);
/* All network cards' together, RDMA's alone where there are some; 0 = unknown. */
double topology_network(const struct topology *topology);

/* What a ring reaches becomes the machine's link. nvlinks: whether NVLinks would have been seen: if not, and its devices have
 * some, they keep what they are sold with. */
void machine_set_ring(struct machine *machine, struct topology_ring ring, bool nvlinks);
/* The links of a machine whose devices are these GPUs of the host, by bus id: from there, no longer assumed. */
void topology_join(const struct topology *topology, const char *const *bus_ids, struct machine *machine);
/* The same, read for it; nothing where that fails, or an id is NULL. */
void topology_join_host(const char *const *bus_ids, struct machine *machine);
/* The link of a machine whose devices are joined so, as far as that says it: of GPUs in slots. */
void machine_set_path(struct machine *machine, enum topology_path path);

#endif
