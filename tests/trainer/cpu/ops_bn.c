/* Batch normalisation: what the tests of all ops do not see. */
#include <criterion/criterion.h>

#include "bn_groups_kit.h"
#include "frozen_bn_kit.h"
#include "ops_world.h"

static const struct ops_case shapes[] = {
    {"16 channels", OP_BN, {16, 32, 32, 16}, 16, 0, 0, 0, false, true},
    {"64 channels", OP_BN, {9, 16, 16, 64}, 64, 0, 0, 0, false, true},
    {"256 channels", OP_BN, {8, 8, 8, 256}, 256, 0, 0, 0, false, false},
    {"12 channels", OP_BN, {5, 9, 9, 12}, 12, 0, 0, 0, false, true},
    {"3 channels", OP_BN, {3, 5, 7, 3}, 3, 0, 0, 0, false, true},
    {"groups", OP_BN, {8, 9, 9, 16}, 16, 4, 0, 0, false, true},
};
static const struct backend *const backends[] = {&cpu_backend, &cpu_reference_backend};
#define SHAPES (sizeof shapes / sizeof shapes[0])

/* The promise under every plan that recomputes: the second time gives the same bits, and running statistics stay. */
Test(bn, recomputes_bit_for_bit)
{
    for (size_t i = 0; i < 2 * SHAPES; i++) {
        struct world w;
        struct error err = {0};
        world_init(&w, backends[i % 2], &shapes[i / 2]);
        world_randomize(&w, i);
        cr_assert(world_run(&w, OP_BN, PASS_FORWARD, &err), "%s", err.text);
        void *before[SLOTS];
        for (int s = 0; s < SLOTS; s++) {
            before[s] = malloc(w.tensors[s].bytes);
            memcpy(before[s], w.values[s], w.tensors[s].bytes);
        }
        memset(w.values[Y], 0x7f, w.tensors[Y].bytes);
        if (w.c.relu) memset(w.values[MASK], 0x55, w.tensors[MASK].bytes);
        cr_assert(world_run(&w, OP_BN, PASS_RECOMPUTE, &err), "%s", err.text);
        for (int s = 0; s < SLOTS; s++) {
            cr_expect(memcmp(before[s], w.values[s], w.tensors[s].bytes) == 0, "%s: tensor %d changed", w.c.name, s);
            free(before[s]);
        }
        world_finish(&w);
    }
}

Test(bn, keeps_running_statistics)
{
    const uint32_t rows = 3 * 2 * 2;
    const struct ops_case c = {"small", OP_BN, {3, 2, 2, 2}, 2, 0, 0, 0, false, false};
    for (int k = 0; k < 2; k++) {
        struct world w;
        struct error err = {0};
        world_init(&w, backends[k], &c);
        world_randomize(&w, 5);
        double mean = 0, squares = 0, old_mean = (double)world_f32(&w, RUNNING_MEAN)[1];
        double old_variance = (double)world_f32(&w, RUNNING_VARIANCE)[1];
        for (uint32_t r = 0; r < rows; r++) mean += (double)world_f32(&w, X)[2 * r + 1] / rows;
        for (uint32_t r = 0; r < rows; r++) squares += pow((double)world_f32(&w, X)[2 * r + 1] - mean, 2);
        cr_assert(world_run(&w, OP_BN, PASS_FORWARD, &err), "%s", err.text);
        cr_expect_float_eq(world_f32(&w, MEAN)[1], (float)mean, 1e-6);
        cr_expect_float_eq(world_f32(&w, VARIANCE)[1], (float)(squares / rows), 1e-6);
        cr_expect_float_eq(world_f32(&w, RUNNING_MEAN)[1], (float)(0.9 * old_mean + 0.1 * mean), 1e-6);
        cr_expect_float_eq(world_f32(&w, RUNNING_VARIANCE)[1], (float)(0.9 * old_variance + 0.1 * squares / (rows - 1)),
                           1e-6);
        world_finish(&w);
    }
}

/* Statistics of values far from zero: the naive sum of squares would lose all digits. */
Test(bn, survives_large_means)
{
    for (size_t i = 0; i < 2 * SHAPES; i++) {
        struct world w;
        struct error err = {0};
        world_init(&w, backends[i % 2], &shapes[i / 2]);
        world_randomize(&w, i);
        for (uint64_t e = 0; e < tensor_elements(&w.tensors[X]); e++) world_f32(&w, X)[e] += 4096;
        cr_assert(world_run(&w, OP_BN, PASS_FORWARD, &err), "%s", err.text);
        for (uint32_t c = 0; c < w.c.x[3]; c++)
            cr_expect(fabsf(world_f32(&w, VARIANCE)[c] - 1) < 0.5f, "%s on %s: variance %g", w.c.name, w.backend->name,
                      (double)world_f32(&w, VARIANCE)[c]);
        world_finish(&w);
    }
}

/* What is not a number must come out, not vanish in ReLU: the executor fills dead bytes with it to find wrong plans. */
Test(bn, shows_what_is_not_a_number)
{
    for (size_t i = 0; i < 2 * SHAPES; i++) {
        struct world w;
        struct error err = {0};
        world_init(&w, backends[i % 2], &shapes[i / 2]);
        world_randomize(&w, i);
        world_f32(&w, X)[0] = NAN;
        cr_assert(world_run(&w, OP_BN, PASS_FORWARD, &err), "%s", err.text);
        cr_expect(isnan(world_f32(&w, Y)[0]) && isnan(world_f32(&w, Y)[w.c.x[3]]), "%s on %s", w.c.name,
                  w.backend->name);
        world_finish(&w);
    }
}

static bool run_with_threads(struct world *w, enum op_kind kind, uint32_t threads)
{
    struct rig rig;
    struct error err = {0};
    bool ok = rig_init(&rig, w, kind, PASS_FORWARD, &err) && world_device(w, rig.arena_bytes, threads, &err) &&
              rig_run(w, &rig, &err);
    w->backend->device_destroy(w->device);
    return ok;
}

Test(bn, does_not_depend_on_the_number_of_threads)
{
    for (size_t i = 0; i < SHAPES; i++) {
        struct world one, three;
        world_init(&one, &cpu_backend, &shapes[i]);
        world_init(&three, &cpu_backend, &shapes[i]);
        world_randomize(&one, i);
        world_randomize(&three, i);
        cr_assert(run_with_threads(&one, OP_BN, 1) && run_with_threads(&three, OP_BN, 3));
        cr_assert(run_with_threads(&one, OP_BN_BWD, 1) && run_with_threads(&three, OP_BN_BWD, 3));
        for (int s = 0; s < SLOTS; s++)
            cr_expect(memcmp(one.values[s], three.values[s], one.tensors[s].bytes) == 0, "%s: tensor %d",
                      shapes[i].name, s);
        world_finish(&one);
        world_finish(&three);
    }
}

Test(bn, frozen_statistics_are_pytorchs)
{
    check_frozen_bns(&cpu_reference_backend);
    check_frozen_bns(&cpu_backend);
}

Test(bn, groups_of_images_are_normalised_as_if_alone)
{
    check_bn_groups(&cpu_reference_backend, 0);
    check_bn_groups(&cpu_backend, 0);
}
