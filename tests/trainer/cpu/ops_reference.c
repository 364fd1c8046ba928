/* Every op on every backend against the reference: a row per op and shape, as in the nets and odd ones. */
#define _GNU_SOURCE
#include <criterion/criterion.h>

#include "onednn_isa.h"
#include "ops_compare.h"
#include "rounds.h"

static const struct ops_case cases[] = {
    {"stem", OP_CONV, {2, 32, 32, 3}, 16, 3, 1, 1, false, false},
    {"stem 7x7", OP_CONV, {1, 37, 37, 3}, 64, 7, 2, 3, false, false},
    {"3x3 16", OP_CONV, {4, 32, 32, 16}, 16, 3, 1, 1, false, false},
    {"3x3 stride 2", OP_CONV, {3, 16, 16, 16}, 32, 3, 2, 1, false, false},
    {"3x3 64", OP_CONV, {5, 8, 8, 64}, 64, 3, 1, 1, false, false},
    {"1x1 down", OP_CONV, {8, 16, 16, 64}, 16, 1, 1, 0, false, false},
    {"1x1 up", OP_CONV, {8, 8, 8, 64}, 256, 1, 1, 0, false, false},
    {"1x1 stride 2", OP_CONV, {4, 16, 16, 64}, 128, 1, 2, 0, false, false},
    {"1x1 stride 2, odd image", OP_CONV, {2, 15, 15, 16}, 32, 1, 2, 0, false, false},
    {"3x3 stride 2, odd image", OP_CONV, {2, 17, 17, 32}, 16, 3, 2, 1, false, false},
    {"odd channels", OP_CONV, {2, 9, 9, 12}, 20, 3, 1, 1, false, false},
    {"one image, one channel", OP_CONV, {1, 5, 5, 1}, 1, 3, 1, 1, false, false},
    {"16 of 12", OP_CONV, {3, 7, 7, 12}, 16, 3, 1, 1, false, false},
    {"12 of 16", OP_CONV, {3, 7, 7, 16}, 12, 1, 1, 0, false, false},
    {"with bias", OP_CONV, {2, 14, 14, 16}, 32, 3, 1, 1, true, false},
    {"odd with bias", OP_CONV, {2, 6, 6, 5}, 7, 3, 1, 1, true, false},
    {"5x5 window", OP_CONV, {2, 11, 11, 24}, 24, 5, 1, 2, false, false},
    {"5x5 window, no padding", OP_CONV, {2, 11, 11, 32}, 48, 5, 1, 0, false, false},
    {"3x3 window, wide padding", OP_CONV, {2, 9, 9, 48}, 80, 3, 1, 2, false, false},
    {"many outputs", OP_CONV, {1, 14, 14, 128}, 512, 1, 1, 0, false, false},
    {"many inputs", OP_CONV, {1, 7, 7, 512}, 128, 1, 1, 0, false, false},
    {"10 classes", OP_FC, {16, 1, 1, 64}, 10, 0, 0, 0, true, false},
    {"100 classes of an image", OP_FC, {3, 4, 4, 16}, 100, 0, 0, 0, true, false},
    {"blocked weights", OP_FC, {7, 1, 1, 32}, 48, 0, 0, 0, true, false},
    {"one image", OP_FC, {1, 1, 1, 5}, 3, 0, 0, 0, true, false},
    {"16 channels", OP_BN, {4, 8, 8, 16}, 16, 0, 0, 0, false, false},
    {"16 channels, relu", OP_BN, {4, 8, 8, 16}, 16, 0, 0, 0, false, true},
    {"32 channels, odd rows", OP_BN, {3, 5, 7, 32}, 32, 0, 0, 0, false, true},
    {"48 channels", OP_BN, {2, 9, 9, 48}, 48, 0, 0, 0, false, true},
    {"64 channels", OP_BN, {8, 16, 16, 64}, 64, 0, 0, 0, false, true},
    {"256 channels", OP_BN, {2, 8, 8, 256}, 256, 0, 0, 0, false, true},
    {"2048 channels", OP_BN, {1, 4, 4, 2048}, 2048, 0, 0, 0, false, true},
    {"12 channels", OP_BN, {3, 9, 9, 12}, 12, 0, 0, 0, false, true},
    {"3 channels", OP_BN, {5, 7, 3, 3}, 3, 0, 0, 0, false, true},
    {"12 channels, many rows", OP_BN, {9, 31, 31, 12}, 12, 0, 0, 0, false, true},
    {"16 channels, many rows", OP_BN, {16, 32, 32, 16}, 16, 0, 0, 0, false, true},
    {"4 groups", OP_BN, {8, 5, 7, 32}, 32, 4, 0, 0, false, true},
    {"2 groups, no relu", OP_BN, {4, 9, 9, 12}, 12, 2, 0, 0, false, false},
    {"2 groups, masks within bytes", OP_BN, {6, 3, 3, 12}, 12, 2, 0, 0, false, true},
    {"frozen statistics", OP_BN, {3, 5, 7, 32}, 32, 0, 0, BN_STATISTICS_FROZEN, false, true},
    {"frozen statistics, no relu", OP_BN, {3, 9, 9, 12}, 12, 0, 0, BN_STATISTICS_FROZEN, false, false},
    {"frozen", OP_BN, {3, 5, 7, 32}, 32, 0, 0, BN_FROZEN, false, true},
    {"frozen, 3 channels", OP_BN, {5, 7, 3, 3}, 3, 0, 0, BN_FROZEN, false, true},
    {"frozen, no relu", OP_BN, {4, 8, 8, 16}, 16, 0, 0, BN_FROZEN, false, false},
    {"one row", OP_BN, {1, 1, 1, 16}, 16, 0, 0, 0, false, false},
    {"small", OP_RELU, {3, 5, 5, 7}, 0, 0, 0, 0, false, false},
    {"large", OP_RELU, {8, 16, 16, 16}, 0, 0, 0, 0, false, false},
    {"small", OP_ADD, {1, 3, 3, 3}, 0, 0, 0, 0, false, false},
    {"large", OP_ADD, {8, 16, 16, 16}, 0, 0, 0, 0, false, false},
    {"large", OP_ADD_GRADIENT, {8, 16, 16, 17}, 0, 0, 0, 0, false, false},
    {"large", OP_MUL, {4, 16, 16, 13}, 0, 0, 0, 0, false, false},
    {"large", OP_SCALE, {4, 16, 16, 13}, 0, 0, 0, 0, false, false},
    {"large", OP_SIGMOID, {4, 16, 16, 13}, 0, 0, 0, 0, false, false},
    {"odd count", OP_DROPOUT, {3, 17, 17, 13}, 0, 0, 0, 0, false, false},
    {"3x3 stride 2", OP_MAXPOOL, {2, 112, 112, 16}, 0, 3, 2, 1, false, false},
    {"2x2", OP_MAXPOOL, {3, 8, 8, 64}, 0, 2, 2, 0, false, false},
    {"odd", OP_MAXPOOL, {2, 9, 9, 12}, 0, 3, 2, 1, false, false},
    {"whole image", OP_AVGPOOL, {5, 8, 8, 64}, 0, 0, 0, 0, false, false},
    {"whole odd image", OP_AVGPOOL, {2, 7, 7, 13}, 0, 0, 0, 0, false, false},
    {"with padding", OP_AVGPOOL, {2, 9, 9, 16}, 0, 3, 1, 1, false, false},
    {"16 to 32", OP_SHORTCUT_PAD, {4, 32, 32, 16}, 32, 0, 2, 0, false, false},
    {"odd image", OP_SHORTCUT_PAD, {2, 9, 9, 5}, 11, 0, 2, 0, false, false},
    {"channels alone", OP_SHORTCUT_PAD, {2, 4, 4, 16}, 16, 0, 1, 0, false, false},
    {"ten classes", OP_SOFTMAX_LOSS, {128, 1, 1, 10}, 0, 0, 0, 0, false, false},
    {"thousand classes", OP_SOFTMAX_LOSS, {3, 1, 1, 1000}, 0, 0, 0, 0, false, false},
    {"three inputs", OP_CONCAT, {4, 15, 15, 16}, 24, 0, 0, 0, false, false},
    {"bucket", OP_ACCUMULATE, {1, 1, 1, 20001}, 0, 0, 0, 0, false, false},
    {"bucket", OP_ALL_REDUCE, {1, 1, 1, 1001}, 0, 0, 0, 0, false, false},
    OPS_UPDATE_CASES,
    {"1x7", OP_CONV, {2, 9, 11, 16}, 32, SIDES(1, 7), 1, SIDES(0, 3), false, false},
    {"7x1, odd channels", OP_CONV, {2, 9, 9, 12}, 20, SIDES(7, 1), 1, SIDES(3, 0), true, false},
    {"3x1", OP_CONV, {2, 8, 8, 48}, 64, SIDES(3, 1), 1, SIDES(1, 0), false, false},
    {"1x3 of 80", OP_CONV, {3, 8, 8, 80}, 16, SIDES(1, 3), 1, SIDES(0, 1), false, false},
    {"2x5, uneven padding, stride 2", OP_CONV, {2, 10, 13, 16}, 16, SIDES(2, 5), 2, SIDES(1, 2), false, false},
    {"3x3 stride 2, no padding", OP_CONV, {2, 17, 17, 32}, 48, 3, 2, 0, false, false},
    {"stem, no padding", OP_CONV, {2, 15, 15, 3}, 32, 3, 2, 0, false, false},
    {"3x3 stride 2, no padding", OP_MAXPOOL, {2, 17, 17, 32}, 0, 3, 2, 0, false, false},
    {"3x3 stride 2, the last one cut", OP_MAXPOOL, {2, 12, 14, 16}, 0, 3, 2, 0, true, false},
    {"one window, larger than the image", OP_MAXPOOL, {2, 2, 2, 16}, 0, 3, 2, 0, true, false},
    {"3x3 stride 1, padded", OP_MAXPOOL, {2, 7, 7, 20}, 0, 3, 1, 1, true, false},
    {"three inputs, the last", OP_CONCAT, {2, 5, 7, 12}, 20, 0, 0, 32, false, false},
};

