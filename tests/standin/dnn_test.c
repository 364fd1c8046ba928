/* cuDNN's half of the stand-in: rules of descriptors, engines, plans against loops that can be read. */
#include <cudnn.h>
#include <math.h>
#include <stdlib.h>

#include "runtime_test.h"

typedef cudnnBackendDescriptor_t descriptor;

static descriptor make(cudnnBackendDescriptorType_t type)
{
    descriptor d;
    OK(cudnnBackendCreateDescriptor(type, &d));
    return d;
}

static void set(descriptor d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                const void *values)
{
    char words[256];
    cudnnStatus_t status = cudnnBackendSetAttribute(d, name, type, count, values);
    cudnnGetLastErrorString(words, sizeof words);
    cr_assert_eq(status, CUDNN_STATUS_SUCCESS, "attribute %d: %s", (int)name, words);
}
static void set_part(descriptor d, cudnnBackendAttributeName_t name, descriptor part)
{
    set(d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &part);
}
static void set_i64(descriptor d, cudnnBackendAttributeName_t name, int64_t value)
{
    set(d, name, CUDNN_TYPE_INT64, 1, &value);
}

static descriptor finalize(descriptor d)
{
    char words[256];
    cudnnStatus_t status = cudnnBackendFinalize(d);
    cudnnGetLastErrorString(words, sizeof words);
    cr_assert_eq(status, CUDNN_STATUS_SUCCESS, "%d: %s", (int)status, words);
    return d;
}

/* ---- A graph ---- */

struct shape {
    int64_t n, c, h, w;
};

static descriptor tensor(int64_t id, cudnnDataType_t type, struct shape s, bool inner)
{
    descriptor d = make(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    const int64_t dims[] = {s.n, s.c, s.h, s.w}, strides[] = {s.c * s.h * s.w, 1, s.c * s.w, s.c};
    set_i64(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, id);
    set_i64(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 16);
    set(d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set(d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims);
    set(d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides);
    set(d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &inner);
    return finalize(d);
}

static descriptor window(int64_t padding, int64_t stride)
{
    descriptor d = make(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    const int64_t paddings[] = {padding, padding}, strides[] = {stride, stride}, ones[] = {1, 1};
    const cudnnDataType_t f32 = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    set_i64(d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 2);
    set(d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &f32);
    set(d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    set(d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, paddings);
    set(d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, paddings);
    set(d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, strides);
    set(d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, ones);
    return finalize(d);
}

static descriptor forward(descriptor x, descriptor w, descriptor y, descriptor c)
{
    descriptor op = make(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    const float one = 1, zero = 0;
    set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &one);
    set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &zero);
    set_part(op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x);
    set_part(op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, w);
    set_part(op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y);
    set_part(op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, c);
    return finalize(op);
}

static descriptor backward_data(descriptor dy, descriptor w, descriptor dx, descriptor c)
{
    descriptor op = make(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR);
    const float one = 1, zero = 0;
    set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_TYPE_FLOAT, 1, &one);
    set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, CUDNN_TYPE_FLOAT, 1, &zero);
    set_part(op, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, dy);
    set_part(op, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, w);
    set_part(op, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, dx);
    set_part(op, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, c);
    return finalize(op);
}

static descriptor backward_weights(descriptor x, descriptor dy, descriptor dw, descriptor c)
{
    descriptor op = make(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR);
    const float one = 1, zero = 0;
    set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_TYPE_FLOAT, 1, &one);
    set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, CUDNN_TYPE_FLOAT, 1, &zero);
    set_part(op, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, x);
    set_part(op, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, dy);
    set_part(op, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, dw);
    set_part(op, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, c);
    return finalize(op);
}

