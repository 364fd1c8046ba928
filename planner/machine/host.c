#include "topology.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hwloc.h>

#define NVIDIA_PCI_VENDOR 0x10de
#define PCI_CLASS_DISPLAY 0x03 /* the class's upper byte; the lower one tells VGA from 3D controllers */

static uint32_t count_type(hwloc_topology_t topology, hwloc_obj_type_t type)
{
    int count = hwloc_get_nbobjs_by_type(topology, type);
    return count > 0 ? (uint32_t)count : 0;
}

/* Cores that this process may run on, hyperthreads of one counted once: hwloc lists those of the machine. */
static uint32_t count_cores(hwloc_topology_t topology)
{
    uint32_t count = 0;
    hwloc_bitmap_t bound = hwloc_bitmap_alloc();
    if (!bound || hwloc_get_cpubind(topology, bound, HWLOC_CPUBIND_PROCESS) != 0) {
        hwloc_bitmap_free(bound);
        return count_type(topology, HWLOC_OBJ_CORE);
    }
    hwloc_obj_t core = NULL;
    while ((core = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_CORE, core)))
        count += hwloc_bitmap_intersects(core->cpuset, bound) != 0;
    hwloc_bitmap_free(bound);
    return count;
}

/* hwloc is not asked for the memory: it sums what the kernel says of each node, which in virtual machines has been seen
 * at a fifth of what there is, and moving. */
static void read_limits(struct host *host)
{
    limits_read("", &host->limits);
    host->memory_bytes = host->limits.memory.amount;
    if (host->memory_bytes == UINT64_MAX) host->memory_bytes = 0;
    host->processors = (uint32_t)host->limits.processors.amount;
    if (host->cores == 0) host->cores = host->processors; /* a container without /sys */
}

static void read_cpu_name(hwloc_topology_t topology, struct host *host)
{
    hwloc_obj_t package = hwloc_get_obj_by_type(topology, HWLOC_OBJ_PACKAGE, 0);
    hwloc_obj_t root = hwloc_get_root_obj(topology);
    const char *name = package ? hwloc_obj_get_info_by_name(package, "CPUModel") : NULL;
    if (!name) name = hwloc_obj_get_info_by_name(root, "CPUModel");
    if (!name) name = hwloc_obj_get_info_by_name(root, "Architecture");
    snprintf(host->cpu, sizeof host->cpu, "%s", name ? name : "unknown CPU");
}

static uint32_t nearest_numa_node(hwloc_topology_t topology, hwloc_obj_t device)
{
    hwloc_obj_t near = hwloc_get_non_io_ancestor_obj(topology, device);
    if (!near || !near->nodeset || hwloc_bitmap_weight(near->nodeset) != 1) return UINT32_MAX;
    return (uint32_t)hwloc_bitmap_first(near->nodeset);
}

/* "GH100 [H200 SXM 141GB]" of the PCI list: what stands in brackets is the product. */
static void copy_product(const char *name, char *out, size_t size)
{
    const char *open = strchr(name, '['), *close = open ? strchr(open, ']') : NULL;
    if (close)
        snprintf(out, size, "%.*s", (int)(close - open - 1), open + 1);
    else
        snprintf(out, size, "%s", name);
}

/* The names and sizes that hwloc's CUDA and NVML components give to the OS devices below a PCI device. */
static void read_os_devices(hwloc_obj_t pci, struct host_gpu *gpu)
{
    for (hwloc_obj_t os = pci->io_first_child; os; os = os->next_sibling) {
        const char *model = hwloc_obj_get_info_by_name(os, "GPUModel");
        const char *kib = hwloc_obj_get_info_by_name(os, "CUDAGlobalMemorySize");
        if (model) snprintf(gpu->name, sizeof gpu->name, "%s", model);
        if (kib) gpu->memory_bytes = strtoull(kib, NULL, 10) << 10;
    }
}

static bool is_gpu(hwloc_obj_t pci)
{
    return pci->attr->pcidev.vendor_id == NVIDIA_PCI_VENDOR && pci->attr->pcidev.class_id >> 8 == PCI_CLASS_DISPLAY;
}

