/* A set of small numbers that knows its neighbours: words of 64 bits in levels, each of which says which words of the
 * level below have any. */
#ifndef FATHOM_PLACE_BITS_H
#define FATHOM_PLACE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

#define BITS_LEVELS 6 /* 64^6 numbers: more than there are buffers */
#define BITS_NONE   SIZE_MAX

struct bits {
    uint64_t *words;
    size_t level_start[BITS_LEVELS], level_count, word_count;
};

/* Numbers below `limit`; none at first. Ended by bits_finish, which takes a zeroed object. */
bool bits_init(struct bits *bits, size_t limit, struct error *err);
void bits_finish(struct bits *bits);

void bits_clear(struct bits *bits);
void bits_put(struct bits *bits, size_t number);
void bits_take(struct bits *bits, size_t number);

/* The least at or above a number, or the greatest below it; BITS_NONE where there is none. */
size_t bits_from(const struct bits *bits, size_t number);
size_t bits_before(const struct bits *bits, size_t number);

#endif
