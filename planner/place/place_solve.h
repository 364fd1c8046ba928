/* The placers that call others on pieces of a problem, and all of them in turn. */
#ifndef FATHOM_PLACE_SOLVE_H
#define FATHOM_PLACE_SOLVE_H

#include "place_problem.h"

/* From so many on guesses of cuts are not soon right, and the exact search is of little use by itself. */
#define HARD_BUFFERS 600

/* Each improves *best (whose arena is UINT64_MAX at first) and stops early at `target`: what sticks out is placed anew with
 * what is near it (place_patch.c); the fullest window of time comes first (place_core.c). */
bool patch_improve(const struct problem *problem, uint64_t target, const struct place_options *options,
                   struct placement *best, struct error *err);
bool core_improve(const struct problem *problem, uint64_t target, struct placement *best, struct error *err);

/* What fills rectangles without a gap is one (place_tiles.c), where that leaves few to be placed: as low as what is
 * left can be placed by all placers; it stops early at `target`. Both it and what it takes of the time are bounded. */
bool tiles_improve(const struct problem *problem, uint64_t target, const struct place_options *options,
                   struct placement *best, struct error *err);

/* Stretches of time that no buffer joins (place_parts.c): whether there are several, and each by itself until *best meets
 * max(options->capacity, *bound), which rises where one cannot be as low. */
bool parts_any(const struct problem *problem, bool *any, struct error *err);
bool parts_improve(const struct problem *problem, const struct place_options *options, struct placement *best,
                   uint64_t *bound, uint64_t *nodes, struct error *err);

/* Horizontal cuts (place_cuts.c), in rounds of rising cost; NULL with *err set when out of memory. problem and options
 * stay the caller's, and are needed to the end. cuts_destroy takes NULL. */
struct cuts;
struct cuts *cuts_create(const struct problem *problem, const struct place_options *options, uint64_t target,
                         struct error *err);
void cuts_destroy(struct cuts *cuts);
/* Whether there is another round. */
bool cuts_more(const struct cuts *cuts);
/* One round, until *best meets the target; *nodes counts on, and so does *charged: what has been given of options->nodes,
 * used or not. */
bool cuts_improve(struct cuts *cuts, struct placement *best, uint64_t *charged, uint64_t *nodes, struct error *err);

/* What a side of a cut, or a part of one, may take of the search's nodes: in proportion to it. And whether it is too high
 * for what is found of the other to be of use. */
static inline uint64_t side_nodes(uint32_t effort, size_t count) { return effort * (512 + 2 * (uint64_t)count); }
static inline bool side_fails(uint64_t arena, uint64_t capacity) { return arena > capacity + capacity / 16; }

/* All placers in turn: place_solve of a problem whose bound, deadline and quit are set. best->offset is the caller's, for
 * mem_free, on failure too. */
bool problem_solve(const struct problem *problem, const struct place_options *options, struct placement *best,
                   struct place_result *result, struct error *err);

#endif
