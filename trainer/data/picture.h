/* One image on its way from disk to the trainer: read, decoded, augmented, normalised. */
#ifndef FATHOM_PICTURE_H
#define FATHOM_PICTURE_H

#include "augment.h"
#include "dataset.h"
#include "normalise.h"

struct decode_memory;
struct image_decoder;

/* One thread's tools. They hold no state between images. */
struct picture_reader {
    const struct dataset *dataset;
    enum dataset_part part;
    uint32_t size;
    uint32_t shorter; /* tests: the shorter side's length where the crop's is `size` */
    uint64_t seed;
    bool augment;
    bool area_crops;
    struct colour_amounts colour;
    bool shifts;  /* pictures of this size are shifted; larger ones are cut while they are decoded */
    float *plain; /* size x size x 3, before a shift; NULL where none is done */
    struct image_decoder *decoder; /* of folders of pictures */
    struct normalise_table table;
};

/* Fills *reader, for the training part when `train`; memory, where pictures are decoded, outlives it. ERROR_INPUT when the dataset cannot give pictures of that size.
 * Ended by picture_finish, also after a failure. */
bool picture_init(struct picture_reader *reader, const struct dataset *dataset, const struct loader_options *options,
                  struct decode_memory *memory, struct error *err);
void picture_finish(struct picture_reader *reader);

/* An image of the part, and how it is seen: in an epoch of the training, or which crop of it a test takes. */
struct picture_choice {
    uint64_t image, epoch;
    uint32_t crop;
};

/* The image as it is seen so: out is size x size x 3, f32, normalised. What was scaled is rounded to whole bytes first.
 * ERROR_FAILED names the file. */
bool picture_load(struct picture_reader *reader, struct picture_choice choice, float *out, int32_t *label,
                  struct error *err);
/* The same in two parts: size x size x 3 bytes, and how they are shifted and mirrored. For readers made `as_bytes`. */
bool picture_load_bytes(struct picture_reader *reader, struct picture_choice choice, uint8_t *out,
                        struct augment_shift *shift, int32_t *label, struct error *err);

/* The side of the least view of a picture that readers choose, those of tests among them:
 * for no other does decoding take more. */
double picture_least_side(const struct dataset_views *views, uint32_t width, uint32_t height);

/* What a reader takes beside what it decodes in. */
uint64_t picture_reader_bytes(uint32_t size);

#endif
