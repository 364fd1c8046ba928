#include "kernels.h"

extern "C" __global__ void set_step(struct set_step_arguments a)
{
    uint32_t halted = a.block->halted;
    *a.block = a.values;
    a.block->halted = halted;
}
