/* Convolutions over NHWC in floats. The innermost loops run over channels that lie together, for a few pixels at a
 * time. */
#include <stdlib.h>
#include <string.h>

#include "dnn.h"

#define BEST  __attribute__((target_clones("arch=haswell", "default")))
#define BLOCK 4 /* pixels of a row */

/* Pixels [*from, *to) of a row of results whose tap is inside the input. */
static void inside(const struct dnn_window *g, int64_t tap, int64_t *from, int64_t *to)
{
    int64_t first = g->padding[1] - tap * g->dilation[1], last = g->width - 1 + first;
    *from = first > 0 ? (first + g->stride[1] - 1) / g->stride[1] : 0;
    *to = last < 0 ? 0 : last / g->stride[1] + 1;
    if (*to > g->columns) *to = g->columns;
    if (*from > *to) *from = *to;
}

static int64_t input_row(const struct dnn_window *g, int64_t row, int64_t tap)
{
    int64_t y = row * g->stride[0] - g->padding[0] + tap * g->dilation[0];
    return y >= 0 && y < g->height ? y : -1;
}

/* ---- y ---- */

/* y[p][k] += sum over c of x[p][c] w[c][k], for `pixels` of them. */
BEST static void add_products(const float *x, int64_t x_step, const float *w, float *y, int64_t pixels,
                              int64_t channels, int64_t filters)
{
    for (; pixels >= BLOCK; pixels -= BLOCK, x += BLOCK * x_step, y += BLOCK * filters)
        for (int64_t c = 0; c < channels; c++) {
            const float a = x[c], b = x[x_step + c], d = x[2 * x_step + c], e = x[3 * x_step + c];
            const float *row = w + c * filters;
            for (int64_t k = 0; k < filters; k++) {
                y[k] += a * row[k];
                y[filters + k] += b * row[k];
                y[2 * filters + k] += d * row[k];
                y[3 * filters + k] += e * row[k];
            }
        }
    for (; pixels > 0; pixels--, x += x_step, y += filters)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t k = 0; k < filters; k++) y[k] += x[c] * w[c * filters + k];
}

/* From K RS C to RS C K. */
static float *turn_weights(const struct dnn_window *g, const float *w)
{
    int64_t taps = g->kernel[0] * g->kernel[1];
    float *turned = need(malloc((size_t)(taps * g->channels * g->filters) * sizeof *turned));
    for (int64_t k = 0; k < g->filters; k++)
        for (int64_t i = 0; i < taps * g->channels; i++) turned[i * g->filters + k] = w[k * taps * g->channels + i];
    return turned;
}

static void forward_row(const struct dnn_window *g, const float *image, const float *w, int64_t row, float *y)
{
    for (int64_t r = 0; r < g->kernel[0]; r++) {
        int64_t line = input_row(g, row, r), from, to;
        for (int64_t s = 0; line >= 0 && s < g->kernel[1]; s++) {
            inside(g, s, &from, &to);
            int64_t at = from * g->stride[1] - g->padding[1] + s * g->dilation[1];
            add_products(image + (line * g->width + at) * g->channels, g->stride[1] * g->channels,
                         w + (r * g->kernel[1] + s) * g->channels * g->filters, y + from * g->filters, to - from,
                         g->channels, g->filters);
        }
    }
}

void dnn_forward(const struct dnn_window *g, const float *x, const float *w, float *y)
{
    float *turned = turn_weights(g, w);
    int64_t image = g->height * g->width * g->channels, row = g->columns * g->filters;
    memset(y, 0, (size_t)(g->images * g->rows * row) * sizeof *y);
    for (int64_t n = 0; n < g->images; n++)
        for (int64_t p = 0; p < g->rows; p++) forward_row(g, x + n * image, turned, p, y + (n * g->rows + p) * row);
    free(turned);
}

/* ---- dx: the same products, scattered ---- */

