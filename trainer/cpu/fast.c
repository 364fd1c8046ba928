/* cpu_backend's table: oneDNN for what is arithmetic, own loops over the device's threads for what moves bytes. */
#include <string.h>

#include "bn_rows.h"
#include "conv_pieces.h"
#include "conv_tiles_cut.h"
#include "loops.h"
#include "parallel.h"
#include "random.h"
#include "update.h"

/* ---- oneDNN ---- */

static void fill_shape(struct onednn_shape *shape, enum onednn_primitive primitive, const struct tensor *x,
                       const struct tensor *y)
{
    shape->primitive = primitive;
    memcpy(shape->x, x->dims, sizeof shape->x);
    memcpy(shape->y, y->dims, sizeof shape->y);
}

static void fill_window(struct onednn_shape *shape, const union op_attr *attr)
{
    memcpy(shape->kernel, attr->conv.kernel, sizeof shape->kernel);
    memcpy(shape->padding, attr->conv.padding, sizeof shape->padding);
    shape->stride = attr->conv.stride;
}

static void fill_pool(struct onednn_shape *shape, const union op_attr *attr)
{
    shape->kernel[0] = shape->kernel[1] = attr->pool.kernel;
    shape->padding[0] = shape->padding[1] = attr->pool.padding;
    shape->stride = attr->pool.stride;
}

/* Fully connected layers see x as rows of features. */
static void flatten(struct onednn_shape *shape)
{
    shape->x[3] *= shape->x[1] * shape->x[2];
    shape->x[1] = shape->x[2] = 1;
}

static void fill_half(const struct op_call *call, struct onednn_shape *shape)
{
    shape->bf16 = cpu_conv_reads_half(call);
    shape->bf16_weights = shape->bf16 && call->in_tensor[1]->dtype == DTYPE_BF16;
}

static bool conv_shape(const struct op_call *call, struct onednn_shape *shape)
{
    fill_half(call, shape);
    if (!shape->bf16 && conv_tiles_suit(call)) return false;
    fill_shape(shape, ONEDNN_CONV, call->in_tensor[0], call->out_tensor[0]);
    fill_window(shape, &call->op->attr);
    shape->bias = conv_operands(call->op).bias != NO_OPERAND;
    if (!shape->bf16) conv_pieces_cut(call, shape);
    return true;
}

static bool conv_data_shape(const struct op_call *call, struct onednn_shape *shape)
{
    fill_half(call, shape);
    if (!shape->bf16 && conv_tiles_suit(call)) return false;
    fill_shape(shape, ONEDNN_CONV_BWD_DATA, call->out_tensor[0], call->in_tensor[0]);
    fill_window(shape, &call->op->attr);
    if (!shape->bf16) conv_pieces_cut(call, shape);
    return true;
}

static bool conv_weights_shape(const struct op_call *call, struct onednn_shape *shape)
{
    if (conv_tiles_suit(call)) return false;
    fill_shape(shape, ONEDNN_CONV_BWD_WEIGHTS, call->in_tensor[0], call->in_tensor[1]);
    fill_window(shape, &call->op->attr);
    shape->bias = call->op->outputs > 1;
    conv_pieces_cut(call, shape);
    return true;
}

static bool fc_shape(const struct op_call *call, struct onednn_shape *shape)
{
    if (cpu_fc_is_own(call->in_tensor[1])) return false;
    fill_shape(shape, ONEDNN_FC, call->in_tensor[0], call->out_tensor[0]);
    flatten(shape);
    shape->bias = call->op->inputs > 2;
    return true;
}

static bool fc_data_shape(const struct op_call *call, struct onednn_shape *shape)
{
    if (cpu_fc_is_own(call->in_tensor[1])) return false;
    fill_shape(shape, ONEDNN_FC_BWD_DATA, call->out_tensor[0], call->in_tensor[0]);
    flatten(shape);
    return true;
}

