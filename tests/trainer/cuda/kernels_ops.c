/* Each op by the GPU's own kernels, run by the host, against the CPU's readable loops, in each type of activations and
 * under several orders of the kernels' threads. No GPU has run them here.
 *
 * Tolerances are those of the CPU's own fast loops (ops_compare.h): results of single operations agree to the last bits
 * of f32, sums are taken in f32 by trees or in f64, and what has 16 bits is rounded once at the end. */
#include "ops_compare.h"

#include "bn_groups_kit.h"
#include "frozen_bn_kit.h"
#include "host_backend.h"
#include "rounds.h"

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
    {"64 channels, more blocks than are summed at a time", OP_BN, {6, 27, 27, 64}, 64, 0, 0, 0, false, true},
    {"rows that a thread reads in two goes", OP_BN, {2, 9, 9, 4095}, 4095, 0, 0, 0, false, true},
    {"48 channels, a tile of 6", OP_BN, {2, 9, 9, 48}, 48, 0, 0, 0, false, true},
    {"eight tiles", OP_BN, {1, 4, 4, 512}, 512, 0, 0, 0, false, true},
    {"tiles of different widths", OP_BN, {2, 3, 3, 264}, 264, 0, 0, 0, false, true},
    {"12 channels", OP_BN, {3, 9, 9, 12}, 12, 0, 0, 0, false, true},
    {"3 channels", OP_BN, {5, 7, 3, 3}, 3, 0, 0, 0, false, true},
    {"4 groups", OP_BN, {8, 5, 7, 32}, 32, 4, 0, 0, false, true},
    {"2 groups, no relu", OP_BN, {4, 9, 9, 12}, 12, 2, 0, 0, false, false},
    {"2 groups, masks within bytes", OP_BN, {6, 3, 3, 12}, 12, 2, 0, 0, false, true},
    {"frozen statistics", OP_BN, {3, 5, 7, 32}, 32, 0, 0, BN_STATISTICS_FROZEN, false, true},
    {"frozen statistics, no relu", OP_BN, {3, 9, 9, 12}, 12, 0, 0, BN_STATISTICS_FROZEN, false, false},
    {"frozen", OP_BN, {3, 5, 7, 32}, 32, 0, 0, BN_FROZEN, false, true},
    {"frozen, 3 channels", OP_BN, {5, 7, 3, 3}, 3, 0, 0, BN_FROZEN, false, true},
    {"frozen, no relu", OP_BN, {4, 8, 8, 16}, 16, 0, 0, BN_FROZEN, false, false},
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
    {"smoothed", OP_SOFTMAX_LOSS, {3, 1, 1, 100}, 0, 0, 0, 0, false, true},
    {"one image", OP_SOFTMAX_LOSS, {1, 1, 1, 7}, 0, 0, 0, 0, false, false},
    {"bucket", OP_ACCUMULATE, {1, 1, 1, 20001}, 0, 0, 0, 0, false, false},
    {"bucket", OP_ALL_REDUCE, {1, 1, 1, 1001}, 0, 0, 0, 0, false, false},
    OPS_UPDATE_CASES,
    {"1x7", OP_CONV, {1, 5, 9, 8}, 8, SIDES(1, 7), 1, SIDES(0, 3), true, false},
    {"3x1", OP_CONV, {2, 6, 5, 8}, 5, SIDES(3, 1), 1, SIDES(1, 0), false, false},
    {"2x5, uneven padding, stride 2", OP_CONV, {1, 6, 9, 4}, 3, SIDES(2, 5), 2, SIDES(1, 2), false, false},
    {"one window, larger than the image", OP_MAXPOOL, {2, 2, 2, 16}, 0, 3, 2, 0, true, false},
    {"no padding", OP_MAXPOOL, {2, 9, 9, 16}, 0, 3, 2, 0, false, false},
    {"the last window cut", OP_MAXPOOL, {2, 8, 10, 16}, 0, 3, 2, 0, true, false},
    {"with padding, odd channels", OP_AVGPOOL, {2, 5, 6, 13}, 0, 3, 1, 1, false, false},
    {"three inputs, the last", OP_CONCAT, {2, 5, 5, 16}, 24, 0, 0, 40, false, false},
    {"three odd inputs, the last", OP_CONCAT, {2, 5, 5, 8}, 3, 0, 0, 11, false, false},
};

