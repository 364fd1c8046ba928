/* How long a program takes when its streams run side by side: computing, all-reduces, copies to and from host memory.
 *
 * Each stream runs its ops in order. A copy to host memory begins when its tensor is made; from the copy's place in the
 * program on, computing waits for its end (later ops may write to the bytes, plan.h). A fetch begins no sooner than its
 * place is reached, and who reads the tensor waits for it. So the figure does not depend on offsets, and is not short. */
#ifndef FATHOM_TIMELINE_H
#define FATHOM_TIMELINE_H

#include "cost.h"
#include "plan.h"

/* Of a link of unknown speed: 16 lanes at 80 % of their rate, as the catalogue counts them. */
#define TIMELINE_STANDIN_HOST_BANDWIDTH 12.6e9

struct timeline {
    double body, rest; /* of ops [0, body_count) once, and of those after them; with stalls */
    double recompute;  /* part of body: ops that run again */
    double update;     /* part of rest */
    double stalled;    /* part of body: computing waits for copies */
    double summing;    /* part of both: virtual devices compute nothing while they add up */
    double messages;   /* when the last all-reduce ends, from the start of the last micro-batch */
};

struct timeline_request {
    const struct graph *graph;
    const struct plan_program *program;
    const struct cost_speed *speed;
    double host_bandwidth;         /* bytes per second, per direction; 0 = unknown: a PCIe 3 slot's, for comparisons */
    const struct machine *machine; /* for all-reduces over `ranks` devices; NULL = they take no time */
    size_t ranks;
};

/* Lifetimes and offsets are not looked at: a draft will do. ERROR_MEMORY. */
bool timeline_make(const struct timeline_request *request, struct timeline *timeline, struct error *err);

#endif
