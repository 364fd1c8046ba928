/* Which blocks of a chain keep what, and which run again, for the least time under a memory limit.
 *
 * The persistent-schedule dynamic program of Beaumont, Herrmann, Pallez and Shilova ("Optimal memory-aware
 * backpropagation of deep join networks" and "rotor", arXiv:1911.13214) with several ways to run each block. Memory is counted in quanta
 * so that the program is exact: every size is a whole multiple of the quantum, rounded up by the caller. Knows nothing of
 * graphs. */
#ifndef FATHOM_CHAIN_H
#define FATHOM_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

#define CHAIN_MOST_OPTIONS 12

struct chain_option {
    uint32_t saved;             /* quanta kept from this block's forward to its backward, its output included */
    uint32_t forward_overhead;  /* quanta needed above the resident while it runs forward */
    uint32_t backward_overhead; /* likewise backward */
    double backward_seconds;    /* with what it recomputes of its own */
    uint32_t copied;            /* quanta that go to host memory and come back */
    bool frees_input;           /* the block's input is not there between its forward and its backward, which finds it made
                                 * again (from the block's output, or from host memory) */
    uint32_t keep;              /* the caller's name for the option; steps carry it */
};

struct chain_block {
    uint32_t output;   /* a_l, quanta */
    uint32_t gradient; /* delta_l, quanta: gradient of the output */
    uint32_t run_overhead; /* running forward keeping nothing but the output */
    double forward_seconds;
    uint32_t options;  /* at least 1 */
    struct chain_option option[CHAIN_MOST_OPTIONS];
};

struct chain {
    uint32_t input; /* a_0: quanta of the chain's input, resident throughout and not counted in the limit */
    struct chain_block *blocks;
    size_t count;
    double copy_seconds; /* the price of a quantum's way to host memory and back; 0 = no checkpoint goes there */
};

enum chain_step_kind {
    CHAIN_RUN,      /* forward of block, keeping only its output for the next block's input (not for backward) */
    CHAIN_CHECKPOINT, /* as CHAIN_RUN, and the block's INPUT stays for a later run */
    CHAIN_SAVE,     /* forward of block under option: what its backward needs stays */
    CHAIN_BACKWARD, /* backward of block */
    CHAIN_OFFLOAD,  /* the block's INPUT, a checkpoint, leaves for host memory */
    CHAIN_FETCH,    /* and comes back */
};

struct chain_step {
    enum chain_step_kind kind;
    uint32_t block;
    uint32_t option; /* of CHAIN_SAVE and CHAIN_BACKWARD: index into the block's options */
    uint32_t keep;   /* that option's */
};

struct chain_schedule {
    struct chain_step *steps; /* in order of execution; each block's backward exactly once, last to first */
    size_t count;
    double seconds;       /* predicted, by the same model, with what copies are priced at */
    uint64_t copied_quanta; /* to host memory, and as many back */
    uint64_t peak_quanta; /* predicted by the model */
    bool optimal;         /* least time of all persistent schedules under the limit */
};

/* Least-time schedule with peak <= limit quanta (the chain's input not counted). ERROR_UNFIT when none exists, naming the
 * least possible; ERROR_INPUT for a chain that cannot be; ERROR_MEMORY. The caller ends it with chain_schedule_finish.
 *
 * The result depends on the arguments alone. `optimal` means: no persistent schedule under the limit is faster (to the
 * rounding of single precision, over the extra time), and a larger limit never takes longer. table_bytes bounds the
 * program's rows (0 = 512 MB). Where they do not fit, quanta are taken k at a time, sizes rounded up, with the least k that
 * fits: the limit holds, and nothing is lost but what 1 + k quanta for each resident thing would have bought. Chains of
 * more than 512 blocks are solved over at most 384 runs of consecutive blocks: no slower than any schedule whose outer
 * checkpoints lie between runs and that saves a run's blocks all alike; a run alone is scheduled exactly. */
bool chain_solve(const struct chain *chain, uint64_t limit, uint64_t table_bytes, struct chain_schedule *schedule,
                 struct error *err);
/* The schedule that saves every block under its option 0. */
bool chain_keep_all(const struct chain *chain, struct chain_schedule *schedule, struct error *err);
/* Least limit for which chain_solve (with memory enough) succeeds; UINT64_MAX when out of memory or for a wrong chain. */
uint64_t chain_least_limit(const struct chain *chain);
void chain_schedule_finish(struct chain_schedule *schedule);

/* Replays a schedule and measures time and peak from the blocks' figures alone; shares no code with the solver.
 * ERROR_INPUT names the first step that runs without its input or a backward without what it needs. */
bool chain_simulate(const struct chain *chain, const struct chain_schedule *schedule, double *seconds,
                    uint64_t *peak_quanta, struct error *err);

#endif
