/* One op and its relatives by hand, without a graph: values of every tensor that a forward op and its backward ops
 * touch, in canonical layout, and a runner that carries them through a backend's arena between canaries. */
#ifndef FATHOM_OPS_WORLD_H
#define FATHOM_OPS_WORLD_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_backend.h"
#include "half.h"
#include "random.h"

enum slot {
    X,
    X2,
    X3,
    W,
    BIAS,
    GAMMA,
    BETA,
    RUNNING_MEAN,
    RUNNING_VARIANCE,
    LABELS,
    Y,
    MEAN,
    VARIANCE,
    MASK,
    PROBABILITIES,
    METRICS,
    DY,
    DX,
    DW,
    DBIAS,
    DGAMMA,
    DBETA,
    MOMENTUM, /* the first that an optimizer keeps */
    STATE2,
    NORM,
    WEIGHTS_PART, /* of W as a bucket: a convolution's weights, and a gamma */
    GAMMA_PART,
    LOSS_SCALE,
    SLOTS,
    NO_SLOT = SLOTS
};

/* What a test says about an op: dims of x, output channels, window, and switches. Of an update: the optimizer as channels,
 * gradients are clipped with a bias, BN is spared with padding, relu is Nesterov's. Of a max pool: bias is ceil. Of a concatenation: of the
 * part whose gradient it is padding is the first channel. Of a BN: padding is enum bn_freeze, kernel how many groups of images
 * have statistics of their own (0: all are one). */
/* kernel or padding that differ between rows and columns. */
#define SIDES(rows, columns) (1u << 31 | (uint32_t)(rows) << 8 | (uint32_t)(columns))
static inline uint32_t side_of(uint32_t sides, size_t i)
{
    if (!(sides >> 31)) return sides;
    return sides >> (i == 0 ? 8 : 0) & 0xff;
}

struct ops_case {
    const char *name;
    enum op_kind kind; /* a forward op, or one that stands alone */
    uint32_t x[4], channels, kernel, stride, padding;
    bool bias, relu;
};

/* Of each rule an update knows, and what goes with it: cases for every backend's table. */
#define OPS_UPDATE_CASES                                                                                     \
    {"plain momentum", OP_UPDATE, {1, 1, 1, 20001}, 0, 0, 0, 0, false, false},                               \
    {"Nesterov", OP_UPDATE, {1, 1, 1, 333}, 0, 0, 0, 0, false, true},                                        \
    {"BN spared, clipped", OP_UPDATE, {1, 1, 1, 20001}, OPTIMIZER_MOMENTUM, 0, 0, 1, true, false},           \
    {"SGD", OP_UPDATE, {1, 1, 1, 20001}, OPTIMIZER_SGD, 0, 0, 1, true, false},                               \
    {"RMSprop", OP_UPDATE, {1, 1, 1, 20001}, OPTIMIZER_RMSPROP, 0, 0, 0, false, false},                      \
    {"RMSprop with momentum", OP_UPDATE, {1, 1, 1, 333}, OPTIMIZER_RMSPROP_MOMENTUM, 0, 0, 0, false, false}, \
    {"Adagrad", OP_UPDATE, {1, 1, 1, 333}, OPTIMIZER_ADAGRAD, 0, 0, 0, true, false},                         \
    {"Adadelta", OP_UPDATE, {1, 1, 1, 20001}, OPTIMIZER_ADADELTA, 0, 0, 0, false, false},                    \
    {"Adam", OP_UPDATE, {1, 1, 1, 20001}, OPTIMIZER_ADAM, 0, 0, 1, true, false},                             \
    {"AdamW", OP_UPDATE, {1, 1, 1, 333}, OPTIMIZER_ADAMW, 0, 0, 1, false, false},                            \
    {"averages", OP_WEIGHTS_AVERAGE, {1, 1, 1, 20001}, 0, 0, 0, 0, false, false}

