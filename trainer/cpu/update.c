/* Updates of weights, their averages, and the norm by which gradients are clipped. Elementwise but for the norm, so the
 * order in which weights are kept does not matter. */
#include "update.h"

#include <math.h>

#include "loops.h"
#include "parallel.h"
#include "squares.h"

/* ---- The numbers of a step ---- */

/* By products alone: every device has the same bits. */
static double power(double base, uint64_t exponent)
{
    double result = 1;
    for (; exponent > 0; exponent >>= 1, base *= base)
        if (exponent & 1) result *= base;
    return result;
}

static const struct loss_scale *scale_of(const struct prepared *p, uint8_t operand)
{
    return operand == NO_OPERAND ? NULL : op_in(p, operand);
}

bool update_is_skipped(const struct prepared *p, uint8_t scale_operand)
{
    const struct loss_scale *scale = scale_of(p, scale_operand);
    return scale && scale->found != 0;
}

/* torch.nn.utils.clip_grad_norm_: its 1e-6 included. */
static double clip_factor(const struct prepared *p, uint8_t operand, double scale)
{
    const float most = p->device->step.clip_norm;
    if (operand == NO_OPERAND || most <= 0) return 1;
    const struct gradient_norm *norm = op_in(p, operand);
    double factor = (double)most / (sqrt(norm->squares) / scale + 1e-6);
    return factor < 1 ? factor : 1;
}

/* Adam, arXiv:1412.6980, algorithm 1; AdamW, arXiv:1711.05101, algorithm 2, with the rate as the schedule's multiplier.
 */
static void fill_adam(struct update_rule *rule, const struct step *s, double steps)
{
    double left1 = 1 - power(s->beta1, (uint64_t)steps), left2 = 1 - power(s->beta2, (uint64_t)steps);
    rule->rate = (float)((double)s->learning_rate / left1);
    rule->root = (float)sqrt(left2);
}

struct update_rule update_rule_of(const struct prepared *p)
{
    const struct step *s = &p->device->step;
    struct update_operands operands = update_operands(p->call.op);
    const struct loss_scale *scale = scale_of(p, operands.scale);
    double scaled = scale ? (double)scale->scale : 1;
    bool decoupled = s->optimizer == OPTIMIZER_ADAMW;
    struct update_rule rule = {.optimizer = s->optimizer,
                               .nesterov = s->nesterov,
                               .spares = s->spares_bn,
                               .rate = s->learning_rate,
                               .decay = decoupled ? 0 : s->weight_decay,
                               .kept = decoupled ? (float)(1 - (double)s->learning_rate * (double)s->weight_decay) : 1,
                               .unscale = (float)(clip_factor(p, operands.norm, scaled) / scaled),
                               .momentum = s->momentum,
                               .towards = (float)(1 - s->beta1),
                               .beta2 = (float)s->beta2,
                               .rest2 = (float)(1 - s->beta2),
                               .epsilon = s->epsilon};
    /* Steps that were skipped moved nothing, and do not count. */
    if (s->optimizer == OPTIMIZER_ADAM || decoupled)
        fill_adam(&rule, s, (double)s->number + 1 - (scale ? (double)scale->skipped : 0));
    return rule;
}

/* ---- Ranges ---- */

static struct update_range range_at(const struct prepared *p, uint64_t first, bool decays)
{
    struct update_operands operands = update_operands(p->call.op);
    struct update_range range = {
        .weights = (float *)op_out(p, 0) + first, .gradients = (const float *)op_in(p, 1) + first, .decays = decays};
    for (unsigned i = 0; i < operands.states; i++) range.state[i] = (float *)op_out(p, 1 + i) + first;
    return range;
}

void update_elements(const struct prepared *p, const struct update_rule *rule, update_loop loop, uint64_t first,
                     uint64_t last)
{
    const struct graph *graph = p->call.graph;
    struct update_range range = range_at(p, first, true);
    if (!rule->spares) {
        loop(rule, &range, last - first);
        return;
    }
    for (size_t i = 0; i < graph->parameter_count; i++) {
        const struct tensor *parameter = &graph->tensors[graph->parameters[i]];
        if (parameter->view_of != p->call.op->in[0]) continue;
        uint64_t begin = parameter->view_offset / sizeof(float), end = begin + tensor_elements(parameter);
        if (begin < first) begin = first;
        if (end > last) end = last;
        if (begin >= end) continue;
        range = range_at(p, begin, parameter->role == ROLE_WEIGHT);
        loop(rule, &range, end - begin);
    }
}

