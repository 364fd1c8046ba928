/* One convolution of a graph by a backend, and by the CPU's readable loops: operands are filled with the same numbers, each
 * backend's own rows for batch normalisations included. */
#ifndef FATHOM_CONV_HELP_H
#define FATHOM_CONV_HELP_H

#include <math.h>

#include "cpu_backend.h"
#include "gpu_help.h"
#include "half.h"
#include "lower.h"
#include "random.h"

#define CONV_ARENA (64u << 20)

struct conv_side {
    const struct backend *backend;
    struct device *device;
    struct stream *stream;
    bool own_rows; /* of cuda/bn_layout.h, else the CPU's */
    uint64_t norm_shift; /* bytes by which a BN's rows lie away from where everybody aligns them */
    uint64_t in[OP_MOST_INPUTS], out[OP_MOST_OUTPUTS], end;
};

static inline struct conv_side conv_side_begin(const struct backend *backend, const struct device_options *options)
{
    struct conv_side side = {.backend = backend, .own_rows = backend != &cpu_reference_backend};
    struct error err = {0};
    cr_assert(backend->device_create(options, CONV_ARENA, &side.device, &err), "%s", err.text);
    cr_assert(backend->stream_create(side.device, &side.stream, &err), "%s", err.text);
    return side;
}

static inline void conv_side_end(struct conv_side *side)
{
    side->backend->stream_destroy(side->stream);
    side->backend->device_destroy(side->device);
}

static inline uint64_t conv_take(struct conv_side *side, uint64_t bytes)
{
    uint64_t at = side->end;
    side->end += (bytes + 255) / 256 * 256;
    return at;
}

static inline void conv_place(struct conv_side *side, const struct graph *graph, const struct op *op)
{
    side->end = 256;
    for (unsigned i = 0; i < op->inputs; i++) {
        const struct tensor *t = &graph->tensors[op->in[i]];
        const uint64_t shift = t->role == ROLE_NORM ? side->norm_shift : 0;
        side->in[i] = conv_take(side, t->bytes + shift) + shift;
    }
    for (unsigned i = 0; i < op->outputs; i++) side->out[i] = conv_take(side, graph->tensors[op->out[i]].bytes);
}

/* ---- Numbers ---- */

static inline bool conv_is_half(enum dtype dtype) { return dtype == DTYPE_F16 || dtype == DTYPE_BF16; }
static inline uint16_t conv_bits(enum dtype dtype, float value)
{
    return dtype == DTYPE_F16 ? f16_from_float(value) : bf16_from_float(value);
}
static inline float conv_value(enum dtype dtype, uint16_t bits)
{
    return dtype == DTYPE_F16 ? float_from_f16(bits) : float_from_bf16(bits);
}

static inline void conv_write(struct conv_side *side, const struct tensor *t, uint64_t at, const float *values)
{
    struct error err = {0};
    uint64_t count = tensor_elements(t);
    if (t->role == ROLE_WEIGHT && !t->gradient) {
        cr_assert(side->backend->parameter_in(side->device, t, at, values, &err), "%s", err.text);
        return;
    }
    uint16_t *bits = calloc(count, sizeof *bits);
    for (uint64_t i = 0; conv_is_half(t->dtype) && i < count; i++) bits[i] = conv_bits(t->dtype, values[i]);
    const void *bytes = conv_is_half(t->dtype) ? (const void *)bits : values;
    cr_assert(side->backend->copy_in(side->device, side->stream, at, bytes, t->bytes, &err), "%s", err.text);
    free(bits);
}

/* As doubles; sums of a backend with its own rows are f32 in the first half of the bytes. */
static inline double *conv_read(struct conv_side *side, const struct tensor *t, uint64_t at)
{
    struct error err = {0};
    uint64_t count = tensor_elements(t);
    void *bytes = calloc(1, t->bytes + 8);
    double *values = calloc(count, sizeof *values);
    bool weights = t->role == ROLE_WEIGHT && t->dtype == DTYPE_F32;
    cr_assert(weights ? side->backend->parameter_out(side->device, t, at, bytes, &err)
                      : side->backend->copy_out(side->device, side->stream, bytes, at, t->bytes, &err),
              "%s", err.text);
    for (uint64_t i = 0; i < count; i++) {
        bool wide = t->dtype == DTYPE_F64 && !side->own_rows;
        values[i] = wide                      ? ((const double *)bytes)[i]
                    : conv_is_half(t->dtype) ? (double)conv_value(t->dtype, ((const uint16_t *)bytes)[i])
                                             : (double)((const float *)bytes)[i];
    }
    free(bytes);
    return values;
}

/* Normal numbers, rounded to the tensor's type; weights smaller. */
static inline float *conv_numbers(const struct tensor *t, uint64_t seed)
{
    struct random r = random_begin(seed, RANDOM_SYNTHETIC, 0, 0);
    uint64_t count = tensor_elements(t);
    float *values = calloc(count, sizeof *values);
    for (uint64_t i = 0; i < count; i++) {
        float value = (float)random_normal(&r) * (t->role == ROLE_WEIGHT || t->role == ROLE_WEIGHT_COPY ? 0.2f : 1);
        values[i] = conv_is_half(t->dtype) ? conv_value(t->dtype, conv_bits(t->dtype, value)) : value;
    }
    return values;
}

/* ---- Rows of a BN ---- */

#define CONV_EPSILON 1e-5f