struct world {
    const struct backend *backend;
    struct ops_case c;
    struct tensor tensors[SLOTS];
    void *values[SLOTS];
    struct step step;
    struct group *group;   /* joined before the op runs; may be NULL */
    struct device *device; /* while an op runs */
    uint32_t threads;      /* of the device; 0 = all */
    uint32_t rank;
    bool sync;
    bool scaled; /* the loss has a scale */
    int in_place; /* out[0] takes the bytes of this input; -1 = none */
    bool canaries_held;
    uint64_t workspace_bytes;
    char implementation[80];
};

/* Along rows (0) or columns (1). */
static inline uint32_t slide_dim(const struct ops_case *c, size_t i)
{
    uint32_t size = c->x[1 + i], kernel = side_of(c->kernel, i), padding = side_of(c->padding, i);
    if (size + 2 * padding < kernel) return 1; /* of a cut pool */
    uint32_t outputs = (size + 2 * padding - kernel) / c->stride + 1;
    bool left = (size + 2 * padding - kernel) % c->stride != 0 && outputs * c->stride < size + padding;
    return outputs + (c->kind == OP_MAXPOOL && c->bias && left ? 1 : 0);
}

static inline void add_slot(struct world *w, enum slot slot, enum tensor_role role, enum dtype dtype,
                            const uint32_t d[4])
{
    struct tensor *t = &w->tensors[slot];
    *t = (struct tensor){.role = role, .dtype = dtype, .of = NO_TENSOR, .view_of = NO_TENSOR};
    memcpy(t->dims, d, sizeof t->dims);
    t->bytes = dtype_bytes(dtype, tensor_elements(t));
    w->values[slot] = calloc(1, t->bytes + 1);
}

static inline void y_dims(const struct ops_case *c, uint32_t y[4])
{
    memcpy(y, c->x, 4 * sizeof *y);
    switch (c->kind) {
    case OP_CONV: y[1] = slide_dim(c, 0), y[2] = slide_dim(c, 1), y[3] = c->channels; break;
    case OP_MAXPOOL:
    case OP_AVGPOOL: y[1] = c->kernel ? slide_dim(c, 0) : 1, y[2] = c->kernel ? slide_dim(c, 1) : 1; break;
    case OP_SHORTCUT_PAD:
        y[1] = (c->x[1] - 1) / c->stride + 1, y[2] = (c->x[2] - 1) / c->stride + 1, y[3] = c->channels;
        break;
    case OP_FC: y[1] = y[2] = 1, y[3] = c->channels; break;
    case OP_CONCAT: y[3] = 2 * c->x[3] + c->channels; break;
    default: break;
    }
}

static inline bool is_update(enum op_kind kind)
{
    return kind == OP_UPDATE || kind == OP_GRADIENT_NORM || kind == OP_WEIGHTS_AVERAGE;
}

/* W is a bucket of two parameters, with no bytes between them. */
static inline void world_cut_bucket(struct world *w)
{
    uint32_t all = w->tensors[W].dims[3], first = all / 2 / 16 * 16;
    const uint32_t dims[2][4] = {{1, 1, 1, first}, {1, 1, 1, all - first}};
    add_slot(w, WEIGHTS_PART, ROLE_WEIGHT, DTYPE_F32, dims[0]);
    add_slot(w, GAMMA_PART, ROLE_GAMMA, DTYPE_F32, dims[1]);
    w->tensors[WEIGHTS_PART].view_of = w->tensors[GAMMA_PART].view_of = W;
    w->tensors[GAMMA_PART].view_offset = first * sizeof(float);
    w->tensors[DW].of = W;
}

static inline void world_set_optimizer(struct world *w)
{
    const struct ops_case *c = &w->c;
    const struct optimizer_defaults d = optimizer_defaults((enum optimizer)c->channels);
    w->step.optimizer = (enum optimizer)c->channels;
    w->step.beta1 = d.beta1;
    w->step.beta2 = d.beta2;
    w->step.epsilon = (float)d.epsilon;
    w->step.spares_bn = c->padding;
    w->step.clip_norm = c->bias ? 2 : 0;
    w->step.average_decay = 0.99;
}

