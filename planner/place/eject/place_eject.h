/* Insertion with ejection: a placement within a given capacity, looked for by a search that proves nothing and finds
 * what exact search does not, where many buffers live at once and there is some room between them.
 *
 * All buffers but a few are placed. One of those few, mostly that which weighs most, is put where what has to leave for
 * it weighs least; what leaves waits in turn, and what made others leave weighs more from then on, so that what is hard
 * to place comes to stay (Nagata, Bräysy, Operations Research Letters 37(5), 2009, of vehicles and their routes). What
 * is placed has no offsets, only an order: who lies below whom. The least and the greatest offset that the order allows
 * to each, the longest paths from the floor and to the ceiling, tell what is in the way of a new one: all room between
 * two that can be pushed apart is one gap, as with tasks in a disjunctive graph (Roy, Sussmann, 1964). A step changes
 * few of those paths, and works out no others. */
#ifndef FATHOM_PLACE_EJECT_H
#define FATHOM_PLACE_EJECT_H

#include "place_problem.h"

/* Whether it is of use: one alignment, nothing fixed, not too many buffers, offsets that fit its words. */
bool eject_fits(const struct problem *problem);

/* NULL with *err set when out of memory; problem and options stay the caller's, and are needed to the end.
 * eject_destroy takes NULL. */
struct eject;
struct eject *eject_create(const struct problem *problem, const struct place_options *options, uint32_t lanes,
                           struct error *err);
void eject_destroy(struct eject *eject);

/* Looks for arenas from *best's down to `target`, which is at least the bound, each lane (thread) with at most `steps`
 * insertions at a time, until *best meets it, nothing more is found or the problem is halted. The same seed and lanes
 * find the same. *nodes counts insertions on. */
void eject_improve(struct eject *eject, uint64_t target, uint64_t steps, struct placement *best, uint64_t *nodes);

#endif
