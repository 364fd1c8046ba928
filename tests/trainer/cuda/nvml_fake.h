/* What a test says that the driver's management library knows. */
#ifndef FATHOM_NVML_FAKE_H
#define FATHOM_NVML_FAKE_H

struct nvml_fake {
    const char *uuid;
    unsigned long long total_bytes, free_bytes;
    int fails; /* what its beginning returns; 0 = it begins */
    int open;  /* beginnings without an end */
};
extern struct nvml_fake nvml_fake;

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device);
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long memory[3]);

#endif
