/* How fast a run goes, how it does in the pass over the images that it is in, and how long it will take. */
#ifndef FATHOM_PACE_H
#define FATHOM_PACE_H

#include <stdint.h>

#include "train_status.h"

struct pace {
    uint64_t steps;       /* measured */
    double each;          /* seconds of a step: a mean that forgets, of about the last twenty */
    double spent, waited; /* seconds of all steps, and of waits for images in them */
    double tested;        /* seconds of the last test; 0 = none was seen */
    uint64_t pass;        /* whose images the hits are of */
    double top1_hits, top5_hits, images;
};

/* What a run of so many steps and images has before it. */
struct pace_course {
    uint64_t images, batch;          /* of the training set, of a step */
    uint64_t iterations;
    uint64_t test_every, test_images; /* steps, 0 = at the end only; 0 images = never */
};

/* A step of so many seconds, after which `done` are. */
void pace_see_step(struct pace *pace, const struct pace_course *course, uint64_t done, double seconds, double top1_hits,
                   double top5_hits, double images);
void pace_see_wait(struct pace *pace, double seconds);
void pace_see_test(struct pace *pace, double seconds);

/* Fills status' epoch, pass_top1, pass_top5 and waited_share; `waits`: whether waits were measured. */
void pace_tell(const struct pace *pace, const struct pace_course *course, uint64_t done, bool waits,
               struct train_status *status);
/* Seconds of the steps and tests that follow step `done`, which has been tested where it was to be. A test that none
 * was seen of is taken for a third of the steps that its images would be, as the forward pass is of a step's
 * operations. */
double pace_left(const struct pace *pace, const struct pace_course *course, uint64_t done);

#endif
