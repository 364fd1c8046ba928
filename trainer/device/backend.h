/* What a device must be able to do: the whole contract between the executor and cpu/ or cuda/.
 *
 * Levels: device -> buffer (the arena) -> stream -> op. An op is prepared once with its addresses, which never change, and
 * launched every step; nothing is allocated between op_prepare and op_release. Launches and copies are asynchronous in
 * stream order; values that change from step to step are read from the device's step block (set_step), so that what was
 * recorded can be replayed. Slots marked optional may be NULL; the others are asserted once by backend_check.
 *
 * Every function returns false with *err on failure, which may be that of something launched before. The device is then
 * lost: the executor makes no call on it but those that destroy and release, none of which waits for its work; what a hung
 * device holds goes with the process. One thread drives one device; group_abort may come from any. */
#ifndef FATHOM_BACKEND_H
#define FATHOM_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "graph.h"

struct device;    /* one GPU or virtual device, with its arena */
struct stream;    /* ordered queue */
struct event;     /* a point in a stream */
struct prepared;  /* one op with its addresses */
struct group;     /* one device's membership among those that reduce together */
struct ranks;     /* the processes of a run (trainer/ranks/ranks.h), for a backend that has no network of its own */
struct recording; /* launches, copies and fills on several streams, to be replayed as one */
struct engine_book; /* planner/engines' answers about GPUs, with plans that were built elsewhere */

/* Who hears what a device does before its first step has ended, which may take minutes: a sentence without its full stop; passing: how
 * far it is, until the next. From the device's own thread. */
struct teller {
    void (*tell)(void *context, uint32_t device, const char *text, bool passing);
    void *context;
};

/* Whether somebody asked for an end: looked at by what takes long before the first op, which then fails with ERROR_STOPPED.
 * From any thread; once true it stays so. */
struct stopping {
    bool (*asked)(const void *context);
    const void *context;
};

struct device_options {     /* zero = the default */
    uint32_t number;        /* among the plan's devices: dropout, messages */
    uint32_t ordinal;       /* among those that the backend sees in this process */
    uint32_t threads;       /* host threads an op may use (cpu), 0 = all */
    bool deterministic;     /* only kernels that give the same bits every time (cpu: always) */
    bool tf32;              /* f32 convolutions and products may round their operands to TF32 (cuda) */
    bool tune;              /* convolutions' engines are timed, and the fastest taken (cuda) */
    const struct engine_book *carried; /* plans of engines, read where they are this GPU's (cuda); NULL = none */
    const struct teller *teller;       /* NULL = nobody */
    const struct stopping *stopping;   /* NULL = nobody asks */
    uint8_t fill;           /* the byte that the arena and host memory begin with */
    uint64_t apart_bytes;   /* of the arena's end: what devices of a group add up (tensor.apart), memory that their network
                             * knows (cuda: NCCL's); nothing reaches from before it into it */
    uint64_t wait_limit_ns; /* the longest that a launch itself (cpu) or a sum with others may wait, 0 = for ever */
    uint64_t meet_limit_ns; /* the same of meetings, and of the first sum (cuda) */
};

struct group_id { uint8_t bytes[128]; }; /* of one group of devices: made once, handed to all of its processes */

struct step {             /* changes every step or micro-batch */
    uint64_t number;      /* from 0; seeds dropout */
    uint32_t micro_batch; /* 0 copies into gradient buckets and metrics, later ones add */
    uint64_t seed;
    enum optimizer optimizer; /* keeps no more buffers than the graph's */
    float learning_rate, momentum, weight_decay, epsilon;
    double beta1, beta2;  /* optimizer.h */
    bool nesterov;
    bool spares_bn;       /* weights alone decay: not gamma, beta and biases */
    float clip_norm;      /* gradients whose norm is above this are scaled down to it; 0 = none are. Where the graph clips */
    double average_decay; /* average = d average + (1 - d) weights, where the graph averages */
    float label_smoothing; /* of the training loss: targets are 1 - s for the label and s / classes for all, itself too
                            * (arXiv:1512.00567, 7); evaluation's loss has none */
    float bn_momentum;    /* running = (1 - m) running + m batch */
    uint32_t scale_streak; /* f16: good steps after which the loss scale doubles */
    float mean[3], deviation[3]; /* of pixels as 0..1, R G B, by which OP_INPUT normalises; the same in all steps */
};

/* What this process holds of a device. Outside the arena: context, kernels, libraries, recordings; and what others have
 * taken of the device since. */
enum device_outside {
    DEVICE_OUTSIDE_UNKNOWN,
    DEVICE_OUTSIDE_BUT_CONTEXT, /* what was free before the context was made is not known: it is not in it */
    DEVICE_OUTSIDE_KNOWN
};
struct device_memory {
    uint64_t arena_bytes, outside_bytes;
    enum device_outside outside;
};

