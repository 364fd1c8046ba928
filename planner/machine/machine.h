/* The devices a plan is made for: sizes, speeds, what is outside the tensors, and how they are linked.
 *
 * From --gpus: counts and sizes ("2x12GiB"), catalogue names ("titan-x", "8xh200"), mixtures ("h100,2x24GiB"), "cpu",
 * "2xcpu" (virtual devices on this host), "auto" (what hwloc sees here, else cpu), or a machine file (JSON,
 * docs/formats.md). */
#ifndef FATHOM_MACHINE_H
#define FATHOM_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "system_limits.h"

enum device_kind { DEVICE_GPU, DEVICE_CPU };

#define DEVICE_NAME 48
#define MACHINE_MOST_DEVICES 4096

struct device_spec {
    enum device_kind kind;
    char name[DEVICE_NAME];    /* "titan-x", "12GiB", "cpu" */
    uint64_t memory_bytes;     /* as sold; for cpu the host's memory divided by its virtual devices */
    uint64_t context_bytes;    /* context, library handles, loaded kernels: outside the arena */
    uint64_t comm_bytes;       /* NCCL's buffers when there are several devices */
    uint64_t reserve_bytes;    /* kept free: what the driver holds back and a margin */
    uint64_t op_bytes;         /* cpu: host memory of one prepared op, outside the arena */
    uint64_t kernel_bytes;     /* cpu: of the kernels that convolutions of one shape are compiled to, outside the arena */
    uint64_t workspace_bytes;  /* cap of one op's workspace */
    double flops_f32, flops_f16; /* peak per second; 0 = unknown */
    double bandwidth;          /* bytes per second to its memory; 0 = unknown */
    double launch_seconds;     /* least time of one op */
    uint32_t processors;       /* multiprocessors; 0 = unknown */
    uint32_t capability;       /* gpu: CUDA's compute capability, 900 for 9.0; 0 = unknown */
    double link_bandwidth;     /* bytes per second to its peers, per direction; 0 = unknown */
    double host_bandwidth;     /* bytes per second to and from pinned host memory, per direction; 0 = unknown */
    bool nvlink;               /* its link is NVLink, not a slot behind the host's bridge */
    uint32_t node_devices;     /* of these in a node as they are sold; 0 = unknown, then MACHINE_NODE_DEVICES */
    double network_bandwidth;  /* bytes per second from such a node to others, per direction; 0 = unknown */
    uint32_t cudnn_version;    /* gpu: whose engines' workspaces are planned, 91900 for 9.19.0; 0 = they are estimated */
    const char *source;        /* where the figures come from; static text or owned by the machine */
};

/* What a plan may fill: all but the reserve. */
static inline uint64_t device_usable_bytes(const struct device_spec *device)
{
    return device->memory_bytes > device->reserve_bytes ? device->memory_bytes - device->reserve_bytes : 0;
}

/* The least that CUDA 13 serves; older GPUs are planned for, and not trained on. */
#define DEVICE_LEAST_CAPABILITY 750
/* The least for which cuDNN has convolutions in bf16. */
#define DEVICE_BF16_CAPABILITY 800

static inline bool device_can_train(const struct device_spec *device)
{
    return device->kind == DEVICE_CPU || device->capability == 0 || device->capability >= DEVICE_LEAST_CAPABILITY;
}

#define MACHINE_NODE_DEVICES 8

struct machine {
    struct device_spec *devices;
    size_t device_count;
    /* Nodes of equal size: inside a node every device sends to its neighbour at link_bandwidth while it receives as
     * much; a node sends to other nodes at network_bandwidth. Bytes per second, seconds per message; 0 = unknown. */
    double link_bandwidth, link_latency;
    uint32_t node_devices;
    double network_bandwidth, network_latency;
    uint8_t link_path;         /* what that link goes over: 1 + an enum topology_path (topology.h); 0 = not known: the devices
                                * are taken to be joined as they are sold */
    char *text;                /* owned strings */
    const char *note;          /* which card a name was taken for, where several share it; NULL = none; static */
};

/* Another network than the devices are sold with; 0 = leave it. "3200Gb/s" or "400GB/s", of a node, per direction, into
 * *bytes_per_second. */
void machine_set_nodes(struct machine *machine, uint32_t node_devices, double network_bandwidth);
bool machine_parse_rate(const char *text, const char *what, double *bytes_per_second, struct error *err);

/* Fills *machine, which the caller ends with machine_finish; on failure *machine is untouched. Unknown names are
 * ERROR_INPUT and suggest the nearest ones; a mixture of CPUs and GPUs is ERROR_INPUT. */
bool machine_parse(const char *text, struct machine *machine, struct error *err);
/* A capability as people write it: 900 as "9.0", into out; returns out. And back from a number in a file: false for what
 * is no capability. */
