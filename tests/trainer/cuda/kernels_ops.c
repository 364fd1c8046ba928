/* Each op by the GPU's own kernels, run by the host, against the CPU's readable loops, in each type of activations and
 * under several orders of the kernels' threads. No GPU has run them here.
 *
 * Tolerances are those of the CPU's own fast loops (ops_compare.h): results of single operations agree to the last bits
 * of f32, sums are taken in f32 by trees or in f64, and what has 16 bits is rounded once at the end. */
#include "ops_compare.h"

#include "host_backend.h"

static const struct ops_case cases[] = {
    {"tail", OP_RELU, {3, 5, 5, 7}, 0, 0, 0, 0, false, false},
    {"vectors alone", OP_RELU, {4, 16, 16, 16}, 0, 0, 0, 0, false, false},
    {"less than a vector", OP_ADD, {1, 1, 1, 3}, 0, 0, 0, 0, false, false},
    {"rounds of the grid", OP_ADD, {8, 16, 16, 33}, 0, 0, 0, 0, false, false},
    {"tail", OP_ADD_GRADIENT, {2, 16, 16, 17}, 0, 0, 0, 0, false, false},
    {"tail", OP_MUL, {4, 9, 9, 13}, 0, 0, 0, 0, false, false},
    {"tail", OP_SCALE, {4, 9, 9, 13}, 0, 0, 0, 0, false, false},
    {"tail", OP_SIGMOID, {4, 9, 9, 13}, 0, 0, 0, 0, false, false},
    {"bucket", OP_ACCUMULATE, {1, 1, 1, 20001}, 0, 0, 0, 0, false, false},
    {"bucket", OP_ALL_REDUCE, {1, 1, 1, 1001}, 0, 0, 0, 0, false, false},
    {"plain momentum", OP_SGD_UPDATE, {1, 1, 1, 20001}, 0, 0, 0, 0, false, false},
    {"Nesterov", OP_SGD_UPDATE, {1, 1, 1, 333}, 0, 0, 0, 0, false, true},
};

static enum op_pass pass_of(enum op_kind kind)
{
    switch (kind) {
    case OP_ALL_REDUCE: return PASS_COMM;
    case OP_SGD_UPDATE: return PASS_UPDATE;
    default: return PASS_FORWARD;
    }
}

static void run_case(const struct ops_case *c, uint64_t seed, enum dtype dtype)
{
    struct world kernels, slow;
    world_init(&kernels, &host_backend, c);
    world_init(&slow, &cpu_reference_backend, c);
    world_randomize(&kernels, seed);
    world_randomize(&slow, seed);
    if (is_half(dtype)) world_halve(&kernels, dtype), world_halve(&slow, dtype);
    host_backend_seed = seed;
    run_both(&kernels, &slow, c->kind, pass_of(c->kind));
    share_results(&kernels, &slow);
    for (const enum op_kind *kind = backward_kinds(c->kind); *kind != OP_KINDS; kind++)
        run_both(&kernels, &slow, *kind, PASS_BACKWARD);
    world_finish(&kernels);
    world_finish(&slow);
}

static bool has_activations(enum op_kind kind)
{
    return kind != OP_ACCUMULATE && kind != OP_ALL_REDUCE && kind != OP_SGD_UPDATE;
}

Test(kernels_ops, agree_with_the_reference)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++)
            if (dtype == DTYPE_F32 || has_activations(cases[i].kind)) run_case(&cases[i], 3 * i + dtype + 1, dtype);
}