static inline void world_init(struct world *w, const struct backend *backend, const struct ops_case *c)
{
    *w = (struct world){.backend = backend, .c = *c, .in_place = -1};
    w->step = (struct step){.number = 3,
                            .seed = 11,
                            .learning_rate = 0.1f,
                            .momentum = 0.9f,
                            .weight_decay = 1e-4f,
                            .nesterov = c->relu,
                            .label_smoothing = c->kind == OP_SOFTMAX_LOSS && c->relu ? 0.1f : 0,
                            .bn_momentum = 0.1f};
    uint32_t y[4], channels = c->x[3], features = c->x[1] * c->x[2] * c->x[3];
    y_dims(c, y);
    const uint32_t vector[4] = {1, 1, 1, channels}, out_vector[4] = {1, 1, 1, y[3]}, one[4] = {1, 1, 1, 4};
    const uint32_t labels[4] = {c->x[0], 1, 1, 1}, third[4] = {c->x[0], c->x[1], c->x[2], c->channels};
    const uint32_t conv[4] = {y[3], side_of(c->kernel, 0), side_of(c->kernel, 1), channels}, fc[4] = {y[3], 1, 1, features};
    const enum slot like_x[] = {X, X2, DX}, like_y[] = {Y, DY, PROBABILITIES};
    const uint32_t statistics[4] = {1, 1, c->kind == OP_BN && c->kernel ? c->kernel : 1, channels};
    const enum slot like_vector[] = {GAMMA, BETA, RUNNING_MEAN, RUNNING_VARIANCE, DGAMMA, DBETA};
    for (int i = 0; i < 3; i++) add_slot(w, like_x[i], ROLE_OUTPUT, DTYPE_F32, c->x);
    for (int i = 0; i < 3; i++) add_slot(w, like_y[i], ROLE_OUTPUT, DTYPE_F32, y);
    for (int i = 0; i < 6; i++) add_slot(w, like_vector[i], ROLE_GAMMA, DTYPE_F32, vector);
    add_slot(w, MEAN, ROLE_MEAN, DTYPE_F32, statistics);
    add_slot(w, VARIANCE, ROLE_VARIANCE, DTYPE_F32, statistics);
    add_slot(w, X3, ROLE_OUTPUT, DTYPE_F32, c->kind == OP_CONCAT ? third : vector);
    add_slot(w, W, ROLE_WEIGHT, DTYPE_F32, c->kind == OP_FC ? fc : c->kind == OP_CONV ? conv : c->x);
    add_slot(w, DW, ROLE_WEIGHT, DTYPE_F32, w->tensors[W].dims);
    add_slot(w, MOMENTUM, ROLE_WEIGHT, DTYPE_F32, w->tensors[W].dims);
    add_slot(w, STATE2, ROLE_WEIGHT, DTYPE_F32, w->tensors[W].dims);
    add_slot(w, NORM, ROLE_GRADIENT_NORM, DTYPE_F32, one);
    add_slot(w, WEIGHTS_PART, ROLE_WEIGHT, DTYPE_F32, one);
    add_slot(w, GAMMA_PART, ROLE_GAMMA, DTYPE_F32, one);
    if (is_update(c->kind)) {
        free(w->values[WEIGHTS_PART]);
        free(w->values[GAMMA_PART]);
        world_cut_bucket(w);
        world_set_optimizer(w);
    }
    add_slot(w, BIAS, ROLE_BIAS, DTYPE_F32, out_vector);
    add_slot(w, DBIAS, ROLE_BIAS, DTYPE_F32, out_vector);
    add_slot(w, METRICS, ROLE_METRICS, DTYPE_F32, one);
    add_slot(w, LOSS_SCALE, ROLE_LOSS_SCALE, DTYPE_F32, one);
    add_slot(w, LABELS, ROLE_LABEL, DTYPE_I32, labels);
    add_slot(w, MASK, ROLE_MASK, c->kind == OP_MAXPOOL ? DTYPE_U8 : DTYPE_BIT, y);
}

