/* A square of a picture, scaled from the picture's rows as they are decoded, so that its pixels are never all in memory:
 * what a decoder of any format gives its rows to. */
#ifndef FATHOM_SQUARE_H
#define FATHOM_SQUARE_H

#include "augment.h"
#include "resample.h"

/* A view of a picture that is stored as width x height pixels, in those. */
struct square_place {
    uint32_t width, height;
    double x, y, across, down; /* where it begins, and how far it goes; it lies within the picture */
    uint32_t size;             /* pixels of the square's side */
};

/* A view of a picture that is decoded to width x height pixels, `across` and `down` times what the view counts in. */
static inline struct square_place square_place_view(uint32_t width, uint32_t height, double across, double down,
                                                    struct augment_view view, uint32_t size)
{
    return (struct square_place){.width = width,
                                 .height = height,
                                 .x = view.x * across,
                                 .y = view.y * down,
                                 .across = view.side * across,
                                 .down = view.side * down,
                                 .size = size};
}

struct square {
    struct resample_axis columns, rows;
    float *ring;   /* the last rows->most rows, scaled across */
    float *sums;   /* one row of the square */
    uint8_t *out;
    uint32_t done; /* rows of the square that are whole */
};

size_t square_bytes(const struct square_place *place);
/* Memory of square_bytes, aligned for floats, is borrowed, as is out: size x size x 3. */
void square_begin(struct square *square, const struct square_place *place, void *memory, uint8_t *out);
/* The first row that counts and the one after the last. */
uint32_t square_first_row(const struct square *square);
uint32_t square_end_row(const struct square *square);
/* Row y of the picture, RGB bytes: each from the first to the last, in order. */
void square_add_row(struct square *square, uint32_t y, const uint8_t *row);

/* Turns the finished pixels, size x size x 3: mirrored first, then transposed. */
void square_turn(uint8_t *pixels, uint32_t size, bool from_right, bool from_bottom, bool transposed);

#endif
