/* A program in the making: where each value is, and the ops so far (program.h).
 *
 * program_emitter.c keeps the account, program_order.c the order of backward ops, program_host.c sends values to host
 * memory and back, program_ops.c runs one op with all that it needs, and program.c goes through a schedule's steps. */
#ifndef FATHOM_PROGRAM_PRIVATE_H
#define FATHOM_PROGRAM_PRIVATE_H

#include "program.h"

struct emitter {
    const struct graph *graph;
    struct plan_program *program;
    size_t op_capacity, tensor_capacity;
    bool lean;         /* the step's block does with small workspaces */
    uint32_t *latest;  /* per graph tensor: the plan tensor that holds its value, or NO_TENSOR */
    uint32_t *on_host; /* per graph tensor: the plan tensor that holds its value in host memory, or NO_TENSOR */
    uint32_t *leaving; /* graph tensors whose copies to host memory are to be given a place, oldest first */
    size_t leaving_count;
    uint32_t *producer;       /* per graph tensor: the forward op that makes it, or NO_OP */
    uint32_t *unwritten;      /* per gradient bucket: backward ops that have not yet written their view of it */
    uint32_t *follower;       /* per gradient bucket: the op that takes it as soon as it is complete, or NO_OP */
    uint32_t *widener;        /* per gradient bucket, of 16 bits and of f32: the op that puts the one into the other */
    bool *ran;                /* per graph op */
    bool *wanted;             /* per graph tensor: some backward op reads it */
    uint32_t *backward;       /* backward ops ordered by block, blocks' own order inside */
    uint32_t *backward_start; /* per block, and one past the last */
    bool epilogue_done;
    struct error *err;
};

/* The graph stays the caller's and is needed to the end, as *program is, whose owner the caller is too. emitter_finish
 * also after a failure. ERROR_MEMORY. */
bool emitter_init(struct emitter *e, const struct graph *graph, struct plan_program *program, struct error *err);
void emitter_finish(struct emitter *e);

static inline const struct tensor *emitter_tensor(const struct emitter *e, uint32_t tensor)
{
    return &e->graph->tensors[tensor];
}

/* One more instance of a graph tensor, or of none (NO_TENSOR). ERROR_MEMORY. */
bool emitter_add_instance(struct emitter *e, uint32_t origin, uint64_t bytes, uint32_t *index);

/* One more instance, which holds the tensor's value from now on. */
bool emitter_add_latest(struct emitter *e, uint32_t tensor);

/* ERROR_MEMORY. */
bool emitter_append(struct emitter *e, const struct plan_op *op);

/* An op of which no input, output or workspace is named yet. */
struct plan_op emitter_op(uint32_t op, enum op_pass pass, uint32_t stream);

static inline bool op_reads(const struct op *op, uint32_t tensor)
{
    for (uint32_t i = 0; i < op->inputs; i++)
        if (op->in[i] == tensor) return true;
    return false;
}

/* Backward ops by block into list[], of which block b's begin at start[b] and end before start[b + 1]: `list` has room
 * for all ops between the graph's forward_end and backward_end, and `start`, zeroed, for one more than blocks and one
 * past. */
void program_order_backward(const struct graph *graph, uint32_t *list, uint32_t *start);

/* The tensor is to go to host memory: its copy begins now, its bytes are given up when the copy is given its place.
 * What is there already from an earlier time need not go again, and what is small stays. */
void program_send(struct emitter *e, uint32_t tensor);

/* Gives places to the copies of the first `most` leaving tensors. */
bool program_settle(struct emitter *e, size_t most);

/* The tensor is wanted on the device: it stays if it has not left yet, and is fetched if it has. */
bool program_recall(struct emitter *e, uint32_t tensor);

/* Makes sure that the tensor has an instance: those of views and of buckets come into being when first touched, a
 * dropped activation by running its op again. ERROR_INPUT where that has never run. */
bool program_need(struct emitter *e, uint32_t tensor);

/* Runs an op once what it reads is there, and after it what takes a gradient bucket that it completed. */
bool program_run_op(struct emitter *e, uint32_t index, enum op_pass pass);

#endif