static bool fc_weights_shape(const struct op_call *call, struct onednn_shape *shape)
{
    if (cpu_fc_is_own(call->out_tensor[0])) return false;
    fill_shape(shape, ONEDNN_FC_BWD_WEIGHTS, call->in_tensor[0], call->in_tensor[1]);
    flatten(shape);
    shape->bias = call->op->outputs > 1;
    return true;
}

static bool maxpool_shape(const struct op_call *call, struct onednn_shape *shape)
{
    fill_shape(shape, ONEDNN_MAXPOOL, call->in_tensor[0], call->out_tensor[0]);
    fill_pool(shape, &call->op->attr);
    shape->inference = call->pass == PASS_EVALUATE;
    return true;
}

/* Gradients of windows that overlap are added, and oneDNN's kernels do it in an order that depends on the number of
 * threads: image by image, on one thread each, it does not. */
static void cut_overlapping(struct onednn_shape *shape)
{
    if (shape->kernel[0] <= shape->stride) return; /* 0 = the whole image */
    shape->x[0] = shape->y[0] = 1;
    shape->alone = 1;
}

static bool maxpool_backward_shape(const struct op_call *call, struct onednn_shape *shape)
{
    fill_shape(shape, ONEDNN_MAXPOOL_BWD, call->out_tensor[0], call->in_tensor[0]);
    fill_pool(shape, &call->op->attr);
    cut_overlapping(shape);
    return true;
}

static bool avgpool_shape(const struct op_call *call, struct onednn_shape *shape)
{
    fill_shape(shape, ONEDNN_AVGPOOL, call->in_tensor[0], call->out_tensor[0]);
    fill_pool(shape, &call->op->attr);
    return true;
}

static bool avgpool_backward_shape(const struct op_call *call, struct onednn_shape *shape)
{
    fill_shape(shape, ONEDNN_AVGPOOL_BWD, call->out_tensor[0], call->in_tensor[0]);
    fill_pool(shape, &call->op->attr);
    cut_overlapping(shape);
    return true;
}

/* x, w [, bias] -> y */
static bool run_forward(const struct prepared *p, struct error *err)
{
    struct onednn_call call = {.x = op_in(p, 0), .w = op_in(p, 1), .y = op_out(p, 0), .workspace = op_scratch(p)};
    if (p->call.op->inputs > 2) call.bias = op_in(p, 2);
    return onednn_run(p->onednn, &call, err);
}

/* dy, w -> dx */
static bool run_backward_data(const struct prepared *p, struct error *err)
{
    struct onednn_call call = {.x = op_out(p, 0), .w = op_in(p, 1), .y = op_in(p, 0), .workspace = op_scratch(p)};
    return onednn_run(p->onednn, &call, err);
}

/* x, dy -> dw [, dbias] */
static bool run_backward_weights(const struct prepared *p, struct error *err)
{
    struct onednn_call call = {.x = op_in(p, 0), .w = op_out(p, 0), .y = op_in(p, 1), .workspace = op_scratch(p)};
    if (p->call.op->outputs > 1) call.bias = op_out(p, 1);
    return onednn_run(p->onednn, &call, err);
}

static bool run_fc(const struct prepared *p, struct error *err)
{
    if (p->onednn) return run_forward(p, err);
    cpu_fc(p);
    return true;
}

static bool run_fc_backward_data(const struct prepared *p, struct error *err)
{
    if (p->onednn) return run_backward_data(p, err);
    cpu_fc_backward_data(p);
    return true;
}

static bool run_fc_backward_weights(const struct prepared *p, struct error *err)
{
    if (p->onednn) return run_backward_weights(p, err);
    cpu_fc_backward_weights(p);
    return true;
}

/* x -> y [, mask] */
static bool run_pool(const struct prepared *p, struct error *err)
{
    struct onednn_call call = {.x = op_in(p, 0), .y = op_out(p, 0), .workspace = op_scratch(p)};
    if (p->call.op->kind == OP_MAXPOOL && p->call.pass != PASS_EVALUATE) call.mask = op_out(p, 1);
    return onednn_run(p->onednn, &call, err);
}

