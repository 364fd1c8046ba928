/* A model's training step on the cpu backend, op by op in the step's order and from memory: each tensor has its own
 * bytes. */
#ifndef FATHOM_BENCH_CPU_STEP_H
#define FATHOM_BENCH_CPU_STEP_H

#include "cpu_backend.h"

struct cpu_step {
    struct graph *graph;
    struct device *device;
    struct stream *stream;
    struct prepared **ops;
    uint64_t *offsets;
    uint64_t arena_bytes, workspace, workspace_bytes;
    uint64_t done; /* steps */
    uint32_t threads; /* 0 = all */
};

/* Ready to run; finished also after a failure. */
bool cpu_step_init(struct cpu_step *step, const char *model, const struct graph_options *options, uint32_t threads,
                   struct error *err);
void cpu_step_finish(struct cpu_step *step);

/* One step: seconds of each op; with one thread those that it had the processor. */
bool cpu_step_run(struct cpu_step *step, double *seconds, struct error *err);

#endif
