/* A part of a picture, scaled from the picture's rows as they are decoded, so that its pixels are never all in memory: what
 * a decoder of any format gives its rows to. */
#ifndef FATHOM_CUTOUT_H
#define FATHOM_CUTOUT_H

#include "augment.h"
#include "exif.h"
#include "resample.h"

/* A picture that is stored as width x height pixels and decoded to columns x rows of them. */
struct cutout_picture {
    uint32_t width, height;
    uint32_t columns, rows;
    struct exif_turn turn; /* how it is seen */
};

/* A view of it, in decoded pixels, and where that goes. */
struct cutout_place {
    uint32_t width, height;    /* of the decoded picture */
    double x, y, across, down; /* where the view begins, and how far it goes; it lies within the picture */
    uint32_t columns, rows;    /* of the cutout, before it is turned */
    ptrdiff_t first, right, below; /* bytes from its beginning to its first pixel; from a pixel to the next ones */
};

/* The view is of the picture as it is seen, in stored pixels; so are the cutout's columns and rows. */
struct cutout_place cutout_place_view(const struct cutout_picture *picture, struct augment_view view, uint32_t columns,
                                      uint32_t rows);

struct cutout {
    struct cutout_place place;
    struct resample_axis columns, rows;
    float *ring;    /* the last rows->most rows, scaled across */
    float *sums;    /* one row of the cutout */
    float *numbers; /* one row of the picture, as far as it counts */
    uint8_t *bytes; /* one row of the cutout, before it is turned */
    uint8_t *out;
    uint32_t done;  /* rows of the cutout that are whole */
};

size_t cutout_bytes(const struct cutout_place *place);
/* Memory of cutout_bytes, aligned for floats, is borrowed, as is out: columns x rows x 3. */
void cutout_begin(struct cutout *cutout, const struct cutout_place *place, void *memory, uint8_t *out);
/* The first row that counts and the one after the last. */
uint32_t cutout_first_row(const struct cutout *cutout);
uint32_t cutout_end_row(const struct cutout *cutout);
/* The first pixel of a row that counts and the one after the last. */
uint32_t cutout_first_column(const struct cutout *cutout);
uint32_t cutout_end_column(const struct cutout *cutout);
/* Rows are given without their first pixels from now on, none of which counts. */
void cutout_leave_out(struct cutout *cutout, uint32_t columns);
/* Row y of the picture, RGB bytes: each from the first to the last, in order. */
void cutout_add_row(struct cutout *cutout, uint32_t y, const uint8_t *row);

#endif
