/* A placement problem in the solver's own terms: time cut into sections, sizes rounded up, empty buffers left out.
 *
 * A section is a maximal set of buffers that live together (a maximal clique of the interval graph); sections follow
 * one another in time and a buffer covers the run first <= s < last. Two buffers live together exactly when their runs
 * meet, and the live sum of every instant is at most that of some section. */
#ifndef FATHOM_PLACE_PROBLEM_H
#define FATHOM_PLACE_PROBLEM_H

#include "errors.h"
#include "place_buffer.h"

struct problem {
    size_t count;
    uint32_t sections;
    uint32_t *first, *last;            /* of each buffer */
    uint64_t *size;                    /* rounded up to the buffer's alignment */
    uint64_t *align;                   /* at least 1 */
    uint64_t *fixed;                   /* required offset or PLACE_UNPLACED */
    uint32_t *origin;                  /* index in the caller's array */
    const struct place_buffer *source; /* that array, as long as it is there */
    uint64_t *alias;                   /* names of one storage, NULL where none; solvers see none (place_groups.h) */
    uint64_t *live;                    /* of each section: the sum of sizes */
    uint64_t *instant;                 /* of each section: a time at which all its buffers live */
    uint64_t bound;                    /* no arena is smaller */
    uint32_t peak;                     /* a section with the largest live sum */
    uint64_t chunk;          /* first fit crosses no multiple of this, and alignment counts from it; 0 = one arena */
    uint64_t start_ns;       /* on clock_now_ns: when it was translated */
    uint64_t deadline_ns;    /* likewise: placers end then with what they have; 0 = none */
    const atomic_bool *quit; /* from outside, likewise; may be NULL */
    uint64_t enough;         /* an arena that need not be made smaller, though the target may be below it; 0 = none */
    uint32_t effort; /* as a side of a cut: descents of the exact search that it has (place_cuts.c); 0 = it is none */
    bool of_hard;    /* a side of a problem of many buffers */
    bool any_fixed;
    bool mixed_align; /* alignments differ, so that an offset may need padding */
};

/* Lifetimes, sizes, alignments and fixed offsets, each by itself and the sum of all: ERROR_INPUT names the offending
 * buffer by its index. */
bool problem_check_buffers(const struct place_buffer *buffers, size_t count, struct error *err);

/* Checks the buffers and translates them; ERROR_INPUT names the offending one by its index. Ended by problem_finish,
 * which takes a zeroed object. On failure *problem is finished already. */
bool problem_init(struct problem *problem, const struct place_buffer *buffers, size_t count, struct error *err);
void problem_finish(struct problem *problem);

/* ERROR_INPUT when two fixed buffers overlap in space and time. */
bool problem_check_fixed(const struct problem *problem, struct error *err);

static inline bool problem_overlap(const struct problem *problem, size_t a, size_t b)
{
    return problem->first[a] < problem->last[b] && problem->first[b] < problem->last[a];
}

/* The greatest; a where b is 0. */
static inline uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static inline uint64_t align_up(uint64_t offset, uint64_t align)
{
    if ((align & (align - 1)) == 0) return (offset + align - 1) & ~(align - 1);
    uint64_t rest = offset % align;
    return rest ? offset + align - rest : offset;
}

/* The next offset from `at` up that is aligned and, with chunks (0 = one arena), leaves the buffer whole inside one. */
static inline uint64_t settle_offset(uint64_t at, uint64_t size, uint64_t align, uint64_t chunk)
{
    if (chunk == 0) return align_up(at, align);
    uint64_t base = at / chunk * chunk, offset = align_up(at - base, align);
    return offset + size <= chunk ? base + offset : base + chunk;
}

/* A complete assignment; offset[] has problem->count elements. */
struct placement {
    uint64_t *offset;
    uint64_t arena;
};

/* Whether the deadline has passed or someone asked to stop: a placer that has a placement then ends. */
bool problem_halted(const struct problem *problem);

/* Whether a placer that aims at `target` ends with an arena. */
static inline bool problem_content(const struct problem *problem, uint64_t target, uint64_t arena)
{
    return arena <= target || arena <= problem->enough;
}

/* Tells options->progress, where somebody listens, how far a search of the problem has come since its start. */
void problem_report(const struct problem *problem, const struct place_options *options, uint64_t bound, uint64_t arena);

/* What all offsets of compact placements are multiples of: they are sums of sizes from zero or a fixed offset on,
 * rounded up to alignments. */
uint64_t problem_quantum(const struct problem *problem);

uint64_t problem_arena(const struct problem *problem, const uint64_t *offset);

/* Of a list in which buffers lie anywhere, one that will be asked for so many buffers later is fetched. Inlined: of a
 * function that only fetches GCC drops the calls. */
#define PROBLEM_AHEAD 16
static inline __attribute__((always_inline)) void problem_fetch(const struct problem *problem, uint32_t buffer)
{
    __builtin_prefetch(&problem->first[buffer]);
    __builtin_prefetch(&problem->last[buffer]);
    __builtin_prefetch(&problem->size[buffer]);
    __builtin_prefetch(&problem->align[buffer]);
}

#endif
