/* What a plan's device does and holds, added up: by stage, by kind of op, at the peak, and block by block. */
#ifndef FATHOM_ANATOMY_H
#define FATHOM_ANATOMY_H

#include "plan.h"

#define ANATOMY_LARGEST 8
#define ANATOMY_NAME    40
#define NO_STAGE        UINT32_MAX

/* All ops of a stage or of a kind in one step (a stage's: in one micro-batch). */
struct anatomy_total {
    char name[ANATOMY_NAME];
    uint64_t ops;
    uint64_t parameters, macs, kept_bytes; /* of stages; macs of one image's forward pass, kept_bytes until backward */
    uint64_t flops, bytes_moved;
    double seconds; /* predicted; 0 when the device's speed is unknown */
};

/* A part of the device's peak. */
struct anatomy_part {
    enum memory_class class_;
    uint32_t stage; /* of kept activations and transients; else NO_STAGE */
    bool gaps;      /* bytes between tensors, which the class counts as transient */
    uint64_t bytes;
};

/* How many blocks (graph.h) do what for the backward pass. The first three sum to count. */
struct anatomy_blocks {
    uint32_t count;
    uint32_t kept;          /* keep all that it reads */
    uint32_t redone;        /* run again what lies between convolutions */
    uint32_t rerun;         /* run again, convolutions too */
    uint32_t most_runs;     /* forward runs of the block that runs most often */
    uint32_t offloaded;     /* have something in host memory in between */
    uint32_t reconstructed; /* have an input that is made again from their output */
};

struct anatomy {
    struct anatomy_total *stages;
    size_t stage_count;
    struct anatomy_total kinds[OP_KINDS];
    bool timed;
    struct anatomy_part *parts; /* largest first; they sum to the device's peak */
    size_t part_count;
    uint32_t live;                     /* tensors with bytes at the peak */
    uint32_t largest[ANATOMY_LARGEST]; /* the largest of them, plan tensors */
    size_t largest_count;
    struct anatomy_blocks blocks;
};

struct cost_table;

/* Of the training program of one device (an index into plan->devices). measured: where its times come from (cost.h), may
 * be NULL. The caller ends it with anatomy_finish, also after a failure. ERROR_MEMORY. */
bool anatomy_make(const struct plan *plan, uint32_t device, const struct cost_table *measured, struct anatomy *anatomy,
                  struct error *err);
void anatomy_finish(struct anatomy *anatomy);

#endif
