/* Gradient flow: of which tensors a step's norms are taken, and where in its program. Part of the executor.
 *
 * A unit is a block of the graph: a residual unit, the stem, the head. Bytes of the arena change hands all the time, so a
 * norm is taken when its tensor is whole: right behind the op that finishes it, on that op's stream and before whatever
 * waits for it. Of weights it is that of the gradient bucket right before the update that reads it, where micro-batches and
 * devices have been added up. The gradient of a unit's output is what the units after it hand back: with a ReLU at the
 * unit's end whose backward pass is part of another op that of the sum before the ReLU, else of the output itself. */
#ifndef FATHOM_FLOW_TAKES_H
#define FATHOM_FLOW_TAKES_H

#include "bind.h"
#include "sink.h"

/* A range of the arena whose squares go to a norm. */
struct flow_take {
    uint32_t op;   /* of the program */
    bool before;   /* it is launched, else after it */
    uint32_t norm; /* unit * TRACE_NORMS + enum trace_norm */
    enum dtype dtype;
    uint64_t offset, elements;
};

#define FLOW_NAME (TENSOR_NAME + 40)

struct flow_takes {
    struct flow_take *items; /* by op */
    size_t count, capacity;
    uint32_t *first;   /* of each op; and the count, behind the last */
    struct trace_unit *units;
    char (*names)[2][FLOW_NAME]; /* of a unit: of the tensors of its output's and its gradient's norm */
    bool *known;       /* norms that something is taken of */
    uint32_t unit_count;
};

/* Fills a zeroed object, which flow_takes_finish ends also after a failure. A graph without blocks has no units. */
bool flow_takes_find(const struct bound_program *train, uint32_t micro_batches, struct flow_takes *takes,
                     struct error *err);
void flow_takes_finish(struct flow_takes *takes);

#endif
