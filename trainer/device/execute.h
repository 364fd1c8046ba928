/* Runs the programs of one plan variant on one device of a backend: the executor walks the plan, it does not decide.
 *
 * Every op is prepared once with the arena offsets of the plan; a step allocates nothing. All calls for one executor
 * come from the device's own thread. */
#ifndef FATHOM_EXECUTE_H
#define FATHOM_EXECUTE_H

#include "backend.h"
#include "plan.h"
#include "sink.h"

struct executor;

struct executor_options {
    const struct plan *plan; /* borrowed until executor_destroy, as the others */
    uint32_t device;         /* of the plan: its rank in the group */
    uint32_t member;         /* of the devices that this process drives, from 0: its number in the trace */
    uint32_t ordinal;        /* of the device among those that the backend sees in this process */
    const struct backend *backend;
    struct group *group;     /* the device's membership; NULL with one device; joined here */
    uint32_t threads;        /* host threads an op may use, 0 = all */
    uint32_t in_flight;      /* steps submitted and not collected, at most; 0 = 1 */
    uint64_t wait_limit_ns;  /* of each wait for the device, 0 = for ever */
    uint64_t meet_limit_ns;  /* the same until the first step has ended */
    bool deterministic;      /* only kernels that give the same bits every time */
    bool tf32;               /* f32 may be multiplied as TF32 */
    bool tune;               /* what may run is timed, and the fastest taken */
    const struct engine_book *carried; /* backend.h; NULL = none */
    const struct teller *teller;       /* backend.h; NULL = nobody */
    const struct stopping *stopping;   /* backend.h; NULL = nobody asks */
    bool no_recordings;      /* every op is launched by itself, each step */
    bool keep_statistics;    /* for executor_undo_statistics */
    bool fill_dead;          /* bytes are filled with NaN right after their last use */
    uint64_t flow_every;     /* units' norms go to the sink in the first step and each that this divides; 0 = never */
    bool time_ops;           /* ops' times go to the sink when it wants them */
    struct trace_sink *sink; /* may be NULL */
};

/* Takes the arena, fills it with NaN (so that every page is resident, and nothing is read that was not written), joins
 * the group and prepares all ops. ERROR_INPUT when the plan's workspaces are too small for this backend; ERROR_STOPPED when
 * an end was asked for meanwhile. */
bool executor_create(const struct executor_options *options, struct executor **executor, struct error *err);
/* Takes NULL. */
void executor_destroy(struct executor *executor);

/* Sums over a micro-batch, a step or an evaluation's batch on this device. */
struct metrics {
    float loss, top1_hits, top5_hits, images;
    struct loss_scale loss_scale; /* f16: as the step left it; else zero */
};

/* Images of one micro-batch, or of several one after the other. */
struct step_input {
    const void *images;        /* N x size x size x 3: normalised f32; bytes where the plan's graph has pixels */
    const int32_t *placements; /* N x 4, of bytes (lower.h) */
    const int32_t *labels;     /* N */
};

/* A step: forward, backward and update. Submitting waits for nothing (but for ops that are timed by the device's events);
 * input: this device's share, micro_batches x batch images; it may change after the return; step->micro_batch is set
 * here. Steps are collected in their order; collecting waits for the step's end. When its
 * loss is not finite, parameters and what is kept of them stay as they were before it, for good. metrics may be NULL.
 *
 * Errors stick: once the device has failed, or has not come in time, every call fails with the first error. */
bool executor_submit(struct executor *executor, const struct step *step, const struct step_input *input, struct error *err);
bool executor_collect(struct executor *executor, struct metrics *metrics, struct error *err);
/* Whether a step may be submitted while the one before it is in flight: not where the ops of one of them are timed or its
 * norms are taken, nor where the trace records what devices do in one and not in the other. */
bool executor_may_overlap(const struct executor *executor, uint64_t step);
/* Running statistics become those before a step that is in flight or was among the last in_flight; what is in flight
 * ends unheard. */
