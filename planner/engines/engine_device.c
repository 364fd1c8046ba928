#include "engine_device.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "hash.h"

/* From the drivers' device queries and NVIDIA's tuning guides (shared memory of a block, threads and blocks of a
 * multiprocessor); clocks are the boost clocks of the catalogue's cards. */
static const struct engine_device entries[] = {
    /* name, full name, capability, multiprocessors, threads, blocks, L2, memory, shared, clock, memory clock */
    {"h200", "NVIDIA H200", 900, 132, 2048, 32, 62914560, 150754820096, 232448, 1980000, 3201000},
    {"h100", "NVIDIA H100 80GB HBM3", 900, 132, 2048, 32, 52428800, 85029158912, 232448, 1980000, 2619000},
    {"a100-80gb", "NVIDIA A100-SXM4-80GB", 800, 108, 2048, 32, 41943040, 85029158912, 166912, 1410000, 1593000},
    {"a100-40gb", "NVIDIA A100-SXM4-40GB", 800, 108, 2048, 32, 41943040, 42284875776, 166912, 1410000, 1215000},
    {"rtx-4090", "NVIDIA GeForce RTX 4090", 890, 128, 1536, 24, 75497472, 25300000000, 101376, 2520000, 10501000},
    {"rtx-3090", "NVIDIA GeForce RTX 3090", 860, 82, 1536, 16, 6291456, 25300000000, 101376, 1695000, 9751000},
    {"b200", "NVIDIA B200", 1000, 148, 2048, 32, 132644864, 192000000000, 232448, 1965000, 3996000},
    {"rtx-5090", "NVIDIA GeForce RTX 5090", 1200, 170, 1536, 24, 100663296, 34000000000, 101376, 2407000, 14001000},
    {"t4", "Tesla T4", 750, 40, 1024, 16, 4194304, 15800000000, 65536, 1590000, 5001000},
};
#define ENTRIES (sizeof entries / sizeof entries[0])

const struct engine_device *engine_device_find(const struct device_spec *device)
{
    const struct device_spec *known = device->kind == DEVICE_GPU ? catalogue_find(device->name) : NULL;
    for (size_t i = 0; known && i < ENTRIES; i++)
        if (strcmp(entries[i].name, known->name) == 0) return &entries[i];
    return NULL;
}

const struct engine_device *engine_device_entries(size_t *count)
{
    *count = ENTRIES;
    return entries;
}

/* The fields that cuDNN 9 wants, all of them. */
char *engine_device_json(const struct engine_device *d, char out[ENGINE_DEVICE_TEXT])
{
    snprintf(out, ENGINE_DEVICE_TEXT,
             "{\"deviceName\": \"%s\", \"cudaDeviceId\": 0, \"deviceVer\": %" PRIu32
             ", \"driverVer\": 13000, \"isTccDriver\": 0, \"l2CacheSize\": %" PRIu64
             ", \"maxBlockSize\": [1024, 1024, 64], \"maxCtasPerSM\": %" PRIu32
             ", \"maxGridSize\": [2147483647, 65535, 65535], \"maxRegistersPerSM\": 65536"
             ", \"maxSharedMemoryPerBlock\": 49152, \"maxSharedMemoryPerBlockOptin\": %" PRIu64
             ", \"maxThreadsPerBlock\": 1024, \"maxThreadsPerSM\": %" PRIu32 ", \"memClockRateKHz\": %" PRIu32
             ", \"multiProcessorCount\": %" PRIu32
             ", \"pciDeviceId\": 0, \"regsPerBlock\": 65536, \"reservedSharedMemoryPerBlock\": 1024"
             ", \"smClockRateKHz\": %" PRIu32 ", \"supportCoopLaunch\": 1, \"totalGlobalMem\": %" PRIu64
             ", \"warpSize\": 32}",
             d->full_name, d->capability, d->l2_bytes, d->blocks, d->shared_bytes, d->threads, d->memory_clock_khz,
             d->multiprocessors, d->clock_khz, d->memory_bytes);
    return out;
}

uint64_t engine_device_hash(const struct engine_device *device)
{
    char text[ENGINE_DEVICE_TEXT];
    engine_device_json(device, text);
    return hash_bytes(text, strlen(text), 0);
}