static inline void world_finish(struct world *w)
{
    for (int i = 0; i < SLOTS; i++) free(w->values[i]);
}

static inline float *world_f32(struct world *w, enum slot slot) { return w->values[slot]; }

#define WORLD_PERIOD 65537 /* numbers, a prime: of larger tensors so many are drawn, again and again */

/* Normal numbers everywhere, variances and means of squares positive, labels in range. */
static inline void world_randomize(struct world *w, uint64_t seed)
{
    for (int s = 0; s < SLOTS; s++) {
        struct random r = random_begin(seed, RANDOM_SYNTHETIC, (uint64_t)s, 0);
        uint64_t count = tensor_elements(&w->tensors[s]);
        float *values = world_f32(w, (enum slot)s);
        if (w->tensors[s].dtype != DTYPE_F32) continue;
        for (uint64_t i = 0; i < count; i++)
            values[i] = i < WORLD_PERIOD ? (float)random_normal(&r) : values[i - WORLD_PERIOD];
    }
    uint32_t channels = w->c.x[3];
    for (uint32_t i = 0; i < channels; i++)
        world_f32(w, RUNNING_VARIANCE)[i] = 0.5f + fabsf(world_f32(w, RUNNING_VARIANCE)[i]);
    for (uint64_t i = 0; i < tensor_elements(&w->tensors[W]) && w->step.optimizer > OPTIMIZER_SGD; i++) {
        world_f32(w, MOMENTUM)[i] = fabsf(world_f32(w, MOMENTUM)[i]);
        world_f32(w, STATE2)[i] = fabsf(world_f32(w, STATE2)[i]);
    }
    *(struct gradient_norm *)w->values[NORM] = (struct gradient_norm){.squares = 30};
    for (uint32_t i = 0; i < w->c.x[0]; i++) ((int32_t *)w->values[LABELS])[i] = (int32_t)((i * 7 + seed) % channels);
}

static inline bool is_half(enum dtype dtype) { return dtype == DTYPE_F16 || dtype == DTYPE_BF16; }

static inline float half_value(enum dtype dtype, uint16_t bits)
{
    return dtype == DTYPE_F16 ? float_from_f16(bits) : float_from_bf16(bits);
}

static inline uint16_t half_bits(enum dtype dtype, float value)
{
    return dtype == DTYPE_F16 ? f16_from_float(value) : bf16_from_float(value);
}

/* Activations and their gradients have 16 bits in the arena from now on; the world's values stay floats, rounded. */
static inline void world_halve(struct world *w, enum dtype dtype)
{
    const enum slot slots[] = {X, X2, X3, Y, DY, DX};
    for (size_t s = 0; s < sizeof slots / sizeof slots[0]; s++) {
        struct tensor *t = &w->tensors[slots[s]];
        t->dtype = dtype;
        t->bytes = dtype_bytes(dtype, tensor_elements(t));
        float *values = world_f32(w, slots[s]);
        for (uint64_t i = 0; i < tensor_elements(t); i++) values[i] = half_value(dtype, half_bits(dtype, values[i]));
    }
}

/* Of a slot's values here. */
static inline uint64_t value_bytes(const struct tensor *t)
{
    return is_half(t->dtype) ? tensor_elements(t) * sizeof(float) : t->bytes;
}

struct operands {
    enum slot in[OP_MOST_INPUTS], out[OP_MOST_OUTPUTS];
    uint8_t inputs, outputs;
};

static inline struct operands update_operands_of(const struct ops_case *c)
{
    const enum slot states[] = {MOMENTUM, STATE2};
    struct operands o = {{W, DW}, {W}, 2, 1};
    for (uint32_t i = 0; i < optimizer_buffers((enum optimizer)c->channels); i++)
        o.in[o.inputs++] = o.out[o.outputs++] = states[i];
    return o;
}

