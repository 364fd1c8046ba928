/* Which blocks of a chain keep what, which run again, and what waits in host memory, for the least time under a memory
 * limit.
 *
 * The persistent-schedule dynamic program of Beaumont, Herrmann, Pallez and Shilova ("Optimal memory-aware
 * backpropagation of deep join networks" and "rotor", arXiv:1911.13214) with several ways to save each block, some of
 * which free its input, and with checkpoints that may wait in host memory (Beaumont, Eyraud-Dubois and Shilova,
 * "Efficient combination of rematerialization and offloading for training DNNs", NeurIPS 2021, "POFO"; here a copy has
 * a price instead of a place on the link, which the caller simulates). Memory is counted in quanta so that the program
 * is exact: every size is a whole multiple of the quantum, rounded up by the caller. Knows nothing of graphs.
 *
 * C(s, t, m) is the least time to run blocks s..t forward and backward in m quanta, the input of s resident and not
 * counted, the gradient of t's output resident and counted. f: forward, b: backward, a: output, d: gradient, p: the
 * price of a quantum's copies, u: what a forward run spares whose output nobody reads. saving    f(s) + b(s, o) + p
 * copied(o) + C(s+1, t, m - saved(o) + freed), for an option o of s whose forward (with d(t)) and backward (with d(s))
 * fit in m; freed = a(s-1) when o frees its input, which is there again at the backward of s; of the first block it is
 * nothing splitting f(s) + ... + f(j-1) - u(j-1) + C(j, t, m - a(j-1)) + C(s, j-1, m), for s < j <= t whose runs fit in
 * m with host the same with a(s-1) more room once s ran, C(j, t, m - a(j-1) + a(s-1)), for p a(s-1) more seconds, when
 *             p > 0 and s is not the first block
 * An option that frees its input so that it is made again from what block s - 1 saved is open where that was saved with
 * its own input at hand, or is the k-th such option in a row, k <= most_remade; then C has a third argument, how many
 * more there may be, and the backward of s, from where that input is made on, needs what comes back with the inputs of
 * the k - 1 blocks before. So that longer rows need no third argument, a whole one is a choice, too (streak): block s
 * saved with its own input at hand, and one to longest_streak blocks after it that are all saved under the option of
 * one number, which makes their inputs again. How each is kept is known there, and so what comes back of each.
 * Elsewhere it is not, and after an option of which more comes back than the block's `parts` no input is made again but
 * in streaks (unless the chain is loose).
 *
 * Within C(s, t) nobody but its own parts reads the input of s: the gradient of t's output is there, so all that lies
 * behind has gone, and what lies before waits for the gradient of that input. So each part may free it. */
#ifndef FATHOM_CHAIN_H
#define FATHOM_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

#define CHAIN_MOST_OPTIONS 28
#define CHAIN_MOST_REMADE  3
#define CHAIN_MOST_STREAK  32

struct chain_option {
    uint32_t saved;             /* quanta kept from this block's forward to its backward, its output included */
    uint32_t forward_overhead;  /* quanta needed above the resident while it runs forward */
    uint32_t backward_overhead; /* likewise backward */
    double backward_seconds;    /* with what it recomputes of its own */
    uint32_t copied;            /* quanta that go to host memory and come back */
    bool frees_input; /* the block's input is not there between its forward and its backward, which finds it made
                       * again (from the block's output, from host memory, or from what the block before saved) */
    bool remakes_input; /* it frees its input, which is made again from what the block before saved: for blocks before
                         * which one is saved with its own input there, or made again likewise. Never faster
                         * than all that do not */
    uint32_t remake_overhead; /* with that: backward_overhead from where the input is made again on */
    uint32_t parts;           /* in the place of the block's `parts`, where it is known that the block is kept so */
    uint32_t keep;    /* the caller's name for the option; steps carry it */
};

struct chain_block {
    uint32_t output;       /* a_l, quanta */
    uint32_t gradient;     /* delta_l, quanta: gradient of the output */
    uint32_t run_overhead; /* running forward keeping nothing but the output */
    uint32_t remade; /* quanta that come back when a later block's input is made again, and to that end this one's:
                        the input, and what that is made of */
    uint32_t parts;  /* what comes back of this block when its output is made again: counted in the next one's `remade`
                        and its options' remake_overhead */
    double forward_seconds;
    double spared_seconds; /* of a forward run that saves when nobody reads the output: the next block's backward is
                              done */
    uint32_t options;      /* at least 1 */
    struct chain_option option[CHAIN_MOST_OPTIONS];
};

struct chain {
    uint32_t input; /* a_0: quanta of the chain's input, resident throughout and not counted in the limit */
    struct chain_block *blocks;
    size_t count;
    uint32_t most_remade; /* blocks in a row whose inputs may be made again from one that is there; at most
                             CHAIN_MOST_REMADE, and rows are kept for each number up to it */
    bool loose; /* inputs are made again after such options out of streaks, too, with `parts` counted for more: a
                 * schedule may need more than its limit then, as its peak_quanta says */
    uint32_t longest_streak; /* and in streaks, where most_remade is not 0; at most CHAIN_MOST_STREAK */
    uint32_t most_units; /* a longer chain is solved over so many runs of consecutive blocks; 0 = as chain_solve says */
    double copy_seconds; /* the price of a quantum's way to host memory and back; 0 = no checkpoint goes there */
};

