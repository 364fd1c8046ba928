/* What a plan's device does and holds, added up: by stage, by kind of op, at the peak, and block by block. */
#ifndef FATHOM_BREAKDOWN_H
#define FATHOM_BREAKDOWN_H

#include "plan.h"

#define BREAKDOWN_LARGEST 8
#define BREAKDOWN_NAME    40
#define NO_STAGE        UINT32_MAX

/* All ops of a stage or of a kind in one step (a stage's: in one micro-batch). */
struct breakdown_total {
    char name[BREAKDOWN_NAME];
    uint64_t ops;
    uint64_t parameters, macs, kept_bytes; /* of stages; macs of one image's forward pass, kept_bytes until backward */
    uint64_t flops, bytes_moved;
    double seconds; /* predicted; 0 when the device's speed is unknown */
};

/* A part of the device's peak. */
struct breakdown_part {
    enum memory_class class;
    uint32_t stage; /* of kept activations and transients; else NO_STAGE */
    bool gaps;      /* bytes between tensors, which the class counts as transient */
    uint64_t bytes;
};

/* How many blocks (graph.h) do what for the backward pass. The first three sum to count. */
struct breakdown_blocks {
    uint32_t count;
    uint32_t kept;          /* keep all that it reads */
    uint32_t redone;        /* run again what lies between convolutions */
    uint32_t rerun;         /* run again, convolutions too */
    uint32_t most_runs;     /* forward runs of the block that runs most often */
    uint32_t offloaded;     /* have something in host memory in between */
    uint32_t reconstructed; /* have an input that is made again from their output */
};

struct breakdown {
    struct breakdown_total *stages;
    size_t stage_count;
    struct breakdown_total kinds[OP_KINDS];
    bool timed;
    struct breakdown_part *parts; /* largest first; they sum to the device's peak */
    size_t part_count;
    uint32_t live;                     /* tensors with bytes at the peak */
    uint32_t largest[BREAKDOWN_LARGEST]; /* the largest of them, plan tensors */
    size_t largest_count;
    struct breakdown_blocks blocks;
};

struct cost_table;

/* Of the training program of one device (an index into plan->devices). measured: where its times come from (cost.h), may
 * be NULL. The caller ends it with breakdown_finish, also after a failure. ERROR_MEMORY. */
bool breakdown_make(const struct plan *plan, uint32_t device, const struct cost_table *measured, struct breakdown *breakdown,
                  struct error *err);
void breakdown_finish(struct breakdown *breakdown);

#endif
