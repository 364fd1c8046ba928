#include "cudnn_graph.h"

#define MOST_OPS    16
#define FIRST_INNER 100 /* tensors within the graph, that have no bytes */

/* A graph on its way. */
struct drawing {
    struct cudnn_descriptors *d;
    const struct convolution *c;
    int64_t rows, columns; /* of y */
    int64_t inner;
    cudnnBackendDescriptor_t ops[MOST_OPS];
    int64_t count;
};

cudnnDataType_t convolution_prologue_type(cudnnDataType_t type)
{
    return type == CUDNN_DATA_HALF ? CUDNN_DATA_HALF : CUDNN_DATA_FLOAT;
}

/* ---- Tensors ---- */

/* In cuDNN's order, N C H W. */
struct shape {
    int64_t n, c, h, w;
    bool planes; /* a channel's pixels lie together */
};

/* NHWC in memory, or NCHW. id: an operand's, or FIRST_INNER and more. */
static bool make_tensor(struct cudnn_descriptors *d, int64_t id, cudnnDataType_t type, struct shape s,
                        cudnnBackendDescriptor_t *tensor)
{
    const int64_t dims[4] = {s.n, s.c, s.h, s.w}, pixels[4] = {s.c * s.h * s.w, 1, s.c * s.w, s.c},
                  planes[4] = {s.c * s.h * s.w, s.h * s.w, s.w, 1}, *strides = s.planes ? planes : pixels,
                  alignment = 16;
    const bool inner = id >= FIRST_INNER;
    return cudnn_make(d, CUDNN_BACKEND_TENSOR_DESCRIPTOR, tensor) &&
           cudnn_set_i64(d, *tensor, CUDNN_ATTR_TENSOR_UNIQUE_ID, 1, &id) &&
           cudnn_set(d, *tensor, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type) &&
           cudnn_set_i64(d, *tensor, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 1, &alignment) &&
           cudnn_set_i64(d, *tensor, CUDNN_ATTR_TENSOR_DIMENSIONS, 4, dims) &&
           cudnn_set_i64(d, *tensor, CUDNN_ATTR_TENSOR_STRIDES, 4, strides) &&
           (!inner || cudnn_set(d, *tensor, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &inner)) &&
           cudnn_finalize(d, *tensor, "a tensor");
}

static bool has_planes(const struct drawing *g) { return (g->c->besides & BESIDES_CHANNELS_FIRST) != 0; }

static struct shape shape_x(const struct drawing *g)
{
    return (struct shape){g->c->images, g->c->channels, g->c->height, g->c->width, has_planes(g)};
}
static struct shape shape_y(const struct drawing *g)
{
    return (struct shape){g->c->images, g->c->filters, g->rows, g->columns, has_planes(g)};
}
static struct shape shape_w(const struct drawing *g)
{
    return (struct shape){g->c->filters, g->c->channels, g->c->kernel[0], g->c->kernel[1], has_planes(g)};
}

static bool make_inner(struct drawing *g, cudnnDataType_t type, struct shape shape, cudnnBackendDescriptor_t *tensor)
{
    return make_tensor(g->d, g->inner++, type, shape, tensor);
}

static bool make_row(struct drawing *g, enum convolution_operand operand, cudnnDataType_t type, int64_t channels,
                     cudnnBackendDescriptor_t *tensor)
{
    return make_tensor(g->d, operand, type, (struct shape){1, channels, 1, 1, false}, tensor);
}

/* ---- Ops ---- */

static bool begin_op(struct drawing *g, cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *op)
{
    TRY(cudnn_make(g->d, type, op));
    g->ops[g->count++] = *op;
    return true;
}

/* Attributes of an op that are tensors or descriptions. */
struct part {
    cudnnBackendAttributeName_t name;
    cudnnBackendDescriptor_t value;
};

static bool end_op(const struct drawing *g, cudnnBackendDescriptor_t op, const struct part *parts, size_t count,
                   const char *what)
{
    for (size_t i = 0; i < count; i++)
        if (parts[i].value) TRY(cudnn_set_part(g->d, op, parts[i].name, parts[i].value));
    return cudnn_finalize(g->d, op, what);
}
#define END_OP(g, op, parts, what) end_op(g, op, parts, sizeof(parts) / sizeof(parts)[0], what)

static bool describe_pointwise(struct drawing *g, cudnnPointwiseMode_t mode, cudnnBackendDescriptor_t *description)
{
    const cudnnDataType_t precision = CUDNN_DATA_FLOAT;
    return cudnn_make(g->d, CUDNN_BACKEND_POINTWISE_DESCRIPTOR, description) &&
           cudnn_set(g->d, *description, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode) &&
           cudnn_set(g->d, *description, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &precision) &&
           cudnn_finalize(g->d, *description, "a pointwise op's description");
}

