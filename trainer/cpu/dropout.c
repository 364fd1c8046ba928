/* What dropout draws from, forward and backward alike. */
#include "cpu_device.h"
#include "random.h"

uint64_t dropout_stream(const struct device *device, uint32_t op_index)
{
    uint64_t when = device->step.number << 24 | device->step.micro_batch;
    return random_begin(device->step.seed, RANDOM_DROPOUT, when, (uint64_t)device->options.number << 32 | op_index)
        .stream;
}

uint32_t dropout_threshold(float drop) { return (uint32_t)((double)drop * 0x1p32); }

uint32_t dropout_op(const struct prepared *p)
{
    bool backward = p->call.op->kind == OP_DROPOUT_BWD;
    return backward ? graph_logical_op(p->call.graph, p->call.op->forward) : p->call.op_index;
}