static void read_gpus(hwloc_topology_t topology, struct host *host)
{
    for (hwloc_obj_t pci = hwloc_get_next_pcidev(topology, NULL); pci; pci = hwloc_get_next_pcidev(topology, pci)) {
        if (!is_gpu(pci) || host->gpu_count == HOST_MOST_GPUS) continue;
        struct host_gpu *gpu = &host->gpus[host->gpu_count++];
        const char *listed = hwloc_obj_get_info_by_name(pci, "PCIDevice");
        gpu->numa_node = nearest_numa_node(topology, pci);
        snprintf(gpu->bus_id, sizeof gpu->bus_id, "%04x:%02x:%02x.%01x", pci->attr->pcidev.domain,
                 pci->attr->pcidev.bus, pci->attr->pcidev.dev, pci->attr->pcidev.func);
        snprintf(gpu->name, sizeof gpu->name, "PCI device %04x:%04x", pci->attr->pcidev.vendor_id,
                 pci->attr->pcidev.device_id);
        if (listed) copy_product(listed, gpu->name, sizeof gpu->name);
        read_os_devices(pci, gpu);
    }
}

static bool load(hwloc_topology_t *topology, struct error *err)
{
    if (hwloc_topology_init(topology) != 0) return error_set(err, ERROR_MEMORY, "hwloc: no memory for a topology");
    hwloc_topology_set_io_types_filter(*topology, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
    /* Slow to start, leak, and know nothing of these GPUs that PCI, CUDA and NVML do not. */
    hwloc_topology_set_components(*topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "opencl");
    hwloc_topology_set_components(*topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "gl");
    if (hwloc_topology_load(*topology) == 0) return true;
    hwloc_topology_destroy(*topology);
    return error_set(err, ERROR_FAILED, "hwloc: this host's topology cannot be read");
}

/* Never onto processors that it was kept from. */
static bool stay_on(hwloc_topology_t topology, hwloc_obj_t node)
{
    hwloc_bitmap_t own = hwloc_bitmap_alloc();
    bool there = own && hwloc_get_cpubind(topology, own, HWLOC_CPUBIND_THREAD) == 0;
    if (there) hwloc_bitmap_and(own, own, node->cpuset);
    there = there && !hwloc_bitmap_iszero(own) && hwloc_set_cpubind(topology, own, HWLOC_CPUBIND_THREAD) == 0;
    hwloc_bitmap_free(own);
    return hwloc_set_membind(topology, node->nodeset, HWLOC_MEMBIND_BIND,
                             HWLOC_MEMBIND_THREAD | HWLOC_MEMBIND_BYNODESET) == 0 ||
           there;
}

bool host_stay_near(const char *bus_id, uint32_t *node)
{
    struct error unsaid = {0};
    hwloc_topology_t topology;
    if (!load(&topology, &unsaid)) return false;
    hwloc_obj_t device = hwloc_get_pcidev_by_busidstring(topology, bus_id), near = NULL;
    *node = device && count_type(topology, HWLOC_OBJ_NUMANODE) > 1 ? nearest_numa_node(topology, device) : UINT32_MAX;
    if (*node != UINT32_MAX) near = hwloc_get_numanode_obj_by_os_index(topology, *node);
    bool stays = near && near->cpuset && !hwloc_bitmap_iszero(near->cpuset) && stay_on(topology, near);
    hwloc_topology_destroy(topology);
    return stays;
}

static uint32_t numa_node_of(hwloc_topology_t topology, const char *bus_id)
{
    hwloc_obj_t device = hwloc_get_pcidev_by_busidstring(topology, bus_id);
    return device ? nearest_numa_node(topology, device) : UINT32_MAX;
}

bool host_stay_near_all(const char *const *bus_ids, size_t count, uint32_t *node)
{
    struct error unsaid = {0};
    hwloc_topology_t topology;
    *node = UINT32_MAX;
    if (count == 0 || !load(&topology, &unsaid)) return false;
    bool same = true;
    for (size_t i = 1; i < count; i++)
        same = same && numa_node_of(topology, bus_ids[i]) == numa_node_of(topology, bus_ids[0]);
    hwloc_topology_destroy(topology);
    return same && host_stay_near(bus_ids[0], node);
}

/* ---- What hangs where ---- */

struct walk {
    hwloc_topology_t hwloc;
    struct topology *topology;
    bool failed; /* no memory */
};

#define PCI_CLASS_NETWORK 0x02

static uint32_t add(struct walk *w, enum topology_kind kind, uint32_t parent, const char *name, uint32_t number)
{
    struct topology_place *place = topology_add(w->topology, kind, parent);
    w->failed = w->failed || !place;
    if (!place) return parent;
    snprintf(place->name, sizeof place->name, "%s", name ? name : "");
    if (kind != TOPOLOGY_GPU) place->number = number;
    return (uint32_t)(w->topology->count - 1);
}

static uint32_t cores_in(hwloc_topology_t topology, hwloc_obj_t object)
{
    int count = hwloc_get_nbobjs_inside_cpuset_by_type(topology, object->cpuset, HWLOC_OBJ_CORE);
    return count > 0 ? (uint32_t)count : 0;
}

/* One line of a file of the kernel's with a number at its head; 0 = unknown. */
static double read_rate(const char *format, const char *name, double unit)
{
    char path[300], line[64] = "";
    snprintf(path, sizeof path, format, name);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    double rate = fgets(line, sizeof line, file) ? strtod(line, NULL) : 0;
    fclose(file);
    return rate > 0 ? rate * unit : 0;
}

/* "4: ACTIVE" is a port that works. Of another system than this one nothing is known, and it is taken to. */
static bool is_active(const char *fabric, bool here)
{
    return !here || read_rate("/sys/class/infiniband/%s/ports/1/state", fabric, 1) == 4;
}

/* The names of a card's interfaces; how fast its port is, where this is the system that was read. */
static void read_interfaces(const struct walk *w, hwloc_obj_t pci, struct topology_place *place)
{
    bool here = hwloc_topology_is_thissystem(w->hwloc);
    place->name[0] = '\0';
    for (hwloc_obj_t os = pci->io_first_child; os; os = os->next_sibling) {
        size_t used = strlen(place->name);
        if (os->name) snprintf(place->name + used, sizeof place->name - used, "%s%s", used ? ", " : "", os->name);
        if (os->name && os->attr->osdev.type == HWLOC_OBJ_OSDEV_OPENFABRICS && is_active(os->name, here))
            snprintf(place->fabric, sizeof place->fabric, "%s", os->name);
        if (!here || !os->name) continue;
        double ethernet = read_rate("/sys/class/net/%s/speed", os->name, 1e6 / 8);
        double rdma = read_rate("/sys/class/infiniband/%s/ports/1/rate", os->name, 1e9 / 8);
        if (ethernet > place->rate) place->rate = ethernet;
        if (rdma > place->rate) place->rate = rdma;
    }
}

static void note_slot(struct walk *w, uint32_t index, const struct hwloc_pcidev_attr_s *pci)
{
    struct topology_place *place = &w->topology->places[index];
    if (w->failed) return;
    place->link = (double)pci->linkspeed * 1e9;
    snprintf(place->bus_id, sizeof place->bus_id, "%04x:%02x:%02x.%01x", (unsigned)pci->domain & 0xffffu, pci->bus,
             pci->dev, pci->func & 0xfu);
}

static void walk_card(struct walk *w, hwloc_obj_t pci, uint32_t parent)
{
    bool gpu = is_gpu(pci), network = pci->attr->pcidev.class_id >> 8 == PCI_CLASS_NETWORK;
    const char *listed = hwloc_obj_get_info_by_name(pci, "PCIDevice");
    if (!gpu && !network) return;
    uint32_t index = add(w, gpu ? TOPOLOGY_GPU : TOPOLOGY_NIC, parent, NULL, 0);
    if (w->failed) return;
    struct topology_place *place = &w->topology->places[index];
    if (gpu && listed) copy_product(listed, place->name, sizeof place->name);
    if (network) read_interfaces(w, pci, place);
    note_slot(w, index, &pci->attr->pcidev);
}

/* Bridges come with the cards behind them; those without any are left out again. */
static void walk_bus(struct walk *w, hwloc_obj_t object, uint32_t parent)
{
    if (object->type == HWLOC_OBJ_PCI_DEVICE) {
        walk_card(w, object, parent);
        return;
    }
    if (object->type != HWLOC_OBJ_BRIDGE) return;
    const struct hwloc_bridge_attr_s *bridge = &object->attr->bridge;
    bool top = bridge->upstream_type == HWLOC_OBJ_BRIDGE_HOST;
    size_t before = w->topology->count;
    uint32_t index = add(w, top ? TOPOLOGY_BRIDGE : TOPOLOGY_SWITCH, parent, NULL, 0);
    if (w->failed) return;
    if (!top) note_slot(w, index, &bridge->upstream.pci);
    if (top)
        snprintf(w->topology->places[index].bus_id, sizeof w->topology->places[index].bus_id, "%04x:%02x",
                 (unsigned)bridge->downstream.pci.domain & 0xffffu, bridge->downstream.pci.secondary_bus);
    for (hwloc_obj_t child = object->io_first_child; child; child = child->next_sibling) walk_bus(w, child, index);
    if (w->topology->count == before + 1) w->topology->count = before;
}

/* What hangs at an object with one NUMA node hangs at that. */
static void walk_tree(struct walk *w, hwloc_obj_t object, uint32_t parent)
{
    uint32_t here = parent, node = TOPOLOGY_NONE;
    if (object->type == HWLOC_OBJ_PACKAGE) {
        here = add(w, TOPOLOGY_PACKAGE, parent, hwloc_obj_get_info_by_name(object, "CPUModel"), object->os_index);
        if (!w->failed) w->topology->places[here].cores = cores_in(w->hwloc, object);
    }
    for (hwloc_obj_t memory = object->memory_first_child; memory && !w->failed; memory = memory->next_sibling) {
        if (memory->type != HWLOC_OBJ_NUMANODE) continue;
        node = add(w, TOPOLOGY_NODE, here, NULL, memory->os_index);
        w->topology->places[node].memory_bytes = memory->attr->numanode.local_memory;
        w->topology->places[node].cores = cores_in(w->hwloc, memory);
    }
    if (object->memory_arity == 1 && node != TOPOLOGY_NONE) here = node;
    for (hwloc_obj_t child = object->first_child; child && !w->failed; child = child->next_sibling)
        walk_tree(w, child, here);
    for (hwloc_obj_t io = object->io_first_child; io && !w->failed; io = io->next_sibling) walk_bus(w, io, here);
}

static long info_number(hwloc_obj_t object, const char *name)
{
    const char *text = hwloc_obj_get_info_by_name(object, name);
    return text ? strtol(text, NULL, 10) : -1;
}

/* Between two packages, as NCCL counts on (src/graph/topo.h), by the maker and the generation: of Intel's those before
 * Skylake, before Sapphire Rapids, and later; of AMD's Zen 1 and 2, 3 and 4, and 5. */
static double socket_bandwidth(hwloc_topology_t topology)
{
    hwloc_obj_t package = hwloc_get_obj_by_type(topology, HWLOC_OBJ_PACKAGE, 0);
    const char *maker = package ? hwloc_obj_get_info_by_name(package, "CPUVendor") : NULL;
    if (!maker || count_type(topology, HWLOC_OBJ_PACKAGE) < 2) return 0;
    long family = info_number(package, "CPUFamilyNumber"), model = info_number(package, "CPUModelNumber");
    if (strcmp(maker, "GenuineIntel") == 0) return model >= 0x8f ? 22e9 : model >= 0x55 ? 10e9 : 6e9;
    if (strcmp(maker, "AuthenticAMD") == 0) return family >= 26 ? 32e9 : family >= 25 ? 24e9 : 16e9;
    return 6e9;
}

bool topology_read(struct topology *topology, struct error *err)
{
    struct walk w = {.topology = topology};
    *topology = (struct topology){0};
    TRY(load(&w.hwloc, err));
    uint32_t host = add(&w, TOPOLOGY_HOST, TOPOLOGY_NONE, NULL, 0);
    if (!w.failed) walk_tree(&w, hwloc_get_root_obj(w.hwloc), host);
    topology->socket_bandwidth = socket_bandwidth(w.hwloc);
    hwloc_topology_destroy(w.hwloc);
    if (w.failed) {
        topology_finish(topology);
        return error_memory(err, sizeof *topology, "what hangs where on this host");
    }
    topology_find_nvlinks(topology);
    return true;
}

bool host_read(struct host *host, struct error *err)
{
    hwloc_topology_t topology;
    TRY(load(&topology, err));
    struct host found = {.cores = count_cores(topology),
                         .packages = count_type(topology, HWLOC_OBJ_PACKAGE),
                         .numa_nodes = count_type(topology, HWLOC_OBJ_NUMANODE)};
    read_cpu_name(topology, &found);
    read_gpus(topology, &found);
    hwloc_topology_destroy(topology);
    read_limits(&found);
    *host = found;
    return true;
}
