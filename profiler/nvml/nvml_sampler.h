/* How GPUs are doing, into a trace: how busy, how hot, at which clocks, and what holds them back. Read four times a second
 * by a thread of its own; needs no privilege. What cannot be read is not reported, and unknown to the reader. */
#ifndef FATHOM_NVML_SAMPLER_H
#define FATHOM_NVML_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "sink.h"

#define NVML_EVERY_NS 250000000ull

struct nvml_sampler_options {
    uint64_t every_ns;     /* 0 = NVML_EVERY_NS */
    uint32_t first_device; /* the run's number of the first GPU */
    /* Whether somebody looks: only then the counters of what works in a GPU are read (nvml_gpm.h). NULL = nobody. */
    bool (*watched)(void *context);
    void *watched_context;
};

struct nvml_sampler;

/* The i-th GPU of this process has the bus id bus_ids[i] ("0000:17:00.0"), which the sink is told; they are copied, the sink is borrowed until
 * nvml_sampler_close. *sampler is NULL where there is no NVML or it knows none of them, which is no failure. options: NULL =
 * all 0. ERROR_MEMORY; ERROR_FAILED when no thread can be had. */
bool nvml_sampler_open(struct trace_sink *sink, const char *const bus_ids[], size_t count,
                       const struct nvml_sampler_options *options, struct nvml_sampler **sampler, struct error *err);
/* Takes a last look. Takes NULL. */
void nvml_sampler_close(struct nvml_sampler *sampler);

#endif