struct op_call {          /* all borrowed; must stay valid until op_release */
    const struct graph *graph;
    const struct op *op;
    uint32_t op_index;    /* in the logical graph: dropout's stream of random numbers */
    enum op_pass pass;    /* PASS_RECOMPUTE, PASS_EVALUATE: see plan.h */
    uint64_t in[OP_MOST_INPUTS], out[OP_MOST_OUTPUTS]; /* byte offsets in the arena; where a copy ends (PASS_OFFLOAD) or
                                                        * begins (PASS_FETCH), in host memory */
    const struct tensor *in_tensor[OP_MOST_INPUTS], *out_tensor[OP_MOST_OUTPUTS]; /* NULL: no such operand in this pass */
    uint64_t workspace, workspace_bytes;
};

#define DEVICE_REMARK 400 /* bytes of a remark on a device */

struct device_peaks {
    double flops, bytes; /* in f32, and of its memory, a second; 0 = unknown */
};

struct backend {
    const char *name; /* "cpu", "cuda" */
    bool in_host_memory; /* arenas are memory of this process */

    /* Measuring without allocating: scratch an op needs, beyond its tensors. */
    bool (*op_workspace)(const struct graph *graph, const struct op *op, enum op_pass pass, uint64_t *bytes,
                         struct error *err);

    /* Device with an arena of so many bytes, taken and filled once. */
    bool (*device_create)(const struct device_options *options, uint64_t arena_bytes, struct device **device,
                          struct error *err);
    void (*device_destroy)(struct device *device);
    /* The step block, in stream order. Once the loss of a training step is not finite (the first of OP_SOFTMAX_LOSS's
     * metrics, PASS_EVALUATE apart), PASS_UPDATE changes nothing on that device any more: parameters, their state and averages stay
     * those of the step before, whatever is in flight. */
    bool (*set_step)(struct device *device, struct stream *stream, const struct step *step, struct error *err);

    /* Buffer. Copies are in stream order. Pinned memory must stay until they are done; of other memory, copy_in has read it
     * and copy_out has filled it when they return. */
    bool (*copy_in)(struct device *device, struct stream *stream, uint64_t offset, const void *host, uint64_t bytes,
                    struct error *err);
    /* A tensor of images, which the loader gives in f32; they are rounded to the tensor's dtype. Pixels and placements, where
     * OP_INPUT makes images of them, come by copy_in. */
    bool (*image_in)(struct device *device, struct stream *stream, const struct tensor *tensor, uint64_t offset,
                     const float *host, struct error *err);
    bool (*copy_out)(struct device *device, struct stream *stream, void *host, uint64_t offset, uint64_t bytes,
                     struct error *err);
    /* Optional, for traces: *sum += the squares of so many elements in f32, f16 or bf16, by ops of the computing stream alone, in
     * an order that their number decides. *sum is in pinned memory where there is such. */
    bool (*add_squares)(struct device *device, struct stream *stream, uint64_t offset, enum dtype dtype, uint64_t count,
                        double *sum, struct error *err);
    bool (*fill)(struct device *device, struct stream *stream, uint64_t offset, uint64_t bytes, uint8_t byte,
                 struct error *err);
    /* Parameters (and what is kept of them) in the canonical layout of graph.h. A backend may keep them permuted in place: the
     * same bytes, and a permutation of elements that depends on the tensor's dims alone; a copy in 16 bits has it too. Not
     * in stream order: nothing else is under way on the device. */
    bool (*parameter_in)(struct device *device, const struct tensor *tensor, uint64_t offset, const float *host,
                         struct error *err);
    bool (*parameter_out)(struct device *device, const struct tensor *tensor, uint64_t offset, float *host,
                          struct error *err);

    /* Streams and events. */
    bool (*stream_create)(struct device *device, struct stream **stream, struct error *err);
    void (*stream_destroy)(struct stream *stream);
    bool (*event_create)(struct device *device, struct event **event, struct error *err);
    void (*event_destroy)(struct event *event);
    bool (*event_record)(struct event *event, struct stream *stream, struct error *err);
    /* What follows in the stream waits for the event's last record; one that was never recorded is not waited for. */
    bool (*event_wait)(struct event *event, struct stream *stream, struct error *err);
    /* The calling thread waits for it, at most so long (0 = it only asks): *done says whether it has come. */
    bool (*event_synchronize)(struct event *event, uint64_t limit_ns, bool *done, struct error *err);

    /* Optional: all ops that op_prepare will be called for, before the first of them, so that what takes long is done
     * for all at once. The arena is as device_create left it, before and after. */
    bool (*foresee)(struct device *device, const struct op_call *const *calls, size_t count, struct error *err);

