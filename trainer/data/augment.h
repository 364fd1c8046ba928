/* Which image stands where in an epoch, and what is done to its pixels. Pure functions of (seed, epoch, image): no
 * state, so that a resumed or a differently split run sees the same pixels. */
#ifndef FATHOM_AUGMENT_H
#define FATHOM_AUGMENT_H

#include <stdbool.h>
#include <stdint.h>

/* The image at `index` of an epoch of `count` images (index < count <= 2^62): a bijection for each (seed, epoch). */
uint64_t augment_order(uint64_t seed, uint64_t epoch, uint64_t count, uint64_t index);

/* Image `index` (< wanted <= count <= 2^32) of an even sample: one image, drawn, of each of `wanted` equal stretches of the
 * set, so that a set in order of its classes gives each class its share and one in which classes alternate does too. A
 * function of (count, wanted, index) alone, increasing in index; all of the set where wanted is count. */
uint64_t augment_sample(uint64_t count, uint64_t wanted, uint64_t index);

/* A crop out of the image with `pad` zeros on each side: the output's pixel (x, y) is the image's (x + dx, y + dy),
 * zero outside; then mirrored left to right when flip. */
struct augment_shift {
    int32_t dx, dy; /* -pad .. pad; -side .. side show the less the larger */
    bool flip;
};

/* "4 pixels are padded on each side, and a 32x32 crop is randomly sampled from the padded image or its horizontal flip"
 * (He et al., arXiv:1512.03385, section 4.2). */
struct augment_shift augment_choose_shift(uint64_t seed, uint64_t epoch, uint64_t image, uint32_t pad);

/* What shows nothing of an image of this side. */
static inline struct augment_shift augment_all_padding(uint32_t side)
{
    return (struct augment_shift){.dx = (int32_t)side};
}

/* from and to: side x side x 3, normalised, distinct. The zeros come after normalisation: padding has the mean colour,
 * as in the authors' release (fb.resnet.torch: ColorNormalize, then HorizontalFlip and RandomCrop). */
void augment_apply_shift(const float *from, uint32_t side, struct augment_shift shift, float *to);

/* Mirrors one row of `side` RGB pixels. */
void augment_flip_row(float *row, uint32_t side);

/* A part of the image as it is seen, in its pixels, that is scaled to the size wanted. */
struct augment_view {
    double x, y, side;
    double down; /* how far it goes down; 0 = as far as across, `side`: a square */
    bool flip;
};

/* The least that a view of training takes of the shorter side. */
#define AUGMENT_LEAST_SHARE (224.0 / 480.0)
/* Training: the shorter side is scaled to a length drawn uniformly from [256, 480] for crops of 224 (in proportion for
 * other sizes), then a crop and its flip are drawn (arXiv:1512.03385, section 3.4; its colours: colour.h). */
struct augment_view augment_choose_view(uint64_t seed, uint64_t epoch, uint64_t image, uint32_t width, uint32_t height,
                                        uint32_t size);
/* The least that an area view takes of a picture, and the most that it is wider than high, or higher than wide. */
#define AUGMENT_LEAST_AREA  0.08
#define AUGMENT_MOST_ASPECT (4.0 / 3.0)
/* Training by scale and aspect: a part of 8 to 100 % of the picture's area, drawn uniformly, 3/4 to 4/3 as wide as high, drawn
 * uniformly in its logarithm, wherever it fits; after ten that do not, the most of the middle within those aspects (Szegedy et al.,
 * arXiv:1409.4842, section 6; torchvision's RandomResizedCrop), and its flip. */
struct augment_view augment_choose_area(uint64_t seed, uint64_t epoch, uint64_t image, uint32_t width, uint32_t height);
/* Evaluation: the middle of the image; `margin` is the shorter side's length relative to the crop's (256 / 224 is the
 * papers' single-crop test, 1 takes all of the shorter side). */
struct augment_view augment_centre_view(uint32_t width, uint32_t height, double margin);

/* Evaluation: of the picture scaled until its shorter side is `shorter` pixels long, and the other as many as are whole,
 * a part of `size` x `size` of those pixels, where torchvision's Resize, CenterCrop and FiveCrop have it: number `crop`,
 * 0 the middle, 1 to 4 the corners (upper left and right, lower left and right), 5 to 9 the same mirrored (Krizhevsky et
 * al., "ImageNet Classification with Deep Convolutional Neural Networks", 2012, section 4.1). */
struct augment_view augment_crop_view(uint32_t width, uint32_t height, uint32_t size, uint32_t shorter, uint32_t crop);

#endif
