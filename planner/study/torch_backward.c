#include "torch_step_private.h"

/* ---- Helpers ---- */

static bool release(struct torch_step *s, uint32_t op)
{
    for (unsigned i = 0; i < TORCH_MOST_KEPT; i++)
        TRY(torch_tensors_release(&s->tensors, &s->kept[op].storages[i], s->err));
    return true;
}

static bool is_needed(const struct torch_step *s, uint32_t tensor) { return tensor != s->graph->images; }

/* Takes *gradient over. Where a tensor has one already, they are added into the one that nobody else holds, else into a
 * new one. */
static bool contribute(struct torch_step *s, uint32_t tensor, uint32_t *gradient)
{
    uint32_t *sum = &s->gradients[tensor], added = *gradient;
    *gradient = NO_STORAGE;
    if (*sum == NO_STORAGE) {
        *sum = added;
        return true;
    }
    if (s->tensors.storages[*sum].holders == 1) return torch_drop(s, &added);
    uint32_t made;
    TRY(torch_make(s, torch_activation_bytes(s, tensor), &made) && torch_drop(s, sum) && torch_drop(s, &added));
    *sum = made;
    return true;
}

static bool make_gradient(struct torch_step *s, uint32_t tensor, uint32_t *gradient)
{
    *gradient = NO_STORAGE;
    return !is_needed(s, tensor) || torch_make(s, torch_activation_bytes(s, tensor), gradient);
}

/* Of a parameter: autocast's comes in 16 bits and is cast. */
static bool make_parameter_gradient(struct torch_step *s, uint32_t parameter, uint32_t *gradient)
{
    return torch_make(s, torch_activation_bytes(s, parameter), gradient);
}

static bool give_parameter_gradient(struct torch_step *s, uint32_t parameter, uint32_t *gradient)
{
    uint32_t wide = *gradient;
    if (torch_is_half(s)) TRY(torch_make(s, torch_bytes(s, parameter, DTYPE_F32), &wide) && torch_drop(s, gradient));
    *gradient = NO_STORAGE;
    s->gradients[parameter] = wide;
    return true;
}

/* One gradient of the input, made from that of the output, which is let go. */
static bool pass_back(struct torch_step *s, uint32_t op, uint32_t x, uint32_t *dy)
{
    uint32_t dx;
    TRY(make_gradient(s, x, &dx) && release(s, op) && torch_drop(s, dy));
    return dx == NO_STORAGE || contribute(s, x, &dx);
}

/* ---- Ops ---- */

/* cudnn_convolution_backward: the input's gradient, then the weights'; the bias's by a sum. */
static bool conv(struct torch_step *s, uint32_t index, const struct op *op, uint32_t *dy)
{
    uint32_t dx, dw, db = NO_STORAGE;
    TRY(make_gradient(s, op->in[0], &dx));
    if (dx != NO_STORAGE) TRY(torch_work(s, op, TORCH_BACKWARD_DATA));
    TRY(make_parameter_gradient(s, op->in[1], &dw) && torch_work(s, op, TORCH_BACKWARD_WEIGHTS));
    if (op->inputs > 2) TRY(make_parameter_gradient(s, op->in[2], &db));
    TRY(release(s, index) && torch_drop(s, dy));
    if (dx != NO_STORAGE) TRY(contribute(s, op->in[0], &dx));
    TRY(give_parameter_gradient(s, op->in[1], &dw));
    return db == NO_STORAGE || give_parameter_gradient(s, op->in[2], &db);
}

static bool linear(struct torch_step *s, uint32_t index, const struct op *op, uint32_t *dy)
{
    bool hidden = torch_is_hidden(s, op);
    uint32_t dx, dw, db;
    TRY(make_gradient(s, op->in[0], &dx) && (!hidden || torch_work(s, op, TORCH_BACKWARD_DATA)) &&
        make_parameter_gradient(s, op->in[1], &dw) && (!hidden || torch_work(s, op, TORCH_BACKWARD_WEIGHTS)) &&
        make_parameter_gradient(s, op->in[2], &db) && release(s, index) && torch_drop(s, dy));
    if (dx != NO_STORAGE) TRY(contribute(s, op->in[0], &dx));
    return give_parameter_gradient(s, op->in[1], &dw) && give_parameter_gradient(s, op->in[2], &db);
}

