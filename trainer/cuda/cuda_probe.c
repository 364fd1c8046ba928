#include "cuda_probe.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_slots.h"
#include "nvml_memory.h"

/* ---- The driver ---- */

static int major_of(int version) { return version / 1000; }
static int minor_of(int version) { return version % 1000 / 10; }

/* A driver serves runtimes of its own major version and older ones. */
static bool check_driver(const struct vendor *vendor, struct error *err)
{
    int driver = 0, runtime = 0;
    TRY(cuda_check(vendor, vendor->cuda.RuntimeGetVersion(&runtime), err, "CUDA's runtime"));
    TRY(cuda_check(vendor, vendor->cuda.DriverGetVersion(&driver), err, "CUDA's driver"));
    if (driver == 0)
        return error_set(err, ERROR_FAILED, "no NVIDIA driver is loaded on this host (CUDA's runtime here is %d.%d)",
                         major_of(runtime), minor_of(runtime));
    if (major_of(driver) >= major_of(runtime)) return true;
    return error_set(err, ERROR_FAILED,
                     "the NVIDIA driver is too old: it serves CUDA %d.%d, and CUDA's runtime here is %d.%d; install a "
                     "driver for CUDA %d.0 or later",
                     major_of(driver), minor_of(driver), major_of(runtime), minor_of(runtime), major_of(runtime));
}

/* The driver's own library is there with the driver alone. What stands in for CUDA's runtime has none. */
bool cuda_has_driver(void)
{
    struct error unsaid = {0};
    int version = 0;
    if (!getenv("CUDA_HOME")) {
        void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
        if (!driver) return false;
        dlclose(driver);
    }
    const struct vendor *vendor = vendor_load(&unsaid);
    return vendor && vendor->cuda.DriverGetVersion(&version) == cudaSuccess && version > 0;
}

bool cuda_count_devices(const struct vendor *vendor, int *count, struct error *err)
{
    *count = 0;
    TRY(check_driver(vendor, err));
    cudaError_t status = vendor->cuda.GetDeviceCount(count);
    if (status != cudaErrorNoDevice) return cuda_check(vendor, status, err, "CUDA cannot count its devices");
    *count = 0;
    return true;
}

/* ---- One GPU ---- */

#define MOST_HELD 64
static atomic_int held[MOST_HELD];

void cuda_probe_hold(uint32_t ordinal, int change)
{
    if (ordinal < MOST_HELD) atomic_fetch_add(&held[ordinal], change);
}

static bool is_held(int ordinal) { return ordinal < MOST_HELD && atomic_load(&held[ordinal]) > 0; }

/* Without NVML free memory can be asked of a context alone. That this one cannot be made is no error: another process
 * may have the device to itself. */
static bool ask_context(const struct vendor *vendor, int ordinal, uint64_t *bytes)
{
    size_t free_bytes = 0, total_bytes = 0;
    if (vendor->cuda.SetDevice(ordinal) != cudaSuccess) return false;
    bool known = vendor->cuda.MemGetInfo(&free_bytes, &total_bytes) == cudaSuccess;
    if (!is_held(ordinal)) vendor->cuda.DeviceReset();
    *bytes = free_bytes;
    return known;
}

static void ask_free(const struct vendor *vendor, int ordinal, const struct cudaDeviceProp *properties,
                     struct cuda_probe_device *device)
{
    device->has_free =
        nvml_free_bytes((const unsigned char *)properties->uuid.bytes, properties->totalGlobalMem, &device->free_bytes);
    if (device->has_free) return;
    device->has_free = device->beside_context = ask_context(vendor, ordinal, &device->free_bytes);
}

static void ask_holders(const struct cudaDeviceProp *properties, struct cuda_probe_device *device)
{
    struct nvml_holder most;
    device->holders = nvml_holder((const unsigned char *)properties->uuid.bytes, properties->totalGlobalMem, &most);
    if (device->holders == 0) return;
    device->holder = most.process;
    device->holder_bytes = most.bytes;
}

static bool probe_one(const struct vendor *vendor, int ordinal, struct cuda_probe_device *device, struct error *err)
{
    struct cudaDeviceProp properties = {0};
    int clock_khz = 0;
    TRY(cuda_check(vendor, vendor->cuda.GetDeviceProperties(&properties, ordinal), err, "GPU %d", ordinal));
    if (vendor->cuda.DeviceGetAttribute(&clock_khz, cudaDevAttrClockRate, ordinal) != cudaSuccess) clock_khz = 0;
    *device = (struct cuda_probe_device){.major = properties.major,
                                         .minor = properties.minor,
                                         .total_bytes = properties.totalGlobalMem,
                                         .multiprocessors = (uint32_t)properties.multiProcessorCount,
                                         .l2_bytes = (uint64_t)properties.l2CacheSize,
                                         .clock_khz = (uint32_t)clock_khz};
    snprintf(device->name, sizeof device->name, "%.*s", (int)sizeof properties.name, properties.name);
    snprintf(device->bus_id, sizeof device->bus_id, "%04x:%02x:%02x.0", (unsigned)properties.pciDomainID,
             (unsigned)properties.pciBusID, (unsigned)properties.pciDeviceID);
    nvml_format_uuid("GPU-", (const unsigned char *)properties.uuid.bytes, device->uuid);
    ask_holders(&properties, device);
    ask_free(vendor, ordinal, &properties, device);
    return true;
}

bool cuda_probe(struct cuda_probe_device *devices, size_t most, size_t *count, struct error *err)
{
    const struct vendor *vendor = vendor_load(err);
    int found = 0;
    if (!vendor) return false;
    TRY(cuda_count_devices(vendor, &found, err));
    for (int i = 0; i < found && (size_t)i < most; i++) TRY(probe_one(vendor, i, &devices[i], err));
    *count = (size_t)found;
    return true;
}