/* A backend that multiplies bf16 rounds a convolution's weights first: the reference gets them so. */
static void round_weights(struct world *w)
{
    float *values = world_f32(w, W);
    if (w->c.kind != OP_CONV || !onednn_multiplies_bf16()) return;
    for (uint64_t i = 0; i < tensor_elements(&w->tensors[W]); i++)
        values[i] = half_value(DTYPE_BF16, half_bits(DTYPE_BF16, values[i]));
}

static void run_case_in(const struct ops_case *c, uint64_t seed, enum dtype dtype)
{
    struct world fast, slow;
    world_init(&fast, &cpu_backend, c);
    world_init(&slow, &cpu_reference_backend, c);
    world_randomize(&fast, seed);
    world_randomize(&slow, seed);
    if (is_half(dtype)) world_halve(&fast, dtype), world_halve(&slow, dtype);
    if (dtype == DTYPE_BF16) round_weights(&slow);
    enum op_pass pass = c->kind == OP_ALL_REDUCE ? PASS_COMM : is_update(c->kind) ? PASS_UPDATE : PASS_FORWARD;
    run_both(&fast, &slow, c->kind, pass);
    share_results(&fast, &slow);
    for (const enum op_kind *kind = backward_kinds(c->kind); *kind != OP_KINDS; kind++)
        run_both(&fast, &slow, *kind, PASS_BACKWARD);
    world_finish(&fast);
    world_finish(&slow);
}

