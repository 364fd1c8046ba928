#include "machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hwloc.h>

#define NVIDIA_PCI_VENDOR 0x10de
#define PCI_CLASS_DISPLAY 0x03 /* the class's upper byte; the lower one tells VGA from 3D controllers */

static uint32_t count_type(hwloc_topology_t topology, hwloc_obj_type_t type)
{
    int count = hwloc_get_nbobjs_by_type(topology, type);
    return count > 0 ? (uint32_t)count : 0;
}

/* The limit that a container's control group sets (cgroup v2, then v1); UINT64_MAX when there is none. */
static uint64_t control_group_limit(void)
{
    static const char *const paths[] = {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    uint64_t limit = UINT64_MAX;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        FILE *stream = fopen(paths[i], "re");
        if (!stream) continue;
        uint64_t found;
        if (fscanf(stream, "%" SCNu64, &found) == 1 && found < limit) limit = found;
        fclose(stream);
    }
    return limit;
}

/* Where the kernel's description of the host is hidden (a container without /sys), hwloc finds nothing. */
static void fill_from_system(struct host *host)
{
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE),
         processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (host->memory_bytes == 0 && pages > 0 && page_bytes > 0)
        host->memory_bytes = (uint64_t)pages * (uint64_t)page_bytes;
    if (host->cores == 0 && processors > 0) host->cores = (uint32_t)processors;
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
        snprintf(gpu->name, sizeof gpu->name, "PCI device %04x:%04x", pci->attr->pcidev.vendor_id,
                 pci->attr->pcidev.device_id);
        if (listed) copy_product(listed, gpu->name, sizeof gpu->name);
        read_os_devices(pci, gpu);
    }
}

bool host_read(struct host *host, struct error *err)
{
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology) != 0) return error_set(err, ERROR_MEMORY, "hwloc: no memory for a topology");
    hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
    /* Slow to start, leak, and know nothing of these GPUs that PCI, CUDA and NVML do not. */
    hwloc_topology_set_components(topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "opencl");
    hwloc_topology_set_components(topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "gl");
    if (hwloc_topology_load(topology) != 0) {
        hwloc_topology_destroy(topology);
        return error_set(err, ERROR_FAILED, "hwloc: this host's topology cannot be read");
    }
    struct host found = {.cores = count_type(topology, HWLOC_OBJ_CORE),
                         .packages = count_type(topology, HWLOC_OBJ_PACKAGE),
                         .numa_nodes = count_type(topology, HWLOC_OBJ_NUMANODE),
                         .memory_bytes = hwloc_get_root_obj(topology)->total_memory};
    read_cpu_name(topology, &found);
    read_gpus(topology, &found);
    hwloc_topology_destroy(topology);
    fill_from_system(&found);
    uint64_t limit = control_group_limit();
    if (limit < found.memory_bytes) found.memory_bytes = limit;
    *host = found;
    return true;
}
