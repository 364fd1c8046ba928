/* Gradient flow: what a run recorded of its units' norms over depth and steps, over all devices of the trace. */
#ifndef FATHOM_FLOW_H
#define FATHOM_FLOW_H

#include "sink.h"
#include "errors.h"

struct flow_unit {
    char *layer, *output, *gradient; /* as in trace_unit */
    uint64_t output_elements;        /* of a step, over the devices of the trace; 0 = unknown */
    uint64_t weight_elements;
};

struct flow_step {
    uint64_t step; /* from 1 */
    float *norms;  /* TRACE_NORMS of each unit; NAN = unknown, infinite = not finite */
};

struct flow {
    char *model, *dataset; /* "" = unknown */
    uint32_t batch, rank, ranks, devices; /* devices: that told of their units, of this rank's */
    struct flow_unit *units; /* in the order of the forward pass */
    size_t unit_count;
    struct flow_step *steps; /* rising */
    size_t step_count;
    bool has_steps; /* the trace tells of some step, with norms or without */
};

/* Takes a zeroed object; on failure it stays so. A trace without norms gives no units or no steps. Norms of outputs and of
 * their gradients are the square roots of the devices' sums of squares, unknown where one device's are. */
bool flow_read(const char *path, struct flow *flow, struct error *err);
void flow_finish(struct flow *flow);

static inline float flow_norm(const struct flow *flow, size_t step, size_t unit, enum trace_norm norm)
{
    return flow->steps[step].norms[unit * TRACE_NORMS + norm];
}
/* The norm over the square root of how many numbers it is of; NAN = unknown. */
double flow_rms(const struct flow *flow, size_t step, size_t unit, enum trace_norm norm);

/* Over the units of a step whose norm is a finite number above 0. */
struct flow_range {
    size_t first, last, least, most; /* units */
    size_t known;                    /* how many; 0: the others mean nothing */
};
struct flow_range flow_range(const struct flow *flow, size_t step, enum trace_norm norm);

#endif
