/* Changes of a training picture's colours, functions of (seed, epoch, image) alone. Both are affine in a pixel, so that one
 * pass over a picture does all of them; what comes out is rounded to whole bytes, and cut off below 0 and above 255. */
#ifndef FATHOM_COLOUR_H
#define FATHOM_COLOUR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum colour_step { COLOUR_BRIGHTNESS, COLOUR_CONTRAST, COLOUR_SATURATION, COLOUR_STEPS };

/* How much; 0 = not at all. */
struct colour_amounts {
    double jitter;   /* brightness, contrast and saturation are each multiplied by 1 - jitter to 1 + jitter */
    double lighting; /* deviation of the multiples of the colours' principal components that are added */
};

/* What is drawn for one picture. */
struct colour_choice {
    enum colour_step order[COLOUR_STEPS];
    double factor[COLOUR_STEPS]; /* by enum colour_step */
    double light[3];             /* R G B, added at last; pixels as 0..1 */
};

static inline bool colour_changes(struct colour_amounts amounts) { return amounts.jitter > 0 || amounts.lighting > 0; }

/* Jitter as fb.resnet.torch's ColorJitter: with gray = 0.299 R + 0.587 G + 0.114 B and a factor f, brightness is f x, contrast
 * f x + (1 - f) (mean of gray), saturation f x + (1 - f) gray, in random order. Lighting as there and in Krizhevsky et al., 2012,
 * section 4.1: eigenvectors of ImageNet's colours times their eigenvalues times normal numbers. */
struct colour_choice colour_choose(struct colour_amounts amounts, uint64_t seed, uint64_t epoch, uint64_t image);

/* pixels: count x R G B, all of a picture: the mean of gray is over them. */
void colour_change(const struct colour_choice *choice, uint8_t *pixels, size_t count);

#endif
