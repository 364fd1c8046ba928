#include "cutout.h"

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

size_t cutout_bytes(const struct cutout_place *place)
{
    size_t columns = resample_bytes(place->across, place->width, place->columns);
    size_t rows = resample_bytes(place->down, place->height, place->rows);
    size_t most = resample_most(place->down, place->height, place->rows);
    return columns + rows + (most + 1) * row_numbers(place) * sizeof(float);
}

void cutout_begin(struct cutout *cutout, const struct cutout_place *place, void *memory, uint8_t *out)
{
    uint8_t *at = memory;
    cutout->place = *place;
    resample_prepare(&cutout->columns, at, place->x, place->across, place->width, place->columns);
    at += resample_bytes(place->across, place->width, place->columns);
    resample_prepare(&cutout->rows, at, place->y, place->down, place->height, place->rows);
    at += resample_bytes(place->down, place->height, place->rows);
    cutout->sums = (float *)(void *)at;
    cutout->ring = cutout->sums + row_numbers(place);
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

/* The nearest byte. */
static uint8_t to_byte(float value) { return value <= 0 ? 0 : value >= 255 ? 255 : (uint8_t)(value + 0.5f); }

static void write_row(const struct cutout *cutout)
{
    const struct cutout_place *place = &cutout->place;
    const float *sums = cutout->sums;
    uint8_t *out = cutout->out + place->first + (ptrdiff_t)cutout->done * place->below;
    if (place->right == 3) {
        for (size_t i = 0; i < row_numbers(place); i++) out[i] = to_byte(sums[i]);
        return;
    }
    for (uint32_t x = 0; x < place->columns; x++, sums += 3)
        for (ptrdiff_t channel = 0; channel < 3; channel++)
            out[(ptrdiff_t)x * place->right + channel] = to_byte(sums[channel]);
}

#define CHUNK 16u /* numbers whose sums stay in registers */

/* Numbers [at, at + count) of the next row; count is CHUNK but for the last. */
static inline void sum_chunk(const struct cutout *cutout, size_t at, size_t count)
{
    const struct resample_axis *rows = &cutout->rows;
    const float *weights = rows->weights + (size_t)cutout->done * rows->most;
    float sums[CHUNK] = {0};
    for (uint32_t k = 0; k < rows->count[cutout->done]; k++) {
        size_t place = (rows->first[cutout->done] + k) % rows->most;
        const float *row = cutout->ring + place * row_numbers(&cutout->place) + at;
        for (size_t i = 0; i < count; i++) sums[i] += weights[k] * row[i];
    }
    for (size_t i = 0; i < count; i++) cutout->sums[at + i] = sums[i];
}

/* The next row of the cutout, whose rows of the picture are all in the ring. */
static void make_row(struct cutout *cutout)
{
    size_t width = row_numbers(&cutout->place), at = 0;
    for (; at + CHUNK <= width; at += CHUNK) sum_chunk(cutout, at, CHUNK);
    sum_chunk(cutout, at, width - at);
    write_row(cutout);
    cutout->done++;
}

void cutout_add_row(struct cutout *cutout, uint32_t y, const uint8_t *row)
{
    const struct resample_axis *rows = &cutout->rows;
    resample_row(&cutout->columns, row, cutout->ring + y % rows->most * row_numbers(&cutout->place));
    while (cutout->done < rows->size && end_of(rows, cutout->done) <= y + 1) make_row(cutout);
}
