/* The recomputation program's parts: units, least memory, tables, read-out.
 *
 * The program runs over units of one block each; or, for chains too long for that, of several consecutive blocks, whose
 * outer checkpoints then lie between units and whose blocks are saved together (the blocks of a unit alone are still
 * scheduled exactly). It counts in `scale` quanta of the chain, what is held rounded up and what is freed rounded down; or
 * the other way round, for a bound (optimistic).
 *
 * C(s, t, m) is as in chain.h, from 0. Times are kept as the excess over running each block once forward and once
 * backward in its fastest way. */
#ifndef FATHOM_CHAIN_PRIVATE_H
#define FATHOM_CHAIN_PRIVATE_H

#include "chain.h"

#define UNIT_MOST_OPTIONS (CHAIN_MOST_OPTIONS + 1)
#define NO_ROOM           UINT32_MAX
#define CHAIN_MOST_UNITS  512u /* exact program's; beyond, blocks are taken together */
/* Of all sizes of a chain together, in the program's own quanta. */
#define CHAIN_MOST_QUANTA ((uint64_t)1 << 30)
#define CHAIN_TABLE_BYTES ((uint64_t)512 << 20)

struct unit_option {
    uint32_t saved;         /* kept from forward to backward */
    uint32_t freed;         /* of the unit's input, meanwhile */
    uint32_t forward_need;  /* most at one instant of the forward run, what is saved included, the gradient not */
    uint32_t backward_need; /* likewise backward, gradients included */
    uint32_t remake_need;   /* of that, from where the input is made again on, if it is */
    uint32_t parts;         /* comes back when the output is made again, if it is known that the unit is saved so */
    double excess;          /* seconds of backward and copies over the fastest way */
    uint32_t way;           /* of all that there are, which this is: chain_units_block_option */
    bool remakes, holds;    /* its input is made again from the unit before; is there all the time */
    bool light;             /* no more comes back of it than the unit's `parts`, which is what rows of the table count:
                             * otherwise the next one's input is made again in streaks alone */
};

struct unit {
    uint32_t first, last; /* blocks, inclusive */
    uint32_t output, gradient;
    uint32_t remade;              /* comes back with its input when later ones are made again */
    uint32_t parts;               /* of the unit itself in the `remade` and remake_need of the next one */
    uint32_t freed;               /* by its input when that goes to host memory; 0 when it cannot */
    uint32_t run_own;             /* quanta to run the first block, input not counted */
    uint32_t run_first, run_next; /* most to run through keeping nothing: input not counted, counted */
    uint32_t options, fastest;
    struct unit_option option[UNIT_MOST_OPTIONS];
    double forward_seconds, spared_seconds;
    double offload_seconds; /* the price of its input's way to host memory and back */
};

/* A unit that holds its input is saved under an option, and so many units after it in a way that makes theirs again. */
struct streak {
    uint32_t hold;          /* index of the first one's option */
    uint32_t way, length;   /* of the others */
    uint32_t saved;         /* by all, without what they free */
    uint32_t forward_need;  /* as of one option: most at one instant of all their forward runs */
    uint32_t backward_need; /* likewise backward, with all that comes back */
    double excess;
};

struct streaks {
    struct streak *list;
    size_t count, capacity;
};

struct unit_list {
    const struct chain *chain; /* borrowed */
    struct unit *units;
    size_t count;
    uint32_t scale, inner;
    uint32_t more; /* units in a row whose inputs may be made again; 0 where none can be */
    struct streaks *streaks; /* of those that begin at each unit; NULL where none do, and until rows are filled */
    bool optimistic; /* what is held is rounded down, and what is freed up: no slower than any schedule */
    bool grouped; /* several blocks each: way 0 is each block's fastest, way i > 0 each block's option i - 1 */
};

/* The blocks [first, first + count) in units of `size` (the last one fewer), counted in `scale` quanta, and inside a
 * unit in `inner` ones. */
struct unit_cut {
    size_t first, count, size;
    uint32_t scale, inner;
    bool optimistic;
};

bool chain_units_make(const struct chain *chain, const struct unit_cut *cut, struct unit_list *list, struct error *err);
void chain_units_finish(struct unit_list *list);
/* The option of a block of the unit under its option `option`. */
uint32_t chain_units_block_option(const struct unit_list *list, const struct unit *unit, uint32_t option,
                                  uint32_t block);
/* Seconds of an option's backward and copies. */
double chain_option_seconds(const struct chain *chain, const struct chain_option *option);
uint32_t chain_block_fastest_option(const struct chain *chain, const struct chain_block *block);
/* Quanta that are free while the block's input is away: not the chain's, which is not counted. */
uint32_t chain_block_input(const struct chain *chain, size_t block);
/* The same between forward and backward under an option. */
uint32_t chain_block_freed(const struct chain *chain, size_t block, uint32_t option);

/* The quanta must be this much larger for sums over the chain to fit the program's numbers: 1 for any real chain. */
uint32_t chain_least_scale(const struct chain *chain);

/* Fills list->streaks. ERROR_MEMORY. */
bool chain_streaks_make(struct unit_list *list, struct error *err);
void chain_streaks_finish(struct unit_list *list);
/* The unit's option of that way which makes its input again; its `options` where it has none. */
uint32_t chain_streak_option(const struct unit *unit, uint32_t way);
/* Most in use while the streak's units run, with the gradient of t's output. */
uint32_t chain_streak_need(const struct unit_list *list, const struct streak *streak, size_t t);

