/* What each block of a graph costs to keep, run and run again: the figures that chain.h schedules with, read off the
 * programs that keep every block alike. */
#ifndef FATHOM_BLOCKS_H
#define FATHOM_BLOCKS_H

#include "chain.h"
#include "program.h"
#include "variant.h"

struct blocks {
    struct chain chain;           /* options carry codes of program.h */
    uint32_t *options, *resident; /* of each block: how many options in all, how many (the first) without copies */
    uint64_t quantum_bytes;       /* sizes of activations are multiples of it, or rounded up */
    uint64_t fixed_bytes; /* of the arena, whatever the schedule: persistent tensors, gradients, statistics, input */
};

/* The caller ends *blocks with blocks_finish, also after a failure. ERROR_MEMORY. */
bool blocks_measure(const struct variant_request *request, const struct graph *graph, struct blocks *blocks,
                    struct error *err);
/* With copies at this price for a quantum's way to host memory and back; 0, as measured: without any. */
void blocks_set_price(struct blocks *blocks, double copy_seconds);
void blocks_finish(struct blocks *blocks);

/* Chain quanta that an arena of so many bytes leaves; 0 when the fixed part alone is larger. */
uint64_t blocks_quanta(const struct blocks *blocks, uint64_t arena_bytes);

#endif
