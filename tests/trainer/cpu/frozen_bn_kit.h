/* A batch normalisation by its running statistics against PyTorch's, on any backend. */
#ifndef FATHOM_FROZEN_BN_KIT_H
#define FATHOM_FROZEN_BN_KIT_H

#include <criterion/criterion.h>

#include "ops_world.h"
#include "torch_frozen_bn.h"

static inline void put(struct world *w, enum slot slot, const float *values)
{
    memcpy(world_f32(w, slot), values, w->tensors[slot].bytes);
}

static inline void expect_near(struct world *w, enum slot slot, const float *wanted, const char *what)
{
    for (uint64_t i = 0; i < tensor_elements(&w->tensors[slot]); i++)
        cr_expect_float_eq(world_f32(w, slot)[i], wanted[i], 2e-6 + 2e-6 * fabs((double)wanted[i]), "%s, %s %u: %g, not %g",
                           w->backend->name, what, (unsigned)i, (double)world_f32(w, slot)[i], (double)wanted[i]);
}

static inline void check_frozen_bn(const struct backend *backend, bool relu, enum bn_freeze frozen)
{
    const struct ops_case c = {"torch", OP_BN, {3, 2, 3, 4}, 4, 0, 0, frozen, false, relu};
    struct world w;
    struct error err = {0};
    world_init(&w, backend, &c);
    put(&w, X, torch_x);
    put(&w, DY, torch_dy);
    put(&w, GAMMA, torch_gamma);
    put(&w, BETA, torch_beta);
    put(&w, RUNNING_MEAN, torch_mean);
    put(&w, RUNNING_VARIANCE, torch_variance);
    cr_assert(world_run(&w, OP_BN, PASS_FORWARD, &err), "%s", err.text);
    cr_assert(world_run(&w, OP_BN_BWD, PASS_BACKWARD, &err), "%s", err.text);
    expect_near(&w, Y, relu ? torch_y_relu : torch_y, "y");
    expect_near(&w, DX, relu ? torch_dx_relu : torch_dx, "dx");
    cr_expect_arr_eq(world_f32(&w, RUNNING_MEAN), torch_mean, sizeof torch_mean);
    cr_expect_arr_eq(world_f32(&w, RUNNING_VARIANCE), torch_variance, sizeof torch_variance);
    if (frozen == BN_STATISTICS_FROZEN) {
        expect_near(&w, DGAMMA, relu ? torch_dgamma_relu : torch_dgamma, "dgamma");
        expect_near(&w, DBETA, relu ? torch_dbeta_relu : torch_dbeta, "dbeta");
    }
    world_finish(&w);
}

static inline void check_frozen_bns(const struct backend *backend)
{
    for (int i = 0; i < 4; i++) check_frozen_bn(backend, i & 1, i & 2 ? BN_FROZEN : BN_STATISTICS_FROZEN);
}

#endif