/* Gradients of gamma and beta are f32 in any case. */
static bool batch_norm(struct torch_step *s, uint32_t index, const struct op *op, uint32_t *dy)
{
    uint64_t bytes = torch_activation_bytes(s, op->out[0]);
    uint32_t dx;
    if (op->attr.bn.relu) {
        TRY(torch_make(s, bytes, &dx) && torch_tensors_release(&s->tensors, &s->kept[index].result, s->err) &&
            torch_drop(s, dy));
        *dy = dx;
    }
    TRY(make_gradient(s, op->in[0], &dx));
    for (unsigned i = 1; i <= 2; i++)
        TRY(torch_make(s, torch_bytes(s, op->in[i], DTYPE_F32), &s->gradients[op->in[i]]));
    TRY(release(s, index) && torch_drop(s, dy));
    return dx == NO_STORAGE || contribute(s, op->in[0], &dx);
}

/* Both get the same tensor. */
static bool add(struct torch_step *s, const struct op *op, uint32_t *dy)
{
    uint32_t second = *dy;
    torch_tensors_hold(&s->tensors, second);
    return contribute(s, op->in[0], dy) && contribute(s, op->in[1], &second);
}

static bool multiply(struct torch_step *s, uint32_t index, const struct op *op, uint32_t *dy)
{
    uint32_t da, db;
    TRY(make_gradient(s, op->in[0], &da) && make_gradient(s, op->in[1], &db) && release(s, index) && torch_drop(s, dy));
    if (da != NO_STORAGE) TRY(contribute(s, op->in[0], &da));
    return db == NO_STORAGE || contribute(s, op->in[1], &db);
}

/* Parts of one tensor, which the ops before it copy. */
static bool concat(struct torch_step *s, const struct op *op, uint32_t *dy)
{
    for (unsigned i = 0; i < op->inputs; i++) {
        uint32_t dx;
        TRY(make_gradient(s, op->in[i], &dx));
        if (dx != NO_STORAGE) TRY(contribute(s, op->in[i], &dx));
    }
    return torch_drop(s, dy);
}

/* The loss's own gradient, that of the logarithms, that of the logits. */
static bool cross_entropy(struct torch_step *s, uint32_t index, const struct op *op)
{
    uint64_t logits = torch_bytes(s, op->in[0], DTYPE_F32);
    uint32_t one, logarithms, dx, half;
    TRY(torch_make(s, sizeof(float), &one) && torch_make(s, logits, &logarithms) && torch_make(s, logits, &dx) &&
        torch_drop(s, &logarithms) && torch_drop(s, &one) && release(s, index));
    if (torch_is_half(s)) {
        TRY(torch_make(s, torch_activation_bytes(s, op->in[0]), &half) && torch_drop(s, &dx));
        dx = half;
    }
    return contribute(s, op->in[0], &dx);
}

bool torch_backward(struct torch_step *s, uint32_t index)
{
    const struct op *op = &s->graph->ops[index];
    if (op->kind == OP_SOFTMAX_LOSS) return cross_entropy(s, index, op);
    uint32_t dy = s->gradients[op->out[0]];
    s->gradients[op->out[0]] = NO_STORAGE;
    switch (op->kind) {
    case OP_CONV: return conv(s, index, op, &dy);
    case OP_BN: return batch_norm(s, index, op, &dy);
    case OP_FC: return linear(s, index, op, &dy);
    case OP_ADD: return add(s, op, &dy);
    case OP_MUL: return multiply(s, index, op, &dy);
    case OP_CONCAT: return concat(s, op, &dy);
    default: return pass_back(s, index, op->in[0], &dy);
    }
}
