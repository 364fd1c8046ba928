#include "cutout.h"

#include <string.h>

#include "vector_units.h"

/* ---- Where ---- */

/* The view of the picture as it is seen, in stored pixels; a square's height is said. */
static struct augment_view stored_view(const struct cutout_picture *picture, struct augment_view view)
{
    struct augment_view stored = view;
    if (view.down <= 0) stored.down = view.down = view.side;
    if (picture->turn.transposed)
        stored = (struct augment_view){.x = view.y, .y = view.x, .side = view.down, .down = view.side};
    if (picture->turn.from_right) stored.x = picture->width - stored.x - stored.side;
    if (picture->turn.from_bottom) stored.y = picture->height - stored.y - stored.down;
    return stored;
}

/* Stored pixel (x, y) is seen at (x, y), counted from the right or the bottom where the turn says so; then transposed;
 * then mirrored. */
static void aim(struct cutout_place *place, struct exif_turn turn, bool flip)
{
    ptrdiff_t columns = place->columns, rows = place->rows, width = turn.transposed ? rows : columns;
    place->right = turn.transposed ? 3 * width : 3;
    place->below = turn.transposed ? 3 : 3 * width;
    place->first = 0;
    if (turn.from_right) place->first += (columns - 1) * place->right;
    if (turn.from_bottom) place->first += (rows - 1) * place->below;
    if (turn.from_right) place->right = -place->right;
    if (turn.from_bottom) place->below = -place->below;
    if (!flip) return;
    ptrdiff_t *across = turn.transposed ? &place->below : &place->right;
    place->first += *across * (width - 1);
    *across = -*across;
}

struct cutout_place cutout_place_view(const struct cutout_picture *picture, struct augment_view view, uint32_t columns,
                                      uint32_t rows)
{
    struct augment_view stored = stored_view(picture, view);
    double across = (double)picture->columns / picture->width, down = (double)picture->rows / picture->height;
    bool transposed = picture->turn.transposed;
    struct cutout_place place = {.width = picture->columns,
                                 .height = picture->rows,
                                 .x = stored.x * across,
                                 .y = stored.y * down,
                                 .across = stored.side * across,
                                 .down = stored.down * down,
                                 .columns = transposed ? rows : columns,
                                 .rows = transposed ? columns : rows};
    aim(&place, picture->turn, view.flip);
    return place;
}

/* ---- Scaling ---- */

static size_t row_numbers(const struct cutout_place *place) { return 3 * (size_t)place->columns; }

/* The ring, sums, numbers and bytes, which are one after the other. */
static size_t row_bytes(const struct cutout_place *place)
{
    size_t most = resample_most(place->down, place->height, place->rows);
    size_t floats =
        (most + 1) * resample_row_to(place->columns) + resample_row_from(place->across, place->width, place->columns);
    return floats * sizeof(float) + resample_row_to(place->columns);
}

size_t cutout_bytes(const struct cutout_place *place)
{
    size_t columns = resample_bytes(place->across, place->width, place->columns);
    size_t rows = resample_bytes(place->down, place->height, place->rows);
    return columns + rows + row_bytes(place);
}

void cutout_begin(struct cutout *cutout, const struct cutout_place *place, void *memory, uint8_t *out)
{
    uint8_t *at = memory;
    cutout->place = *place;
    resample_prepare(&cutout->columns, at, place->x, place->across, place->width, place->columns);
    at += resample_bytes(place->across, place->width, place->columns);
    resample_prepare(&cutout->rows, at, place->y, place->down, place->height, place->rows);
    at += resample_bytes(place->down, place->height, place->rows);
    memset(at, 0, row_bytes(place));
    cutout->sums = (float *)(void *)at;
    cutout->ring = cutout->sums + resample_row_to(place->columns);
    cutout->numbers = cutout->ring + cutout->rows.most * resample_row_to(place->columns);
    cutout->bytes = (uint8_t *)(cutout->numbers + resample_row_from(place->across, place->width, place->columns));
    cutout->out = out;
    cutout->done = 0;
}

