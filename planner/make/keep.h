/* What of a block is kept between its forward and its backward pass. */
#ifndef FATHOM_KEEP_H
#define FATHOM_KEEP_H

#include "graph.h"

/* What a saved block keeps for its backward: chain_step.keep, one mode and any of the flags. */
enum keep_mode {
    KEEP_ALL,          /* every output that a backward op reads */
    KEEP_CONVOLUTIONS, /* its input and all but elementwise outputs; BN, ReLU and the like run again before their use */
    KEEP_SOME,         /* its input and what backward ops read but the outputs of the ops named by KEEP_DROP, which run again
                        * before their use, convolutions too */
    KEEP_MODES,
    KEEP_MODE_MASK = 7,
    KEEP_ON_HOST = 8,      /* its input and what else it keeps beside its output are in host memory in between */
    KEEP_RECONSTRUCT = 16, /* its input is dropped, and made again as its output less what was added to it */
    KEEP_LEAN = 32,        /* its convolutions do with a small workspace, at a cost in time */
    KEEP_REMAKE_INPUT = 64, /* its input is dropped, and made again from what the block before keeps */
    KEEP_FIRST_DROP = 256,
};

/* Of KEEP_SOME: the output of the block's i-th forward op is dropped, i < KEEP_MOST_DROPS. */
#define KEEP_DROP(i)    ((uint32_t)KEEP_FIRST_DROP << (i))
#define KEEP_MOST_DROPS 24u

/* Whether outputs of this kind are dropped under KEEP_CONVOLUTIONS. */
bool keep_is_elementwise(enum op_kind kind);

#endif
