/* Testing on whole images at several scales: "we adopt the fully-convolutional form [...] and average the scores at multiple
 * scales (images are resized such that the shorter side is in {224, 256, 384, 480, 640})" (He et al., arXiv:1512.03385,
 * section 3.4). Each size of image has a plan of its own, made when it is needed. */
#ifndef FATHOM_SCALES_H
#define FATHOM_SCALES_H

#include "plan.h"
#include "score.h"
#include "whole.h"

struct scales_request {
    const struct train_options *options; /* weights, dataset, stop */
    const struct whole_set *set;
    uint32_t classes;
    uint32_t batch; /* images at once, at most */
    /* Makes a plan for one device, which the caller ends, and says what runs it. */
    bool (*make_plan)(void *context, uint32_t columns, uint32_t rows, uint32_t batch, struct plan **plan,
                      const struct backend **backend, struct error *err);
    void *context;
};

struct scales_answer {
    struct score score;
    uint32_t plans;        /* that were made */
    uint64_t planned_bytes; /* of the largest of them: its device's peak */
    uint32_t columns, rows; /* and its images */
};

/* An image's probabilities are the mean over all scales; one that cannot be decoded does not count. Beside plan and images it
 * takes 4,096 x classes floats. ERROR_FAILED where no image is left or the loss is not finite. */
bool score_scales(const struct scales_request *request, struct scales_answer *answer, struct error *err);

#endif
