#include "square.h"

#include <string.h>

static size_t row_numbers(const struct square_place *place) { return 3 * (size_t)place->size; }

size_t square_bytes(const struct square_place *place)
{
    size_t columns = resample_bytes(place->across, place->width, place->size);
    size_t rows = resample_bytes(place->down, place->height, place->size);
    size_t most = resample_most(place->down, place->height, place->size);
    return columns + rows + (most + 1) * row_numbers(place) * sizeof(float);
}

void square_begin(struct square *square, const struct square_place *place, void *memory, uint8_t *out)
{
    uint8_t *at = memory;
    resample_prepare(&square->columns, at, place->x, place->across, place->width, place->size);
    at += resample_bytes(place->across, place->width, place->size);
    resample_prepare(&square->rows, at, place->y, place->down, place->height, place->size);
    at += resample_bytes(place->down, place->height, place->size);
    square->sums = (float *)(void *)at;
    square->ring = square->sums + row_numbers(place);
    square->out = out;
    square->done = 0;
}

uint32_t square_first_row(const struct square *square) { return square->rows.first[0]; }

/* The row after the last that output `i` is made of. */
static uint32_t end_of(const struct resample_axis *rows, uint32_t i) { return rows->first[i] + rows->count[i]; }

uint32_t square_end_row(const struct square *square) { return end_of(&square->rows, square->rows.size - 1); }

/* The nearest byte. */
static uint8_t to_byte(float value) { return value <= 0 ? 0 : value >= 255 ? 255 : (uint8_t)(value + 0.5f); }

/* The next row of the square, whose rows of the picture are all in the ring. */
static void make_row(struct square *square)
{
    const struct resample_axis *rows = &square->rows;
    size_t width = 3 * (size_t)square->columns.size;
    float *sums = square->sums;
    const float *weights = rows->weights + (size_t)square->done * rows->most;
    uint8_t *out = square->out + square->done * width;
    memset(sums, 0, width * sizeof *sums);
    for (uint32_t k = 0; k < rows->count[square->done]; k++) {
        const float *row = square->ring + (rows->first[square->done] + k) % rows->most * width;
        for (size_t i = 0; i < width; i++) sums[i] += weights[k] * row[i];
    }
    for (size_t i = 0; i < width; i++) out[i] = to_byte(sums[i]);
    square->done++;
}

void square_add_row(struct square *square, uint32_t y, const uint8_t *row)
{
    const struct resample_axis *rows = &square->rows;
    resample_row(&square->columns, row, square->ring + y % rows->most * 3 * (size_t)square->columns.size);
    while (square->done < rows->size && end_of(rows, square->done) <= y + 1) make_row(square);
}

static void swap_pixels(uint8_t *a, uint8_t *b)
{
    for (int channel = 0; channel < 3; channel++) {
        uint8_t value = a[channel];
        a[channel] = b[channel];
        b[channel] = value;
    }
}

void square_turn(uint8_t *pixels, uint32_t size, bool from_right, bool from_bottom, bool transposed)
{
    size_t row = 3 * (size_t)size;
    for (uint32_t y = 0; from_right && y < size; y++)
        for (uint32_t x = 0; x < size / 2; x++)
            swap_pixels(pixels + y * row + 3 * x, pixels + (y + 1) * row - 3 * (x + 1));
    for (uint32_t y = 0; from_bottom && y < size / 2; y++)
        for (uint32_t x = 0; x < size; x++)
            swap_pixels(pixels + y * row + 3 * x, pixels + (size - 1 - y) * row + 3 * x);
    for (uint32_t y = 1; transposed && y < size; y++)
        for (uint32_t x = 0; x < y; x++) swap_pixels(pixels + y * row + 3 * x, pixels + x * row + 3 * y);
}
