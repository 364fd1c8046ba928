/* What each block of a graph costs to keep, run and run again: the figures that chain.h schedules with, read off the
 * programs that keep every block alike. */
#ifndef FATHOM_BLOCK_COSTS_H
#define FATHOM_BLOCK_COSTS_H

#include "chain.h"
#include "program.h"
#include "variant_request.h"

struct block_costs {
    struct chain chain;           /* options carry codes of program.h */
    uint32_t *options, *resident; /* of each block: how many options in all, how many (the first) without copies */
    struct chain_option *first;   /* of each block, as measured */
    uint64_t quantum_bytes;       /* sizes of activations are multiples of it, or rounded up */
    uint64_t fixed_bytes; /* of the arena, whatever the schedule: persistent tensors, gradients, statistics, input */
};

/* The caller ends *blocks with block_costs_finish, also after a failure. ERROR_MEMORY. */
bool block_costs_measure(const struct variant_request *request, const struct graph *graph, struct block_costs *blocks,
                    struct error *err);
/* With copies at this price for a quantum's way to host memory and back; 0, as measured: without any. */
void block_costs_set_price(struct block_costs *blocks, double copy_seconds);
/* `count` blocks, spread evenly, wait in host memory, under `keep`, which says so; the others as without copies. 0: all. */
void block_costs_send(struct block_costs *blocks, uint32_t keep, size_t count);
void block_costs_finish(struct block_costs *blocks);

/* Chain quanta that an arena of so many bytes leaves; 0 when the fixed part alone is larger. */
uint64_t block_costs_quanta(const struct block_costs *blocks, uint64_t arena_bytes);

#endif
