/* What a run says of itself after each step. */
#ifndef FATHOM_TRAIN_STATUS_H
#define FATHOM_TRAIN_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#define TOP5_CLASSES 6 /* of fewer classes the top five are all: that error is 0 whatever the net, and NAN here */

struct train_status {          /* after each step, on the calling thread */
    uint64_t step, iterations;
    double loss, learning_rate, images_per_second;
    double train_error;        /* of this step's batch, 0..1 */
    double epoch;              /* passes over the training images so far */
    double pass_top1, pass_top5; /* errors of the training images that this process's run has seen in the present pass */
    double waited_share;       /* of the steps' time so far, for images; NAN = not known */
    bool has_top5;             /* TOP5_CLASSES or more */
    bool evaluated;
    double test_loss, top1_error, top5_error; /* NAN where that loss is not finite */
    double eta_seconds;        /* of all steps and tests that are left */
    double loss_scale;         /* for the next step; 0 = activations are not in f16 */
    uint64_t skipped;          /* steps so far whose gradients overflowed: they changed no parameter */
};

#endif
