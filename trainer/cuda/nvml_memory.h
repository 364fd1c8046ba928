/* What is free on a GPU, asked of the driver's management library (NVML), which makes no context for it. */
#ifndef FATHOM_NVML_MEMORY_H
#define FATHOM_NVML_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* "GPU-12345678-9abc-...": as nvidia-smi -L prints it; a MIG instance has another prefix. */
void nvml_format_uuid(const char *prefix, const unsigned char uuid[16], char out[64]);

/* uuid: CUDA's 16 bytes; total_bytes: as CUDA says, since a part of a GPU (MIG) may be known by the whole one's number. False
 * where NVML is not there or does not know it. Any thread. */
bool nvml_free_bytes(const unsigned char uuid[16], uint64_t total_bytes, uint64_t *free_bytes);

/* How many processes compute on it, and the one of them that holds most; 0 where NVML does not say. Their ids are the
 * driver's: in a container another process may have that id. */
struct nvml_holder {
    uint32_t process;
    uint64_t bytes; /* UINT64_MAX = not known */
};
uint32_t nvml_holder(const unsigned char uuid[16], uint64_t total_bytes, struct nvml_holder *most);

#endif