#define DEVICE_CAPABILITY 8
char *device_capability_words(uint32_t capability, char out[DEVICE_CAPABILITY]);
bool device_capability_of(double number, uint32_t *capability);
/* GPUs of this host as their driver tells of them. */
struct machine_gpu {
    const char *name;          /* "NVIDIA H200" */
    uint64_t memory_bytes;     /* that programs may have */
    uint64_t free_bytes;       /* of it, before this process has a context there; UINT64_MAX = all */
    uint32_t capability, processors; /* as in struct device_spec */
    const char *bus_id;        /* "0000:17:00.0"; NULL = unknown */
};
/* A machine of at least one, in that order, joined as they are on this host where that is known; as machine_parse. One that the catalogue lacks is a device of its memory and
 * capability, of unknown speed. */
bool machine_of_gpus(const struct machine_gpu *gpus, size_t count, struct machine *machine, struct error *err);
/* A machine of copies of these, at least one, which are as they stand: virtual devices do not share the host's memory anew.
 * What is not one of theirs (the network, latencies) is as machine_parse has it. */
bool machine_of_devices(const struct device_spec *devices, size_t count, struct machine *machine, struct error *err);
/* What a context takes, about. */
uint64_t machine_context_bytes(void);
/* The catalogue's entry for it; NULL when it is another. Static. */
const struct device_spec *machine_gpu_entry(const struct machine_gpu *gpu);

/* "gpu", "cpu". */
const char *device_kind_name(enum device_kind kind);
/* Whether two devices take the same plan, and whether they run it in the same time. What they are called and where their
 * figures come from does not matter; links between devices are the machine's. */
bool device_same_memory(const struct device_spec *a, const struct device_spec *b);
bool device_same_speed(const struct device_spec *a, const struct device_spec *b);
/* Takes a zeroed machine. */
void machine_finish(struct machine *machine);

/* Machine files (docs/formats.md). Reading: every field is checked, unknown ones are refused; ownership as machine_parse.
 * Writing is atomic; what is written reads back equal. */
bool machine_read_file(const char *path, struct machine *machine, struct error *err);
bool machine_write_file(const struct machine *machine, const char *path, struct error *err);

/* A GPU of which only the memory is known: its speed is unknown (0). */
bool machine_generic_gpu(const char *name, uint64_t memory_bytes, struct device_spec *spec, struct error *err);

/* What communication buffers take on a device once it has peers: its own figure, or the default when it is alone. */
uint64_t machine_comm_bytes(const struct device_spec *spec);

/* The built-in catalogue, for `fathom devices` and suggestions. Names are found whatever their case, spaces, hyphens and
 * maker ("NVIDIA GeForce GTX TITAN X" is "titan-x"); NULL when there is none. Static. */
const struct device_spec *catalogue_find(const char *name);
const struct device_spec *catalogue_entries(size_t *count);
/* The same where several cards share the name: the one with about so much memory. */
const struct device_spec *catalogue_find_sized(const char *name, uint64_t memory_bytes);
/* Which of several cards a name is taken for, in a sentence without its full stop; NULL when there is no doubt. Static. */
const char *catalogue_note(const char *name);
/* Writes the names near to an unknown one, three at most, ", "-separated, into out; returns out. */
char *catalogue_suggest(const char *name, char *out, size_t size);

/* This host: its topology through hwloc, its memory and processors from system_limits.h. */
#define HOST_MOST_GPUS 64
struct host_gpu {
    char name[96];           /* as the system reports it */
    char bus_id[16];         /* of its slot: "0000:17:00.0" */
    uint64_t memory_bytes;   /* 0 = not reported */
    uint32_t numa_node;      /* of the host; UINT32_MAX = unknown */
};
struct host {
    uint32_t cores, packages, numa_nodes; /* cores that this process may run on */
    uint32_t processors;     /* threads that may run at once: hyperthreads, affinity and quotas counted in */
    uint64_t memory_bytes;   /* the most that this process may hold */
    struct limits limits;    /* what sets the two figures above, and what is free now */
    char cpu[96];
    struct host_gpu gpus[HOST_MOST_GPUS];
    uint32_t gpu_count;
};
bool host_read(struct host *host, struct error *err);
/* Keeps the calling thread on the processors of the NUMA node that the PCI device of this bus id ("0000:17:00.0") is
 * attached to, as far as the thread may run there, and has what it takes from now on lie there, if there is room. False
 * where there is nothing to choose: one node, or it is not known which. *node: which. Costs a look at the whole topology. */
bool host_stay_near(const char *bus_id, uint32_t *node);
/* The same where all of these devices are attached to one node; else nothing. Threads that it makes afterwards stay there, too. */
bool host_stay_near_all(const char *const *bus_ids, size_t count, uint32_t *node);

#endif