/* Triangular tables over pairs s <= t. */
static inline size_t pair_count(size_t units) { return units * (units + 1) / 2; }
static inline size_t pair_index(size_t s, size_t t) { return t * (t + 1) / 2 + s; }
/* The same by s and then t, of so many units. */
static inline size_t pair_across(size_t units, size_t s, size_t t) { return s * (2 * units - s + 1) / 2 + t - s; }
static inline size_t state_count(const struct unit_list *list) { return pair_count(list->count) * (list->more + 1); }
/* Of a pair before which up to `more` inputs may be made again. */
static inline size_t state_index(const struct unit_list *list, uint32_t more, size_t s, size_t t)
{
    return more * pair_count(list->count) + pair_index(s, t);
}

/* How many more units in a row may have their inputs made again: at s before saving it `more`, here after it. */
uint32_t chain_more_after(const struct unit_list *list, const struct unit_option *o, uint32_t more);
/* Alone, the gradient of t's output included. */
uint32_t chain_need_alone(const struct unit_list *list, const struct unit_option *o, size_t s, size_t t, uint32_t more);
/* Saving s under an option, then the rest (s < t) in `rest`. */
uint32_t chain_need_saving(const struct unit_list *list, const struct unit_option *o, size_t s, size_t t,
                           uint32_t more, uint32_t rest);
/* Most quanta to run s..j-1 keeping nothing, the input of s not counted: it stays, or goes once s ran its first block.
 */
struct runs {
    uint32_t here, away;
};
struct runs chain_runs_begin(const struct unit_list *list, size_t s);
void chain_runs_extend(const struct unit_list *list, size_t s, size_t next, struct runs *runs);

/* Least memory in which s..t can run at all, after as many that are remade as `more` says, and memory from which on more
 * saves no time, of every pair. `single` gives the first for one unit (from the blocks within a group). The arrays hold
 * state_count and pair_count. */
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
    uint32_t low, high;       /* limits whose schedules can be read off the rows */
    uint32_t *least;          /* pairs under every `more` */
    uint32_t *enough;         /* pairs */
    uint32_t *floor;          /* of each s: rows that begin there are never asked for less */
    struct row *rows;         /* pairs under every `more` */
    struct row *across;       /* those with none more once again, by s and then t: as splits of s..t read them in turn */
    struct program *groups;   /* of each unit, when grouped */
    bool part;                /* it is such a group */
    struct store *store;
};

/* Prepares a program over a chain without filling its rows: units, least and enough memory. */
bool chain_program_begin(struct program *program, const struct chain *chain, const struct unit_cut *cut,
                         struct error *err);
void chain_program_finish(struct program *program);
/* Least memory for the whole. */
uint32_t chain_program_least(const struct program *program);
/* Bytes of the rows for limits from low to high, at most: between units, and inside them. */
uint64_t chain_program_row_bytes(const struct program *program, uint32_t low, uint32_t high);
uint64_t chain_program_inner_bytes(const struct program *program, uint32_t high);
/* Fills all rows. */
bool chain_program_solve(struct program *program, uint32_t low, uint32_t high, struct error *err);
float chain_row_value(const struct row *row, int64_t m);
/* Least excess of a unit alone, or of saving unit s first: and the option that gives it. */
float chain_program_best_option(const struct program *program, size_t s, size_t t, uint32_t more, uint32_t m,
                                uint32_t *option);

/* Least excess of a streak that begins at s; NULL where none fits. */
float chain_program_best_streak(const struct program *program, size_t s, size_t t, uint32_t m,
                                const struct streak **streak);

struct split {
    size_t j;     /* where the right part begins */
    bool offload; /* the input of s is on the host meanwhile */
};
/* Least excess of a checkpoint at s. */
float chain_program_best_split(const struct program *program, size_t s, size_t t, uint32_t m, struct split *split);

/* Appends the schedule of a solved program under a limit in its range. Without a limit (NO_ROOM) that of a program that
 * was only begun: the one with the least memory. */
bool chain_program_read(const struct program *program, uint32_t limit, struct chain_schedule *schedule,
                        struct error *err);

/* A way to give up some of what is kept when the last block's backward begins, for time. */
struct sale {
    double price;           /* seconds of a quantum */
    double quanta, seconds; /* with all the cheaper ones */
};

/* The fractional knapsack of what is kept then, for any limit. */
struct knapsack {
    double fastest_seconds; /* with no limit */
    double quanta;          /* kept then */
    double gradient;        /* quanta that are there besides */
    struct sale *sales;     /* the cheapest first */
    size_t count;
};

/* The caller ends it with chain_knapsack_finish. ERROR_MEMORY. */
bool chain_knapsack_make(const struct chain *chain, struct knapsack *knapsack, struct error *err);
void chain_knapsack_finish(struct knapsack *knapsack);
/* No schedule under the limit takes less. */
double chain_knapsack_seconds(const struct knapsack *knapsack, uint64_t limit);

/* min(best[i], constant + x[i] + y[i]) over n elements; x and y may be NULL: then left out. */
void chain_relax(float *restrict best, const float *restrict x, const float *restrict y, float constant, size_t n);

/* Likewise with the least of constants[k] + rows[k][i]. */
#define CHAIN_TOGETHER 4
void chain_relax_together(float *restrict best, const float *const rows[CHAIN_TOGETHER],
                          const float constants[CHAIN_TOGETHER], size_t n);

#endif