static descriptor pointwise(cudnnPointwiseMode_t mode, descriptor x, descriptor b, descriptor y)
{
    descriptor kind = make(CUDNN_BACKEND_POINTWISE_DESCRIPTOR), op = make(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    const cudnnDataType_t f32 = CUDNN_DATA_FLOAT;
    set(kind, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    set(kind, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &f32);
    set_part(op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, finalize(kind));
    set_part(op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (b) set_part(op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    set_part(op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    return finalize(op);
}

static descriptor statistics(descriptor x, descriptor sum, descriptor squares)
{
    descriptor op = make(CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR);
    const cudnnDataType_t f32 = CUDNN_DATA_FLOAT;
    const cudnnGenStatsMode_t mode = CUDNN_GENSTATS_SUM_SQSUM;
    set(op, CUDNN_ATTR_OPERATION_GENSTATS_MODE, CUDNN_TYPE_GENSTATS_MODE, 1, &mode);
    set(op, CUDNN_ATTR_OPERATION_GENSTATS_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &f32);
    set_part(op, CUDNN_ATTR_OPERATION_GENSTATS_XDESC, x);
    set_part(op, CUDNN_ATTR_OPERATION_GENSTATS_SUMDESC, sum);
    set_part(op, CUDNN_ATTR_OPERATION_GENSTATS_SQSUMDESC, squares);
    return finalize(op);
}

static descriptor graph(cudnnHandle_t handle, int64_t count, descriptor *ops)
{
    descriptor d = make(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    set(d, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, ops);
    set(d, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    return finalize(d);
}

/* ---- Engines and plans ---- */

static int64_t configurations(descriptor of, cudnnBackendHeurMode_t mode, descriptor *made, int64_t most)
{
    descriptor h = make(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    int64_t count = 0;
    set_part(h, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, of);
    set(h, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (cudnnBackendFinalize(h) != CUDNN_STATUS_SUCCESS) return 0;
    for (int64_t i = 0; i < most; i++) made[i] = make(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    OK(cudnnBackendGetAttribute(h, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, most, &count, made));
    return count;
}

/* The plan of the fallback engine, which wants no workspace. */
static descriptor plan_of(cudnnHandle_t handle, descriptor of)
{
    descriptor made[4], plan = make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    cr_assert_eq(configurations(of, CUDNN_HEUR_MODE_FALLBACK, made, 4), 1);
    set_part(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, made[0]);
    set(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    return finalize(plan);
}

static descriptor pack(int64_t count, const int64_t *ids, void **data)
{
    descriptor d = make(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    set(d, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, ids);
    set(d, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, data);
    return finalize(d);
}

/* ---- Convolutions ---- */

#define N    2
#define C    5
#define H    7
#define K    6
#define R    3
#define P(s) ((H + 2 - R) / (s) + 1)
#define X    (N * H * H * C)
#define W    (K * R * R * C)
#define Y(s) (N * P(s) * P(s) * K)

static float noise(unsigned *state) { return (float)((*state = *state * 1664525u + 1013904223u) >> 16) / 65536 - 0.5f; }

static float *numbers(size_t count, unsigned seed)
{
    float *made = malloc(count * sizeof *made);
    for (size_t i = 0; i < count; i++) made[i] = noise(&seed);
    return made;
}

/* Calls each with every product of a convolution: element of x, of w, of y. */
static void each_product(int stride, void (*each)(void *, int, int, int), void *context)
{
    for (int n = 0; n < N; n++)
        for (int p = 0; p < P(stride); p++)
            for (int q = 0; q < P(stride); q++)
                for (int k = 0; k < K; k++)
                    for (int r = 0; r < R; r++)
                        for (int s = 0; s < R; s++)
                            for (int c = 0; c < C; c++) {
                                int h = p * stride - 1 + r, w = q * stride - 1 + s;
                                if (h < 0 || h >= H || w < 0 || w >= H) continue;
                                each(context, ((n * H + h) * H + w) * C + c, ((k * R + r) * R + s) * C + c,
                                     ((n * P(stride) + p) * P(stride) + q) * K + k);
                            }
}

struct sums {
    const float *x, *w, *dy;
    double *y, *dx, *dw;
};

static void add_product(void *context, int x, int w, int y)
{
    struct sums *s = context;
    s->y[y] += (double)s->x[x] * (double)s->w[w];
    s->dx[x] += (double)s->dy[y] * (double)s->w[w];
    s->dw[w] += (double)s->dy[y] * (double)s->x[x];
}

static void *on_device(const float *from, size_t count)
{
    void *to = new_memory(count * sizeof *from);
    OK(cudaMemcpy(to, from, count * sizeof *from, cudaMemcpyDefault));
    return to;
}

static void expect_near(const void *device, const double *wanted, size_t count)
{
    float *got = malloc(count * sizeof *got);
    OK(cudaMemcpy(got, device, count * sizeof *got, cudaMemcpyDefault));
    for (size_t i = 0; i < count; i++)
        cr_assert_float_eq(got[i], wanted[i], 1e-5, "%zu: %g, %g", i, (double)got[i], wanted[i]);
    free(got);
}

static void convolve(int stride)
{
    cudnnHandle_t handle;
    struct sums s = {numbers(X, 1),
                     numbers(W, 2),
                     numbers((size_t)Y(stride), 3),
                     calloc((size_t)Y(stride), sizeof(double)),
                     calloc(X, sizeof(double)),
                     calloc(W, sizeof(double))};
    each_product(stride, add_product, &s);
    OK(cudnnCreate(&handle));
    descriptor x = tensor(1, CUDNN_DATA_FLOAT, (struct shape){N, C, H, H}, false),
               w = tensor(2, CUDNN_DATA_FLOAT, (struct shape){K, C, R, R}, false),
               y = tensor(3, CUDNN_DATA_FLOAT, (struct shape){N, K, P(stride), P(stride)}, false),
               c = window(1, stride);
    descriptor ops[] = {forward(x, w, y, c), backward_data(y, w, x, c), backward_weights(x, y, w, c)};
    const int64_t ids[] = {1, 2, 3};
    void *dx = on_device(s.x, X), *dw = on_device(s.w, W), *dy = on_device(s.dy, (size_t)Y(stride));
    void *out_y = new_memory((size_t)Y(stride) * 4), *out_x = new_memory(X * 4), *out_w = new_memory(W * 4);
    void *arguments[3][3] = {{dx, dw, out_y}, {out_x, dw, dy}, {dx, out_w, dy}};
    for (unsigned i = 0; i < 3; i++)
        OK(cudnnBackendExecute(handle, plan_of(handle, graph(handle, 1, &ops[i])), pack(3, ids, arguments[i])));
    expect_near(out_y, s.y, (size_t)Y(stride));
    expect_near(out_x, s.dx, X);
    expect_near(out_w, s.dw, W);
    expect_clean();
}

Test(dnn, convolutions_are_those_of_plain_loops) { convolve(1); }
Test(dnn, convolutions_with_strides_too) { convolve(2); }

/* relu(x * scale + shift) -> convolution of one pixel -> sums, in f16: exactly, for numbers that f16 has. */
Test(dnn, fused_graphs_round_as_their_tensors_do)
{
    cudnnHandle_t handle;
    OK(cudnnCreate(&handle));
    const cudnnDataType_t f16 = CUDNN_DATA_HALF, f32 = CUDNN_DATA_FLOAT;
    const struct shape image = {1, 8, 1, 2}, row = {1, 8, 1, 1};
    descriptor x = tensor(1, f16, image, false), w = tensor(2, f16, (struct shape){8, 8, 1, 1}, false),
               y = tensor(3, f16, image, false), scale = tensor(4, f16, row, false), shift = tensor(5, f16, row, false),
               sum = tensor(6, f32, row, false), squares = tensor(7, f32, row, false),
               a = tensor(100, f32, image, true), b = tensor(101, f32, image, true),
               read = tensor(102, f16, image, true);
    descriptor ops[] = {forward(read, w, y, window(0, 1)), /* in any order */
                        pointwise(CUDNN_POINTWISE_MUL, x, scale, a), pointwise(CUDNN_POINTWISE_ADD, a, shift, b),
                        pointwise(CUDNN_POINTWISE_RELU_FWD, b, NULL, read), statistics(y, sum, squares)};
    const int64_t ids[] = {1, 2, 3, 4, 5, 6, 7};
    uint16_t hx[16], hw[64] = {0}, hrow[8], hy[16];
    for (unsigned i = 0; i < 16; i++) hx[i] = i < 8 ? 0x3C01 : 0xBC00; /* 1 + 2^-10, -1 */
    for (unsigned i = 0; i < 8; i++) hw[i * 9] = 0x3C00, hrow[i] = 0x3C01;
    void *memory[7];
    const size_t bytes[7] = {32, 128, 32, 16, 16, 32, 32};
    const void *from[7] = {hx, hw, NULL, hrow, hrow, NULL, NULL};
    for (unsigned i = 0; i < 7; i++) {
        memory[i] = new_memory(bytes[i]);
        if (from[i]) OK(cudaMemcpy(memory[i], from[i], bytes[i], cudaMemcpyDefault));
    }
    OK(cudnnBackendExecute(handle, plan_of(handle, graph(handle, 5, ops)), pack(7, ids, memory)));
    OK(cudaMemcpy(hy, memory[2], sizeof hy, cudaMemcpyDefault));
    /* (1 + e)^2 + 1 + e = 2 + 3 e + e^2, e = 2^-10: between 2 + 2 e and 2 + 4 e, nearer to the second. */
    cr_assert_eq(hy[0], 0x4002);
    cr_assert_eq(hy[8], 0); /* -(1 + e) + 1 + e */
    float sums[8];
    OK(cudaMemcpy(sums, memory[6], sizeof sums, cudaMemcpyDefault));
    const float value = 2 + 4 * 0x1p-10f;
    cr_assert_eq(sums[0], value * value);
    expect_clean();
}

/* ---- Workspaces and pointers ---- */

struct simple {
    cudnnHandle_t handle;
    descriptor graph;
    void *data[3];
};

static struct simple simple(void)
{
    struct simple s;
    OK(cudnnCreate(&s.handle));
    descriptor x = tensor(1, CUDNN_DATA_FLOAT, (struct shape){1, 4, 4, 4}, false),
               w = tensor(2, CUDNN_DATA_FLOAT, (struct shape){4, 4, 1, 1}, false),
               y = tensor(3, CUDNN_DATA_FLOAT, (struct shape){1, 4, 4, 4}, false);
    descriptor op = forward(x, w, y, window(0, 1));
    s.graph = graph(s.handle, 1, &op);
    for (unsigned i = 0; i < 3; i++) {
        s.data[i] = new_memory(256);
        OK(cudaMemset(s.data[i], 0, 256));
    }
    return s;
}

static const int64_t three[] = {1, 2, 3};

Test(dnn, the_workspace_is_wanted_and_watched)
{
    struct simple s = simple();
    descriptor made[4], plan = make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR),
                        arguments = make(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    int64_t bytes, count;
    cr_assert_eq(configurations(s.graph, CUDNN_HEUR_MODE_A, made, 4), 2);
    set_part(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, made[0]);
    set(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &s.handle);
    finalize(plan);
    OK(cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &count, &bytes));
    cr_assert_eq(bytes, 256);
    IS(cudnnBackendExecute(s.handle, plan, pack(3, three, s.data)), CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
    void *short_of_it = new_memory(255);
    set(arguments, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, three);
    set(arguments, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, s.data);
    set(arguments, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &short_of_it);
    OK(cudnnBackendExecute(s.handle, plan, finalize(arguments)));
    OK(cudaDeviceSynchronize());
    expect_violation("a plan of cuDNN writes 256 bytes");
}

Test(dnn, pointers_are_aligned_and_there)
{
    struct simple s = simple();
    descriptor plan = plan_of(s.handle, s.graph);
    const int64_t wrong[] = {1, 2, 4};
    IS(cudnnBackendExecute(s.handle, plan, pack(3, wrong, s.data)), CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
    s.data[0] = (char *)s.data[0] + 8;
    IS(cudnnBackendExecute(s.handle, plan, pack(3, three, s.data)), CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER);
}

Test(dnn, executions_are_ordered_like_kernels)
{
    struct simple s = simple();
    cudaStream_t a = new_stream(), b = new_stream();
    descriptor plan = plan_of(s.handle, s.graph), arguments = pack(3, three, s.data);
    OK(cudaDeviceSynchronize());
    OK(cudnnSetStream(s.handle, a));
    OK(cudnnBackendExecute(s.handle, plan, arguments));
    order(a, b);
    OK(cudaMemsetAsync(s.data[2], 0, 256, b));
    OK(cudaDeviceSynchronize());
    expect_clean();
    OK(cudnnBackendExecute(s.handle, plan, arguments));
    OK(cudaMemsetAsync(s.data[0], 0, 256, b));
    OK(cudaDeviceSynchronize());
    expect_violation("nothing between them");
}

/* ---- Rules ---- */

Test(rules, attributes_are_checked)
{
    descriptor d = make(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    const int64_t dims[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    const float real = 1;
    IS(cudnnBackendFinalize(d), CUDNN_STATUS_BAD_PARAM);
    IS(cudnnBackendSetAttribute(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_FLOAT, 1, &real),
       CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE);
    IS(cudnnBackendSetAttribute(d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 9, dims), CUDNN_STATUS_BAD_PARAM);
    IS(cudnnBackendSetAttribute(d, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_INT64, 1, dims), CUDNN_STATUS_BAD_PARAM);
    d = tensor(1, CUDNN_DATA_FLOAT, (struct shape){1, 1, 1, 1}, false);
    IS(cudnnBackendSetAttribute(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, dims), CUDNN_STATUS_BAD_PARAM);
    IS(cudnnBackendFinalize(d), CUDNN_STATUS_BAD_PARAM);
    descriptor raw = make(CUDNN_BACKEND_TENSOR_DESCRIPTOR), op = make(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    IS(cudnnBackendSetAttribute(op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw),
       CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED);
}

Test(rules, shapes_and_virtual_tensors_are_checked)
{
    cudnnHandle_t handle;
    OK(cudnnCreate(&handle));
    const struct shape s = {1, 4, 4, 4};
    descriptor x = tensor(1, CUDNN_DATA_FLOAT, s, false),
               w = tensor(2, CUDNN_DATA_FLOAT, (struct shape){4, 5, 1, 1}, false),
               y = tensor(3, CUDNN_DATA_FLOAT, s, false), inner = tensor(4, CUDNN_DATA_FLOAT, s, true);
    descriptor ops[] = {forward(x, w, y, window(0, 1)), pointwise(CUDNN_POINTWISE_ADD, x, inner, y)};
    for (unsigned i = 0; i < 2; i++) {
        descriptor g = make(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
        set(g, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &ops[i]);
        IS(cudnnBackendFinalize(g), i ? CUDNN_STATUS_BAD_PARAM : CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH);
    }
}

Test(rules, sums_alone_have_no_engine)
{
    cudnnHandle_t handle;
    descriptor made[4];
    OK(cudnnCreate(&handle));
    const struct shape row = {1, 4, 1, 1};
    descriptor op = statistics(tensor(1, CUDNN_DATA_HALF, (struct shape){1, 4, 4, 4}, false),
                               tensor(2, CUDNN_DATA_FLOAT, row, false), tensor(3, CUDNN_DATA_FLOAT, row, false));
    descriptor g = graph(handle, 1, &op);
    cr_assert_eq(configurations(g, CUDNN_HEUR_MODE_A, made, 4), 0);
    cr_assert_eq(configurations(g, CUDNN_HEUR_MODE_FALLBACK, made, 4), 0);
}

Test(rules, plans_are_text_and_plans_again)
{
    struct simple s = simple();
    descriptor plan = plan_of(s.handle, s.graph), again = make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR),
               broken = make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    int64_t length, count;
    OK(cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, 0, &length,
                                NULL));
    char *text = malloc((size_t)length);
    OK(cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, length, &count,
                                text));
    set(again, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &s.handle);
    set(again, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, length, text);
    OK(cudnnBackendExecute(s.handle, finalize(again), pack(3, three, s.data)));
    text[3] = '!';
    set(broken, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &s.handle);
    set(broken, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, length, text);
    IS(cudnnBackendFinalize(broken), CUDNN_STATUS_BAD_PARAM);
    OK(cudaDeviceSynchronize());
    cr_assert_eq(standin_report().executes, 1);
}

Test(rules, engines_fail_when_they_are_told_to)
{
    struct simple s = simple();
    descriptor made[4];
    cr_assert_eq(configurations(s.graph, CUDNN_HEUR_MODE_A, made, 4), 2);
    for (unsigned i = 0; i < 2; i++) {
        descriptor plan = make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
        standin_restart("engines=build_fails");
        set_part(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, made[i]);
        set(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &s.handle);
        IS(cudnnBackendFinalize(plan), i ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED);
    }
    standin_restart("engines=none");
    cr_assert_eq(configurations(s.graph, CUDNN_HEUR_MODE_A, made, 4), 0);
}