static enum op_pass pass_of(enum op_kind kind)
{
    switch (kind) {
    case OP_ALL_REDUCE: return PASS_COMM;
    case OP_WEIGHTS_AVERAGE:
    case OP_UPDATE: return PASS_UPDATE;
    default: return PASS_FORWARD;
    }
}

/* The same numbers for both: most of a test's time is drawing them. */
static void randomize_both(struct world *a, struct world *b, uint64_t seed)
{
    world_randomize(a, seed);
    for (int s = 0; s < SLOTS; s++) memcpy(b->values[s], a->values[s], a->tensors[s].bytes);
}

static void run_case(const struct ops_case *c, uint64_t seed, enum dtype dtype)
{
    struct world kernels, slow;
    world_init(&kernels, &host_backend, c);
    world_init(&slow, &cpu_reference_backend, c);
    randomize_both(&kernels, &slow, seed);
    if (is_half(dtype)) world_halve(&kernels, dtype), world_halve(&slow, dtype);
    slow.threads = 1;
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
    return kind != OP_ACCUMULATE && kind != OP_ALL_REDUCE && !is_update(kind);
}

Test(kernels_ops, agree_with_the_reference)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++)
            if (dtype == DTYPE_F32 || has_activations(cases[i].kind)) run_case(&cases[i], 3 * i + dtype + 1, dtype);
}

/* ---- Other passes ---- */

struct pair {
    struct world kernels, slow;
};

static void pair_init(struct pair *pair, const struct ops_case *c, uint64_t seed)
{
    world_init(&pair->kernels, &host_backend, c);
    world_init(&pair->slow, &cpu_reference_backend, c);
    randomize_both(&pair->kernels, &pair->slow, seed);
    pair->slow.threads = 1;
    host_backend_seed = seed;
}

static void pair_finish(struct pair *pair)
{
    world_finish(&pair->kernels);
    world_finish(&pair->slow);
}

static bool is_one_of(enum op_kind kind, const enum op_kind *kinds)
{
    for (; *kinds != OP_KINDS; kinds++)
        if (*kinds == kind) return true;
    return false;
}

/* BN with running statistics and nothing else written, pools without a mask, dropout the identity. */
Test(kernels_ops, agree_when_evaluating)
{
    static const enum op_kind kinds[] = {OP_BN, OP_MAXPOOL, OP_DROPOUT, OP_CONV, OP_FC, OP_SOFTMAX_LOSS, OP_KINDS};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pair pair;
        if (!is_one_of(cases[i].kind, kinds)) continue;
        pair_init(&pair, &cases[i], i + 1);
        run_both(&pair.kernels, &pair.slow, cases[i].kind, PASS_EVALUATE);
        if (cases[i].kind == OP_DROPOUT)
            cr_expect_arr_eq(pair.kernels.values[X], pair.kernels.values[Y], pair.kernels.tensors[X].bytes);
        pair_finish(&pair);
    }
}