/* The tensors of each kind, as in graph.h. */
static inline struct operands operands_of(enum op_kind kind, const struct ops_case *c)
{
    uint8_t b = c->bias, m = c->relu;
    switch (kind) {
    case OP_CONV: return (struct operands){{X, W, BIAS}, {Y}, (uint8_t)(2 + b), 1};
    case OP_BN:
        if (c->padding)
            return (struct operands){{X, GAMMA, BETA, RUNNING_MEAN, RUNNING_VARIANCE}, {Y, MASK}, 5, (uint8_t)(1 + m)};
        return (struct operands){
            {X, GAMMA, BETA, RUNNING_MEAN, RUNNING_VARIANCE}, {Y, MEAN, VARIANCE, MASK}, 5, (uint8_t)(3 + m)};
    case OP_ADD:
    case OP_ADD_GRADIENT:
    case OP_MUL: return (struct operands){{X, X2}, {Y}, 2, 1};
    case OP_MAXPOOL: return (struct operands){{X}, {Y, MASK}, 1, 2};
    case OP_FC: return (struct operands){{X, W, BIAS}, {Y}, 3, 1};
    case OP_SOFTMAX_LOSS: return (struct operands){{X, LABELS}, {PROBABILITIES, METRICS}, 2, 2};
    case OP_CONCAT: return (struct operands){{X, X3, X2}, {Y}, 3, 1};
    case OP_CONV_BWD_DATA:
    case OP_FC_BWD_DATA: return (struct operands){{DY, W}, {DX}, 2, 1};
    case OP_CONV_BWD_WEIGHTS: return (struct operands){{X, DY}, {DW, DBIAS}, 2, (uint8_t)(1 + b)};
    case OP_FC_BWD_WEIGHTS: return (struct operands){{X, DY}, {DW, DBIAS}, 2, 2};
    case OP_BN_BWD:
        if (c->padding)
            return (struct operands){{c->padding == BN_FROZEN ? DY : X, DY, GAMMA, RUNNING_MEAN, RUNNING_VARIANCE, MASK},
                                     {DX, DGAMMA, DBETA},
                                     (uint8_t)(5 + m),
                                     c->padding == BN_FROZEN ? 1 : 3};
        return (struct operands){{X, DY, GAMMA, MEAN, VARIANCE, MASK}, {DX, DGAMMA, DBETA}, (uint8_t)(5 + m), 3};
    case OP_RELU_BWD:
    case OP_SIGMOID_BWD: return (struct operands){{Y, DY}, {DX}, 2, 1};
    case OP_MUL_BWD: return (struct operands){{X2, DY}, {DX}, 2, 1};
    case OP_MAXPOOL_BWD: return (struct operands){{DY, MASK}, {DX}, 2, 1};
    case OP_SOFTMAX_LOSS_BWD: return (struct operands){{PROBABILITIES, LABELS}, {DX}, 2, 1};
    case OP_SCALE_BWD:
    case OP_DROPOUT_BWD:
    case OP_AVGPOOL_BWD:
    case OP_SHORTCUT_PAD_BWD:
    case OP_CONCAT_BWD: return (struct operands){{DY}, {DX}, 1, 1};
    case OP_ACCUMULATE: return (struct operands){{X}, {Y}, 1, 1};
    case OP_ALL_REDUCE: return (struct operands){{X}, {X}, 1, 1};
    case OP_UPDATE: return update_operands_of(c);
    case OP_GRADIENT_NORM: return (struct operands){{DW, NORM}, {NORM}, 2, 1};
    case OP_WEIGHTS_AVERAGE: return (struct operands){{W, MOMENTUM}, {MOMENTUM}, 2, 1};
    case OP_GRADIENT_CHECK: return (struct operands){{DW, LOSS_SCALE}, {LOSS_SCALE}, 2, 1};
    case OP_LOSS_SCALE_UPDATE: return (struct operands){{LOSS_SCALE}, {LOSS_SCALE}, 1, 1};
    default: return (struct operands){{X}, {Y}, 1, 1};
    }
}

static inline void add_loss_scale(struct operands *o, enum op_kind kind)
{
    if (kind == OP_UPDATE || kind == OP_WEIGHTS_AVERAGE || kind == OP_SOFTMAX_LOSS_BWD) o->in[o->inputs++] = LOSS_SCALE;
}

