#include "resample.h"

#include <math.h>
#include <string.h>

#include "vector_units.h"

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
    memset(weights, 0, axis->most * sizeof *weights);
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
    axis->taps = 1;
    for (uint32_t i = 0; i < outputs; i++)
        if (axis->count[i] > axis->taps) axis->taps = axis->count[i];
}

/* ---- Rows ---- */

size_t resample_row_from(double length, uint32_t inputs, uint32_t outputs)
{
    double most = length + 2 * support_of(length, outputs) + 2;
    size_t counted = most < inputs ? (size_t)most : inputs;
    return 3 * (counted + resample_most(length, inputs, outputs) + 1);
}

size_t resample_row_to(uint32_t outputs) { return (3 * (size_t)outputs + RESAMPLE_PAD) / RESAMPLE_PAD * RESAMPLE_PAD; }

typedef float lanes __attribute__((vector_size(16)));

/* A pixel's sums are in three lanes; what comes to be in the fourth the next output covers. All outputs are of as many
 * inputs: weights of 0 change no sum. */
IN_VECTOR_UNITS void add_lanes(const struct resample_axis *axis, uint32_t taps, const float *numbers, float *out)
{
    for (uint32_t i = 0; i < axis->size; i++, out += 3) {
        const float *pixel = numbers + 3 * (size_t)(axis->first[i] - axis->first[0]);
        const float *weights = axis->weights + (size_t)i * axis->most;
        lanes sum = {0}, inputs;
        for (uint32_t k = 0; k < taps; k++) {
            memcpy(&inputs, pixel + 3 * k, sizeof inputs);
            sum += weights[k] * inputs;
        }
        memcpy(out, &sum, sizeof sum);
    }
}

FOR_VECTOR_UNITS
void resample_row(const struct resample_axis *axis, const uint8_t *row, float *restrict numbers, float *restrict out)
{
    const uint8_t *bytes = row + 3 * (size_t)axis->first[0];
    uint32_t last = axis->size - 1, inputs = axis->first[last] + axis->count[last] - axis->first[0];
    for (size_t i = 0; i < 3 * (size_t)inputs; i++) numbers[i] = bytes[i];
    switch (axis->taps) { /* the usual ones are unrolled */
    case 2: add_lanes(axis, 2, numbers, out); break;
    case 3: add_lanes(axis, 3, numbers, out); break;
    case 4: add_lanes(axis, 4, numbers, out); break;
    default: add_lanes(axis, axis->taps, numbers, out);
    }
}
