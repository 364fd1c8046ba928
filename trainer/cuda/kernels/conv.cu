// Convolutions as the loops their definitions read as, with what a lowered one does besides (lower.h): to look for mistakes in
// faster ones. Sums are taken in f64.
#include "bn.cuh"
#include "pixels.cuh"

// Element i of an operand, in channel c.
__device__ inline float source_at(const struct kernel_source &s, uint64_t i, uint32_t c)
{
    const float value = element_at(s.values, i);
    if (s.coefficients) {
        const channel_coefficients n = channel_coefficients_of(s.coefficients, s.channels, c);
        const float x = element_at(s.y, i);
        const bool shut = s.relu && normalized(x, n.mean, n.scale, n.beta) <= 0;
        return gradient_through(x, shut ? 0 : value, n);
    }
    if (!s.normal.mean) return value;
    const channel_normal n = channel_normal_of(s.normal, c);
    const float y = normalized(value, n.mean, n.scale, n.beta);
    return s.relu && y <= 0 ? 0 : y;
}

// Weights are {output channels, rows, columns, input channels}.
__device__ inline uint64_t weight_of(const struct conv_arguments &a, uint32_t k, uint32_t r, uint32_t s, uint32_t c)
{
    return (((uint64_t)k * a.window_rows + r) * a.window_columns + s) * a.x_dims.channels + c;
}

extern "C" __global__ void KERNEL_BOUNDS conv(struct conv_arguments a)
{
    for (uint32_t i = (uint32_t)grid_first(); i < groups_of(a.y_dims, 1); i += (uint32_t)grid_step()) {
        const pixel o = pixel_of(a.y_dims, 1, i);
        double sum = 0;
        for (uint32_t r = 0; r < a.window_rows; r++)
            for (uint32_t s = 0; s < a.window_columns; s++) {
                pixel p = {o.n, 0, 0, 0};
                if (!tap_of(o.h, r, a.stride, a.row_padding, a.x_dims.rows, p.h)) continue;
                if (!tap_of(o.w, s, a.stride, a.column_padding, a.x_dims.columns, p.w)) continue;
                for (uint32_t c = 0; c < a.x_dims.channels; c++) {
                    const double x = source_at(a.x, element_of(a.x_dims, p) + c, c);
                    sum += x * element_at(a.w, weight_of(a, o.c, r, s, c));
                }
            }
        if (a.bias) sum += a.bias[o.c];
        if (a.residual.at) sum += element_at(a.residual, i);
        set_element(a.out, a.out_type, i, (float)sum);
    }
}

// Sum over the outputs that read the input's element.
extern "C" __global__ void KERNEL_BOUNDS conv_data_gradient(struct conv_arguments a)
{
    for (uint32_t i = (uint32_t)grid_first(); i < groups_of(a.x_dims, 1); i += (uint32_t)grid_step()) {
        const pixel p = pixel_of(a.x_dims, 1, i);
        const cover h = cover_of(p.h, a.window_rows, a.stride, a.row_padding, a.y_dims.rows);
        const cover w = cover_of(p.w, a.window_columns, a.stride, a.column_padding, a.y_dims.columns);
        double sum = 0;
        for (uint32_t m = h.first; m < h.last; m++)
            for (uint32_t n = w.first; n < w.last; n++) {
                const uint32_t r = p.h + a.row_padding - m * a.stride, s = p.w + a.column_padding - n * a.stride;
                for (uint32_t k = 0; k < a.y_dims.channels; k++) {
                    const double dy = source_at(a.dy, element_of(a.y_dims, {p.n, m, n, k}), k);
                    sum += dy * element_at(a.w, weight_of(a, k, r, s, p.c));
                }
            }
        if (a.shut.values.at && source_at(a.shut, i, p.c) <= 0) sum = 0;
        if (a.residual.at) sum += element_at(a.residual, i);
        if (a.rectified.at && element_at(a.rectified, i) <= 0) sum = 0;
        set_element(a.out, a.out_type, i, (float)sum);
    }
}

// dy as it is read.
extern "C" __global__ void KERNEL_BOUNDS conv_kept_gradient(struct conv_arguments a)
{
    for (uint32_t i = (uint32_t)grid_first(); i < groups_of(a.y_dims, 1); i += (uint32_t)grid_step())
        set_element(a.out, a.out_type, i, source_at(a.dy, i, pixel_of(a.y_dims, 1, i).c));
}

extern "C" __global__ void KERNEL_BOUNDS conv_weight_gradient(struct conv_arguments a)
{
    const struct kernel_image w_dims = {a.y_dims.channels, a.window_rows, a.window_columns, a.x_dims.channels};
    for (uint32_t i = (uint32_t)grid_first(); i < groups_of(w_dims, 1); i += (uint32_t)grid_step()) {
        const pixel w = pixel_of(w_dims, 1, i); // output channel, row, column, input channel
        double sum = 0;
        for (uint32_t n = 0; n < a.y_dims.images; n++)
            for (uint32_t h = 0; h < a.y_dims.rows; h++)
                for (uint32_t v = 0; v < a.y_dims.columns; v++) {
                    pixel p = {n, 0, 0, w.c};
                    if (!tap_of(h, w.h, a.stride, a.row_padding, a.x_dims.rows, p.h)) continue;
                    if (!tap_of(v, w.w, a.stride, a.column_padding, a.x_dims.columns, p.w)) continue;
                    const double dy = source_at(a.dy, element_of(a.y_dims, {n, h, v, w.n}), w.n);
                    sum += source_at(a.x, element_of(a.x_dims, p), w.c) * dy;
                }
        set_element(a.out, a.out_type, i, (float)sum);
    }
}

// dbias[k] = sum of dy over everything but channel k.
extern "C" __global__ void KERNEL_BOUNDS conv_bias_gradient(struct conv_arguments a)
{
    const uint32_t channels = a.y_dims.channels, k = (uint32_t)grid_first();
    const uint64_t rows = (uint64_t)a.y_dims.images * a.y_dims.rows * a.y_dims.columns;
    double sum = 0;
    if (k >= channels) return;
    for (uint64_t row = 0; row < rows; row++) sum += source_at(a.dy, row * channels + k, k);
    set_element(a.out, a.out_type, k, (float)sum);
}
