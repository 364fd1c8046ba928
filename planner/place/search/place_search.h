/* Exact search: does a placement within a given capacity exist?
 *
 * Depth-first over compact placements (every buffer rests on the floor or on another). State: a floor under every
 * section, below which nothing more goes. At a step, one section s at the bottom of a valley of that floor is chosen,
 * the one with the fewest choices: either one of the buffers that fit there lies on the floor over s (one child each),
 * or none does, and the floor over s rises to the next height at which one could rest. No step leaves a hole that is
 * not ruled out.
 *
 * Pruned by: the sections' bound (the buffers still to come over s, each from its least offset on, as jobs with release
 * times on one machine: Moffitt's section inference, ASPLOS 2023, made exact for one section); rest on something that
 * is there; identical buffers in one order; two of the same lifetime directly on each other in one order; a buffer as
 * long as its whole component goes to the top; components that share no buffer are solved one by one.
 *
 * Every rule keeps the compact placement with the smallest weighted sum of offsets, so an exhausted search is a proof.
 * Not so a search that jumps: after a failure it goes back to the latest placement which that follows from, by what put
 * the section's buffers where they are, and forgets that rest is on what is there and that components are those of now.
 */
#ifndef FATHOM_PLACE_SEARCH_H
#define FATHOM_PLACE_SEARCH_H

#include <stdatomic.h>

#include "place_problem.h"

enum search_verdict { SEARCH_FOUND, SEARCH_IMPOSSIBLE, SEARCH_STOPPED, SEARCH_NO_MEMORY };

enum search_order { SEARCH_BY_SIZE, SEARCH_BY_AREA, SEARCH_BY_LENGTH, SEARCH_BY_LOAD, SEARCH_ORDERS };

/* What does not change between searches of one problem: who lives with whom, who lives in which section. */
struct search_tables {
    const struct problem *problem;
    bool stopped; /* the problem's deadline came first: not to be searched */
    size_t *neighbour_start; /* count + 1 */
    uint32_t *neighbours;
    size_t *member_start; /* sections + 1 */
    uint32_t *members;
    uint32_t *twin;       /* the previous buffer of the same lifetime, size and alignment, or UINT32_MAX */
    uint32_t *span;       /* a number for each distinct lifetime */
    uint64_t *load;       /* the largest live sum among each buffer's sections */
    uint64_t trail_bytes; /* most that each search's stacks may take: set before the first runs */
};
/* What the tables and one search without its stacks will take. */
bool search_tables_measure(const struct problem *problem, uint64_t *table_bytes, uint64_t *search_bytes,
                           struct error *err);
bool search_tables_init(struct search_tables *tables, const struct problem *problem, struct error *err);
void search_tables_finish(struct search_tables *tables);

struct search;
/* One search's working memory; NULL with *err set when out of memory. search_destroy takes NULL. */
struct search *search_create(const struct search_tables *tables, struct error *err);
void search_destroy(struct search *search);

struct search_job {
    uint64_t capacity;
    uint64_t most_nodes;
    enum search_order order;
    double noise; /* 0 = the plain order; otherwise keys are scaled by up to 1 ± noise */
    uint64_t seed;
    bool jump; /* finds sooner, but one that ends without a placement is SEARCH_STOPPED: no proof */
    uint64_t nodes_before;        /* what the lane used before this job */
    const _Atomic uint64_t *stop; /* ends the search once nodes_before + nodes exceeds it; may fall meanwhile */
    const atomic_bool *quit;      /* from outside; may be NULL */
    uint64_t deadline_ns;         /* on clock_now_ns, 0 = none */
};
/* Runs one job from the start; on SEARCH_FOUND offset[] holds the placement. *nodes is what it used. */
enum search_verdict search_run(struct search *search, const struct search_job *job, uint64_t *offset, uint64_t *nodes);

/* Whether the exact search is of use: its memory and its steps grow with the sum of all lifetimes in sections. */
bool ladder_fits(const struct problem *problem, const struct place_options *options, bool *fits, struct error *err);

/* As many as options->threads asks for. */
uint32_t ladder_lanes(const struct place_options *options);

/* The exact search over capacities, restarts and threads, until *best meets max(options->capacity, problem->bound), a
 * limit is reached or nothing is left to find. *bound rises when a capacity is proved impossible. */
bool ladder_improve(const struct problem *problem, const struct place_options *options, struct placement *best,
                    uint64_t *bound, uint64_t *nodes, struct error *err);

#endif