uint32_t cutout_first_row(const struct cutout *cutout) { return cutout->rows.first[0]; }

/* The row, or column, after the last that output `i` is made of. */
static uint32_t end_of(const struct resample_axis *axis, uint32_t i) { return axis->first[i] + axis->count[i]; }

uint32_t cutout_end_row(const struct cutout *cutout) { return end_of(&cutout->rows, cutout->rows.size - 1); }

uint32_t cutout_first_column(const struct cutout *cutout) { return cutout->columns.first[0]; }

uint32_t cutout_end_column(const struct cutout *cutout) { return end_of(&cutout->columns, cutout->columns.size - 1); }

void cutout_leave_out(struct cutout *cutout, uint32_t columns)
{
    for (uint32_t i = 0; i < cutout->columns.size; i++) cutout->columns.first[i] -= columns;
}

/* The nearest byte to a mean of bytes. */
IN_VECTOR_UNITS uint8_t to_byte(float value)
{
    int32_t nearest = (int32_t)(value + 0.5f);
    return (uint8_t)(nearest > 255 ? 255 : nearest);
}

FOR_VECTOR_UNITS
static void write_bytes(const float *restrict sums, size_t count, uint8_t *restrict out)
{
    for (size_t i = 0; i < count; i++) out[i] = to_byte(sums[i]);
}

static void write_row(const struct cutout *cutout)
{
    const struct cutout_place *place = &cutout->place;
    uint8_t *out = cutout->out + place->first + (ptrdiff_t)cutout->done * place->below, *bytes = cutout->bytes;
    if (place->right == 3) {
        write_bytes(cutout->sums, row_numbers(place), out);
        return;
    }
    write_bytes(cutout->sums, row_numbers(place), bytes);
    for (uint32_t x = 0; x < place->columns; x++, bytes += 3, out += place->right) memcpy(out, bytes, 3);
}

#define CHUNK RESAMPLE_PAD /* numbers whose sums stay in registers */

/* Where the rows of the picture are that the next row is made of: `count` of them, the first at `first` in a ring of
 * `most`, each of `width` numbers. */
struct ring_rows {
    const float *ring, *weights;
    uint32_t first, count, most;
    size_t width;
};

/* Numbers [at, at + CHUNK) of the next row. */
IN_VECTOR_UNITS void sum_chunk(const struct ring_rows *rows, size_t at, float *restrict out)
{
    float sums[CHUNK] = {0};
    for (uint32_t k = 0, place = rows->first; k < rows->count; k++, place = place + 1 < rows->most ? place + 1 : 0) {
        const float *row = rows->ring + place * rows->width + at;
        for (size_t i = 0; i < CHUNK; i++) sums[i] += rows->weights[k] * row[i];
    }
    for (size_t i = 0; i < CHUNK; i++) out[at + i] = sums[i];
}

FOR_VECTOR_UNITS
static void sum_rows(const struct ring_rows *rows, float *restrict out)
{
    for (size_t at = 0; at < rows->width; at += CHUNK) sum_chunk(rows, at, out);
}

/* The next row of the cutout, whose rows of the picture are all in the ring. */
static void make_row(struct cutout *cutout)
{
    const struct resample_axis *axis = &cutout->rows;
    const uint32_t i = cutout->done;
    const struct ring_rows rows = {.ring = cutout->ring,
                                   .weights = axis->weights + (size_t)i * axis->most,
                                   .first = axis->first[i] % axis->most,
                                   .count = axis->count[i],
                                   .most = axis->most,
                                   .width = resample_row_to(cutout->place.columns)};
    sum_rows(&rows, cutout->sums);
    write_row(cutout);
    cutout->done++;
}

void cutout_add_row(struct cutout *cutout, uint32_t y, const uint8_t *row)
{
    const struct resample_axis *rows = &cutout->rows;
    float *to = cutout->ring + y % rows->most * resample_row_to(cutout->place.columns);
    resample_row(&cutout->columns, row, cutout->numbers, to);
    while (cutout->done < rows->size && end_of(rows, cutout->done) <= y + 1) make_row(cutout);
}