static inline union op_attr attr_of(enum op_kind kind, const struct world *w)
{
    const struct ops_case *c = &w->c;
    union op_attr a = {0};
    switch (kind) {
    case OP_BN:
    case OP_BN_BWD: a.bn.epsilon = 1e-5f, a.bn.relu = c->relu, a.bn.sync = w->sync, a.bn.frozen = (uint8_t)c->padding; break;
    case OP_SCALE:
    case OP_SCALE_BWD: a.scale.alpha = 0.75f, a.scale.beta = -0.5f; break;
    case OP_DROPOUT:
    case OP_DROPOUT_BWD: a.dropout.drop = 0.5f; break;
    case OP_SHORTCUT_PAD:
    case OP_SHORTCUT_PAD_BWD: a.shortcut.stride = c->stride; break;
    case OP_SOFTMAX_LOSS:
    case OP_SOFTMAX_LOSS_BWD: a.loss.images = c->x[0]; break;
    case OP_CONCAT_BWD: a.concat.first = c->padding; break;
    case OP_GRADIENT_NORM:
    case OP_GRADIENT_CHECK: a.check.first = !w->sync; break;
    case OP_UPDATE:
    case OP_WEIGHTS_AVERAGE: a.update.scaled = w->scaled, a.update.clips = kind == OP_UPDATE && c->bias; break;
    case OP_MAXPOOL:
    case OP_MAXPOOL_BWD: a.pool.ceil = c->bias; /* fall through */
    case OP_AVGPOOL:
    case OP_AVGPOOL_BWD:
        a.pool.kernel = c->kernel, a.pool.stride = c->stride, a.pool.padding = c->padding;
        break;
    default:
        for (size_t i = 0; i < 2; i++)
            a.conv.kernel[i] = side_of(c->kernel, i), a.conv.padding[i] = side_of(c->padding, i);
        a.conv.stride = c->stride;
        break;
    }
    return a;
}

#define CANARY_BYTES 256u
#define CANARY       0xA5u

/* The graph, op and call for one kind, with each tensor at its own place between canaries. */
struct rig {
    struct graph graph;
    struct op op;
    struct op_call call;
    struct operands operands;
    uint32_t parameters[2]; /* the gradient check's bucket holds these */
    uint64_t offsets[SLOTS]; /* 0 = not in the arena */
    uint64_t arena_bytes;
};

static inline uint64_t rig_place(struct rig *rig, uint64_t bytes)
{
    uint64_t offset = rig->arena_bytes;
    rig->arena_bytes += (bytes + 255) / 256 * 256 + CANARY_BYTES;
    return offset;
}

static inline bool rig_init(struct rig *rig, struct world *w, enum op_kind kind, enum op_pass pass, struct error *err)
{
    *rig = (struct rig){.operands = operands_of(kind, &w->c), .arena_bytes = CANARY_BYTES};
    if (w->scaled) add_loss_scale(&rig->operands, kind);
    if (kind == OP_UPDATE && w->c.bias) rig->operands.in[rig->operands.inputs++] = NORM;
    const struct operands *o = &rig->operands;
    rig->graph.tensors = w->tensors;
    rig->graph.parameters = rig->parameters;
    rig->graph.parameter_count = 2;
    rig->parameters[0] = is_update(kind) ? WEIGHTS_PART : W, rig->parameters[1] = is_update(kind) ? GAMMA_PART : BIAS;
    rig->op = (struct op){.kind = kind, .pass = pass, .inputs = o->inputs, .outputs = o->outputs, .forward = 5};
    rig->op.attr = attr_of(kind, w);
    rig->call = (struct op_call){.graph = &rig->graph, .op = &rig->op, .op_index = 5, .pass = pass};
    for (int i = 0; i < o->inputs; i++) {
        enum slot s = o->in[i];
        rig->op.in[i] = s;
        if (!rig->offsets[s]) rig->offsets[s] = rig_place(rig, w->tensors[s].bytes);
        rig->call.in[i] = rig->offsets[s];
        rig->call.in_tensor[i] = &w->tensors[s];
    }
    for (int i = 0; i < o->outputs; i++) {
        enum slot s = o->out[i];
        rig->op.out[i] = s;
        if (i == 0 && w->in_place >= 0) rig->offsets[s] = rig->call.in[w->in_place];
        if (!rig->offsets[s]) rig->offsets[s] = rig_place(rig, w->tensors[s].bytes);
        rig->call.out[i] = rig->offsets[s];
        rig->call.out_tensor[i] = &w->tensors[s];
    }
    if (!w->backend->op_workspace(&rig->graph, &rig->op, pass, &rig->call.workspace_bytes, err)) return false;
    w->workspace_bytes = rig->call.workspace_bytes;
    rig->call.workspace = rig_place(rig, rig->call.workspace_bytes);
    return true;
}

