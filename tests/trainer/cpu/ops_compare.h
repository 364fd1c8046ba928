/* The same op on two backends, the second the reference, and what their results may differ by. */
#ifndef FATHOM_OPS_COMPARE_H
#define FATHOM_OPS_COMPARE_H

#include <criterion/criterion.h>

#include "ops_world.h"

static inline double tolerance(enum op_kind kind)
{
    switch (kind) {
    case OP_CONV_BWD_WEIGHTS:
    case OP_FC_BWD_WEIGHTS:
    case OP_BN_BWD: return 5e-6; /* long sums in single precision */
    default: return 2e-6;
    }
}

static inline void compare(struct world *fast, struct world *slow, enum op_kind kind)
{
    struct operands o = operands_of(kind, &fast->c);
    for (int i = 0; i < o.outputs; i++) {
        const struct tensor *t = &fast->tensors[o.out[i]];
        if (t->dtype != DTYPE_F32) continue;
        double worst = worst_error(world_f32(fast, o.out[i]), world_f32(slow, o.out[i]), tensor_elements(t));
        cr_expect(worst <= tolerance(kind), "%s %s, output %d (%s): relative error %g", op_kind_name(kind),
                  fast->c.name, i, fast->implementation, worst);
    }
}

/* Results are rounded once from f32 that agree to `tolerance`: few may round to a neighbour. A zero may have either sign. */
static inline void compare_halves(struct world *fast, struct world *slow, enum op_kind kind)
{
    struct operands o = operands_of(kind, &fast->c);
    for (int i = 0; i < o.outputs; i++) {
        const struct tensor *t = &fast->tensors[o.out[i]];
        if (!is_half(t->dtype)) continue;
        const float *a = world_f32(fast, o.out[i]), *b = world_f32(slow, o.out[i]);
        uint64_t count = tensor_elements(t), differ = 0;
        for (uint64_t k = 0; k < count; k++) differ += !(a[k] == b[k]);
        double worst = worst_error(a, b, count), step = t->dtype == DTYPE_F16 ? 0x1p-10 : 0x1p-7;
        cr_expect(worst <= step, "%s %s in %s (%s): relative error %g", op_kind_name(kind), fast->c.name,
                  dtype_name(t->dtype), fast->implementation, worst);
        cr_expect(differ <= count / 50 + 1, "%s %s in %s (%s): %d of %d differ", op_kind_name(kind), fast->c.name,
                  dtype_name(t->dtype), fast->implementation, (int)differ, (int)count);
    }
}

static inline void run_both(struct world *fast, struct world *slow, enum op_kind kind, enum op_pass pass)
{
    struct error err = {0};
    cr_assert(world_run(fast, kind, pass, &err), "%s %s: %s", op_kind_name(kind), fast->c.name, err.text);
    cr_assert(world_run(slow, kind, pass, &err), "%s %s: %s", op_kind_name(kind), slow->c.name, err.text);
    cr_expect(fast->canaries_held, "%s %s wrote outside its tensors and workspace", op_kind_name(kind), fast->c.name);
    cr_expect(slow->canaries_held, "%s %s (reference) wrote outside its tensors", op_kind_name(kind), slow->c.name);
    cr_expect(strncmp(fast->implementation, "ref", 3) != 0, "%s %s runs on oneDNN's slow path", op_kind_name(kind),
              fast->c.name);
    compare(fast, slow, kind);
    compare_halves(fast, slow, kind);
}

/* What depends on a rounding (a mask, a position) or must agree for what follows to be comparable. */
static inline void share_results(struct world *fast, struct world *slow)
{
    const enum slot shared[] = {Y, MEAN, VARIANCE, PROBABILITIES, MASK};
    for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++)
        memcpy(fast->values[shared[i]], slow->values[shared[i]], value_bytes(&slow->tensors[shared[i]]));
}

#endif
