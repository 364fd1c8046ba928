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
    {"stem", OP_CONV, {2, 12, 12, 3}, 16, 3, 1, 1, false, false},
    {"stem 7x7", OP_CONV, {1, 17, 17, 3}, 8, 7, 2, 3, false, false},
    {"3x3 stride 2, odd image", OP_CONV, {2, 9, 9, 16}, 8, 3, 2, 1, false, false},
    {"1x1 stride 2", OP_CONV, {3, 8, 8, 16}, 24, 1, 2, 0, false, false},
    {"odd channels, bias", OP_CONV, {2, 6, 6, 5}, 7, 3, 1, 1, true, false},
    {"one image, one channel", OP_CONV, {1, 5, 5, 1}, 1, 3, 1, 1, false, false},
    {"5x5 window, no padding", OP_CONV, {1, 7, 7, 8}, 8, 5, 1, 0, true, false},
    {"10 classes", OP_FC, {16, 1, 1, 64}, 10, 0, 0, 0, true, false},
    {"100 classes of an image", OP_FC, {33, 2, 2, 16}, 100, 0, 0, 0, true, false},
    {"one image", OP_FC, {1, 1, 1, 5}, 3, 0, 0, 0, true, false},
    {"many features", OP_FC, {3, 4, 4, 128}, 33, 0, 0, 0, true, false},
    {"16 channels, relu", OP_BN, {4, 8, 8, 16}, 16, 0, 0, 0, false, true},
    {"32 channels, odd rows", OP_BN, {3, 5, 7, 32}, 32, 0, 0, 0, false, true},
    {"64 channels, many rows", OP_BN, {6, 16, 16, 64}, 64, 0, 0, 0, false, false},
    {"48 channels, a tile of 6", OP_BN, {2, 9, 9, 48}, 48, 0, 0, 0, false, true},
    {"two tiles", OP_BN, {1, 4, 4, 512}, 512, 0, 0, 0, false, true},
    {"tiles of different widths", OP_BN, {2, 3, 3, 264}, 264, 0, 0, 0, false, true},
    {"12 channels", OP_BN, {3, 9, 9, 12}, 12, 0, 0, 0, false, true},
    {"3 channels", OP_BN, {5, 7, 3, 3}, 3, 0, 0, 0, false, true},
    {"301 channels", OP_BN, {2, 3, 3, 301}, 301, 0, 0, 0, false, true},
    {"one row", OP_BN, {1, 1, 1, 16}, 16, 0, 0, 0, false, false},
    {"odd count", OP_DROPOUT, {3, 7, 7, 13}, 0, 0, 0, 0, false, false},
    {"3x3 stride 2", OP_MAXPOOL, {2, 14, 14, 16}, 0, 3, 2, 1, false, false},
    {"2x2", OP_MAXPOOL, {3, 8, 8, 24}, 0, 2, 2, 0, false, false},
    {"odd", OP_MAXPOOL, {2, 9, 9, 12}, 0, 3, 2, 1, false, false},
    {"gaps between windows", OP_MAXPOOL, {1, 11, 11, 5}, 0, 2, 3, 0, false, false},
    {"whole image", OP_AVGPOOL, {5, 8, 8, 64}, 0, 0, 0, 0, false, false},
    {"whole odd image", OP_AVGPOOL, {1, 7, 7, 13}, 0, 0, 0, 0, false, false},
    {"with padding", OP_AVGPOOL, {2, 9, 9, 16}, 0, 3, 1, 1, false, false},
    {"16 to 32", OP_SHORTCUT_PAD, {2, 16, 16, 16}, 32, 0, 2, 0, false, false},
    {"odd image", OP_SHORTCUT_PAD, {2, 9, 9, 5}, 11, 0, 2, 0, false, false},
    {"channels alone", OP_SHORTCUT_PAD, {1, 4, 4, 16}, 16, 0, 1, 0, false, false},
    {"three inputs", OP_CONCAT, {2, 5, 5, 16}, 24, 0, 0, 0, false, false},
    {"three odd inputs", OP_CONCAT, {2, 5, 5, 8}, 3, 0, 0, 0, false, false},
    {"ten classes", OP_SOFTMAX_LOSS, {128, 1, 1, 10}, 0, 0, 0, 0, false, false},
    {"thousand classes", OP_SOFTMAX_LOSS, {3, 1, 1, 1000}, 0, 0, 0, 0, false, false},
    {"one image", OP_SOFTMAX_LOSS, {1, 1, 1, 7}, 0, 0, 0, 0, false, false},
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
