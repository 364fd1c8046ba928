#include "init.h"

#include <math.h>
#include <string.h>

#include "random.h"

static double uniform_of(uint32_t high, uint32_t low)
{
    return (double)(((uint64_t)(high >> 5) << 26) | (low >> 6)) * 0x1p-53;
}

/* Two normals from one block of random numbers (Box-Muller): a hundred million weights take seconds. */
static void fill_normal(struct random random, double deviation, uint64_t count, float *values)
{
    const double two_pi = 6.283185307179586476925;
    for (uint64_t i = 0; i < count; i += 2) {
        uint32_t words[4];
        random_block(random.seed, random.stream, i / 2, words);
        double radius = deviation * sqrt(-2 * log(1 - uniform_of(words[0], words[1])));
        double angle = two_pi * uniform_of(words[2], words[3]);
        values[i] = (float)(radius * cos(angle));
        if (i + 1 < count) values[i + 1] = (float)(radius * sin(angle));
    }
}

static void fill_uniform(struct random random, double bound, uint64_t count, float *values)
{
    for (uint64_t i = 0; i < count; i++) values[i] = (float)((2 * random_real(&random) - 1) * bound);
}

static void fill_constant(float value, uint64_t count, float *values)
{
    for (uint64_t i = 0; i < count; i++) values[i] = value;
}

/* Weights are {K, R, S, C}: a fully connected layer's rows and columns are 1, as a 1x1 convolution's are, so the
 * op that reads them, or a copy of them, tells. */
const struct op *init_fully_connected(const struct graph *graph, uint32_t tensor)
{
    for (size_t i = 0; i < graph->forward_end; i++) {
        const struct op *op = &graph->ops[i];
        if (op->kind == OP_FC && (op->in[1] == tensor || graph->tensors[op->in[1]].of == tensor)) return op;
    }
    return NULL;
}

static void fill_weight(const struct graph *graph, uint32_t tensor, enum init_kind kind, struct random random,
                        float *values)
{
    const struct tensor *t = &graph->tensors[tensor];
    const uint64_t count = tensor_elements(t);
    const double kernel = (double)t->dims[1] * t->dims[2], in = kernel * t->dims[3], out = kernel * t->dims[0];
    const bool by_out = kind == INIT_HE && graph->spec.family != FAMILY_VGG;
    const bool he = kind == INIT_HE || kind == INIT_HE_FAN_IN;
    if (kind == INIT_TORCH || (he && init_fully_connected(graph, tensor)))
        fill_uniform(random, 1 / sqrt(in), count, values);
    else if (kind == INIT_XAVIER)
        fill_uniform(random, sqrt(6 / (in + out)), count, values);
    else
        fill_normal(random, sqrt((he ? 2 : 1) / (by_out ? out : in)), count, values);
}

static bool is_gate(const struct graph *graph, const struct tensor *t)
{
    const char *path = graph->layers[t->layer].path, *last = strrchr(path, '/');
    return last && strcmp(last, "/gate") == 0;
}

/* How many values each output of the layer with this bias is the sum of. */
static double fan_in_of(const struct graph *graph, uint32_t bias)
{
    for (size_t i = 0; i < graph->forward_end; i++) {
        const struct op *op = &graph->ops[i];
        if ((op->kind != OP_FC && op->kind != OP_CONV) || op->inputs < 3 || op->in[2] != bias) continue;
        const uint32_t *dims = graph->tensors[op->in[1]].dims;
        return (double)dims[1] * dims[2] * dims[3];
    }
    return INFINITY;
}

static void fill_bias(const struct graph *graph, uint32_t tensor, enum init_kind kind, struct random random,
                      float *values)
{
    const struct tensor *t = &graph->tensors[tensor];
    const bool gate = is_gate(graph, t);
    if (kind == INIT_TORCH && !gate)
        fill_uniform(random, 1 / sqrt(fan_in_of(graph, tensor)), tensor_elements(t), values);
    else
        fill_constant(gate ? (float)graph->spec.number[NUMBER_GATE_BIAS] : 0, tensor_elements(t), values);
}

void init_parameter(const struct graph *graph, uint32_t index, enum init_kind kind, uint64_t seed, float *values)
{
    uint32_t tensor = graph->parameters[index];
    const struct tensor *t = &graph->tensors[tensor];
    struct random random = random_begin(seed, RANDOM_WEIGHTS, index, 0);
    if (t->role == ROLE_WEIGHT)
        fill_weight(graph, tensor, kind, random, values);
    else if (t->role == ROLE_BIAS)
        fill_bias(graph, tensor, kind, random, values);
    else
        fill_constant(t->role == ROLE_GAMMA ? 1 : 0, tensor_elements(t), values);
}

void init_statistic(const struct tensor *tensor, float *values)
{
    fill_constant(tensor->role == ROLE_RUNNING_VARIANCE ? 1 : 0, tensor_elements(tensor), values);
}