static inline bool move_half(struct world *w, const struct tensor *t, uint64_t at, enum slot s, bool in,
                             struct error *err)
{
    uint64_t count = tensor_elements(t);
    uint16_t *bits = malloc(t->bytes + 1);
    for (uint64_t i = 0; i < count; i++) bits[i] = half_bits(t->dtype, world_f32(w, s)[i]);
    bool ok = in ? w->backend->copy_in(w->device, NULL, at, bits, t->bytes, err)
                 : w->backend->copy_out(w->device, NULL, bits, at, t->bytes, err);
    for (uint64_t i = 0; ok && i < count; i++) world_f32(w, s)[i] = half_value(t->dtype, bits[i]);
    free(bits);
    return ok;
}

static inline bool move_slot(struct world *w, const struct rig *rig, enum slot s, bool in, struct error *err)
{
    const struct tensor *t = &w->tensors[s];
    const struct backend *b = w->backend;
    uint64_t at = rig->offsets[s];
    if (is_half(t->dtype)) return move_half(w, t, at, s, in, err);
    if (t->role == ROLE_WEIGHT && in) return b->parameter_in(w->device, t, at, w->values[s], err);
    if (t->role == ROLE_WEIGHT) return b->parameter_out(w->device, t, at, w->values[s], err);
    return in ? b->copy_in(w->device, NULL, at, w->values[s], t->bytes, err)
              : b->copy_out(w->device, NULL, w->values[s], at, t->bytes, err);
}

/* Marks which bytes of the arena belong to someone. */
static inline void claim(uint8_t *claimed, uint64_t offset, uint64_t bytes) { memset(claimed + offset, 1, bytes); }

static inline bool check_canaries(struct world *w, const struct rig *rig, struct error *err)
{
    uint8_t *claimed = calloc(1, rig->arena_bytes), *bytes = malloc(rig->arena_bytes);
    for (int s = 0; s < SLOTS; s++)
        if (rig->offsets[s]) claim(claimed, rig->offsets[s], w->tensors[s].bytes);
    claim(claimed, rig->call.workspace, rig->call.workspace_bytes);
    bool ok = w->backend->copy_out(w->device, NULL, bytes, 0, rig->arena_bytes, err);
    w->canaries_held = ok;
    for (uint64_t i = 0; ok && i < rig->arena_bytes; i++)
        if (!claimed[i] && bytes[i] != CANARY) w->canaries_held = false;
    free(claimed);
    free(bytes);
    return ok;
}