/* A BN that runs again reads its statistics, and leaves the running ones alone. */
Test(kernels_ops, a_normalisation_runs_again)
{
    const struct ops_case c = {"again", OP_BN, {2, 5, 5, 16}, 16, 0, 0, 0, false, true};
    struct pair pair;
    struct error err = {0};
    pair_init(&pair, &c, 5);
    run_both(&pair.kernels, &pair.slow, OP_BN, PASS_FORWARD);
    for (enum slot s = MEAN; s <= VARIANCE; s++)
        memcpy(pair.slow.values[s], pair.kernels.values[s], pair.slow.tensors[s].bytes);
    float *y = malloc(pair.kernels.tensors[Y].bytes);
    memcpy(y, pair.kernels.values[Y], pair.kernels.tensors[Y].bytes);
    const float running = world_f32(&pair.kernels, RUNNING_MEAN)[3];
    cr_assert(world_run(&pair.kernels, OP_BN, PASS_RECOMPUTE, &err), "%s", err.text);
    cr_expect_arr_eq(pair.kernels.values[Y], y, pair.kernels.tensors[Y].bytes);
    cr_expect_eq(world_f32(&pair.kernels, RUNNING_MEAN)[3], running);
    free(y);
    pair_finish(&pair);
}

/* Squares of numbers near 1,000, of which f32 keeps 7 digits, would say nothing of a variance of 1. */
Test(kernels_ops, a_large_mean_does_not_swamp_the_variance)
{
    const struct ops_case rows[] = {{"far from 0", OP_BN, {3, 9, 9, 16}, 16, 0, 0, 0, false, false},
                                    {"far from 0", OP_BN, {3, 9, 9, 5}, 5, 0, 0, 0, false, false}};
    for (int i = 0; i < 2; i++) {
        struct pair pair;
        pair_init(&pair, &rows[i], 6);
        for (uint64_t k = 0; k < tensor_elements(&pair.slow.tensors[X]); k++)
            world_f32(&pair.kernels, X)[k] = world_f32(&pair.slow, X)[k] += 1000;
        run_both(&pair.kernels, &pair.slow, OP_BN, PASS_FORWARD);
        pair_finish(&pair);
    }
}

/* Masks are the CPU's, bit by bit: so the words of random numbers are. */
Test(kernels_ops, dropout_draws_the_masks_of_the_cpu)
{
    const struct ops_case c = {.name = "masks", .kind = OP_DROPOUT, .x = {3, 11, 11, 13}};
    for (uint64_t number = 0; number < 4; number++) {
        struct pair pair;
        pair_init(&pair, &c, 9);
        pair.kernels.step.number = pair.slow.step.number = number << 20 | number;
        pair.kernels.step.micro_batch = pair.slow.step.micro_batch = (uint32_t)number;
        pair.kernels.step.seed = pair.slow.step.seed = number * 0x123456789abcu;
        run_both(&pair.kernels, &pair.slow, OP_DROPOUT, PASS_FORWARD);
        cr_expect_arr_eq(pair.kernels.values[Y], pair.slow.values[Y], pair.slow.tensors[Y].bytes);
        run_both(&pair.kernels, &pair.slow, OP_DROPOUT_BWD, PASS_BACKWARD);
        cr_expect_arr_eq(pair.kernels.values[DX], pair.slow.values[DX], pair.slow.tensors[DX].bytes);
        pair_finish(&pair);
    }
}

