/* How many cases are drawn by tests that draw them: a quarter where FATHOM_TEST_FEW is set, as `./dev test` does under the
 * sanitizers, which have seen the same code after the first few. `./dev sanitize` draws all. */
#ifndef FATHOM_ROUNDS_H
#define FATHOM_ROUNDS_H

#include <stdint.h>
#include <stdlib.h>

static inline uint64_t rounds(uint64_t all)
{
    return getenv("FATHOM_TEST_FEW") ? (all + 3) / 4 : all;
}

#endif
