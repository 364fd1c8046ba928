/* An executor's inside: what the files execute*.c and launch.c share. */
#ifndef FATHOM_EXECUTE_PRIVATE_H
#define FATHOM_EXECUTE_PRIVATE_H

#include "bind.h"
#include "execute.h"

#define DEAD_BYTE 0xFF /* four of them are a NaN, as are two in 16-bit formats */

/* Beside the plan's streams one of the executor's own: it brings the next step's input while this one computes. */
enum { STREAM_UPLOAD = PLAN_STREAMS, EXECUTOR_STREAMS };

/* Ops [from, to) of a program, launched together: all streams that they use start from the computing one and come back
 * to it, so that a part can be recorded by itself and parts follow each other in its order. */
struct part {
    const struct bound_program *bound;
    size_t from, to;
    bool uses[PLAN_STREAMS];
    bool launched; /* once, op by op */
    struct recording *recording; /* NULL before the second launch, or without recordings */
    unsigned spoilt; /* recordings of it that failed, and nothing else with them */
};

/* A step in flight, or one that was. */
struct slot {
    struct step step;
    void *images;    /* staged in pinned memory; NULL: copies have been done when they return */
    int32_t *placements, *labels;
    float *metrics;  /* 4, as the device left them */
    struct loss_scale *loss_scale; /* likewise, after the step, where there is one */
    uint8_t *statistics; /* running statistics before the step; NULL = not kept */
    struct event *done;
};

struct executor {
    struct executor_options options;
    const struct backend *backend;
    const struct plan_variant *variant;
    uint32_t micro_batches;
    struct device *device;
    struct stream *streams[EXECUTOR_STREAMS];
    struct event *crossing[PLAN_STREAMS]; /* of each stream, where streams meet */
    struct event *origin;                 /* device times count from here */
    struct event *uploaded, *input_free;  /* the input is there; its bytes may be written again */
    bool tail_touches_input;
    struct bound_program train, evaluate;
    struct part body, tail, evaluation;
    struct part features; /* of an evaluation: what comes before the classifier */
    struct part forward; /* the body up to the loss */
    struct state_entry *state;
    size_t state_count;
    struct byte_range *statistics; /* where running statistics lie; empty unless they are kept */
    size_t statistic_ranges;
    uint64_t statistic_bytes;

    void *ring; /* the slots' memory, pinned where the backend has such */
    struct slot *slots; /* options.in_flight */
    uint64_t submitted, collected;

    struct device_memory memory; /* the most that was seen */
    uint64_t memory_ns;          /* when it was looked at last; 0 = never */

    struct flow *flow; /* NULL: no norms are taken */

    bool lost; /* a call on the device failed: all others fail with the first error */
    struct error first;
};

/* ---- execute_use.c ---- */

/* A use of the device begins with executor_usable, and ends with executor_settle, between which its error goes to
 * executor->first. */
bool executor_usable(const struct executor *executor, struct error *err);
bool executor_settle(struct executor *executor, bool ok, struct error *err);
/* Around what is launched for an op of the program, so that what the backend starts can be told to be that op's. */
void executor_launch_begin(const struct executor *executor, uint32_t op, const char *pass);
void executor_launch_end(const struct executor *executor);
/* Around what the run itself starts; pass: TRACE_RUN_PASS, "evaluate". */
void executor_own_begin(const struct executor *executor, const char *pass);
void executor_own_end(const struct executor *executor);
/* Waits for an event of a step; a device that does not come to it in time is an error. */
bool executor_wait(struct executor *executor, struct event *event, uint64_t number, struct error *err);

/* ---- execute_input.c ---- */

/* Of a micro-batch; placements: 0 where there are none. */
struct step_input_bytes {
    uint64_t images, placements, labels;
};
struct step_input_bytes input_arena_bytes(const struct graph *graph);
/* As the caller has it: f32, whatever the images' tensor is, or bytes. */
struct step_input_bytes input_host_bytes(const struct graph *graph);
/* Micro-batch number i. */
struct step_input input_part(const struct graph *graph, const struct step_input *input, uint32_t i);
/* So many micro-batches where their copies can go on while the caller fills the next. */
struct step_input executor_stage(const struct executor *executor, const struct slot *slot, uint32_t parts,
                            const struct step_input *input);
/* What a micro-batch needs before its ops; pass: TRACE_RUN_PASS, "evaluate". */
bool executor_feed(struct executor *executor, const struct bound_program *bound, const struct step *step,
                   const struct step_input *input, const char *pass, struct error *err);
/* The input's bytes may be written again. */
bool executor_free_input(struct executor *executor, struct error *err);
bool executor_tail_touches_input(const struct executor *executor);

/* ---- execute_ring.c ---- */

/* Where running statistics lie. ERROR_MEMORY. */
bool executor_find_statistics(struct executor *executor, struct error *err);
bool executor_create_ring(struct executor *executor, struct error *err);
void executor_destroy_ring(struct executor *executor);
/* Of the step that was submitted as number `count`. */
struct slot *executor_slot(const struct executor *executor, uint64_t count);
/* Waits for what is in flight, of which nobody will hear. */
bool executor_drain(struct executor *executor, struct error *err);
/* Between the device's running statistics and a slot. */
bool executor_copy_statistics(struct executor *executor, const struct slot *slot, bool in, struct error *err);

/* ---- execute_flow.c ---- */

bool executor_create_flow(struct executor *executor, struct error *err);
void executor_destroy_flow(struct executor *executor);
/* Whether that step's norms are taken. */
bool executor_takes_flow(const struct executor *executor, uint64_t step);
/* Around what is launched for a step; in between, where norms are taken, every op is launched by itself. */
bool executor_begin_flow(struct executor *executor, uint64_t step, struct error *err);
void executor_end_flow(struct executor *executor);
bool executor_flow_is_on(const struct executor *executor);
/* Right before and right after that op of the training program, while it is on. */
bool executor_take_flow(struct executor *executor, size_t op, bool before, struct error *err);
/* When the step has ended. */
void executor_tell_flow(struct executor *executor, uint64_t step);

/* ---- launch.c ---- */

/* Zeroed parts may be finished. */
void part_init(struct part *part, const struct bound_program *bound, size_t from, size_t to);
void part_finish(struct part *part, const struct backend *backend);
/* Replays the part, or launches its ops one by one: the first time, where there are no recordings or one is spoilt, when
 * norms are taken, and when they are timed (then it has been done on return). number: of the step, for messages. */
bool part_launch(struct executor *executor, struct part *part, bool timed, uint64_t number, struct error *err);
/* Launches the part's ops one by one; after each `look` is called, which may say that it is enough. */
bool part_launch_watched(struct executor *executor, const struct part *part,
                         bool (*look)(void *context, size_t op, bool *enough, struct error *err), void *context,
                         struct error *err);
#endif
