/* Answers for images that are looked at several times: a class's probability is the mean over an image's views. */
#ifndef FATHOM_ANSWERS_H
#define FATHOM_ANSWERS_H

#include <stdbool.h>
#include <stdint.h>

#include "errors.h"

/* Sums over images; of the one whose views are not all seen yet, `sums`. */
struct answers {
    uint32_t classes, views; /* of an image, which come one after the other */
    double loss, top1_hits, top5_hits, images;
    double *sums; /* classes */
    uint32_t seen;
    bool missing; /* a view had no label */
};

bool answers_begin(struct answers *answers, uint32_t classes, uint32_t views, struct error *err);
/* The next view: its label, -1 where it could not be seen, which leaves the image out; its probabilities. */
void answers_add(struct answers *answers, int32_t label, const float *probabilities);
/* Takes a zeroed one. */
void answers_finish(struct answers *answers);

#endif