static inline bool rig_run(struct world *w, const struct rig *rig, struct error *err)
{
    const struct operands *o = &rig->operands;
    struct prepared *prepared = NULL;
    bool evaluate = rig->call.pass == PASS_EVALUATE;
    if (!w->backend->fill(w->device, NULL, 0, rig->arena_bytes, CANARY, err)) return false;
    for (int i = 0; i < o->outputs; i++)
        if (rig->offsets[o->out[i]] && !(i == 0 && w->in_place >= 0) && !move_slot(w, rig, o->out[i], true, err))
            return false;
    for (int i = 0; i < o->inputs; i++)
        if (!move_slot(w, rig, o->in[i], true, err)) return false;
    if (!w->backend->set_step(w->device, NULL, &w->step, err)) return false;
    if (!w->backend->op_prepare(w->device, &rig->call, &prepared, err)) return false;
    if (w->backend->in_host_memory)
        snprintf(w->implementation, sizeof w->implementation, "%s", cpu_implementation(prepared));
    bool ok = w->backend->op_launch(prepared, NULL, err);
    w->backend->op_release(prepared);
    for (int i = 0; ok && i < o->outputs; i++) ok = move_slot(w, rig, o->out[i], false, err);
    for (int i = 3; ok && i < 5 && rig->op.kind == OP_BN && !evaluate; i++)
        ok = move_slot(w, rig, o->in[i], false, err);
    return ok && check_canaries(w, rig, err);
}

static inline bool world_device(struct world *w, uint64_t arena_bytes, uint32_t threads, struct error *err)
{
    const struct device_options options = {.number = w->rank, .threads = threads};
    return w->backend->device_create(&options, arena_bytes, &w->device, err);
}

/* Runs one op of the world on a device of its own; results go back into the world's values. */
static inline bool world_run(struct world *w, enum op_kind kind, enum op_pass pass, struct error *err)
{
    struct rig rig;
    if (!rig_init(&rig, w, kind, pass, err)) return false;
    if (!world_device(w, rig.arena_bytes, w->threads, err)) return false;
    bool ok = !w->group || w->backend->group_join(w->group, w->device, err);
    ok = ok && rig_run(w, &rig, err);
    w->backend->device_destroy(w->device);
    return ok;
}

/* Largest |a - b| over the largest |b|. */
static inline double worst_error(const float *a, const float *b, uint64_t count)
{
    double worst = 0, scale = 1e-30;
    for (uint64_t i = 0; i < count; i++) {
        double difference = fabs((double)a[i] - (double)b[i]);
        if (!(difference <= worst)) worst = difference;
        if (fabs((double)b[i]) > scale) scale = fabs((double)b[i]);
    }
    return worst / scale;
}

/* The backward ops of a forward kind, ended by OP_KINDS. */
static inline const enum op_kind *backward_kinds(enum op_kind kind)
{
    static const enum op_kind none[] = {OP_KINDS}, conv[] = {OP_CONV_BWD_WEIGHTS, OP_CONV_BWD_DATA, OP_KINDS},
                              fc[] = {OP_FC_BWD_WEIGHTS, OP_FC_BWD_DATA, OP_KINDS}, bn[] = {OP_BN_BWD, OP_KINDS},
                              relu[] = {OP_RELU_BWD, OP_KINDS}, mul[] = {OP_MUL_BWD, OP_KINDS},
                              scale[] = {OP_SCALE_BWD, OP_KINDS}, sigmoid[] = {OP_SIGMOID_BWD, OP_KINDS},
                              dropout[] = {OP_DROPOUT_BWD, OP_KINDS}, maxpool[] = {OP_MAXPOOL_BWD, OP_KINDS},
                              avgpool[] = {OP_AVGPOOL_BWD, OP_KINDS}, pad[] = {OP_SHORTCUT_PAD_BWD, OP_KINDS},
                              loss[] = {OP_SOFTMAX_LOSS_BWD, OP_KINDS}, concat[] = {OP_CONCAT_BWD, OP_KINDS};
    switch (kind) {
    case OP_CONV: return conv;
    case OP_FC: return fc;
    case OP_BN: return bn;
    case OP_RELU: return relu;
    case OP_MUL: return mul;
    case OP_SCALE: return scale;
    case OP_SIGMOID: return sigmoid;
    case OP_DROPOUT: return dropout;
    case OP_MAXPOOL: return maxpool;
    case OP_AVGPOOL: return avgpool;
    case OP_SHORTCUT_PAD: return pad;
    case OP_SOFTMAX_LOSS: return loss;
    case OP_CONCAT: return concat;
    default: return none;
    }
}

#endif
