/* The recomputation program's parts: units, least memory, tables, read-out.
 *
 * The program runs over units of one block each; or, for chains too long for that, of several consecutive blocks, whose
 * outer checkpoints then lie between units and whose blocks are saved together (the blocks of a unit alone are still
 * scheduled exactly).
 *
 * Notation, from 0: C(s, t, m) is the least time to run units s..t forward and backward in m quanta, the input of s
 * resident and not counted, the gradient of t's output resident and counted. Times are kept as the excess over running
 * each block once forward and once backward in its fastest way. */
#ifndef FATHOM_CHAIN_PRIVATE_H
#define FATHOM_CHAIN_PRIVATE_H

#include "chain.h"

#define UNIT_MOST_OPTIONS (CHAIN_MOST_OPTIONS + 1)
#define NO_ROOM           UINT32_MAX

struct unit_option {
    uint32_t saved;         /* kept from forward to backward */
    uint32_t forward_need;  /* most at one instant of the forward run, what is saved included, the gradient not */
    uint32_t backward_need; /* likewise backward, gradients included */
    double excess;          /* seconds of backward over the fastest way */
};

struct unit {
    uint32_t first, last; /* blocks, inclusive */
    uint32_t output, gradient;
    uint32_t run_first, run_next; /* most quanta to run through keeping nothing: input not counted, counted */
    uint32_t options, fastest;
    struct unit_option option[UNIT_MOST_OPTIONS];
    double forward_seconds;
};

struct unit_list {
    const struct chain *chain; /* borrowed */
    struct unit *units;
    size_t count;
    bool grouped; /* several blocks each: option 0 is each block's fastest, option i > 0 each block's option i - 1 */
};

/* Units of `size` blocks (the last one fewer) over blocks [first, first + count). */
bool chain_units_make(const struct chain *chain, size_t first, size_t count, size_t size, struct unit_list *list,
                struct error *err);
void chain_units_finish(struct unit_list *list);
uint32_t chain_units_block_option(const struct unit_list *list, uint32_t option, uint32_t block);
uint32_t chain_block_fastest_option(const struct chain_block *block);

/* Triangular tables over pairs s <= t. */
static inline size_t pair_count(size_t units) { return units * (units + 1) / 2; }
static inline size_t pair_index(size_t s, size_t t) { return t * (t + 1) / 2 + s; }

/* Least memory in which s..t can run at all, and memory from which on more saves no time, of every pair. `single` gives
 * the first for one unit (from the blocks within a group). Both arrays hold pair_count. */
void chain_least_fill(const struct unit_list *list, const uint32_t *single, uint32_t *least);
void chain_enough_fill(const struct unit_list *list, uint32_t *enough);

/* C(s, t, .): no time at m < lo; values[m - lo] below hi; tail from hi on. */
struct row {
    const float *values;
    uint32_t lo, hi;
    float tail;
};

struct store; /* the bytes of rows, shared by a program and its groups' */

struct program {
    struct unit_list list;
    uint32_t limit;
    uint32_t *least, *enough; /* pairs */
    uint32_t *floor;          /* of each s: rows that begin there are never asked for less */
    struct row *rows;         /* pairs */
    struct program *groups;   /* of each unit, when grouped */
    bool part;                /* it is such a group */
    struct store *store;
};

/* Prepares a program over a chain without filling its rows: units, least and enough memory. */
bool chain_program_begin(struct program *program, const struct chain *chain, size_t first, size_t count, size_t size,
                   struct error *err);
void chain_program_finish(struct program *program);
/* Bytes of all rows under a limit, at most. */
uint64_t chain_program_row_bytes(const struct program *program, uint32_t limit);
/* Fills all rows; `bytes` as from chain_program_row_bytes. */
bool chain_program_solve(struct program *program, uint32_t limit, uint64_t bytes, struct error *err);
float chain_row_value(const struct row *row, uint32_t m);
/* Least excess of a unit alone, or of saving unit s first: and the option that gives it. */
float chain_program_best_option(const struct program *program, size_t s, size_t t, uint32_t m, uint32_t *option);
/* Least excess of a checkpoint at s with the right part from j on. */
float chain_program_best_split(const struct program *program, size_t s, size_t t, uint32_t m, size_t *j);

/* Appends the schedule of a solved program, or (least) of one that was only begun: the one with the least memory. Sizes
 * for the peak are those of `chain`, which the program's may be rounded from. */
bool chain_program_read(const struct program *program, const struct chain *chain, bool least, struct chain_schedule *schedule,
                  struct error *err);

/* min(best[i], constant + x[i] + y[i]) over n elements; x and y may be NULL: then left out. */
void chain_relax(float *restrict best, const float *restrict x, const float *restrict y, float constant, size_t n);

#endif
