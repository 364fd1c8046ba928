/* How many cases are drawn by tests that draw them: a quarter where FATHOM_TEST_FEW is set, as `./dev test` does under the
 * sanitizers, which have seen the same code after the first few. `./dev sanitize` draws all. */
#ifndef FATHOM_ROUNDS_H
#define FATHOM_ROUNDS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

static inline bool few_rounds(void) { return getenv("FATHOM_TEST_FEW") != NULL; }

static inline uint64_t rounds(uint64_t all) { return few_rounds() ? (all + 3) / 4 : all; }

#endif