/* An output that takes an input's bytes gets the same bits there. */
Test(kernels_ops, in_place_changes_nothing)
{
    static const struct {
        enum op_kind forward, kind;
        int input;
        enum op_pass pass;
    } rows[] = {{OP_RELU, OP_RELU, 0, PASS_FORWARD},
                {OP_ADD, OP_ADD, 0, PASS_FORWARD},
                {OP_ADD, OP_ADD, 1, PASS_FORWARD},
                {OP_ADD, OP_ADD, 0, PASS_RECONSTRUCT},
                {OP_ADD, OP_ADD, 1, PASS_RECONSTRUCT},
                {OP_MUL, OP_MUL, 1, PASS_FORWARD},
                {OP_SCALE, OP_SCALE, 0, PASS_FORWARD},
                {OP_SIGMOID, OP_SIGMOID, 0, PASS_FORWARD},
                {OP_DROPOUT, OP_DROPOUT, 0, PASS_FORWARD},
                {OP_RELU, OP_RELU_BWD, 0, PASS_FORWARD},
                {OP_RELU, OP_RELU_BWD, 1, PASS_FORWARD},
                {OP_SIGMOID, OP_SIGMOID_BWD, 1, PASS_FORWARD},
                {OP_DROPOUT, OP_DROPOUT_BWD, 0, PASS_FORWARD},
                {OP_BN, OP_BN, 0, PASS_FORWARD},
                {OP_BN, OP_BN_BWD, 0, PASS_FORWARD},
                {OP_BN, OP_BN_BWD, 1, PASS_FORWARD},
                {OP_ADD_GRADIENT, OP_ADD_GRADIENT, 1, PASS_FORWARD},
                {OP_SOFTMAX_LOSS, OP_SOFTMAX_LOSS_BWD, 0, PASS_FORWARD}};
    const uint32_t shapes[][4] = {{3, 8, 8, 16}, {2, 7, 7, 13}};
    for (size_t i = 0; i < 2 * (sizeof rows / sizeof *rows); i++) {
        struct ops_case c = {.name = "in place", .kind = rows[i / 2].forward, .relu = true};
        memcpy(c.x, shapes[i % 2], sizeof c.x);
        struct world apart, together;
        struct error err = {0};
        world_init(&apart, &host_backend, &c);
        world_init(&together, &host_backend, &c);
        randomize_both(&apart, &together, i);
        together.in_place = rows[i / 2].input;
        const enum op_kind kind = rows[i / 2].kind;
        host_backend_seed = 2 * i + 1;
        cr_assert(world_run(&apart, kind, rows[i / 2].pass, &err), "%s", err.text);
        host_backend_seed = 2 * i + 2;
        cr_assert(world_run(&together, kind, rows[i / 2].pass, &err), "%s", err.text);
        const enum slot out = operands_of(kind, &c).out[0];
        cr_expect_arr_eq(apart.values[out], together.values[out], apart.tensors[out].bytes, "%s over input %d",
                         op_kind_name(kind), rows[i / 2].input);
        cr_expect(together.canaries_held);
        world_finish(&apart);
        world_finish(&together);
    }
}

/* A forward op and its backward ops. */
static void run_all(struct world *w, uint64_t seed)
{
    struct error err = {0};
    host_backend_seed = seed;
    cr_assert(world_run(w, w->c.kind, PASS_FORWARD, &err), "%s", err.text);
    for (const enum op_kind *kind = backward_kinds(w->c.kind); *kind != OP_KINDS; kind++)
        cr_assert(world_run(w, *kind, PASS_BACKWARD, &err), "%s", err.text);
}

