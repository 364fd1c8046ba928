/* Rows C(s, t, .) of a program: where one is, at which m it is asked, and how it is filled. */
#ifndef FATHOM_CHAIN_ROWS_H
#define FATHOM_CHAIN_ROWS_H

#include <stdatomic.h>

#include "chain_private.h"

struct store {
    float *floats;
    uint64_t bytes;
    _Atomic uint64_t used; /* floats */
};

/* After the end of the chain: takes no time at any m. */
static const struct row chain_no_row = {NULL, 0, 0, 0};

static inline const struct row *chain_row_at(const struct program *program, uint32_t more, size_t s, size_t t)
{
    return &program->rows[state_index(&program->list, more, s, t)];
}

/* What is left of s..t once s is saved under an option. */
static inline const struct row *chain_row_after(const struct program *program, const struct unit_option *o, size_t s,
                                                size_t t, uint32_t more)
{
    return s < t ? chain_row_at(program, chain_more_after(&program->list, o, more), s + 1, t) : &chain_no_row;
}

/* A unit's rows are asked at the limits of the whole, in their own quanta. */
static inline uint32_t chain_group_limit(const struct program *program, uint32_t limit)
{
    uint64_t quanta = (uint64_t)limit * program->list.scale / program->list.inner;
    return quanta < NO_ROOM / 4 ? (uint32_t)quanta : NO_ROOM / 4;
}

/* Fills program->floor. ERROR_MEMORY. */
bool chain_rows_floor(struct program *program, struct error *err);

/* Fills the rows of s..t under every `more`, those of all shorter pairs within them being filled. `scratch` has a float
 * for each m up to what the largest `enough` or the limit is. Of several pairs of one length at once, on threads. */
void chain_rows_fill(struct program *program, size_t s, size_t t, float *scratch);

#endif
