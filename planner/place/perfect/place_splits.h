/* Ways to take what ends and begins at one instant: for one vertex of the drawing (place_pq.h), or for two, as some of
 * the ending buffers hand over to some of the beginning ones whose sizes add up to the same.
 *
 * Each way has a likelihood. Two vertices are seldom at one instant; sizes add up to the same by chance the more often
 * the more sets of so many there are; and what has to be forced together, with the loss of many orders of the tree, is
 * likely to be several vertices. */
#ifndef FATHOM_PLACE_SPLITS_H
#define FATHOM_PLACE_SPLITS_H

#include <math.h>

#include "place_pq.h"

#define SPLITS_MOST 64

/* The logarithms of two C libraries differ in their last digits. In these steps they do not, and sums of them are exact,
 * so that likelihoods compare alike everywhere. */
#define SPLITS_STEPS 4096.0
static inline double splits_round(double logarithm) { return floor(logarithm * SPLITS_STEPS + 0.5) / SPLITS_STEPS; }

/* Buffers that end and that begin, as positions in items[]. */
struct vertex {
    size_t ends, starts;
    uint32_t end_count, start_count;
    uint32_t choice; /* the choice that made it, or PQ_NONE */
};

struct split {
    struct vertex first, second; /* the second is empty where the vertex is one */
    double key;                  /* the negative logarithm of the likelihood, but for a constant */
    uint64_t name;               /* the same for the same parts */
};

/* Some of a list: by bits, by up to three positions + 1, by bits of two halves, or whose blocks are among the bits. */
enum part_form { PART_BITS, PART_FEW, PART_HALVES, PART_BLOCKS };

struct part {
    uint32_t code, more;
    enum part_form form;
};

struct way {
    double key;
    struct part ends, starts;
};

struct splits {
    struct pq *pq;
    const uint64_t *size; /* by buffer */
    uint64_t unit;        /* sizes are multiples of it */
    uint64_t seed;
    double noise;         /* added to keys, at most */
    uint32_t *items;      /* lists of vertices, those of splits among them */
    size_t item_count, item_capacity;
    uint32_t *block; /* scratch, by buffer */
    double hopeless; /* the loss of what cannot stand together, at the vertex at hand */
    uint64_t work;   /* subsets listed and ways looked at so far */
    void *scratch[2]; /* of sums */
    size_t scratch_capacity[2];
    struct way ways[SPLITS_MOST];
    size_t way_count;
    size_t most_ways; /* of which so many become splits */
    /* of the last question */
    struct split found[SPLITS_MOST + 1];
    size_t count;
};

/* Fills found[] with ways to take the vertex, the likeliest first. False = out of memory. */
bool splits_find(struct splits *splits, const struct vertex *vertex, struct error *err);

/* The same for the same buffers that end and begin. */
uint64_t splits_name(const struct splits *splits, const struct vertex *vertex);
/* Frees items, block and what questions have made. */
void splits_finish(struct splits *splits);

#endif