/* Sums, within a block and over blocks, have the same bits in whatever order threads run: no barrier is missing. */
Test(kernels_ops, the_order_of_threads_changes_no_bit)
{
    const struct ops_case rows[] = {{"vectors", OP_BN, {7, 9, 9, 16}, 16, 0, 0, 0, false, true},
                                    {"one by one", OP_BN, {4, 9, 9, 7}, 7, 0, 0, 0, false, true},
                                    {"tiles", OP_BN, {3, 5, 5, 264}, 264, 0, 0, 0, false, true},
                                    {"loss", OP_SOFTMAX_LOSS, {40, 1, 1, 33}, 0, 0, 0, 0, false, false},
                                    {"product", OP_FC, {40, 1, 1, 70}, 35, 0, 0, 0, true, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct world first, numbers;
        world_init(&first, &host_backend, &rows[i]);
        world_init(&numbers, &host_backend, &rows[i]);
        randomize_both(&first, &numbers, i);
        run_all(&first, 1);
        for (uint64_t seed = 2; seed < 2 + rounds(12); seed++) {
            struct world other;
            world_init(&other, &host_backend, &rows[i]);
            for (int s = 0; s < SLOTS; s++) memcpy(other.values[s], numbers.values[s], numbers.tensors[s].bytes);
            run_all(&other, seed);
            for (int s = 0; s < SLOTS; s++)
                cr_expect_arr_eq(first.values[s], other.values[s], first.tensors[s].bytes, "%s, slot %d, seed %d",
                                 rows[i].name, s, (int)seed);
            world_finish(&other);
        }
        world_finish(&first);
        world_finish(&numbers);
    }
}

/* ---- Steps that change nothing, and what leads to them ---- */

static void run_alone(struct pair *pair, enum op_kind kind, enum op_pass pass)
{
    struct error err = {0};
    cr_assert(world_run(&pair->kernels, kind, pass, &err), "%s", err.text);
    cr_assert(world_run(&pair->slow, kind, pass, &err), "%s", err.text);
}

static void set_scale(struct pair *pair, struct loss_scale scale)
{
    memcpy(pair->kernels.values[LOSS_SCALE], &scale, sizeof scale);
    memcpy(pair->slow.values[LOSS_SCALE], &scale, sizeof scale);
}

/* The scale moves as the CPU's does, over overflows and streaks, from its least to its most. */
Test(kernels_ops, the_loss_scale_moves_as_the_cpus)
{
    const struct ops_case c = {.name = "scale", .kind = OP_LOSS_SCALE_UPDATE, .x = {1, 1, 1, 8}};
    const struct loss_scale scales[] = {
        {256, 0, 0, 0}, {256, 2, 0, 5}, {256, 1, 1, 5}, {LOSS_SCALE_LEAST, 0, 1, 0}, {LOSS_SCALE_MOST, 2, 0, 0}};
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        struct pair pair;
        pair_init(&pair, &c, 1);
        pair.kernels.step.scale_streak = pair.slow.step.scale_streak = 3;
        set_scale(&pair, scales[i]);
        run_alone(&pair, OP_LOSS_SCALE_UPDATE, PASS_UPDATE);
        cr_expect_arr_eq(pair.kernels.values[LOSS_SCALE], pair.slow.values[LOSS_SCALE], sizeof(struct loss_scale));
        pair_finish(&pair);
    }
}

/* Gradients are divided by the scale; where overflow was found nothing moves. */
Test(kernels_ops, the_update_divides_by_the_scale_or_does_nothing)
{
    const struct ops_case c = {.name = "scaled", .kind = OP_UPDATE, .x = {1, 1, 1, 1003}, .relu = true};
    for (int overflow = 0; overflow < 2; overflow++) {
        struct pair pair;
        pair_init(&pair, &c, 2);
        pair.kernels.scaled = pair.slow.scaled = true;
        set_scale(&pair, (struct loss_scale){.scale = 3, .found = (float)overflow});
        float *before = malloc(pair.slow.tensors[W].bytes);
        memcpy(before, pair.slow.values[W], pair.slow.tensors[W].bytes);
        run_both(&pair.kernels, &pair.slow, OP_UPDATE, PASS_UPDATE);
        cr_expect_eq(memcmp(before, pair.kernels.values[W], pair.slow.tensors[W].bytes) == 0, overflow == 1);
        free(before);
        pair_finish(&pair);
    }
}

/* The norm is the CPU's, and has the same bits whatever the order of threads. */
Test(kernels_ops, the_norm_of_gradients)
{
    const struct ops_case c = {.name = "norm", .kind = OP_GRADIENT_NORM, .x = {1, 1, 1, 140001}};
    double first = 0;
    for (uint64_t seed = 1; seed < 4; seed++) {
        struct pair pair;
        pair_init(&pair, &c, 9);
        host_backend_seed = seed;
        pair.kernels.sync = pair.slow.sync = true; /* what is there stays */
        run_alone(&pair, OP_GRADIENT_NORM, PASS_UPDATE);
        double found = *(double *)pair.kernels.values[NORM], wanted = *(double *)pair.slow.values[NORM];
        cr_expect_float_eq(found, wanted, 1e-12 * wanted);
        if (seed == 1) first = found;
        cr_expect_eq(found, first);
        pair_finish(&pair);
    }
}

