#include "bisect.h"

/* The least that is out of the question. */
static uint32_t end_of(const struct bisect *b) { return b->unfit <= b->most ? b->unfit : b->most + 1; }

bool bisect_goes_on(const struct bisect *b) { return b->fits + 1 < end_of(b); }

uint32_t bisect_middle(const struct bisect *b) { return b->fits + (end_of(b) - b->fits) / 2; }

uint32_t bisect_next(const struct bisect *b)
{
    uint32_t end = end_of(b);
    if (b->tried % 3 == 2) {
        if (b->unfit <= b->most) return bisect_middle(b);
        return b->fits > b->most / 2 ? b->most : 2 * b->fits + 1;
    }
    if (b->guess <= b->fits) return b->fits + 1;
    return b->guess < end ? b->guess : end - 1;
}

void bisect_tell(struct bisect *b, uint32_t number, bool fits)
{
    b->tried++;
    if (fits)
        b->fits = number;
    else
        b->unfit = number;
}
