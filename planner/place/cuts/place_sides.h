/* Guesses of who lies below a horizontal cut and who above (place_strands.h).
 *
 * Two strands that live together are put on the two sides, and then whichever strand is the surest, one by one: an event
 * costs where both sides meet there, and more where they do not balance by themselves. A wrong guess shows in sides that
 * together are higher than the arena may be. The best are kept, and grown again from parts of themselves. */
#ifndef FATHOM_PLACE_SIDES_H
#define FATHOM_PLACE_SIDES_H

#include "place_strands.h"

struct sides;

/* For arenas of `target`; NULL with *err set when out of memory. strands and problem stay the caller's, and are needed
 * to the end. sides_destroy takes NULL. */
struct sides *sides_create(const struct strands *strands, const struct problem *problem, uint64_t target, uint64_t seed,
                           struct error *err);
void sides_destroy(struct sides *sides);

/* So many guesses from two strands each, and so many from parts of the best, of which with `mend` half grow anew what is
 * near an event that costs: fewer once the problem is halted or the deadline is there (on clock_now_ns; 0 = none). */
void sides_guess(struct sides *sides, uint32_t fresh, uint32_t again, bool mend, uint64_t deadline_ns);

/* Whether one that is new may do, with at least so many buffers on each side. */
bool sides_any(const struct sides *sides, size_t least);

/* How likely the cut is that would be taken next, with at least so many buffers on each side: small is good, INFINITY
 * where there is none. */
double sides_best(struct sides *sides, size_t least);

/* A new round, in which all that is kept may be told again. */
void sides_begin(struct sides *sides);

/* The most likely cut that may do and has not been told in this round, those of other rounds later: side[] of each buffer
 * is 0 or 1, and the live sums of both sides, at most height[0] and height[1], add up to no more than the target. False
 * where there is none. */
bool sides_take(struct sides *sides, size_t least, uint8_t *side, uint64_t height[2]);

#endif
