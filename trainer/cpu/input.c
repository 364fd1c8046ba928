/* Images of bytes (lower.h has the formula): a table has what each byte becomes, and each task takes rows. */
#include <string.h>

#include "cpu_device.h"
#include "lower.h"
#include "parallel.h"

#define MOST_PIXELS 256u /* of a row at a time, on their way to 16 bits */

struct placing {
    const struct prepared *op;
    float table[3][256];
};

static void fill_table(struct placing *p, const struct step *step)
{
    for (int channel = 0; channel < 3; channel++)
        for (int value = 0; value < 256; value++)
            p->table[channel][value] = ((float)value / 255.0f - step->mean[channel]) / step->deviation[channel];
}

/* Where pixel x of a row that is `side` wide comes from. */
static int64_t column_of(const int32_t *placement, uint32_t side, uint32_t x)
{
    return (int64_t)(placement[2] ? side - 1 - x : x) + placement[0];
}

/* Pixels [first, last) of a row; from: its source, or NULL where all of it is padding. */
static void place_pixels(const struct placing *p, const uint8_t *from, const int32_t *placement, uint32_t side,
                         uint32_t first, uint32_t last, float *out)
{
    for (uint32_t x = first; x < last; x++, out += 3) {
        int64_t column = column_of(placement, side, x);
        bool padding = !from || column < 0 || column >= side;
        for (int channel = 0; channel < 3; channel++)
            out[channel] = padding ? 0 : p->table[channel][from[3 * column + channel]];
    }
}

static void place_half_row(const struct placing *p, const uint8_t *from, const int32_t *placement, uint32_t side,
                           enum dtype dtype, uint16_t *out)
{
    float pixels[3 * MOST_PIXELS];
    for (uint32_t first = 0; first < side; first += MOST_PIXELS) {
        uint32_t last = side - first < MOST_PIXELS ? side : first + MOST_PIXELS;
        place_pixels(p, from, placement, side, first, last, pixels);
        floats_to_half(conversions_best(), dtype, pixels, out + 3 * (uint64_t)first, 3 * (uint64_t)(last - first));
    }
}

static void place_rows(const void *context, uint64_t first, uint64_t last)
{
    const struct placing *p = context;
    const struct tensor *images = p->op->call.out_tensor[0];
    uint32_t height = images->dims[1], side = images->dims[2];
    uint64_t row_numbers = 3 * (uint64_t)side;
    for (uint64_t row = first; row < last; row++) {
        uint64_t image = row / height;
        const int32_t *placement = (const int32_t *)op_in(p->op, 1) + image * INPUT_PLACEMENT;
        int64_t y = (int64_t)(row % height) + placement[1];
        bool padding = y < 0 || y >= height;
        const uint8_t *pixels = op_in(p->op, 0);
        const uint8_t *from = padding ? NULL : pixels + (image * height + (uint64_t)y) * row_numbers;
        if (images->dtype == DTYPE_F32)
            place_pixels(p, from, placement, side, 0, side, (float *)op_out(p->op, 0) + row * row_numbers);
        else
            place_half_row(p, from, placement, side, images->dtype, (uint16_t *)op_out(p->op, 0) + row * row_numbers);
    }
}

bool cpu_run_input(const struct prepared *p, struct error *err)
{
    (void)err;
    const uint32_t *dims = p->call.out_tensor[0]->dims;
    struct placing placing = {.op = p};
    fill_table(&placing, &p->device->step);
    parallel_run((uint64_t)dims[0] * dims[1], tensor_elements(p->call.out_tensor[0]), place_rows, &placing);
    return true;
}