/* mean, 1 / deviation, gamma, beta of a channel. */
struct conv_channel {
    float mean, inverse, gamma, beta;
};
static inline struct conv_channel conv_channel(uint64_t seed, uint32_t channel)
{
    struct random r = random_begin(seed, RANDOM_SYNTHETIC, 1, channel);
    return (struct conv_channel){0.3f * (float)random_normal(&r), 1 / (0.8f + 0.5f * (float)random_below(&r, 100) / 100),
                                 1 + 0.2f * (float)random_normal(&r), 0.3f * (float)random_normal(&r)};
}

static inline void conv_set_prologue(float *rows, uint32_t c, uint32_t channels, bool half, float scale, float shift)
{
    uint16_t *bits = (uint16_t *)(void *)(rows + 4 * channels);
    if (half) {
        bits[c] = f16_from_float(scale);
        bits[channels + c] = f16_from_float(shift);
    } else {
        rows[4 * channels + c] = scale;
        rows[5 * channels + c] = shift;
    }
}

static inline void conv_write_norm(struct conv_side *side, const struct graph *graph, const struct tensor *t, uint64_t at,
                                   uint64_t seed)
{
    struct error err = {0};
    uint32_t channels = t->dims[3];
    float *rows = calloc(tensor_elements(t), sizeof *rows);
    for (uint32_t c = 0; c < channels; c++) {
        struct conv_channel n = conv_channel(seed, c);
        float scale = n.gamma * n.inverse;
        const float own[4] = {n.mean, n.inverse, n.gamma, n.beta},
                    cpu[4] = {scale, n.beta, n.mean, 1 / (n.inverse * n.inverse) - CONV_EPSILON};
        for (unsigned i = 0; i < 4; i++) rows[i * channels + c] = (side->own_rows ? own : cpu)[i];
        if (side->own_rows)
            conv_set_prologue(rows, c, channels, graph->options.dtype == DTYPE_F16, scale, n.beta - n.mean * scale);
    }
    cr_assert(side->backend->copy_in(side->device, side->stream, at, rows, t->bytes, &err), "%s", err.text);
    free(rows);
}

/* ---- Running ---- */

static inline void conv_fill(struct conv_side *side, const struct graph *graph, const struct op *op, uint64_t seed)
{
    for (unsigned i = 0; i < op->inputs; i++) {
        const struct tensor *t = &graph->tensors[op->in[i]];
        if (t->role == ROLE_NORM) {
            conv_write_norm(side, graph, t, side->in[i], seed);
            continue;
        }
        float *values = conv_numbers(t, seed + 7 * i);
        conv_write(side, t, side->in[i], values);
        free(values);
    }
}

static inline bool conv_launch(struct conv_side *side, struct prepared *prepared, struct error *err)
{
    struct event *event;
    bool done = false;
    const struct backend *b = side->backend;
    if (!b->op_launch(prepared, side->stream, err) || !b->event_create(side->device, &event, err)) return false;
    bool ok = b->event_record(event, side->stream, err) && b->event_synchronize(event, UINT64_MAX, &done, err) && done;
    b->event_destroy(event);
    return ok;
}

/* One op, with so much workspace; sums are not written where it runs again. */
static inline bool conv_run(struct conv_side *side, const struct graph *graph, uint32_t index, enum op_pass pass,
                            uint64_t workspace_bytes, uint64_t seed, struct error *err)
{
    const struct op *op = &graph->ops[index];
    struct op_call call = {.graph = graph, .op = op, .op_index = index, .pass = pass, .workspace_bytes = workspace_bytes};
    struct prepared *prepared = NULL;
    if (!side->own_rows && !side->backend->op_workspace(graph, op, pass, &call.workspace_bytes, err)) return false;
    conv_place(side, graph, op);
    conv_fill(side, graph, op, seed);
    for (unsigned i = 0; i < op->inputs; i++) call.in[i] = side->in[i], call.in_tensor[i] = &graph->tensors[op->in[i]];
    for (unsigned i = 0; i < op->outputs; i++) {
        call.out[i] = side->out[i];
        bool sums = i == 1 && op->kind == OP_CONV && (pass == PASS_RECOMPUTE || pass == PASS_EVALUATE);
        call.out_tensor[i] = sums ? NULL : &graph->tensors[op->out[i]];
    }
    call.workspace = conv_take(side, call.workspace_bytes);
    cr_assert_leq(side->end, CONV_ARENA);
    bool ok = side->backend->op_prepare(side->device, &call, &prepared, err) && conv_launch(side, prepared, err);
    if (prepared) side->backend->op_release(prepared);
    return ok;
}

static inline struct graph *conv_graph(const char *model, uint32_t batch, uint32_t side, enum dtype dtype,
                                       uint32_t lowering)
{
    struct model_spec spec;
    struct error err = {0};
    cr_assert(model_parse(model, &MODEL_OPTIONS_DEFAULT, &spec, &err), "%s", err.text);
    if (side) spec.image_size = side;
    struct graph *graph = graph_build(
        &spec, &(struct graph_options){.batch = batch, .micro_batches = 1, .dtype = dtype, .lowering = lowering}, &err);
    cr_assert(graph, "%s", err.text);
    return graph;
}

static inline bool conv_is_one(const struct op *op)
{
    return op->kind == OP_CONV || op->kind == OP_CONV_BWD_DATA || op->kind == OP_CONV_BWD_WEIGHTS;
}

#endif