bool executor_undo_statistics(struct executor *executor, uint64_t step, struct error *err);
/* Which op of the lowered graph first made a number that is not finite in a step whose loss is not, NO_OP where none did or it
 * cannot be seen: the step's forward pass runs once more, op by op. The devices of a group do so together. given: the step's
 * input, read where the backend has no pinned memory. What the arena holds beside parameters and momenta is lost. */
bool executor_find_not_finite(struct executor *executor, uint64_t step, const struct step_input *given, uint32_t *op,
                              struct error *err);
/* Forward and backward of a step, as executor_submit has them, while no step is in flight; waits for their end. There is no
 * update: running statistics alone change, of what a run must keep. */
bool executor_differentiate(struct executor *executor, const struct step *step, const struct step_input *input,
                            struct error *err);
/* Forward as in training, over this device's share of a step's images, while no step is in flight: running statistics alone
 * change. They become the mean over these images and those of `batches` calls before: of 0 calls they are forgotten. */
bool executor_see(struct executor *executor, const struct step *step, const struct step_input *input, uint64_t batches,
                  struct error *err);
/* Forward only with running statistics, over one micro-batch, while no step is in flight; labels of -1 are not counted. */
bool executor_evaluate(struct executor *executor, const struct step *step, const struct step_input *input,
                       struct metrics *metrics, struct error *err);

/* What the last executor_evaluate made of its images: out is batch x classes, f32, each row sums to 1. */
bool executor_probabilities(struct executor *executor, float *out, struct error *err);

/* What the last fully connected layer of the net reads, C x H x W numbers of each image in the order of H, W, C: only the ops before it
 * run. Activations are f32. */
bool executor_features(struct executor *executor, const struct step *step, const struct step_input *input, float *out,
                       struct error *err);

/* The most that this process has held of the device so far, as it said when steps were collected; false where the backend
 * does not say or has not been asked yet. */
bool executor_memory(const struct executor *executor, struct device_memory *most);
/* What the backend remarks on how the ops were prepared; empty = nothing. */
void executor_remark(const struct executor *executor, char out[DEVICE_REMARK]);

/* What a run must keep: parameters in the order of the forward pass; in the same order the first buffer that the optimizer
 * keeps of them, then the second, then their averages; running statistics. The same order and shapes for every plan of a
 * model and an optimizer. */
enum state_kind { STATE_PARAMETER, STATE_OPTIMIZER, STATE_AVERAGE, STATE_STATISTIC };
struct state_entry {
    enum state_kind kind;
    uint32_t tensor;    /* of the variant's graph; what is kept of a parameter has that one's */
    uint32_t parameter; /* position in graph->parameters; NO_TENSOR for statistics */
    uint32_t buffer;    /* STATE_OPTIMIZER: which of the optimizer's (optimizer_buffer_name) */
    uint64_t offset;    /* in the arena */
    size_t index;       /* of all entries, as executors count them */
};
/* Finds them in a variant's training program; the caller frees *entries with mem_free. */
bool state_entries_find(const struct plan_variant *variant, struct state_entry **entries, size_t *count,
                        struct error *err);
size_t executor_state_count(const struct executor *executor);
uint64_t executor_state_elements(const struct executor *executor, size_t i);
const struct state_entry *executor_state_entry(const struct executor *executor, size_t i);
/* Entry i to and from the device, canonical layout, tensor_elements floats, while no step is in flight. */
bool executor_state_in(struct executor *executor, size_t i, const float *values, struct error *err);
bool executor_state_out(struct executor *executor, size_t i, float *values, struct error *err);

/* The loss scale of plans in f16: part of what a run must keep, the same on all devices. While no step is in flight. */
bool executor_has_loss_scale(const struct executor *executor);
bool executor_loss_scale_in(struct executor *executor, const struct loss_scale *scale, struct error *err);
bool executor_loss_scale_out(struct executor *executor, struct loss_scale *scale, struct error *err);

/* Reports a plan's device, its tensors and its op table to the sink, as one of those from device `first` on, which are reported in
 * order: that one is number 0 there. */
bool executor_describe(const struct plan *plan, uint32_t device, uint32_t first, struct trace_sink *sink, struct error *err);

#endif