    /* Ops. */
    bool (*op_prepare)(struct device *device, const struct op_call *call, struct prepared **prepared, struct error *err);
    bool (*op_launch)(struct prepared *prepared, struct stream *stream, struct error *err);
    void (*op_release)(struct prepared *prepared);

    /* Collectives: `size` devices, of one process or several, that agree on an id. group_create makes one rank's membership
     * and waits for nobody; ranks: the processes that the group is of, borrowed, NULL = this one alone; a rank is a device
     * of the plan, and a process has several or one. group_join is called by the device's own thread and blocks until all
     * ranks have joined.
     * OP_ALL_REDUCE and synchronised BN use the device's group; all devices get the same bits: cpu sums in rank order, cuda in
     * an order of NCCL's own. group_abort makes what this rank waits for, now and later, fail; its peers fail with it
     * where the backend can tell them, else by their own time-outs. group_destroy comes after device_destroy. */
    bool (*group_name)(struct group_id *id, struct error *err);
    bool (*group_create)(const struct group_id *id, uint32_t rank, uint32_t size, struct ranks *ranks,
                         struct group **group, struct error *err);
    /* Optional: what this process holds for sums of so many bytes of each device, where it is one of several. */
    uint64_t (*group_bytes)(const struct ranks *ranks, uint64_t sum_bytes);
    bool (*group_join)(struct group *group, struct device *device, struct error *err);
    void (*group_abort)(struct group *group);
    void (*group_destroy)(struct group *group);

    /* Optional, all or none: recordings (CUDA graphs). Between begin and end what goes to the stream, and to those that wait
     * for an event recorded in a recorded stream, is recorded, not run; every such stream must have been joined to the first
     * at the end. No set_step, no copy from or to memory that is not pinned, no wait for an event from outside. Every op
     * was launched once before. A recording holds until it is destroyed, also when it was never ended; it may be replayed
     * any number of times, with other step blocks. A launch that fails may have spoilt the recording alone, as
     * recording_is_spoilt (optional) tells: once that is destroyed, the ops may be launched one by one, and recorded anew. */
    bool (*record_begin)(struct device *device, struct stream *stream, struct recording **recording, struct error *err);
    bool (*record_end)(struct recording *recording, struct error *err);
    bool (*replay)(struct recording *recording, struct stream *stream, struct error *err);
    void (*recording_destroy)(struct recording *recording);
    bool (*recording_is_spoilt)(const struct recording *recording);

    /* Optional, all or none: pinned memory, for copies that go on while the host does. Without it copies have been done
     * when they return. Given back before the device. */
    bool (*pinned_create)(struct device *device, uint64_t bytes, void **memory, struct error *err);
    void (*pinned_destroy)(struct device *device, void *memory);

    /* Optional, all or none: pinned host memory beside the arena, taken and filled once and given back with the device, where
     * activations wait between PASS_OFFLOAD and PASS_FETCH. Without it no plan that offloads can run. */
    bool (*host_create)(struct device *device, uint64_t bytes, struct error *err);
    bool (*host_fill)(struct device *device, struct stream *stream, uint64_t offset, uint64_t bytes, uint8_t byte,
                      struct error *err);

    /* Optional, all or none: device time between two events that were made to be timed, for traces; without it the executor
     * uses host clocks around launches. */
    bool (*event_create_timed)(struct device *device, struct event **event, struct error *err);
    bool (*event_elapsed_ns)(struct event *from, struct event *to, uint64_t *ns, struct error *err);
    /* Optional: how much of the device is in use now; without it an arena is all that is known. */
    bool (*memory_used)(struct device *device, struct device_memory *memory, struct error *err);
    /* Optional: whether a device of this process was destroyed that may never end its work. What libraries do when a process
     * ends would wait for it: it is to end without (_exit). */
    bool (*left_behind)(void);
    /* Optional: what a user should know of how ops were prepared, a sentence without its full stop; empty = nothing. */
    void (*device_remark)(const struct device *device, char out[DEVICE_REMARK]);
    /* Optional: which of the dtypes activations may have (bit per enum dtype); without it f32 only. */
    uint32_t (*activation_dtypes)(void);
    /* Optional: what it fuses best with activations of this type (bits of enum graph_lowering), for plans that are made
     * for it; without it nothing. It runs plans of any lowering whose ops it knows. */
    uint32_t (*lowering)(enum dtype dtype);
    /* Optional: what a device of so many host threads does at most, measured here in some tens of milliseconds over
     * most_bytes of memory at most (a MiB if that is less), for rooflines; false where it cannot be. Without it a plan's own figures are all that is known. */
    bool (*measure_peaks)(uint32_t threads, uint64_t most_bytes, struct device_peaks *peaks);
};

/* Asserts the mandatory slots; called once when a backend is chosen. */
void backend_check(const struct backend *backend);

#endif
