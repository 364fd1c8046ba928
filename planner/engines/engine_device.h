/* GPUs as they are described to cuDNN, which then answers for them without one being there. */
#ifndef FATHOM_ENGINE_DEVICE_H
#define FATHOM_ENGINE_DEVICE_H

#include "machine.h"

struct engine_device {
    const char *name;      /* in the catalogue */
    const char *full_name; /* as the driver tells it */
    uint32_t capability;   /* 900 for 9.0 */
    uint32_t multiprocessors, threads, blocks; /* the last two: most of them on a multiprocessor */
    uint64_t l2_bytes, memory_bytes, shared_bytes; /* the last: most of a block */
    uint32_t clock_khz, memory_clock_khz;
};

/* NULL when there is no description of it: then it cannot be asked for. Static. */
const struct engine_device *engine_device_find(const struct device_spec *device);
const struct engine_device *engine_device_entries(size_t *count);

/* The description, one line of JSON, into out; returns out. */
#define ENGINE_DEVICE_TEXT 1024
char *engine_device_json(const struct engine_device *device, char out[ENGINE_DEVICE_TEXT]);
/* What tells it from every other, and from what an earlier version of fathom said of the same GPU. */
uint64_t engine_device_hash(const struct engine_device *device);

#endif
