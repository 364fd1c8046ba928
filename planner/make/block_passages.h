/* What happens to each block of a graph in one program: its bytes over time, and its seconds. */
#ifndef FATHOM_BLOCK_PASSAGES_H
#define FATHOM_BLOCK_PASSAGES_H

#include "draft.h"
#include "variant_request.h"

/* What happens to a block in one program. */
struct passage {
    uint64_t forward_most, backward_most; /* of live bytes */
    uint64_t remake_most;                 /* backward, from where a block before is run again on */
    uint64_t resident;                    /* after its forward ops */
    uint64_t sent;                        /* bytes that go to host memory */
    double forward_seconds, backward_seconds;
};

/* Bytes of tensors that are there under any schedule, which passages leave out. */
uint64_t block_passages_fixed(const struct graph *graph, const struct draft *draft);

/* Adds to passages[] of each block, zeroed, what a draft with lifetimes has. ERROR_MEMORY. */
bool block_passages_measure(const struct variant_request *request, const struct graph *graph, const struct draft *draft,
                            struct passage *passages, struct error *err);

#endif
