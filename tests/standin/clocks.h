/* Vector clocks: whether each access to memory has an ordering edge from those before it that it conflicts with, whatever
 * order they happened to run in. A lane is what runs in order (a stream; a stream inside a replay). Shared by the stand-ins
 * for a backend and for CUDA. After FastTrack (Flanagan, Freund, PLDI 2009). */
#ifndef FATHOM_CLOCKS_H
#define FATHOM_CLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#define CLOCK_LANES 64u

/* Of each lane, how many of its accesses are known to have been before. */
struct clock {
    uint32_t at[CLOCK_LANES];
};

/* So many bytes that one clock stands for. */
struct granule {
    uint32_t written_at, read_at; /* of the lanes that did so last */
    uint32_t readers;             /* number of a clock where lanes read with nothing between them, else 0 */
    uint8_t writer, reader;
    uint16_t valid;               /* bytes that may be touched, for who keeps count */
};

/* Granules of zeros: nobody has touched them. Both borrowed. */
struct shadow {
    struct granule *granules;
    uint64_t granule_bytes;
};

struct conflict {
    bool writes, wrote; /* the access; the one that was before */
    uint64_t offset;    /* of the granule */
    uint8_t lane;       /* of the one before */
};

void clock_learn(struct clock *clock, const struct clock *other);

/* An access of `lane` at clock->at[lane]. Not from two threads at once. False with the first conflict. */
bool shadow_touch(struct shadow *shadow, const struct clock *clock, uint8_t lane, uint64_t offset, uint64_t bytes,
                  bool writes, struct conflict *conflict);

/* The same for one granule. */
bool granule_touch(struct granule *granule, const struct clock *clock, uint8_t lane, bool writes,
                   struct conflict *conflict);

#endif
