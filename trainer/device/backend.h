/* What a device must be able to do: the whole contract between the executor and cpu/ or cuda/.
 *
 * Levels: device -> buffer (the arena) -> stream -> op. An op is prepared once with its addresses, which never change, and
 * launched every step; nothing is allocated between op_prepare and op_release. Launches are asynchronous in stream order;
 * values that change from step to step are read from the device's step block (set_step), so that a recorded step can be
 * replayed. Slots marked optional may be NULL; the others are asserted once by backend_check. Every function returns false
 * with *err on failure. One thread drives one device. */
#ifndef FATHOM_BACKEND_H
#define FATHOM_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "graph.h"

struct device;   /* one GPU or virtual device, with its arena */
struct stream;   /* ordered queue; one per enum plan_stream */
struct event;    /* a point in a stream */
struct prepared; /* one op with its addresses */
struct group;    /* devices that reduce together */

struct step {             /* changes every step or micro-batch */
    uint64_t number;      /* from 0; seeds dropout */
    uint32_t micro_batch; /* 0 copies into gradient buckets and metrics, later ones add */
    uint64_t seed;
    float learning_rate, momentum, weight_decay;
    bool nesterov;
    float bn_momentum;    /* running = (1 - m) running + m batch */
};

struct op_call {          /* all borrowed; must stay valid until op_release */
    const struct graph *graph;
    const struct op *op;
    uint32_t op_index;    /* in the graph: dropout's stream of random numbers */
    enum op_pass pass;    /* PASS_RECOMPUTE, PASS_EVALUATE: see plan.h */
    uint64_t in[OP_MOST_INPUTS], out[OP_MOST_OUTPUTS]; /* byte offsets in the arena; where a copy ends (PASS_OFFLOAD) or
                                                        * begins (PASS_FETCH), in host memory */
    const struct tensor *in_tensor[OP_MOST_INPUTS], *out_tensor[OP_MOST_OUTPUTS];
    uint64_t workspace, workspace_bytes;
};

struct backend {
    const char *name; /* "cpu", "cuda" */
    bool in_host_memory; /* arenas are memory of this process */

    /* Measuring without allocating: scratch an op needs, beyond its tensors. */
    bool (*op_workspace)(const struct graph *graph, const struct op *op, enum op_pass pass, uint64_t *bytes,
                         struct error *err);

    /* Device with an arena of so many bytes, taken once. threads: host threads an op may use (cpu), 0 = all. */
    bool (*device_create)(uint32_t ordinal, uint64_t arena_bytes, uint32_t threads, struct device **device,
                          struct error *err);
    void (*device_destroy)(struct device *device);
    bool (*set_step)(struct device *device, struct stream *stream, const struct step *step, struct error *err);

    /* Buffer. Copies are in stream order; host memory must stay until the stream is synchronised. */
    bool (*copy_in)(struct device *device, struct stream *stream, uint64_t offset, const void *host, uint64_t bytes,
                    struct error *err);
    bool (*copy_out)(struct device *device, struct stream *stream, void *host, uint64_t offset, uint64_t bytes,
                     struct error *err);
    bool (*fill)(struct device *device, struct stream *stream, uint64_t offset, uint64_t bytes, uint8_t byte,
                 struct error *err);
    /* Parameters (and their momentum) in the canonical layout of graph.h. A backend may keep them permuted in place: the
     * same bytes, and a permutation that depends on the tensor's dims alone. */
    bool (*parameter_in)(struct device *device, const struct tensor *tensor, uint64_t offset, const float *host,
                         struct error *err);
    bool (*parameter_out)(struct device *device, const struct tensor *tensor, uint64_t offset, float *host,
                          struct error *err);

    /* Streams and events. */
    bool (*stream_create)(struct device *device, struct stream **stream, struct error *err);
    void (*stream_destroy)(struct stream *stream);
    bool (*stream_synchronize)(struct stream *stream, struct error *err);
    bool (*event_create)(struct device *device, struct event **event, struct error *err);
    void (*event_destroy)(struct event *event);
    bool (*event_record)(struct event *event, struct stream *stream, struct error *err);
    bool (*event_wait)(struct event *event, struct stream *stream, struct error *err);

    /* Ops. */
    bool (*op_prepare)(struct device *device, const struct op_call *call, struct prepared **prepared, struct error *err);
    bool (*op_launch)(struct prepared *prepared, struct stream *stream, struct error *err);
    void (*op_release)(struct prepared *prepared);

    /* Collectives: one group over `count` devices, joined by each device's own thread (blocks until all have joined).
     * OP_ALL_REDUCE and synchronised BN use the device's group; sums are taken in rank order on every device, so that all
     * devices hold the same bits. group_abort frees waiting peers after a failure. */
    bool (*group_create)(uint32_t count, struct group **group, struct error *err);
    bool (*group_join)(struct group *group, uint32_t rank, struct device *device, struct error *err);
    void (*group_abort)(struct group *group);
    void (*group_destroy)(struct group *group);

    /* Optional: a step recorded once and replayed (CUDA graphs). Between begin and end, launches are recorded, not run. */
    bool (*record_begin)(struct device *device, struct stream *stream, struct error *err);
    bool (*record_end)(struct device *device, struct stream *stream, struct error *err);
    bool (*replay)(struct device *device, struct stream *stream, struct error *err);

    /* Optional: several consecutive ops as one kernel; NULL result = this pattern is not fused here. */
    bool (*fused_prepare)(struct device *device, const struct op_call *calls, size_t count, struct prepared **prepared,
                          struct error *err);

    /* Optional, all or none: pinned host memory beside the arena, taken once and given back with the device, where
     * activations wait between PASS_OFFLOAD and PASS_FETCH. Without it no plan that offloads can run. */
    bool (*host_create)(struct device *device, uint64_t bytes, struct error *err);
    bool (*host_fill)(struct device *device, struct stream *stream, uint64_t offset, uint64_t bytes, uint8_t byte,
                      struct error *err);

    /* Optional: device time between two events, for traces; without it the executor uses host clocks around launches. */
    bool (*event_elapsed_ns)(struct event *from, struct event *to, uint64_t *ns, struct error *err);
    /* Optional: which of the dtypes activations may have (bit per enum dtype); without it f32 only. */
    uint32_t (*activation_dtypes)(void);
};

/* Asserts the mandatory slots; called once when a backend is chosen. */
void backend_check(const struct backend *backend);

#endif
