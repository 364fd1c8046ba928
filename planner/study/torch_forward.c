#include "torch_step_private.h"

/* ---- Helpers ---- */

static bool make_value(struct torch_step *s, uint32_t tensor)
{
    return torch_make(s, torch_activation_bytes(s, tensor), &s->values[tensor]);
}

static void keep(struct torch_step *s, uint32_t op, unsigned slot, uint32_t storage)
{
    torch_tensors_save(&s->tensors, storage);
    s->kept[op].storages[slot] = storage;
}

/* Made for autograd alone. */
static bool keep_new(struct torch_step *s, uint32_t op, unsigned slot, uint64_t bytes)
{
    uint32_t storage;
    TRY(torch_make(s, bytes, &storage));
    keep(s, op, slot, storage);
    return torch_drop(s, &storage);
}

/* y takes the storage of x when this op alone reads x and no derivative wants it: `relu_`, `out += identity`. */
static bool in_place(struct torch_step *s, uint32_t op, uint32_t x, uint32_t y)
{
    uint32_t storage = s->values[x];
    if (s->last_reader[x] != op || s->readers[x] != 1 || s->tensors.storages[storage].saved > 0 ||
        x == s->graph->images)
        return false;
    torch_tensors_hold(&s->tensors, storage);
    s->values[y] = storage;
    return true;
}

/* Autocast: parameters are cast once in a forward pass. */
static bool cast_parameter(struct torch_step *s, uint32_t parameter)
{
    if (!torch_is_half(s) || s->halves[parameter] != NO_STORAGE) return true;
    return torch_make(s, torch_activation_bytes(s, parameter), &s->halves[parameter]);
}

/* What the gradient of the input is made from; in f32 the parameter itself, which stays anyway. */
static bool keep_weights(struct torch_step *s, uint32_t op, uint32_t parameter)
{
    TRY(cast_parameter(s, parameter));
    keep(s, op, 1, s->halves[parameter]);
    return true;
}

/* Autocast casts the images, which come in f32; everything else is what an op before it made. */
static bool keep_input(struct torch_step *s, uint32_t op, uint32_t x)
{
    if (torch_is_half(s) && x == s->graph->images) return keep_new(s, op, 0, torch_activation_bytes(s, x));
    keep(s, op, 0, s->values[x]);
    return true;
}

/* ---- Ops ---- */

static bool conv(struct torch_step *s, uint32_t index, const struct op *op)
{
    TRY(keep_input(s, index, op->in[0]) && keep_weights(s, index, op->in[1]));
    if (op->inputs > 2) TRY(cast_parameter(s, op->in[2]));
    return make_value(s, op->out[0]) && torch_work(s, op, TORCH_FORWARD);
}

/* cudnn_batch_norm: result, mean and inverse deviation in f32; ReLU in place behind it. */
static bool batch_norm(struct torch_step *s, uint32_t index, const struct op *op)
{
    uint64_t channels = torch_bytes(s, op->in[1], DTYPE_F32);
    TRY(make_value(s, op->out[0]));
    keep(s, index, 0, s->values[op->in[0]]);
    TRY(keep_new(s, index, 1, channels) && keep_new(s, index, 2, channels));
    if (!op->attr.bn.relu) return true;
    s->kept[index].result = s->values[op->out[0]];
    torch_tensors_save(&s->tensors, s->values[op->out[0]]);
    return true;
}

static bool relu(struct torch_step *s, uint32_t index, const struct op *op)
{
    TRY(in_place(s, index, op->in[0], op->out[0]) || make_value(s, op->out[0]));
    keep(s, index, 0, s->values[op->out[0]]);
    return true;
}

static bool add(struct torch_step *s, uint32_t index, const struct op *op)
{
    return in_place(s, index, op->in[0], op->out[0]) || make_value(s, op->out[0]);
}

