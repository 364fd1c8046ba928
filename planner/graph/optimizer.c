#include "optimizer.h"

#include <stddef.h>

static const struct {
    const char *name;
    const char *buffers[OPTIMIZER_MOST_BUFFERS];
    struct optimizer_defaults defaults;
} optimizers[OPTIMIZERS] = {
    [OPTIMIZER_MOMENTUM] = {"momentum", {"momentum_buffer"}, {1e-3, 0, 0, 0, 0}},
    [OPTIMIZER_SGD] = {"sgd", {NULL}, {1e-3, 0, 0, 0, 0}},
    [OPTIMIZER_RMSPROP] = {"rmsprop", {"square_avg"}, {1e-2, 0, 1e-8, 0, 0.99}},
    [OPTIMIZER_RMSPROP_MOMENTUM] = {"rmsprop-momentum", {"square_avg", "momentum_buffer"}, {1e-2, 0, 1e-8, 0, 0.99}},
    [OPTIMIZER_ADAGRAD] = {"adagrad", {"sum"}, {1e-2, 0, 1e-10, 0, 0}},
    [OPTIMIZER_ADADELTA] = {"adadelta", {"square_avg", "acc_delta"}, {1, 0, 1e-6, 0, 0.9}},
    [OPTIMIZER_ADAM] = {"adam", {"exp_avg", "exp_avg_sq"}, {1e-3, 0, 1e-8, 0.9, 0.999}},
    [OPTIMIZER_ADAMW] = {"adamw", {"exp_avg", "exp_avg_sq"}, {1e-3, 1e-2, 1e-8, 0.9, 0.999}},
};

const char *optimizer_name(enum optimizer optimizer) { return optimizers[optimizer].name; }

uint32_t optimizer_buffers(enum optimizer optimizer)
{
    uint32_t count = 0;
    while (count < OPTIMIZER_MOST_BUFFERS && optimizers[optimizer].buffers[count]) count++;
    return count;
}

const char *optimizer_buffer_name(enum optimizer optimizer, uint32_t buffer)
{
    return optimizers[optimizer].buffers[buffer];
}

struct optimizer_defaults optimizer_defaults(enum optimizer optimizer) { return optimizers[optimizer].defaults; }