/* b: NULL where it has one operand. */
static bool add_pointwise(struct drawing *g, cudnnPointwiseMode_t mode, cudnnBackendDescriptor_t a,
                          cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t result)
{
    cudnnBackendDescriptor_t description, op;
    TRY(describe_pointwise(g, mode, &description) && begin_op(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, &op));
    const struct part parts[] = {{CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, description},
                                 {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, a},
                                 {CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b},
                                 {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, result}};
    return END_OP(g, op, parts, "a pointwise op");
}

/* In f32, into a tensor within the graph. */
static bool add_inner(struct drawing *g, cudnnPointwiseMode_t mode, cudnnBackendDescriptor_t a,
                      cudnnBackendDescriptor_t b, struct shape shape, cudnnBackendDescriptor_t *result)
{
    return make_inner(g, CUDNN_DATA_FLOAT, shape, result) && add_pointwise(g, mode, a, b, *result);
}

/* dy where x > 0, into dx. */
static bool add_shutter(struct drawing *g, cudnnBackendDescriptor_t dy, cudnnBackendDescriptor_t x,
                        cudnnBackendDescriptor_t dx)
{
    cudnnBackendDescriptor_t description, op;
    TRY(describe_pointwise(g, CUDNN_POINTWISE_RELU_BWD, &description) &&
        begin_op(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, &op));
    const struct part parts[] = {{CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, description},
                                 {CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, dy},
                                 {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x},
                                 {CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, dx}};
    return END_OP(g, op, parts, "ReLU's gradient");
}

static bool make_window(const struct drawing *g, cudnnBackendDescriptor_t *window)
{
    const struct convolution *c = g->c;
    const int64_t spatial = 2, stride[2] = {c->stride, c->stride}, dilation[2] = {1, 1};
    const cudnnDataType_t sums = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    return cudnn_make(g->d, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, window) &&
           cudnn_set_i64(g->d, *window, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 1, &spatial) &&
           cudnn_set(g->d, *window, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &sums) &&
           cudnn_set(g->d, *window, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode) &&
           cudnn_set_i64(g->d, *window, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 2, c->padding) &&
           cudnn_set_i64(g->d, *window, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, 2, c->padding) &&
           cudnn_set_i64(g->d, *window, CUDNN_ATTR_CONVOLUTION_DILATIONS, 2, dilation) &&
           cudnn_set_i64(g->d, *window, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 2, stride) &&
           cudnn_finalize(g->d, *window, "a window");
}

