/* Which outputs of a block are worth dropping, between keeping all and running the block again: a choice for each of its
 * forward ops. */
#ifndef FATHOM_KEEP_CHOICES_H
#define FATHOM_KEEP_CHOICES_H

#include "cost.h"
#include "keep.h"

#define KEEP_MOST_CHOICES 8

/* Codes of KEEP_SOME, from the least that is kept to the most; none keeps as much as another and takes as long, nor is
 * as KEEP_ALL or KEEP_CONVOLUTIONS. */
struct keep_choices {
    uint32_t count;
    uint32_t keep[KEEP_MOST_CHOICES];
    uint64_t parts_bytes;  /* what the block's output is made of, of what backward ops read (KEEP_REMAKE_INPUT) */
    uint64_t all_parts, convolution_parts, parts[KEEP_MOST_CHOICES]; /* of that, what is not there: under KEEP_ALL,
                                                                        KEEP_CONVOLUTIONS, keep[] */
    double remake_seconds; /* from that */
};

/* Bytes that come back with the block's output if that is made again: what it is made of, and is not there under `keep`,
 * whatever its flags. */
uint64_t keep_choices_parts(const struct keep_choices *choices, uint32_t keep);

/* Fills choices[] of each block of the graph: by bytes kept and seconds of ops that run again, which overlooks what is
 * there for an instant only. All subsets of a block's largest outputs, ten at most, are looked at. ERROR_MEMORY. */
bool keep_choices_find(const struct graph *graph, const struct cost_speed *speed, struct keep_choices *choices,
                       struct error *err);

#endif
