/* Test images as wholes, for nets that pool over images of any size: scaled so that the shorter side has a given length. */
#ifndef FATHOM_WHOLE_H
#define FATHOM_WHOLE_H

#include "data.h"

#define WHOLE_MOST_SCALES 16u
/* Of longer pictures the ends are brought together: no picture is more than so many times as long as it is wide. */
#define WHOLE_MOST_ASPECT 4u

struct whole_image {
    uint64_t image;         /* its number in the test set */
    uint32_t width, height; /* as it is seen */
};

struct whole_options {
    uint64_t images;        /* of the test set, spread over it (augment_sample); 0 = all */
    uint32_t scales[WHOLE_MOST_SCALES]; /* lengths of the shorter side */
    uint32_t scale_count;
    uint32_t step;          /* the longer side is the nearest multiple of this */
    uint32_t threads;       /* that decode; 0 = chosen */
    struct broken_images *broken; /* images that cannot be decoded are noted there and left out; NULL = they are failures */
};

/* Images in the order of their aspect, so that those of one size follow each other at every scale. */
struct whole_set {
    const struct dataset *dataset;
    struct whole_options options;
    struct whole_image *images;
    uint64_t count;
    uint64_t decode_bytes; /* that its readers take: as many pictures at a time as there are threads */
};

/* Reads the headers of test images. ERROR_INPUT where they are no pictures. Ended by whole_set_finish, also after a failure. */
bool whole_set_init(struct whole_set *set, const struct dataset *dataset, const struct whole_options *options,
                    struct error *err);
void whole_set_finish(struct whole_set *set);

/* The size of an image at a scale. */
void whole_size(const struct whole_set *set, const struct whole_image *image, uint32_t scale, uint32_t *columns,
                uint32_t *rows);

struct whole_reader;
struct whole_reader *whole_reader_create(const struct whole_set *set, struct error *err);
/* Takes NULL. */
void whole_reader_destroy(struct whole_reader *reader);
/* Images [first, first + count) of the set into count x rows x columns x 3 floats, normalised, and their labels: -1 for one
 * that cannot be decoded, whose pixels are then zero. */
bool whole_reader_read(struct whole_reader *reader, uint64_t first, uint32_t count, uint32_t columns, uint32_t rows,
                       float *out, int32_t *labels, struct error *err);

#endif