static void run_case(const struct ops_case *c, uint64_t seed) { run_case_in(c, seed, DTYPE_F32); }

Test(ops, agree_with_the_reference)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) run_case(&cases[i], i + 1);
}

/* What onednn_method.c gains, when this is lost, is lost without a sign. */
Test(ops, deep_convolutions_run_on_the_newest_engine)
{
    static const struct ops_case deep[] = {{"1x1", OP_CONV, {2, 8, 8, 64}, 256, 1, 1, 0, false, false},
                                           {"1x1 back", OP_CONV, {2, 8, 8, 256}, 64, 1, 1, 0, false, false},
                                           {"3x3", OP_CONV, {2, 8, 8, 64}, 64, 3, 1, 1, false, false}};
    if (onednn_vector_floats() != 16) return;
    for (size_t i = 0; i < sizeof deep / sizeof deep[0]; i++) {
        static const enum op_kind kinds[] = {OP_CONV, OP_CONV_BWD_DATA};
        struct world w;
        struct error err = {0};
        world_init(&w, &cpu_backend, &deep[i]);
        world_randomize(&w, i);
        for (size_t k = 0; k < 2; k++) {
            cr_assert(world_run(&w, kinds[k], k ? PASS_BACKWARD : PASS_FORWARD, &err), "%s", err.text);
            cr_expect(strncmp(w.implementation, "brg", 3) == 0, "%s %s runs on %s", op_kind_name(kinds[k]),
                      deep[i].name, w.implementation);
        }
        world_finish(&w);
    }
}

