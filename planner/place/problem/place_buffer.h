/* What is placed, under which limits, and what comes of it: of every placer, whoever calls it. */
#ifndef FATHOM_PLACE_BUFFER_H
#define FATHOM_PLACE_BUFFER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLACE_UNPLACED     UINT64_MAX
#define PLACE_MEMORY_BYTES ((uint64_t)1 << 30)

struct place_buffer {
    uint64_t lower, upper; /* live at instants lower <= t < upper */
    uint64_t size;         /* bytes; counted as rounded up to align, in the arena and in the bound */
    uint64_t align;        /* offset is a multiple of this; 0 or 1 = any */
    uint64_t fixed;        /* required offset, or PLACE_UNPLACED */
    uint64_t offset;       /* out */
    uint64_t alias;        /* buffers of one number above 0 are names of one storage; 0 = none */
};

/* Names of one storage have the same offset and may overlap each other in time. The storage's alignment is the least
 * common multiple of its names', their sizes round up to it, and at each instant the largest live one counts. */

struct place_options {
    uint64_t capacity;     /* stop as soon as the arena is at most this; 0 = minimise */
    uint64_t enough;       /* the same aim as without, but an arena of at most this need not be made smaller; 0 = none */
    double seconds;        /* limit of it all; 0 = one pass of the fast placers, whose steps are limited instead */
    bool brief;            /* such a pass over 100,000 buffers or more ends at the cheapest placers that come near */
    uint64_t nodes;        /* limit of the exact search, 0 = none */
    uint64_t memory_bytes; /* limit of the exact search, left out where it needs more, and of its kin; 0 = the default */
    uint64_t seed;
    uint32_t threads;                                                               /* 0 = one per core */
    void (*progress)(void *context, uint64_t bound, uint64_t best, double seconds); /* may be NULL */
    void *context;
    const atomic_bool *stop; /* set from outside (a signal handler): finish with the best so far; may be NULL */
};

struct place_result {
    uint64_t arena_bytes;
    uint64_t lower_bound_bytes; /* proved: the live sum, or more where the search was exhausted below it */
    uint64_t peak_instant;      /* an instant at which the largest live sum is reached */
    bool proved_optimal;        /* arena_bytes cannot be smaller: equals the bound, or the search was exhausted */
    double seconds;
    uint64_t nodes;
    uint64_t live_bytes;        /* the largest live sum */
    uint64_t first_bound_bytes; /* before any search: that, or more where a fixed buffer ends above it */
};

#endif
