/* Every backward op against finite differences of its forward op: L = sum of y * dy, and dL/d(input) must be what the
 * backward op says. Forward ops run on the reference, whose sums are in double. */
#include <criterion/criterion.h>

#include "ops_world.h"

struct check {
    struct ops_case c;
    enum op_kind backward;
    enum slot input, gradient; /* d(input) of the forward op is what the backward op writes here */
};

static const struct check checks[] = {
    {{"3x3", OP_CONV, {2, 5, 5, 3}, 4, 3, 1, 1, false, false}, OP_CONV_BWD_DATA, X, DX},
    {{"3x3", OP_CONV, {2, 5, 5, 3}, 4, 3, 1, 1, true, false}, OP_CONV_BWD_WEIGHTS, W, DW},
    {{"3x3", OP_CONV, {2, 5, 5, 3}, 4, 3, 1, 1, true, false}, OP_CONV_BWD_WEIGHTS, BIAS, DBIAS},
    {{"stride 2", OP_CONV, {2, 6, 6, 2}, 3, 3, 2, 1, false, false}, OP_CONV_BWD_DATA, X, DX},
    {{"stride 2", OP_CONV, {2, 6, 6, 2}, 3, 3, 2, 1, false, false}, OP_CONV_BWD_WEIGHTS, W, DW},
    {{"1x1 stride 2", OP_CONV, {2, 5, 5, 3}, 2, 1, 2, 0, false, false}, OP_CONV_BWD_DATA, X, DX},
    {{"1x1 stride 2", OP_CONV, {2, 5, 5, 3}, 2, 1, 2, 0, false, false}, OP_CONV_BWD_WEIGHTS, W, DW},
    {{"plain", OP_BN, {3, 3, 3, 4}, 4, 0, 0, 0, false, false}, OP_BN_BWD, X, DX},
    {{"relu", OP_BN, {3, 3, 3, 4}, 4, 0, 0, 0, false, true}, OP_BN_BWD, X, DX},
    {{"relu", OP_BN, {3, 3, 3, 4}, 4, 0, 0, 0, false, true}, OP_BN_BWD, GAMMA, DGAMMA},
    {{"relu", OP_BN, {3, 3, 3, 4}, 4, 0, 0, 0, false, true}, OP_BN_BWD, BETA, DBETA},
    {{"relu, vectors", OP_BN, {2, 2, 2, 16}, 16, 0, 0, 0, false, true}, OP_BN_BWD, X, DX},
    {{"small", OP_RELU, {2, 3, 3, 2}, 0, 0, 0, 0, false, false}, OP_RELU_BWD, X, DX},
    {{"small", OP_MUL, {2, 3, 3, 2}, 0, 0, 0, 0, false, false}, OP_MUL_BWD, X, DX},
    {{"small", OP_SCALE, {2, 3, 3, 2}, 0, 0, 0, 0, false, false}, OP_SCALE_BWD, X, DX},
    {{"small", OP_SIGMOID, {2, 3, 3, 2}, 0, 0, 0, 0, false, false}, OP_SIGMOID_BWD, X, DX},
    {{"small", OP_DROPOUT, {2, 3, 3, 5}, 0, 0, 0, 0, false, false}, OP_DROPOUT_BWD, X, DX},
    {{"overlapping", OP_MAXPOOL, {2, 7, 7, 3}, 0, 3, 2, 1, false, false}, OP_MAXPOOL_BWD, X, DX},
    {{"whole image", OP_AVGPOOL, {2, 4, 4, 3}, 0, 0, 0, 0, false, false}, OP_AVGPOOL_BWD, X, DX},
    {{"padded", OP_AVGPOOL, {2, 5, 5, 3}, 0, 3, 1, 1, false, false}, OP_AVGPOOL_BWD, X, DX},
    {{"odd", OP_SHORTCUT_PAD, {2, 5, 5, 3}, 5, 0, 2, 0, false, false}, OP_SHORTCUT_PAD_BWD, X, DX},
    {{"image", OP_FC, {3, 2, 2, 3}, 4, 0, 0, 0, true, false}, OP_FC_BWD_DATA, X, DX},
    {{"image", OP_FC, {3, 2, 2, 3}, 4, 0, 0, 0, true, false}, OP_FC_BWD_WEIGHTS, W, DW},
    {{"image", OP_FC, {3, 2, 2, 3}, 4, 0, 0, 0, true, false}, OP_FC_BWD_WEIGHTS, BIAS, DBIAS},
    {{"classes", OP_SOFTMAX_LOSS, {4, 1, 1, 7}, 0, 0, 0, 0, false, false}, OP_SOFTMAX_LOSS_BWD, X, DX},
    {{"smoothed", OP_SOFTMAX_LOSS, {4, 1, 1, 7}, 0, 0, 0, 0, false, true}, OP_SOFTMAX_LOSS_BWD, X, DX},
    {{"1x5", OP_CONV, {2, 4, 7, 3}, 4, SIDES(1, 5), 1, SIDES(0, 2), true, false}, OP_CONV_BWD_DATA, X, DX},
    {{"1x5", OP_CONV, {2, 4, 7, 3}, 4, SIDES(1, 5), 1, SIDES(0, 2), true, false}, OP_CONV_BWD_WEIGHTS, W, DW},
    {{"3x2 stride 2", OP_CONV, {2, 7, 6, 2}, 3, SIDES(3, 2), 2, SIDES(0, 1), false, false}, OP_CONV_BWD_DATA, X, DX},
    {{"3x2 stride 2", OP_CONV, {2, 7, 6, 2}, 3, SIDES(3, 2), 2, SIDES(0, 1), false, false}, OP_CONV_BWD_WEIGHTS, W, DW},
    {{"cut windows", OP_MAXPOOL, {2, 6, 8, 3}, 0, 3, 2, 0, true, false}, OP_MAXPOOL_BWD, X, DX},
    {{"last part", OP_CONCAT, {2, 3, 3, 4}, 2, 0, 0, 6, false, false}, OP_CONCAT_BWD, X2, DX},
    {{"first part", OP_CONCAT, {2, 3, 3, 4}, 2, 0, 0, 0, false, false}, OP_CONCAT_BWD, X, DX},
    {{"groups", OP_BN, {4, 3, 3, 4}, 4, 2, 0, 0, false, true}, OP_BN_BWD, X, DX},
    {{"groups", OP_BN, {4, 3, 3, 4}, 4, 2, 0, 0, false, false}, OP_BN_BWD, GAMMA, DGAMMA},
    {{"groups", OP_BN, {4, 3, 3, 4}, 4, 2, 0, 0, false, false}, OP_BN_BWD, BETA, DBETA},
    {{"frozen statistics", OP_BN, {3, 3, 3, 4}, 4, 0, 0, BN_STATISTICS_FROZEN, false, true}, OP_BN_BWD, X, DX},
    {{"frozen statistics", OP_BN, {3, 3, 3, 4}, 4, 0, 0, BN_STATISTICS_FROZEN, false, false}, OP_BN_BWD, GAMMA, DGAMMA},
    {{"frozen statistics", OP_BN, {3, 3, 3, 4}, 4, 0, 0, BN_STATISTICS_FROZEN, false, false}, OP_BN_BWD, BETA, DBETA},
    {{"frozen", OP_BN, {3, 3, 3, 4}, 4, 0, 0, BN_FROZEN, false, true}, OP_BN_BWD, X, DX},
    {{"frozen, vectors", OP_BN, {2, 2, 2, 16}, 16, 0, 0, BN_FROZEN, false, false}, OP_BN_BWD, X, DX},
};