enum chain_step_kind {
    CHAIN_RUN,        /* forward of block, keeping only its output for the next block's input (not for backward) */
    CHAIN_CHECKPOINT, /* as CHAIN_RUN, and the block's INPUT stays for a later run */
    CHAIN_SAVE,       /* forward of block under option: what its backward needs stays */
    CHAIN_BACKWARD,   /* backward of block */
    CHAIN_OFFLOAD,    /* the block's INPUT, a checkpoint, leaves for host memory: right after CHAIN_CHECKPOINT */
    CHAIN_FETCH,      /* and comes back */
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
    double seconds;         /* predicted, by the same model, with what copies are priced at */
    uint64_t copied_quanta; /* to host memory, and as many back */
    uint64_t peak_quanta;   /* predicted by the model */
    bool optimal;           /* least time of all persistent schedules under the limit */
    double bound_seconds;   /* no schedule under the limit takes less (when optimal: no persistent one) */
};

/* Least-time schedule with peak <= limit quanta (the chain's input not counted). ERROR_UNFIT when none exists, naming
 * the least possible; ERROR_INPUT for a chain that cannot be; ERROR_MEMORY. The caller ends it with
 * chain_schedule_finish.
 *
 * The result depends on the arguments alone, and a larger limit never takes longer.
 *
 * `optimal` means: to the rounding of single precision over the extra time, no persistent schedule under the limit is
 * faster, with copies priced as above. A schedule is persistent when what it keeps of a block (its input as a
 * checkpoint, on the device or on the host, or what an option saves) stays until the block's backward has run: it is
 * one of the recursion's. table_bytes is about what the program's rows may take (0 = 512 MB). Where they do not fit
 * under every limit, quanta are taken k at a time for all limits alike, sizes rounded up, with the least such k: the
 * limit holds. Chains of more than 512 blocks are solved over at most 192 runs of consecutive blocks: no slower than
 * any schedule whose outer checkpoints lie between runs and that saves a run's blocks all alike; a run alone is
 * scheduled exactly.
 *
 * How far such a schedule is from the optimum at most is computed for each: when the last block's backward begins,
 * every block either is saved under some option or will run forward once more; the least time of the choices that fit
 * the limit then, a fractional knapsack, bounds any schedule's (bound_seconds). */
bool chain_solve(const struct chain *chain, uint64_t limit, uint64_t table_bytes, struct chain_schedule *schedule,
                 struct error *err);

/* The program's rows for all limits from `low` to `high`, worked out once. The chain is borrowed while the table lives.
 * Errors as of chain_solve, ERROR_UNFIT when `high` is less than the least limit. chain_table_destroy takes NULL. */
struct chain_table;
struct chain_table *chain_table_create(const struct chain *chain, uint64_t low, uint64_t high, uint64_t table_bytes,
                                       struct error *err);
/* What chain_solve gives under this limit, which is at least `low`; limits above `high` are taken for it. */
bool chain_table_schedule(const struct chain_table *table, uint64_t limit, struct chain_schedule *schedule,
                          struct error *err);
void chain_table_destroy(struct chain_table *table);

/* Seconds that no persistent schedule under the limit goes below, of chains of at most 512 blocks; of others as
 * bound_seconds. The same program, with sizes that are held and the limit rounded down to k quanta and what is freed
 * rounded up, is never slower: k is halved from CHAIN_COARSEST_BOUND on until `seconds` is within CHAIN_BOUND_GAP of the
 * bound, or its rows would take more than table_bytes (0 = 512 MB). ERROR_MEMORY. */
#define CHAIN_COARSEST_BOUND 4
#define CHAIN_BOUND_GAP      0.03
bool chain_bound(const struct chain *chain, uint64_t limit, double seconds, uint64_t table_bytes, double *bound,
                 struct error *err);

/* The same, less close and found without any table: of any chain, by what is kept at one instant. ERROR_MEMORY. */
bool chain_quick_bound(const struct chain *chain, uint64_t limit, double *bound, struct error *err);

/* The schedule of the least limit, found without any table: of all with that peak not the fastest. */
bool chain_solve_least(const struct chain *chain, struct chain_schedule *schedule, struct error *err);
/* The schedule that saves every block under its option 0. */
bool chain_keep_all(const struct chain *chain, struct chain_schedule *schedule, struct error *err);
/* Least limit for which chain_solve (with memory enough) succeeds; UINT64_MAX when out of memory or for a wrong chain.
 */
uint64_t chain_least_limit(const struct chain *chain);
void chain_schedule_finish(struct chain_schedule *schedule);

/* Replays a schedule and measures time and peak from the blocks' figures alone; shares no code with the solver.
 * ERROR_INPUT names the first step that runs without its input or a backward without what it needs. */
bool chain_simulate(const struct chain *chain, const struct chain_schedule *schedule, double *seconds,
                    uint64_t *peak_quanta, struct error *err);

#endif