Test(ops, bf16_is_multiplied_where_oneDNN_can)
{
    const struct ops_case c = {"3x3", OP_CONV, {2, 8, 8, 64}, 64, 3, 1, 1, false, false};
    static const enum op_kind kinds[] = {OP_CONV, OP_CONV_BWD_DATA};
    struct world w;
    struct error err = {0};
    world_init(&w, &cpu_backend, &c);
    world_randomize(&w, 1);
    world_halve(&w, DTYPE_BF16);
    for (size_t k = 0; k < 2; k++) {
        cr_assert(world_run(&w, kinds[k], k ? PASS_BACKWARD : PASS_FORWARD, &err), "%s", err.text);
        cr_expect_eq(strstr(w.implementation, "bf16") != NULL, onednn_multiplies_bf16(), "%s runs on %s",
                     op_kind_name(kinds[k]), w.implementation);
    }
    world_finish(&w);
}

/* Large enough to go by pieces of the batch: by one image, by two with one left, with and without a sum over them. */
static const struct ops_case pieces[] = {
    {"pieces of one image", OP_CONV, {3, 256, 256, 8}, 8, 1, 1, 0, true, false},
    {"pieces and a rest", OP_CONV, {5, 160, 160, 12}, 4, 1, 1, 0, false, false},
    {"pieces of 3x3", OP_CONV, {4, 200, 200, 4}, 4, 3, 1, 1, true, false},
    {"pieces, maxima", OP_MAXPOOL, {3, 160, 160, 16}, 0, 3, 2, 1, false, false},
    {"pieces, means", OP_AVGPOOL, {3, 160, 160, 16}, 0, 0, 0, 0, false, false},
    {"many parts", OP_BN, {3, 96, 96, 32}, 32, 0, 0, 0, false, true},
    {"wider than a tile", OP_BN, {2, 3, 3, 4100}, 4100, 0, 0, 0, false, true},
    {"one row in 16 bits", OP_BN, {1, 1, 1, 1000}, 1000, 0, 0, 0, false, true},
};

static bool has_activations(enum op_kind kind)
{
    return kind != OP_ACCUMULATE && kind != OP_ALL_REDUCE && !is_update(kind);
}

static void run_in_16_bits(const struct ops_case *c, uint64_t seed)
{
    if (!has_activations(c->kind)) return;
    bool both = rounds(2) == 2;
    if (both || seed % 2) run_case_in(c, seed, DTYPE_BF16);
    if (both || seed % 2 == 0) run_case_in(c, seed, DTYPE_F16);
}

