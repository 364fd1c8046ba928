/* Which GPUs are here: asked of CUDA, without a plan. */
#ifndef FATHOM_CUDA_PROBE_H
#define FATHOM_CUDA_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

struct cuda_probe_device {
    char name[256];
    char bus_id[32];      /* "0000:17:00.0" */
    char uuid[64];        /* "GPU-12345678-9abc-...", by which CUDA_VISIBLE_DEVICES may name it */
    int major, minor;     /* compute capability */
    uint64_t total_bytes;
    uint64_t free_bytes;  /* as NVML says; where it is not there, beside a context that is made and given back */
    bool has_free;        /* false: unknown, as the device cannot be used at the moment (taken exclusively, no memory left) */
    bool beside_context;  /* the context was made: its own bytes are not among the free ones */
    uint32_t holders;      /* processes that compute there; 0 = none, or not known */
    uint32_t holder;       /* the id of the one that holds most, and what it holds; UINT64_MAX = not known */
    uint64_t holder_bytes;
    uint32_t multiprocessors;
    uint64_t l2_bytes;
    uint32_t clock_khz;   /* the highest of its processors; 0 = CUDA does not say */
};

/* The first `most` of the GPUs that this process sees, in CUDA's order; *count is how many there are in all. Makes no
 * context where NVML says what is free; never takes away one that this process has a device in. ERROR_FAILED, with one
 * sentence, where there is no runtime, no driver or none that is new enough; a host with a driver and no GPU has *count 0.
 * Not while another thread creates or destroys a device. */
bool cuda_probe(struct cuda_probe_device *devices, size_t most, size_t *count, struct error *err);

/* Whether a driver is there at all, old or new: where none is, nothing of CUDA is loaded to find out, unless $CUDA_HOME says
 * where to look. Any thread. */
bool cuda_has_driver(void);

#endif
