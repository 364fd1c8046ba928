#include "resample.h"

#include <math.h>

#include "mem.h"

static bool make_room(struct resample_axis *axis, struct error *err)
{
    void *first = axis->first, *count = axis->count, *weights = axis->weights;
    size_t needed = (size_t)axis->size * axis->most;
    bool ok = mem_grow(MEM_INPUT, &first, &axis->size_capacity, axis->size, sizeof *axis->first) &&
              mem_grow(MEM_INPUT, &count, &axis->count_capacity, axis->size, sizeof *axis->count) &&
              mem_grow(MEM_INPUT, &weights, &axis->weight_capacity, needed, sizeof *axis->weights);
    axis->first = first;
    axis->count = count;
    axis->weights = weights;
    return ok ? true : error_memory(err, needed * sizeof *axis->weights, "scaling a picture");
}

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

bool resample_prepare(struct resample_axis *axis, double start, double length, uint32_t inputs, uint32_t outputs,
                      struct error *err)
{
    double scale = length / outputs, support = scale > 1 ? scale : 1;
    double most = 2 * support + 2;
    axis->size = outputs;
    axis->most = most < inputs ? (uint32_t)most : inputs;
    TRY(make_room(axis, err));
    for (uint32_t i = 0; i < outputs; i++) prepare_output(axis, i, start + (i + 0.5) * scale, support, inputs);
    return true;
}

void resample_finish(struct resample_axis *axis)
{
    mem_free(axis->first);
    mem_free(axis->count);
    mem_free(axis->weights);
    *axis = (struct resample_axis){0};
}

void resample_row(const struct resample_axis *axis, const uint8_t *row, float *out)
{
    for (uint32_t i = 0; i < axis->size; i++) {
        const uint8_t *pixel = row + 3 * (size_t)axis->first[i];
        const float *weights = axis->weights + (size_t)i * axis->most;
        float red = 0, green = 0, blue = 0;
        for (uint32_t k = 0; k < axis->count[i]; k++, pixel += 3) {
            red += weights[k] * pixel[0];
            green += weights[k] * pixel[1];
            blue += weights[k] * pixel[2];
        }
        out[3 * i] = red;
        out[3 * i + 1] = green;
        out[3 * i + 2] = blue;
    }
}