Test(ops, agree_in_16_bits)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) run_in_16_bits(&cases[i], i + 1);
}

Test(ops, agree_in_16_bits_by_pieces)
{
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
        run_case_in(&pieces[i], i + 1, i % 2 ? DTYPE_F16 : DTYPE_BF16);
}

/* Weights are then kept in blocks of 8, or as they are. oneDNN reads the variable once, in this test's own process. */
Test(ops, agree_without_wide_vectors)
{
    setenv("ONEDNN_MAX_CPU_ISA", "AVX2", 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (cases[i].kind == OP_CONV || cases[i].kind == OP_FC || cases[i].kind == OP_MAXPOOL)
            run_case(&cases[i], i + 1);
}

/* Evaluation: BN with running statistics and nothing else written, pools without a mask, dropout the identity. */
Test(ops, agree_when_evaluating)
{
    const enum op_kind kinds[] = {OP_BN, OP_MAXPOOL, OP_DROPOUT, OP_CONV, OP_FC, OP_SOFTMAX_LOSS};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool asked = false;
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) asked |= cases[i].kind == kinds[k];
        if (!asked) continue;
        struct world fast, slow;
        world_init(&fast, &cpu_backend, &cases[i]);
        world_init(&slow, &cpu_reference_backend, &cases[i]);
        world_randomize(&fast, i + 1);
        world_randomize(&slow, i + 1);
        run_both(&fast, &slow, cases[i].kind, PASS_EVALUATE);
        if (cases[i].kind == OP_DROPOUT) cr_expect(memcmp(fast.values[X], fast.values[Y], fast.tensors[X].bytes) == 0);
        world_finish(&fast);
        world_finish(&slow);
    }
}

/* Ops whose output may take an input's bytes give the same bits there. */
Test(ops, in_place_changes_nothing)
{
    const struct {
        enum op_kind forward, kind;
        int input;
    } rows[] = {{OP_RELU, OP_RELU, 0},
                {OP_ADD, OP_ADD, 0},
                {OP_ADD, OP_ADD, 1},
                {OP_MUL, OP_MUL, 0},
                {OP_MUL, OP_MUL, 1},
                {OP_SCALE, OP_SCALE, 0},
                {OP_SIGMOID, OP_SIGMOID, 0},
                {OP_DROPOUT, OP_DROPOUT, 0},
                {OP_RELU, OP_RELU_BWD, 0},
                {OP_RELU, OP_RELU_BWD, 1},
                {OP_MUL, OP_MUL_BWD, 1},
                {OP_SCALE, OP_SCALE_BWD, 0},
                {OP_SIGMOID, OP_SIGMOID_BWD, 1},
                {OP_DROPOUT, OP_DROPOUT_BWD, 0},
                {OP_BN, OP_BN, 0},
                {OP_BN, OP_BN_BWD, 1},
                {OP_BN, OP_BN_BWD, 0},
                {OP_ADD_GRADIENT, OP_ADD_GRADIENT, 0},
                {OP_ADD_GRADIENT, OP_ADD_GRADIENT, 1},
                {OP_SOFTMAX_LOSS, OP_SOFTMAX_LOSS_BWD, 0}};
    const uint32_t shapes[][4] = {{5, 16, 16, 16}, {3, 7, 7, 13}};
    const struct backend *backends[] = {&cpu_backend, &cpu_reference_backend};
    for (size_t i = 0; i < 4 * (sizeof rows / sizeof rows[0]); i++) {
        struct ops_case c = {.name = "in place", .kind = rows[i / 4].forward, .relu = true};
        memcpy(c.x, shapes[i % 2], sizeof c.x);
        struct world apart, together;
        struct error err = {0};
        world_init(&apart, backends[i / 2 % 2], &c);
        world_init(&together, backends[i / 2 % 2], &c);
        world_randomize(&apart, i);
        world_randomize(&together, i);
        together.in_place = rows[i / 4].input;
        enum op_kind kind = rows[i / 4].kind;
        cr_assert(world_run(&apart, kind, PASS_FORWARD, &err), "%s", err.text);
        cr_assert(world_run(&together, kind, PASS_FORWARD, &err), "%s", err.text);
        enum slot out = operands_of(kind, &c).out[0];
        cr_expect(memcmp(apart.values[out], together.values[out], apart.tensors[out].bytes) == 0, "%s over input %d",
                  op_kind_name(kind), rows[i / 4].input);
        cr_expect(together.canaries_held);
        world_finish(&apart);
        world_finish(&together);
    }
}