static uint64_t elements_of(const uint32_t dims[4]) { return (uint64_t)dims[0] * dims[1] * dims[2] * dims[3]; }

static bool run_pool_image(const void *context, unsigned thread, uint64_t image, struct error *err)
{
    const struct prepared *p = context;
    const struct onednn_shape *s = onednn_kernel_shape(p->onednn);
    uint64_t x = image * elements_of(s->x), y = image * elements_of(s->y);
    struct onednn_call call = {.x = (float *)op_out(p, 0) + x, .y = (const float *)op_in(p, 0) + y};
    call.workspace = op_scratch(p);
    if (p->call.op->kind == OP_MAXPOOL_BWD) call.mask = (const uint8_t *)op_in(p, 1) + y;
    return onednn_run_alone(p->onednn, thread, &call, err);
}

/* dy [, mask] -> dx */
static bool run_pool_backward(const struct prepared *p, struct error *err)
{
    if (onednn_kernel_shape(p->onednn)->alone)
        return parallel_each(p->call.out_tensor[0]->dims[0], run_pool_image, p, err);
    struct onednn_call call = {.x = op_out(p, 0), .y = op_in(p, 0), .workspace = op_scratch(p)};
    if (p->call.op->kind == OP_MAXPOOL_BWD) call.mask = op_in(p, 1);
    return onednn_run(p->onednn, &call, err);
}

/* ---- Elementwise: each task takes a range of elements, in 16 bits a tile of them at a time ---- */

#define TILE 1024u

struct elements {
    const struct prepared *op;
    const struct loops *loops;
    const void *a, *b;
    void *out;
    /* n elements from number `first` of the tensors on. */
    void (*compute)(const struct elements *e, uint64_t first, float *out, const float *a, const float *b, size_t n);
};

static void run_half_range(const struct elements *e, enum dtype dtype, uint64_t first, uint64_t last)
{
    const struct conversions *convert = conversions_best();
    float a[TILE], b[TILE];
    for (uint64_t i = first; i < last; i += TILE) {
        size_t n = last - i < TILE ? last - i : TILE;
        half_to_floats(convert, dtype, (const uint16_t *)e->a + i, a, n);
        if (e->b) half_to_floats(convert, dtype, (const uint16_t *)e->b + i, b, n);
        e->compute(e, i, a, a, b, n);
        floats_to_half(convert, dtype, a, (uint16_t *)e->out + i, n);
    }
}

static void run_range(const void *context, uint64_t first, uint64_t last)
{
    const struct elements *e = context;
    enum dtype dtype = e->op->call.out_tensor[0]->dtype;
    const float *a = e->a, *b = e->b;
    if (dtype != DTYPE_F32)
        run_half_range(e, dtype, first, last);
    else
        e->compute(e, first, (float *)e->out + first, a + first, b ? b + first : NULL, last - first);
}

static bool run_elements(const struct prepared *p, void (*compute)(const struct elements *, uint64_t, float *,
                                                                   const float *, const float *, size_t))
{
    struct elements e = {.op = p, .loops = loops_best(), .a = op_in(p, 0), .out = op_out(p, 0), .compute = compute};
    if (p->call.op->inputs > 1) e.b = op_in(p, 1);
    uint64_t count = tensor_elements(p->call.out_tensor[0]);
    parallel_run(count, count, run_range, &e);
    return true;
}