/* dx[p][c] += sum over k of dy[p][k] w[k][c], dx in steps. */
BEST static void scatter_products(const float *dy, const float *w, int64_t w_step, float *dx, int64_t dx_step,
                                  int64_t pixels, int64_t filters, int64_t channels)
{
    for (; pixels >= BLOCK; pixels -= BLOCK, dy += BLOCK * filters, dx += BLOCK * dx_step)
        for (int64_t k = 0; k < filters; k++) {
            const float a = dy[k], b = dy[filters + k], d = dy[2 * filters + k], e = dy[3 * filters + k];
            const float *row = w + k * w_step;
            for (int64_t c = 0; c < channels; c++) {
                dx[c] += a * row[c];
                dx[dx_step + c] += b * row[c];
                dx[2 * dx_step + c] += d * row[c];
                dx[3 * dx_step + c] += e * row[c];
            }
        }
    for (; pixels > 0; pixels--, dy += filters, dx += dx_step)
        for (int64_t k = 0; k < filters; k++)
            for (int64_t c = 0; c < channels; c++) dx[c] += dy[k] * w[k * w_step + c];
}

static void data_row(const struct dnn_window *g, const float *dy, const float *w, int64_t row, float *image)
{
    int64_t taps = g->kernel[0] * g->kernel[1];
    for (int64_t r = 0; r < g->kernel[0]; r++) {
        int64_t line = input_row(g, row, r), from, to;
        for (int64_t s = 0; line >= 0 && s < g->kernel[1]; s++) {
            inside(g, s, &from, &to);
            int64_t at = from * g->stride[1] - g->padding[1] + s * g->dilation[1];
            scatter_products(dy + from * g->filters, w + (r * g->kernel[1] + s) * g->channels, taps * g->channels,
                             image + (line * g->width + at) * g->channels, g->stride[1] * g->channels, to - from,
                             g->filters, g->channels);
        }
    }
}

void dnn_data(const struct dnn_window *g, const float *dy, const float *w, float *dx)
{
    int64_t image = g->height * g->width * g->channels, row = g->columns * g->filters;
    memset(dx, 0, (size_t)(g->images * image) * sizeof *dx);
    for (int64_t n = 0; n < g->images; n++)
        for (int64_t p = 0; p < g->rows; p++) data_row(g, dy + (n * g->rows + p) * row, w, p, dx + n * image);
}

/* ---- dw ---- */

/* dw[k][c] += sum over p of dy[p][k] x[p][c]. */
BEST static void gather_products(const float *x, int64_t x_step, const float *dy, float *dw, int64_t dw_step,
                                 int64_t pixels, int64_t filters, int64_t channels)
{
    for (; pixels >= BLOCK; pixels -= BLOCK, x += BLOCK * x_step, dy += BLOCK * filters)
        for (int64_t k = 0; k < filters; k++) {
            const float a = dy[k], b = dy[filters + k], d = dy[2 * filters + k], e = dy[3 * filters + k];
            float *row = dw + k * dw_step;
            for (int64_t c = 0; c < channels; c++)
                row[c] += a * x[c] + b * x[x_step + c] + d * x[2 * x_step + c] + e * x[3 * x_step + c];
        }
    for (; pixels > 0; pixels--, x += x_step, dy += filters)
        for (int64_t k = 0; k < filters; k++)
            for (int64_t c = 0; c < channels; c++) dw[k * dw_step + c] += dy[k] * x[c];
}

static void weights_row(const struct dnn_window *g, const float *image, const float *dy, int64_t row, float *dw)
{
    int64_t taps = g->kernel[0] * g->kernel[1];
    for (int64_t r = 0; r < g->kernel[0]; r++) {
        int64_t line = input_row(g, row, r), from, to;
        for (int64_t s = 0; line >= 0 && s < g->kernel[1]; s++) {
            inside(g, s, &from, &to);
            int64_t at = from * g->stride[1] - g->padding[1] + s * g->dilation[1];
            gather_products(image + (line * g->width + at) * g->channels, g->stride[1] * g->channels,
                            dy + from * g->filters, dw + (r * g->kernel[1] + s) * g->channels, taps * g->channels,
                            to - from, g->filters, g->channels);
        }
    }
}

void dnn_weights(const struct dnn_window *g, const float *x, const float *dy, float *dw)
{
    int64_t image = g->height * g->width * g->channels, row = g->columns * g->filters;
    memset(dw, 0, (size_t)(g->filters * g->kernel[0] * g->kernel[1] * g->channels) * sizeof *dw);
    for (int64_t n = 0; n < g->images; n++)
        for (int64_t p = 0; p < g->rows; p++) weights_row(g, x + n * image, dy + (n * g->rows + p) * row, p, dw);
}