struct updating {
    const struct prepared *op;
    struct update_rule rule;
    update_loop loop;
};

static void update_task(const void *context, uint64_t first, uint64_t last)
{
    const struct updating *u = context;
    update_elements(u->op, &u->rule, u->loop, first, last);
}

bool cpu_run_update(const struct prepared *p, struct error *err)
{
    (void)err;
    if (update_is_skipped(p, update_operands(p->call.op).scale)) return true;
    const struct updating updating = {p, update_rule_of(p), loops_best()->update};
    uint64_t count = tensor_elements(p->call.out_tensor[0]);
    parallel_run(count, count, update_task, &updating);
    return true;
}

/* ---- Averages ---- */

static void average_task(const void *context, uint64_t first, uint64_t last)
{
    const struct prepared *p = context;
    const float *weights = op_in(p, 0);
    float *average = op_out(p, 0);
    const float towards = (float)(1 - p->device->step.average_decay);
    for (uint64_t i = first; i < last; i++) average[i] += towards * (weights[i] - average[i]);
}

/* An exponential moving average, as torch.optim.swa_utils' get_ema_multi_avg_fn. */
bool cpu_run_weights_average(const struct prepared *p, struct error *err)
{
    (void)err;
    if (update_is_skipped(p, p->call.op->attr.update.scaled ? 2 : NO_OPERAND)) return true;
    uint64_t count = tensor_elements(p->call.out_tensor[0]);
    parallel_run(count, count, average_task, p);
    return true;
}

/* ---- The norm ---- */

/* Pieces of parameters, the last of each smaller: sums over them are merged in their order, so the bits depend on
 * nothing but the shapes. */
#define PIECE 4096u

static uint64_t pieces_of(const struct tensor *parameter) { return (tensor_elements(parameter) + PIECE - 1) / PIECE; }

static const struct tensor *parameter_of(const struct op_call *call, size_t i)
{
    const struct tensor *parameter = &call->graph->tensors[call->graph->parameters[i]];
    return parameter->view_of == call->in_tensor[0]->of ? parameter : NULL; /* else of another bucket */
}

static uint64_t count_pieces(const struct op_call *call)
{
    uint64_t count = 0;
    for (size_t i = 0; i < call->graph->parameter_count; i++) {
        const struct tensor *parameter = parameter_of(call, i);
        if (parameter) count += pieces_of(parameter);
    }
    return count;
}

bool cpu_gradient_norm_workspace(const struct op_call *call, uint64_t *bytes, struct error *err)
{
    (void)err;
    *bytes = count_pieces(call) * sizeof(double);
    return true;
}

/* Pieces [first, last) of the bucket, counted through its parameters. */
static void norm_task(const void *context, uint64_t first, uint64_t last)
{
    const struct prepared *p = context;
    const float *gradients = op_in(p, 0);
    double *sums = op_scratch(p);
    uint64_t before = 0;
    for (size_t i = 0; i < p->call.graph->parameter_count && before < last; i++) {
        const struct tensor *parameter = parameter_of(&p->call, i);
        if (!parameter) continue;
        uint64_t count = tensor_elements(parameter), pieces = pieces_of(parameter);
        const float *values = gradients + parameter->view_offset / sizeof(float);
        for (uint64_t k = first > before ? first - before : 0; k < pieces && before + k < last; k++)
            sums[before + k] =
                floats_sum_squares(values + k * PIECE, count - k * PIECE < PIECE ? count - k * PIECE : PIECE);
        before += pieces;
    }
}

bool cpu_run_gradient_norm(const struct prepared *p, struct error *err)
{
    (void)err;
    struct gradient_norm *norm = op_out(p, 0);
    const double *sums = op_scratch(p);
    uint64_t pieces = count_pieces(&p->call);
    parallel_run(pieces, tensor_elements(p->call.in_tensor[0]), norm_task, p);
    double sum = p->call.op->attr.check.first ? 0 : norm->squares;
    for (uint64_t i = 0; i < pieces; i++) sum += sums[i];
    *norm = (struct gradient_norm){.squares = sum};
    return true;
}
