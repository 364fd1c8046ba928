/* A plan's program bound to a device: every op prepared with its addresses. Part of the executor. */
#ifndef FATHOM_BIND_H
#define FATHOM_BIND_H

#include "backend.h"
#include "hazards.h"
#include "plan.h"

struct bound_op {
    struct prepared *prepared;
    struct event *done;        /* recorded after it when an op of another stream waits for it, else NULL */
    struct event *begin, *end; /* around it, for device times; NULL without them */
    struct stream_waits waits;
    uint8_t stream;
};

struct bound_program {
    const struct plan_program *plan;
    const struct graph *graph;
    struct bound_op *ops;
    struct op_call *calls;  /* ops keep pointing at them */
    struct dead_bytes dead; /* empty unless they are to be filled */
    uint64_t images, labels, metrics; /* offsets; images: of pixels where OP_INPUT makes images of them */
    uint64_t placements;              /* likewise, where there are pixels */
    uint64_t loss_scale;              /* likewise, where the graph has one */
};

struct bind_options {
    const struct backend *backend;
    struct device *device;
    const struct graph *graph;
    const struct plan_program *program;
    bool evaluate;
    bool fill_dead;
    bool timed; /* events around each op */
};

/* Fills a zeroed object with the calls of the program's ops, then prepares them; after a failure of either unbind_program
 * cleans up. */
bool bind_calls(struct bound_program *bound, const struct bind_options *options, struct error *err);
bool bind_program(struct bound_program *bound, const struct bind_options *options, struct error *err);
/* Takes a zeroed object. */
void unbind_program(struct bound_program *bound, const struct backend *backend);

#endif