/* A bucket of two parameters with bytes between them: dw of 70,001 elements, then 50. */
static float found_in(uint64_t element, float value, bool keep, float before)
{
    const struct ops_case c = {.name = "check", .kind = OP_GRADIENT_CHECK, .x = {1, 1, 1, 70200}, .channels = 50};
    struct pair pair;
    world_init(&pair.kernels, &host_backend, &c); /* gradients of 0 */
    world_init(&pair.slow, &cpu_reference_backend, &c);
    host_backend_seed = element + 1;
    struct world *worlds[] = {&pair.kernels, &pair.slow};
    for (int i = 0; i < 2; i++) {
        struct world *w = worlds[i];
        w->sync = keep;
        w->tensors[DW].of = SLOTS - 1;
        w->tensors[W].view_of = w->tensors[BIAS].view_of = SLOTS - 1;
        w->tensors[W].view_offset = 0;
        w->tensors[W].dims[3] = 70001;
        w->tensors[BIAS].view_offset = 70016 * sizeof(float);
        w->tensors[BIAS].dims[3] = 50;
        world_f32(w, DW)[element] = value;
    }
    set_scale(&pair, (struct loss_scale){.scale = 8, .found = before});
    run_alone(&pair, OP_GRADIENT_CHECK, PASS_UPDATE);
    const float found = world_f32(&pair.kernels, LOSS_SCALE)[2];
    cr_expect_eq(found, world_f32(&pair.slow, LOSS_SCALE)[2]);
    pair_finish(&pair);
    return found;
}

Test(kernels_ops, the_gradient_check_looks_at_parameters_alone)
{
    cr_expect_eq(found_in(0, 1, false, 1), 0); /* the first check forgets */
    cr_expect_eq(found_in(0, 1, true, 1), 1);
    cr_expect_eq(found_in(0, NAN, false, 0), 1);
    cr_expect_eq(found_in(65536, INFINITY, false, 0), 1);
    cr_expect_eq(found_in(70000, -INFINITY, true, 0), 1);
    cr_expect_eq(found_in(70001, NAN, false, 0), 0); /* between them */
    cr_expect_eq(found_in(70015, NAN, false, 0), 0);
    cr_expect_eq(found_in(70016, NAN, false, 0), 1);
    cr_expect_eq(found_in(70065, NAN, false, 0), 1);
    cr_expect_eq(found_in(70066, NAN, false, 0), 0);
}

/* Metrics and buckets are summed over micro-batches. */
Test(kernels_ops, micro_batches_are_summed)
{
    const struct ops_case rows[] = {{"second", OP_SOFTMAX_LOSS, {9, 1, 1, 10}, 0, 0, 0, 0, false, false},
                                    {"second", OP_ACCUMULATE, {1, 1, 1, 333}, 0, 0, 0, 0, false, false}};
    for (int i = 0; i < 2; i++) {
        struct pair pair;
        pair_init(&pair, &rows[i], 3);
        pair.kernels.step.micro_batch = pair.slow.step.micro_batch = 1;
        run_both(&pair.kernels, &pair.slow, rows[i].kind, PASS_FORWARD);
        pair_finish(&pair);
    }
}

/* A label of no class counts for nothing; a logit that is no number, or the largest twice, hits nothing it should not.
 */