/* L; of the loss op, its own mean over the images. */
static double loss_of(struct world *w)
{
    struct error err = {0};
    cr_assert(world_run(w, w->c.kind, PASS_FORWARD, &err), "%s", err.text);
    if (w->c.kind == OP_SOFTMAX_LOSS) return (double)world_f32(w, METRICS)[0] / w->c.x[0];
    double sum = 0;
    for (uint64_t i = 0; i < tensor_elements(&w->tensors[Y]); i++)
        sum += (double)world_f32(w, Y)[i] * (double)world_f32(w, DY)[i];
    return sum;
}

static double loss_at(struct world *w, float *place, float value)
{
    float before = *place;
    *place = value;
    double loss = loss_of(w);
    *place = before;
    return loss;
}

/* False at a kink, where the slopes of both sides differ. */
static bool slope_of(struct world *w, float *place, double *slope)
{
    const float step = 0x1p-7f;
    double middle = loss_of(w), up = loss_at(w, place, *place + step), down = loss_at(w, place, *place - step);
    double right = (up - middle) / (double)step, left = (middle - down) / (double)step;
    *slope = (right + left) / 2;
    return fabs(right - left) < 0.05 * (fabs(*slope) + 0.5);
}

static void check_gradient(const struct check *check, const struct backend *backend, uint64_t seed)
{
    struct world forward, backward;
    struct error err = {0};
    world_init(&forward, &cpu_reference_backend, &check->c);
    world_init(&backward, backend, &check->c);
    world_randomize(&forward, seed);
    world_randomize(&backward, seed);
    cr_assert(world_run(&backward, check->c.kind, PASS_FORWARD, &err), "%s", err.text);
    cr_assert(world_run(&backward, check->backward, PASS_BACKWARD, &err), "%s", err.text);
    const float *gradient = world_f32(&backward, check->gradient);
    uint64_t count = tensor_elements(&forward.tensors[check->input]), kinks = 0;
    for (uint64_t i = 0; i < count; i++) {
        double slope;
        if (!slope_of(&forward, world_f32(&forward, check->input) + i, &slope)) {
            kinks++;
            continue;
        }
        double difference = fabs(slope - (double)gradient[i]);
        cr_expect(difference < 0.01 * (fabs(slope) + 0.2), "%s %s on %s, element %u: %g, by differences %g",
                  op_kind_name(check->backward), check->c.name, backend->name, (unsigned)i, (double)gradient[i], slope);
    }
    cr_expect(kinks * 4 <= count, "%s %s: %u kinks of %u", op_kind_name(check->backward), check->c.name,
              (unsigned)kinks, (unsigned)count);
    world_finish(&forward);
    world_finish(&backward);
}

Test(ops, backward_is_the_derivative_of_forward)
{
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        check_gradient(&checks[i], &cpu_reference_backend, i + 1);
        check_gradient(&checks[i], &cpu_backend, i + 1);
    }
}
