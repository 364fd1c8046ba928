/* Counter-based random numbers (Philox4x32-10, Salmon et al., SC 2011): the n-th number of a stream is a function of
 * (seed, stream, n) alone, so a resumed or a differently split run draws the same numbers. */
#ifndef FATHOM_RANDOM_H
#define FATHOM_RANDOM_H

#include <stdint.h>

struct random {
    uint64_t seed;
    uint64_t stream;  /* what the numbers are for: combine purpose, epoch, image, op */
    uint64_t counter; /* the next number's index */
};

/* Streams of different purposes never meet. */
enum random_purpose { RANDOM_WEIGHTS = 1, RANDOM_ORDER, RANDOM_AUGMENT, RANDOM_DROPOUT, RANDOM_SYNTHETIC, RANDOM_SEARCH,
                      RANDOM_SAMPLE, RANDOM_COLOUR };
struct random random_begin(uint64_t seed, enum random_purpose purpose, uint64_t a, uint64_t b);

uint32_t random_next(struct random *random);
/* Uniform in [0, n), n > 0, without modulo bias. */
uint32_t random_below(struct random *random, uint32_t n);
/* Uniform in [0, 1). */
double random_real(struct random *random);
/* Standard normal (Box–Muller). */
double random_normal(struct random *random);
/* The four words of one counter value, for backends that draw in parallel. */
void random_block(uint64_t seed, uint64_t stream, uint64_t block, uint32_t out[4]);

#endif