/* How cuDNN names the parts of each pass. */
static const struct pass_names {
    cudnnBackendDescriptorType_t operation;
    cudnnBackendAttributeName_t x, w, y, window, alpha, beta;
} pass_names[] = {
    [PASS_OF_FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    [PASS_OF_DATA] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    [PASS_OF_WEIGHTS] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

static bool add_convolution(struct drawing *g, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t w,
                            cudnnBackendDescriptor_t y)
{
    const struct pass_names *names = &pass_names[g->c->pass];
    const float one = 1, zero = 0;
    cudnnBackendDescriptor_t window, op;
    TRY(make_window(g, &window) && begin_op(g, names->operation, &op) &&
        cudnn_set(g->d, op, names->alpha, CUDNN_TYPE_FLOAT, 1, &one) &&
        cudnn_set(g->d, op, names->beta, CUDNN_TYPE_FLOAT, 1, &zero));
    const struct part parts[] = {{names->x, x}, {names->w, w}, {names->y, y}, {names->window, window}};
    return END_OP(g, op, parts, "the convolution");
}

/* ---- The passes ---- */

static bool does(const struct drawing *g, enum convolution_besides what) { return (g->c->besides & what) != 0; }

/* x as the convolution reads it. */
static bool draw_input(struct drawing *g, cudnnBackendDescriptor_t *input)
{
    const cudnnDataType_t type = g->c->type, of_rows = convolution_prologue_type(type);
    cudnnBackendDescriptor_t x, scale, shift, scaled;
    TRY(make_tensor(g->d, OPERAND_X, type, shape_x(g), &x));
    *input = x;
    if (!does(g, BESIDES_NORMALIZED)) return true;
    TRY(make_row(g, OPERAND_SCALE, of_rows, g->c->channels, &scale) &&
        make_row(g, OPERAND_SHIFT, of_rows, g->c->channels, &shift) &&
        add_inner(g, CUDNN_POINTWISE_MUL, x, scale, shape_x(g), &scaled));
    if (!does(g, BESIDES_RECTIFIED))
        return make_inner(g, type, shape_x(g), input) && add_pointwise(g, CUDNN_POINTWISE_ADD, scaled, shift, *input);
    cudnnBackendDescriptor_t shifted;
    return add_inner(g, CUDNN_POINTWISE_ADD, scaled, shift, shape_x(g), &shifted) &&
           make_inner(g, type, shape_x(g), input) && add_pointwise(g, CUDNN_POINTWISE_RELU_FWD, shifted, NULL, *input);
}

static bool draw_sums(struct drawing *g, cudnnBackendDescriptor_t y)
{
    const cudnnGenStatsMode_t mode = CUDNN_GENSTATS_SUM_SQSUM;
    const cudnnDataType_t precision = CUDNN_DATA_FLOAT;
    cudnnBackendDescriptor_t sums, squares, op;
    TRY(make_row(g, OPERAND_SUMS, CUDNN_DATA_FLOAT, g->c->filters, &sums) &&
        make_row(g, OPERAND_SQUARES, CUDNN_DATA_FLOAT, g->c->filters, &squares) &&
        begin_op(g, CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR, &op) &&
        cudnn_set(g->d, op, CUDNN_ATTR_OPERATION_GENSTATS_MODE, CUDNN_TYPE_GENSTATS_MODE, 1, &mode) &&
        cudnn_set(g->d, op, CUDNN_ATTR_OPERATION_GENSTATS_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &precision));
    const struct part parts[] = {{CUDNN_ATTR_OPERATION_GENSTATS_XDESC, y},
                                 {CUDNN_ATTR_OPERATION_GENSTATS_SUMDESC, sums},
                                 {CUDNN_ATTR_OPERATION_GENSTATS_SQSUMDESC, squares}};
    return END_OP(g, op, parts, "the sums");
}

static bool draw_forward(struct drawing *g)
{
    const bool biased = does(g, BESIDES_BIAS), adds = does(g, BESIDES_ADDS);
    cudnnBackendDescriptor_t x, w, y, bias, residual, result, biased_result;
    TRY(draw_input(g, &x) && make_tensor(g->d, OPERAND_W, g->c->weights, shape_w(g), &w) &&
        make_tensor(g->d, OPERAND_Y, g->c->type, shape_y(g), &y));
    result = y;
    if (biased || adds) TRY(make_inner(g, CUDNN_DATA_FLOAT, shape_y(g), &result));
    TRY(add_convolution(g, x, w, result));
    if (biased) {
        biased_result = y;
        TRY(make_row(g, OPERAND_BIAS, CUDNN_DATA_FLOAT, g->c->filters, &bias) &&
            (!adds || make_inner(g, CUDNN_DATA_FLOAT, shape_y(g), &biased_result)) &&
            add_pointwise(g, CUDNN_POINTWISE_ADD, result, bias, biased_result));
        result = biased_result;
    }
    if (adds)
        TRY(make_tensor(g->d, OPERAND_RESIDUAL, g->c->type, shape_y(g), &residual) &&
            add_pointwise(g, CUDNN_POINTWISE_ADD, result, residual, y));
    return !does(g, BESIDES_SUMS) || draw_sums(g, y);
}

static bool draw_weights(struct drawing *g)
{
    cudnnBackendDescriptor_t x, dy, dw, sum;
    TRY(draw_input(g, &x) && make_tensor(g->d, OPERAND_Y, g->c->type, shape_y(g), &dy) &&
        make_tensor(g->d, OPERAND_W, g->c->weights, shape_w(g), &dw));
    if (g->c->weights == g->c->type) return add_convolution(g, x, dw, dy);
    return make_inner(g, CUDNN_DATA_FLOAT, shape_w(g), &sum) && add_convolution(g, x, sum, dy) &&
           add_pointwise(g, CUDNN_POINTWISE_IDENTITY, sum, NULL, dw);
}

/* The rows of a BN, for its gradient. */
struct norm_rows {
    cudnnBackendDescriptor_t x, mean, deviation, gamma;
};

static bool draw_gradient_sums(struct drawing *g, const struct norm_rows *norm, cudnnBackendDescriptor_t dy)
{
    static const enum convolution_operand written[] = {OPERAND_GAMMA_GRADIENT, OPERAND_BETA_GRADIENT, OPERAND_UNREAD_DY,
                                                       OPERAND_UNREAD_X, OPERAND_UNREAD_BIAS};
    const cudnnDataType_t precision = CUDNN_DATA_FLOAT;
    cudnnBackendDescriptor_t rows[5], op;
    for (size_t i = 0; i < 5; i++) TRY(make_row(g, written[i], CUDNN_DATA_FLOAT, g->c->channels, &rows[i]));
    TRY(begin_op(g, CUDNN_BACKEND_OPERATION_BN_BWD_WEIGHTS_DESCRIPTOR, &op) &&
        cudnn_set(g->d, op, CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &precision));
    const struct part parts[] = {{CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_MEAN_DESC, norm->mean},
                                 {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_INVSTD_DESC, norm->deviation},
                                 {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_BN_SCALE_DESC, norm->gamma},
                                 {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_X_DESC, norm->x},
                                 {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DY_DESC, dy},
                                 {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_SCALE_DESC, rows[0]},
                                 {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_BIAS_DESC, rows[1]},
                                 {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_DY_SCALE_DESC, rows[2]},
                                 {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_X_SCALE_DESC, rows[3]},
                                 {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_BIAS, rows[4]}};
    return END_OP(g, op, parts, "a BN's gradient sums");
}

/* The normalised x, as it was before ReLU. */
static bool draw_normalized(struct drawing *g, const struct norm_rows *norm, cudnnBackendDescriptor_t *normalized)
{
    const struct shape shape = shape_x(g);
    cudnnBackendDescriptor_t beta, centred, whitened, scaled;
    return make_row(g, OPERAND_BETA, CUDNN_DATA_FLOAT, g->c->channels, &beta) &&
           add_inner(g, CUDNN_POINTWISE_SUB, norm->x, norm->mean, shape, &centred) &&
           add_inner(g, CUDNN_POINTWISE_MUL, centred, norm->deviation, shape, &whitened) &&
           add_inner(g, CUDNN_POINTWISE_MUL, whitened, norm->gamma, shape, &scaled) &&
           add_inner(g, CUDNN_POINTWISE_ADD, scaled, beta, shape, normalized);
}

static bool draw_data(struct drawing *g)
{
    const bool shuts = does(g, BESIDES_SHUTS);
    cudnnBackendDescriptor_t dy, w, dx, unshut, normalized;
    struct norm_rows norm;
    TRY(make_tensor(g->d, OPERAND_Y, g->c->type, shape_y(g), &dy) &&
        make_tensor(g->d, OPERAND_W, g->c->weights, shape_w(g), &w) &&
        make_tensor(g->d, OPERAND_X, g->c->type, shape_x(g), &dx));
    unshut = dx;
    if (shuts) TRY(make_inner(g, CUDNN_DATA_FLOAT, shape_x(g), &unshut));
    TRY(add_convolution(g, unshut, w, dy));
    if (!does(g, BESIDES_GRADIENT_SUMS)) return true;
    TRY(make_tensor(g->d, OPERAND_NORM_X, g->c->type, shape_x(g), &norm.x) &&
        make_row(g, OPERAND_MEAN, CUDNN_DATA_FLOAT, g->c->channels, &norm.mean) &&
        make_row(g, OPERAND_DEVIATION, CUDNN_DATA_FLOAT, g->c->channels, &norm.deviation) &&
        make_row(g, OPERAND_GAMMA, CUDNN_DATA_FLOAT, g->c->channels, &norm.gamma));
    if (shuts) TRY(draw_normalized(g, &norm, &normalized) && add_shutter(g, unshut, normalized, dx));
    return draw_gradient_sums(g, &norm, dx);
}

/* ---- The graph ---- */

static bool draw(struct drawing *g)
{
    switch (g->c->pass) {
    case PASS_OF_FORWARD: return draw_forward(g);
    case PASS_OF_DATA: return draw_data(g);
    case PASS_OF_WEIGHTS: return draw_weights(g);
    }
    return false;
}

bool cudnn_graph_init(struct cudnn_graph *graph, const struct cudnn_library *cudnn, cudnnHandle_t handle,
                      const struct convolution *c, struct error *err)
{
    struct cudnn_descriptors *d = &graph->descriptors;
    *graph = (struct cudnn_graph){.descriptors = {.cudnn = cudnn, .err = err}};
    struct drawing g = {.d = d,
                        .c = c,
                        .rows = (c->height + 2 * c->padding[0] - c->kernel[0]) / c->stride + 1,
                        .columns = (c->width + 2 * c->padding[1] - c->kernel[1]) / c->stride + 1,
                        .inner = FIRST_INNER};
    return draw(&g) && cudnn_make(d, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, &graph->graph) &&
           cudnn_set(d, graph->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, g.count, g.ops) &&
           (!handle || cudnn_set(d, graph->graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle)) &&
           cudnn_finalize(d, graph->graph, "the graph");
}

void cudnn_graph_finish(struct cudnn_graph *graph) { cudnn_descriptors_finish(&graph->descriptors); }