Test(kernels_ops, odd_logits_and_labels)
{
    const struct ops_case c = {.name = "odd", .kind = OP_SOFTMAX_LOSS, .x = {6, 1, 1, 40}};
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
        struct pair pair;
        pair_init(&pair, &c, 4);
        struct world *worlds[] = {&pair.kernels, &pair.slow};
        for (int i = 0; i < 2; i++) {
            if (is_half(dtype)) world_halve(worlds[i], dtype);
            ((int32_t *)worlds[i]->values[LABELS])[1] = -1;
            ((int32_t *)worlds[i]->values[LABELS])[2] = 40;
            for (int k = 0; k < 40; k++) world_f32(worlds[i], X)[3 * 40 + k] = 1; /* all alike */
            world_f32(worlds[i], X)[4 * 40 + 5] = 30000;                          /* sure of it */
        }
        run_both(&pair.kernels, &pair.slow, OP_SOFTMAX_LOSS, PASS_FORWARD);
        cr_expect_eq(world_f32(&pair.kernels, METRICS)[3], 4);
        share_results(&pair.kernels, &pair.slow);
        run_both(&pair.kernels, &pair.slow, OP_SOFTMAX_LOSS_BWD, PASS_BACKWARD);
        pair_finish(&pair);
    }
}

/* ---- A device that has seen a loss that is no number ---- */

static bool run_op(struct device *device, const struct op_call *call)
{
    struct prepared *prepared = NULL;
    struct error err = {0};
    cr_assert(host_backend.op_prepare(device, call, &prepared, &err), "%s", err.text);
    const bool ok = host_backend.op_launch(prepared, NULL, &err);
    host_backend.op_release(prepared);
    return ok;
}

/* Evaluation halts nothing; training does, and nothing is updated from then on. */
Test(kernels_ops, a_loss_that_is_no_number_halts_the_device)
{
    const struct ops_case loss_case = {.name = "halt", .kind = OP_SOFTMAX_LOSS, .x = {2, 1, 1, 10}};
    const struct ops_case update_case = {.name = "halt", .kind = OP_UPDATE, .x = {1, 1, 1, 77}};
    struct world loss, update;
    struct rig loss_rig, update_rig;
    struct error err = {0};
    world_init(&loss, &host_backend, &loss_case);
    world_init(&update, &host_backend, &update_case);
    cr_assert(rig_init(&loss_rig, &loss, OP_SOFTMAX_LOSS, PASS_EVALUATE, &err));
    cr_assert(rig_init(&update_rig, &update, OP_UPDATE, PASS_UPDATE, &err));
    struct device *device = NULL;
    cr_assert(host_backend.device_create(
        &(struct device_options){0},
        loss_rig.arena_bytes > update_rig.arena_bytes ? loss_rig.arena_bytes : update_rig.arena_bytes, &device, &err));
    cr_assert(host_backend.set_step(device, NULL, &loss.step, &err));
    memset(device->arena, 0xff, device->arena_bytes); /* logits that are no numbers, and labels of no class */
    memset(device->arena + loss_rig.offsets[LABELS], 0, loss.tensors[LABELS].bytes);
    run_op(device, &loss_rig.call);
    cr_expect_eq(device->step->halted, 0);
    loss_rig.call.pass = PASS_FORWARD;
    run_op(device, &loss_rig.call);
    cr_expect_eq(device->step->halted, 1);
    cr_assert(host_backend.set_step(device, NULL, &loss.step, &err));
    cr_expect_eq(device->step->halted, 1);
    float *weights = (float *)(void *)(device->arena + update_rig.offsets[W]);
    memset(device->arena, 0, device->arena_bytes);
    for (int i = 0; i < 77; i++) weights[i] = 2;
    run_op(device, &update_rig.call);
    for (int i = 0; i < 77; i++) cr_expect_eq(weights[i], 2); /* decay would have moved them */
    device->step->halted = 0;
    run_op(device, &update_rig.call);
    cr_expect_neq(weights[0], 2);
    host_backend.device_destroy(device);
    world_finish(&loss);
    world_finish(&update);
}

Test(kernels_ops, frozen_statistics_are_pytorchs)
{
    check_frozen_bns(&host_backend);
    check_frozen_bns(&host_reference_backend);
}

Test(kernels_ops, groups_of_images_are_normalised_as_if_alone) { check_bn_groups(&host_backend, 1e-6); }