#define ELEMENTWISE(name, compute)                                                                                     \
    static void name##_elements(const struct elements *e, uint64_t first, float *out, const float *a, const float *b,  \
                                size_t n)                                                                              \
    {                                                                                                                  \
        const union op_attr *attr = &e->op->call.op->attr;                                                             \
        (void)attr, (void)first, (void)b;                                                                              \
        e->loops->compute;                                                                                             \
    }                                                                                                                  \
    static bool run_##name(const struct prepared *p, struct error *err)                                                \
    {                                                                                                                  \
        (void)err;                                                                                                     \
        return run_elements(p, name##_elements);                                                                       \
    }

ELEMENTWISE(relu, relu(out, a, n))
ELEMENTWISE(relu_backward, relu_backward(out, a, b, n))
ELEMENTWISE(add, add(out, a, b, n))
ELEMENTWISE(subtract, subtract(out, a, b, n))
ELEMENTWISE(mul, mul(out, a, b, n))
ELEMENTWISE(scale, scale(out, a, attr->scale.alpha, attr->scale.beta, n))
ELEMENTWISE(scale_backward, scale(out, a, attr->scale.alpha, 0, n))
ELEMENTWISE(sigmoid, sigmoid(out, a, n))
ELEMENTWISE(sigmoid_backward, sigmoid_backward(out, a, b, n))

static void dropout_elements(const struct elements *e, uint64_t first, float *out, const float *a, const float *b,
                             size_t n)
{
    const struct device *device = e->op->device;
    float drop = e->op->call.op->attr.dropout.drop, keep = 1 / (1 - drop);
    uint32_t threshold = dropout_threshold(drop);
    struct random draw = {device->step.seed, dropout_stream(device, dropout_op(e->op)), first};
    uint32_t words[4];
    (void)b;
    for (uint64_t i = first; i < first + n; i++) {
        if (i == first || i % 4 == 0) random_block(draw.seed, draw.stream, i / 4, words);
        out[i - first] = words[i % 4] < threshold ? 0 : a[i - first] * keep;
    }
}

/* Bytes of an element of the op's result, and of all it moves. */
static size_t width_of(const struct prepared *p) { return (size_t)dtype_bytes(p->call.out_tensor[0]->dtype, 1); }

static void copy_range(const void *context, uint64_t first, uint64_t last)
{
    const struct prepared *p = context;
    size_t width = width_of(p);
    const uint8_t *in = op_in(p, 0);
    uint8_t *out = op_out(p, 0);
    if (out != in) memcpy(out + first * width, in + first * width, (last - first) * width);
}

static bool run_dropout(const struct prepared *p, struct error *err)
{
    (void)err;
    uint64_t count = tensor_elements(p->call.out_tensor[0]);
    if (p->call.pass != PASS_EVALUATE) return run_elements(p, dropout_elements);
    parallel_run(count, count, copy_range, p);
    return true;
}

/* ---- Moving channels and pixels: each task takes rows (pixels) ---- */

static bool run_rows(const struct prepared *p, const struct tensor *rows_of, parallel_task task)
{
    uint64_t elements = tensor_elements(rows_of);
    parallel_run(elements / rows_of->dims[3], elements, task, p);
    return true;
}

static void pad_rows(const void *context, uint64_t first, uint64_t last)
{
    const struct prepared *p = context;
    const uint32_t *xd = p->call.in_tensor[0]->dims, *yd = p->call.out_tensor[0]->dims;
    const uint8_t *x = op_in(p, 0);
    uint64_t stride = p->call.op->attr.shortcut.stride, width = width_of(p);
    for (uint64_t row = first; row < last; row++) {
        uint64_t w = row % yd[2], h = row / yd[2] % yd[1], n = row / yd[2] / yd[1];
        uint8_t *y = (uint8_t *)op_out(p, 0) + row * yd[3] * width;
        memcpy(y, x + ((n * xd[1] + h * stride) * xd[2] + w * stride) * xd[3] * width, xd[3] * width);
        memset(y + xd[3] * width, 0, (yd[3] - xd[3]) * width);
    }
}

static bool run_shortcut_pad(const struct prepared *p, struct error *err)
{
    (void)err;
    return run_rows(p, p->call.out_tensor[0], pad_rows);
}

static void pad_gradient_rows(const void *context, uint64_t first, uint64_t last)
{
    const struct prepared *p = context;
    const uint32_t *xd = p->call.out_tensor[0]->dims, *yd = p->call.in_tensor[0]->dims;
    const uint8_t *dy = op_in(p, 0);
    uint64_t stride = p->call.op->attr.shortcut.stride, width = width_of(p);
    for (uint64_t row = first; row < last; row++) {
        uint64_t w = row % xd[2], h = row / xd[2] % xd[1], n = row / xd[2] / xd[1];
        uint8_t *dx = (uint8_t *)op_out(p, 0) + row * xd[3] * width;
        bool read = w % stride == 0 && h % stride == 0 && w / stride < yd[2] && h / stride < yd[1];
        if (read)
            memcpy(dx, dy + ((n * yd[1] + h / stride) * yd[2] + w / stride) * yd[3] * width, xd[3] * width);
        else
            memset(dx, 0, xd[3] * width);
    }
}

static bool run_shortcut_pad_backward(const struct prepared *p, struct error *err)
{
    (void)err;
    return run_rows(p, p->call.out_tensor[0], pad_gradient_rows);
}

static void concat_rows(const void *context, uint64_t first, uint64_t last)
{
    const struct prepared *p = context;
    uint64_t width = width_of(p);
    uint8_t *y = (uint8_t *)op_out(p, 0) + first * p->call.out_tensor[0]->dims[3] * width;
    for (uint64_t row = first; row < last; row++)
        for (unsigned i = 0; i < p->call.op->inputs; i++) {
            uint64_t part = p->call.in_tensor[i]->dims[3] * width;
            memcpy(y, (const uint8_t *)op_in(p, i) + row * part, part);
            y += part;
        }
}

static bool run_concat(const struct prepared *p, struct error *err)
{
    (void)err;
    return run_rows(p, p->call.out_tensor[0], concat_rows);
}

static void concat_gradient_rows(const void *context, uint64_t first, uint64_t last)
{
    const struct prepared *p = context;
    uint64_t width = width_of(p), all = p->call.in_tensor[0]->dims[3] * width;
    uint64_t part = p->call.out_tensor[0]->dims[3] * width;
    const uint8_t *dy = (const uint8_t *)op_in(p, 0) + p->call.op->attr.concat.first * width;
    uint8_t *dx = op_out(p, 0);
    for (uint64_t row = first; row < last; row++) memcpy(dx + row * part, dy + row * all, part);
}

static bool run_concat_backward(const struct prepared *p, struct error *err)
{
    (void)err;
    return run_rows(p, p->call.out_tensor[0], concat_gradient_rows);
}

/* ---- Gradient buckets ---- */

static void accumulate_elements(const struct elements *e, uint64_t first, float *out, const float *a, const float *b,
                                size_t n)
{
    (void)first, (void)b;
    e->loops->add(out, out, a, n);
}

static bool run_accumulate(const struct prepared *p, struct error *err)
{
    (void)err;
    uint64_t count = tensor_elements(p->call.out_tensor[0]);
    if (p->device->step.micro_batch > 0) return run_elements(p, accumulate_elements);
    parallel_run(count, count, copy_range, p);
    return true;
}

const struct cpu_table cpu_fast_table =
    {
        .kernels =
            {
                [OP_CONV] = {cpu_conv, .onednn = conv_shape, .before = cpu_conv_before, .own_name = conv_tiles_name,
                             .half = HALF_IMAGES, .half_reads = cpu_conv_reads_half},
                [OP_BN] = {cpu_bn, cpu_bn_workspace, .half = HALF_OWN, .half_reads = cpu_bn_reads_half},
                [OP_RELU] = {run_relu, .half = HALF_OWN},
                [OP_ADD] = {run_add, .half = HALF_OWN},
                [OP_MUL] = {run_mul, .half = HALF_OWN},
                [OP_SCALE] = {run_scale, .half = HALF_OWN},
                [OP_SIGMOID] = {run_sigmoid, .half = HALF_OWN},
                [OP_DROPOUT] = {run_dropout, .half = HALF_OWN},
                [OP_MAXPOOL] = {run_pool, .onednn = maxpool_shape, .half = HALF_IMAGES},
                [OP_AVGPOOL] = {run_pool, .onednn = avgpool_shape, .half = HALF_IMAGES},
                [OP_SHORTCUT_PAD] = {run_shortcut_pad, .half = HALF_OWN},
                [OP_FC] = {run_fc, .onednn = fc_shape},
                [OP_SOFTMAX_LOSS] = {cpu_run_softmax_loss},
                [OP_CONCAT] = {run_concat, .half = HALF_OWN},
                [OP_CONV_BWD_DATA] = {cpu_conv_backward_data, .onednn = conv_data_shape, .before = cpu_conv_before,
                                      .own_name = conv_tiles_name, .half = HALF_IMAGES,
                                      .half_reads = cpu_conv_reads_half},
                [OP_CONV_BWD_WEIGHTS] = {cpu_conv_backward_weights, .onednn = conv_weights_shape,
                                         .before = cpu_conv_before, .own_name = conv_tiles_name, .half = HALF_IMAGES},
                [OP_BN_BWD] = {cpu_bn_backward, cpu_bn_workspace, .half = HALF_OWN, .half_reads = cpu_bn_reads_half},
                [OP_RELU_BWD] = {run_relu_backward, .half = HALF_OWN},
                [OP_MUL_BWD] = {run_mul, .half = HALF_OWN},
                [OP_SCALE_BWD] = {run_scale_backward, .half = HALF_OWN},
                [OP_SIGMOID_BWD] = {run_sigmoid_backward, .half = HALF_OWN},
                [OP_DROPOUT_BWD] = {run_dropout, .half = HALF_OWN},
                [OP_MAXPOOL_BWD] = {run_pool_backward, .onednn = maxpool_backward_shape, .half = HALF_IMAGES},
                [OP_AVGPOOL_BWD] = {run_pool_backward, .onednn = avgpool_backward_shape, .half = HALF_IMAGES},
                [OP_SHORTCUT_PAD_BWD] = {run_shortcut_pad_backward, .half = HALF_OWN},
                [OP_FC_BWD_DATA] = {run_fc_backward_data, .onednn = fc_data_shape},
                [OP_FC_BWD_WEIGHTS] = {run_fc_backward_weights, .onednn = fc_weights_shape},
                [OP_SOFTMAX_LOSS_BWD] = {cpu_run_softmax_loss_backward},
                [OP_CONCAT_BWD] = {run_concat_backward, .half = HALF_OWN},
                [OP_ADD_GRADIENT] = {run_add, .half = HALF_OWN},
                [OP_ACCUMULATE] = {run_accumulate},
                [OP_ALL_REDUCE] = {cpu_run_all_reduce, .half = HALF_OWN},
                [OP_UPDATE] = {cpu_run_update},
                [OP_GRADIENT_NORM] = {cpu_run_gradient_norm, cpu_gradient_norm_workspace},
                [OP_WEIGHTS_AVERAGE] = {cpu_run_weights_average},
                [OP_GRADIENT_CHECK] = {cpu_run_gradient_check},
                [OP_LOSS_SCALE_UPDATE] = {cpu_run_loss_scale_update},
                [OP_WEIGHTS_COPY] = {cpu_run_weights_copy, .half = HALF_OWN},
                [OP_GRADIENTS_WIDEN] = {cpu_run_gradients_widen, .half = HALF_OWN},
                [OP_INPUT] = {cpu_run_input, .half = HALF_OWN},
                [OP_BN_SUMS] = {cpu_bn_sums, cpu_bn_workspace},
                [OP_BN_FINALIZE] = {cpu_bn_finalize, cpu_bn_finalize_workspace},
                [OP_BN_APPLY] = {cpu_bn_apply},
                [OP_BN_BWD_SUMS] = {cpu_bn_backward_sums, cpu_bn_backward_workspace},
                [OP_BN_BWD_FINALIZE] = {cpu_bn_backward_finalize, cpu_bn_finalize_workspace},
                [OP_BN_BWD_APPLY] = {cpu_bn_backward_apply, cpu_bn_backward_workspace},
            },
        .reconstruct = run_subtract,
        .blocked_weights = true,
};
