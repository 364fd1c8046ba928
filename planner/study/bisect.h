/* The largest number that fits, where small ones do and large ones do not, with few plans: each plan that is made says
 * where to look next, and misleading guesses cannot make the search slow. */
#ifndef FATHOM_BISECT_H
#define FATHOM_BISECT_H

#include <stdbool.h>
#include <stdint.h>

struct bisect {
    uint32_t fits;  /* the largest known to; one below the least possible when none is */
    uint32_t unfit; /* the least known not to; UINT32_MAX = none is */
    uint32_t most;  /* the largest possible */
    uint32_t guess; /* by the last plan's figures */
    uint32_t tried; /* so far */
};

/* Whether there is anything left to try. */
bool bisect_goes_on(const struct bisect *bisect);
/* The number to try: the guess, or its neighbour where the guess is an end of what is known; every third time the middle,
 * or double. */
uint32_t bisect_next(const struct bisect *bisect);
/* What came of it. The caller sets the next guess. */
void bisect_tell(struct bisect *bisect, uint32_t number, bool fits);
/* A guess where a plan said nothing. */
uint32_t bisect_middle(const struct bisect *bisect);

#endif