/* y - b, to the bit where y is exact, and over either operand's bytes. */
Test(ops, an_addition_turned_round)
{
    const struct ops_case c = {.name = "reconstruct", .kind = OP_ADD, .x = {3, 7, 7, 13}};
    const struct backend *backends[] = {&cpu_backend, &cpu_reference_backend};
    for (int i = 0; i < 6; i++) {
        struct world w;
        struct error err = {0};
        world_init(&w, backends[i % 2], &c);
        world_randomize(&w, 7);
        w.in_place = i / 2 - 1;
        uint64_t count = tensor_elements(&w.tensors[X]);
        float *wanted = calloc(count, sizeof *wanted);
        for (uint64_t k = 0; k < count; k++) {
            float a = (float)(int)(world_f32(&w, X)[k] * 64) / 64, b = (float)(int)(world_f32(&w, X2)[k] * 64) / 64;
            wanted[k] = a;
            world_f32(&w, X)[k] = a + b;
            world_f32(&w, X2)[k] = b;
        }
        cr_assert(world_run(&w, OP_ADD, PASS_RECONSTRUCT, &err), "%s", err.text);
        cr_expect(memcmp(wanted, w.values[Y], count * sizeof *wanted) == 0, "%s, over input %d", backends[i % 2]->name,
                  w.in_place);
        cr_expect(w.canaries_held);
        free(wanted);
        world_finish(&w);
    }
}

static uint32_t pick(struct random *r, uint32_t least, uint32_t most)
{
    return least + random_below(r, most - least + 1);
}

static struct ops_case random_case(struct random *r)
{
    static const enum op_kind kinds[] = {OP_CONV, OP_BN,           OP_MAXPOOL, OP_AVGPOOL,
                                         OP_FC,   OP_SHORTCUT_PAD, OP_CONCAT,  OP_RELU};
    static const uint32_t channels[] = {1, 3, 8, 12, 16, 24, 32, 48, 64, 80};
    struct ops_case c = {.name = "random", .kind = kinds[random_below(r, 8)]};
    c.x[0] = pick(r, 1, 5);
    c.x[1] = c.x[2] = pick(r, 3, 18);
    c.x[3] = channels[random_below(r, 10)];
    c.channels = channels[random_below(r, 10)];
    c.kernel = 1 + 2 * random_below(r, 2);
    c.stride = pick(r, 1, 2);
    c.padding = c.kernel / 2;
    c.bias = random_below(r, 2);
    c.relu = random_below(r, 2);
    if (c.kind == OP_SHORTCUT_PAD && c.channels < c.x[3]) c.channels = c.x[3];
    return c;
}

Test(ops, agree_on_random_shapes)
{
    struct random r = random_begin(2026, RANDOM_SYNTHETIC, 1, 2);
    for (uint64_t i = 0; i < rounds(150); i++) {
        struct ops_case c = random_case(&r);
        char name[120];
        snprintf(name, sizeof name, "random %u x %u x %u x %u, %u channels, window %u, stride %u", c.x[0], c.x[1],
                 c.x[2], c.x[3], c.channels, c.kernel, c.stride);
        c.name = name;
        run_case(&c, i + 100);
    }
}
