/* A trained net put to use: its error on a dataset, or what it sees in pictures. Nothing is learned or written. */
#ifndef FATHOM_SCORE_H
#define FATHOM_SCORE_H

#include "train.h"

struct score {
    uint64_t images; /* that were looked at */
    double loss, top1_error, top5_error; /* the last NAN of fewer than TOP5_CLASSES classes */
};

/* The error over the test images of options->dataset, of as many as evaluate_images says. options->weights is a
 * checkpoint, or a folder's newest one, of a net of the plan's form; on which images it was trained does not matter.
 * ERROR_INPUT where the dataset has other classes or no test images, ERROR_FAILED where the loss is not finite. */
bool score_dataset(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                   struct score *score, struct error *err);

/* ERROR_FAILED where the loss is not finite. */
bool score_check(const struct score *score, struct error *err);

/* The probabilities of each class for each test image of options->dataset, in their order: images x classes. The middle of
 * a picture is looked at, as in a test, or options->crops of them, whose probabilities are averaged; they are decoded by
 * threads of their own. The plan has one device. A picture of which a crop cannot be decoded is noted in options->broken
 * and its left_out (images) set, and its probabilities mean nothing; where that is NULL, or no picture is left, it is
 * ERROR_INPUT, by its name. */
bool score_pictures(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                    float *probabilities, bool *left_out, struct error *err);

/* What the classifier reads of each picture's middle: images x score_feature_count(plan); NAN of one left out. */
uint32_t score_feature_count(const struct plan *plan);
bool score_features(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                    float *features, bool *left_out, struct error *err);

#endif
