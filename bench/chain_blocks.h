/* Blocks as ResNet-1001 has them, in quanta of its narrowest output. */
#ifndef FATHOM_CHAIN_BLOCKS_H
#define FATHOM_CHAIN_BLOCKS_H

#include "chain.h"

static inline struct chain_block resnet_block(uint32_t width)
{
    /* width = the output's quanta; the branch's three inner convolutions and BN-ReLUs are a quarter, a quarter, whole.
     */
    return (struct chain_block){
        .output = width,
        .gradient = width,
        .run_overhead = width + width / 4,
        .forward_seconds = 1,
        .options = 2,
        .option = {{3 * width, 0, width + width / 4, 2}, {3 * width / 2, width, 2 * width + width / 4, 2.06}}};
}

#endif
