/* A BN whose groups of images have statistics of their own, beside the same op run on each group alone: for every backend. */
#ifndef FATHOM_BN_GROUPS_KIT_H
#define FATHOM_BN_GROUPS_KIT_H

#include <criterion/criterion.h>

#include "ops_world.h"

static const struct ops_case bn_groups_cases[] = {
    {"4 groups", OP_BN, {8, 5, 5, 16}, 16, 4, 0, 0, false, true},
    {"2 groups, no ReLU", OP_BN, {6, 8, 8, 32}, 32, 2, 0, 0, false, false},
    {"of one image", OP_BN, {3, 9, 7, 24}, 24, 3, 0, 0, false, true},
    {"12 channels, masks within bytes", OP_BN, {6, 3, 3, 12}, 12, 2, 0, 0, false, true},
    {"5 channels", OP_BN, {8, 3, 5, 5}, 5, 4, 0, 0, false, true},
    {"many rows", OP_BN, {4, 32, 32, 16}, 16, 2, 0, 0, false, true},
};
#define BN_GROUPS_CASES (sizeof bn_groups_cases / sizeof bn_groups_cases[0])

static inline void run_bn(struct world *w)
{
    struct error err = {0};
    cr_assert(world_run(w, OP_BN, PASS_FORWARD, &err), "%s: %s", w->c.name, err.text);
    cr_assert(world_run(w, OP_BN_BWD, PASS_BACKWARD, &err), "%s: %s", w->c.name, err.text);
    cr_expect(w->canaries_held, "%s: wrote beside its tensors", w->c.name);
}

/* Group g of `all` as a world of its own, with the same parameters. */
static inline void take_group(struct world *one, const struct world *all, uint32_t g)
{
    const enum slot whole[] = {GAMMA, BETA, RUNNING_MEAN, RUNNING_VARIANCE};
    struct ops_case c = all->c;
    c.x[0] /= all->c.kernel, c.kernel = 0;
    world_init(one, all->backend, &c);
    for (size_t i = 0; i < 4; i++) memcpy(one->values[whole[i]], all->values[whole[i]], one->tensors[whole[i]].bytes);
    memcpy(one->values[X], (uint8_t *)all->values[X] + g * one->tensors[X].bytes, one->tensors[X].bytes);
    memcpy(one->values[DY], (uint8_t *)all->values[DY] + g * one->tensors[DY].bytes, one->tensors[DY].bytes);
}

static inline void compare_group(struct world *all, struct world *one, enum slot slot, uint32_t g, double most)
{
    const uint64_t count = tensor_elements(&one->tensors[slot]);
    cr_expect(worst_error(world_f32(all, slot) + g * count, world_f32(one, slot), count) <= most, "%s: tensor %d of group %u",
              all->c.name, slot, g);
}

/* What a step does to the running statistics by hand, in double, and what it gives gamma and beta: the sums over the groups. */
static inline void compare_sums(struct world *all, const struct world *before, const double *means, const double *variances,
                                const double *dgamma, const double *dbeta)
{
    for (uint32_t c = 0; c < all->c.x[3]; c++) {
        const double m = 0.1, mean = (1 - m) * (double)((const float *)before->values[RUNNING_MEAN])[c] + m * means[c];
        const double variance = (1 - m) * (double)((const float *)before->values[RUNNING_VARIANCE])[c] + m * variances[c];
        cr_expect_float_eq(world_f32(all, RUNNING_MEAN)[c], (float)mean, 1e-5, "%s", all->c.name);
        cr_expect_float_eq(world_f32(all, RUNNING_VARIANCE)[c], (float)variance, 1e-5, "%s", all->c.name);
        cr_expect(fabs((double)world_f32(all, DGAMMA)[c] - dgamma[c]) < 1e-4 * (1 + fabs(dgamma[c])), "%s", all->c.name);
        cr_expect(fabs((double)world_f32(all, DBETA)[c] - dbeta[c]) < 1e-4 * (1 + fabs(dbeta[c])), "%s", all->c.name);
    }
}

/* By how much a group's values may differ from those of the op alone: where its mask begins within a byte other loops may run. */
static inline double most_difference(const struct world *all, double most)
{
    const bool splits = all->c.relu && tensor_elements(&all->tensors[X]) / all->c.kernel % 8 != 0;
    return splits && most < 1e-6 ? 1e-6 : most;
}

/* `most` of these differences; 0 = by no bit. */
static inline void check_bn_groups(const struct backend *backend, double most)
{
    for (size_t i = 0; i < BN_GROUPS_CASES; i++) {
        struct world all, before;
        double means[64] = {0}, variances[64] = {0}, dgamma[64] = {0}, dbeta[64] = {0};
        world_init(&all, backend, &bn_groups_cases[i]);
        world_init(&before, backend, &bn_groups_cases[i]);
        world_randomize(&all, i);
        world_randomize(&before, i);
        run_bn(&all);
        const uint32_t groups = all.c.kernel, channels = all.c.x[3];
        const double rows = (double)all.c.x[0] / groups * all.c.x[1] * all.c.x[2];
        for (uint32_t g = 0; g < groups; g++) {
            const enum slot slots[] = {Y, DX, MEAN, VARIANCE};
            struct world one;
            take_group(&one, &before, g);
            run_bn(&one);
            for (size_t s = 0; s < 4; s++) compare_group(&all, &one, slots[s], g, most_difference(&all, most));
            for (uint32_t c = 0; c < channels; c++) {
                means[c] += (double)world_f32(&one, MEAN)[c] / groups;
                variances[c] += (double)world_f32(&one, VARIANCE)[c] * rows / (rows - 1) / groups;
                dgamma[c] += (double)world_f32(&one, DGAMMA)[c];
                dbeta[c] += (double)world_f32(&one, DBETA)[c];
            }
            world_finish(&one);
        }
        compare_sums(&all, &before, means, variances, dgamma, dbeta);
        world_finish(&all);
        world_finish(&before);
    }
}

#endif