static bool multiply(struct torch_step *s, uint32_t index, const struct op *op)
{
    TRY(make_value(s, op->out[0]));
    keep(s, index, 0, s->values[op->in[0]]);
    keep(s, index, 1, s->values[op->in[1]]);
    return true;
}

static bool max_pool(struct torch_step *s, uint32_t index, const struct op *op)
{
    TRY(make_value(s, op->out[0]));
    keep(s, index, 0, s->values[op->in[0]]);
    return keep_new(s, index, 1, 8 * tensor_elements(&s->graph->tensors[op->out[0]]));
}

/* Over the whole image it is a mean, which keeps nothing. */
static bool average_pool(struct torch_step *s, uint32_t index, const struct op *op)
{
    TRY(make_value(s, op->out[0]));
    if (op->attr.pool.kernel > 0) keep(s, index, 0, s->values[op->in[0]]);
    return true;
}

static bool linear(struct torch_step *s, uint32_t index, const struct op *op)
{
    return keep_input(s, index, op->in[0]) && keep_weights(s, index, op->in[1]) && cast_parameter(s, op->in[2]) &&
           make_value(s, op->out[0]) &&
           (torch_is_hidden(s, op) ? torch_work(s, op, TORCH_FORWARD) : torch_use_cublas(s));
}

static bool dropout(struct torch_step *s, uint32_t index, const struct op *op)
{
    return make_value(s, op->out[0]) && keep_new(s, index, 0, tensor_elements(&s->graph->tensors[op->out[0]]));
}

static bool sigmoid(struct torch_step *s, uint32_t index, const struct op *op)
{
    TRY(make_value(s, op->out[0]));
    keep(s, index, 0, s->values[op->out[0]]);
    return true;
}

/* cross_entropy: log_softmax keeps its result, nll_loss the sum of weights. The script holds logits and loss until the
 * next step's are there. */
static bool cross_entropy(struct torch_step *s, uint32_t index, const struct op *op)
{
    uint64_t logits = torch_bytes(s, op->in[0], DTYPE_F32);
    uint32_t wide = NO_STORAGE, loss;
    TRY(torch_drop(s, &s->output));
    s->output = s->values[op->in[0]];
    torch_tensors_hold(&s->tensors, s->output);
    if (torch_is_half(s)) TRY(torch_make(s, logits, &wide));
    TRY(keep_new(s, index, 0, logits) && torch_make(s, sizeof(float), &loss) && keep_new(s, index, 1, sizeof(float)));
    keep(s, index, 2, s->labels);
    TRY(torch_drop(s, &wide) && torch_drop(s, &s->loss));
    s->loss = loss;
    return true;
}

static bool run(struct torch_step *s, uint32_t index, const struct op *op)
{
    switch (op->kind) {
    case OP_CONV: return conv(s, index, op);
    case OP_BN: return batch_norm(s, index, op);
    case OP_RELU: return relu(s, index, op);
    case OP_ADD: return add(s, index, op);
    case OP_MUL: return multiply(s, index, op);
    case OP_MAXPOOL: return max_pool(s, index, op);
    case OP_AVGPOOL: return average_pool(s, index, op);
    case OP_FC: return linear(s, index, op);
    case OP_DROPOUT: return dropout(s, index, op);
    case OP_SIGMOID: return sigmoid(s, index, op);
    case OP_SOFTMAX_LOSS: return cross_entropy(s, index, op);
    default: return make_value(s, op->out[0]); /* scale, padded shortcut, concatenation: keep nothing */
    }
}

/* The images are the script's. */
bool torch_forward(struct torch_step *s, uint32_t index)
{
    const struct op *op = &s->graph->ops[index];
    TRY(run(s, index, op));
    for (unsigned i = 0; i < op->inputs; i++) {
        uint32_t x = op->in[i];
        bool local = s->graph->tensors[x].class == CLASS_ACTIVATION;
        if (local && s->last_reader[x] == index) TRY(torch_drop(s, &s->values[x]));
    }
    return true;
}
