#include "resample.h"

#include <math.h>
#include <string.h>

static uint32_t clamp(double value, uint32_t inputs)
{
    return value < 0 ? 0 : value > inputs - 1 ? inputs - 1 : (uint32_t)value;
}

/* Input i covers [i, i + 1), so its centre is i + 1/2. */
static void prepare_output(struct resample_axis *axis, uint32_t output, double centre, double support, uint32_t inputs)
{
    uint32_t first = clamp(ceil(centre - support - 0.5), inputs), last = clamp(floor(centre + support - 0.5), inputs);
    float *weights = axis->weights + (size_t)output * axis->most;
    double sum = 0;
    for (uint32_t i = first; i <= last; i++) sum += fmax(0, 1 - fabs(i + 0.5 - centre) / support);
    axis->first[output] = first;
    axis->count[output] = last - first + 1;
    if (sum <= 0) { /* all of the output lies outside: the nearest input */
        axis->count[output] = 1;
        weights[0] = 1;
        return;
    }
    for (uint32_t i = first; i <= last; i++)
        weights[i - first] = (float)(fmax(0, 1 - fabs(i + 0.5 - centre) / support) / sum);
}

static double support_of(double length, uint32_t outputs)
{
    double scale = length / outputs;
    return scale > 1 ? scale : 1;
}

uint32_t resample_most(double length, uint32_t inputs, uint32_t outputs)
{
    double most = 2 * support_of(length, outputs) + 2;
    return most < inputs ? (uint32_t)most : inputs;
}

size_t resample_bytes(double length, uint32_t inputs, uint32_t outputs)
{
    size_t weights = resample_most(length, inputs, outputs) * sizeof(float);
    return outputs * (2 * sizeof(uint32_t) + weights);
}

void resample_prepare(struct resample_axis *axis, void *memory, double start, double length, uint32_t inputs,
                      uint32_t outputs)
{
    double scale = length / outputs, support = support_of(length, outputs);
    axis->size = outputs;
    axis->most = resample_most(length, inputs, outputs);
    axis->first = memory;
    axis->count = axis->first + outputs;
    axis->weights = (float *)(void *)(axis->count + outputs);
    for (uint32_t i = 0; i < outputs; i++) prepare_output(axis, i, start + (i + 0.5) * scale, support, inputs);
    axis->inner = outputs;
    while (axis->inner > 0 && axis->first[axis->inner - 1] + axis->count[axis->inner - 1] >= inputs) axis->inner--;
}

static void add_pixels(const struct resample_axis *axis, uint32_t output, const uint8_t *row, float *out)
{
    const uint8_t *pixel = row + 3 * (size_t)axis->first[output];
    const float *weights = axis->weights + (size_t)output * axis->most;
    float red = 0, green = 0, blue = 0;
    for (uint32_t k = 0; k < axis->count[output]; k++, pixel += 3) {
        red += weights[k] * pixel[0];
        green += weights[k] * pixel[1];
        blue += weights[k] * pixel[2];
    }
    out[0] = red;
    out[1] = green;
    out[2] = blue;
}

typedef float lanes __attribute__((vector_size(16)));
typedef uint8_t lane_bytes __attribute__((vector_size(4)));

/* The same sums, with a byte of the next pixel in a fourth lane, which the next output's first float covers. */
static void add_lanes(const struct resample_axis *axis, uint32_t output, const uint8_t *row, float *out)
{
    const uint8_t *pixel = row + 3 * (size_t)axis->first[output];
    const float *weights = axis->weights + (size_t)output * axis->most;
    lanes sum = {0};
    for (uint32_t k = 0; k < axis->count[output]; k++, pixel += 3) {
        lane_bytes bytes;
        memcpy(&bytes, pixel, sizeof bytes);
        sum += weights[k] * __builtin_convertvector(bytes, lanes);
    }
    memcpy(out, &sum, sizeof sum);
}

void resample_row(const struct resample_axis *axis, const uint8_t *row, float *out)
{
    uint32_t inner = axis->inner < axis->size ? axis->inner : axis->size - 1;
    for (uint32_t i = 0; i < inner; i++) add_lanes(axis, i, row, out + 3 * (size_t)i);
    for (uint32_t i = inner; i < axis->size; i++) add_pixels(axis, i, row, out + 3 * (size_t)i);
}
