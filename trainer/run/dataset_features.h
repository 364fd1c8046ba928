/* What a net's classifier reads of every image of a dataset, as files for other programs. */
#ifndef FATHOM_DATASET_FEATURES_H
#define FATHOM_DATASET_FEATURES_H

#include "score.h"

#define FEATURES_PATH 4096

/* Beside an array's path, "features.npy": "features.labels.npy". ERROR_INPUT where it is too long. */
bool features_labels_path(const char *output, char path[FEATURES_PATH], struct error *err);

/* Of the training images of options->dataset, or of its test images, in their order: output gets an array of images x
 * score_feature_count(plan) float32; the labels' path an array of int32; output.txt a line for each with where it is
 * (dataset_image_name). An image that cannot be decoded has a row of NaN and the label -1, and is noted in options->broken;
 * without that it is a failure. Images are written as they are seen, a batch at a time. All files are there at the end, or, after
 * a failure or a stop, none. */
bool score_dataset_features(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                            bool train, const char *output, struct error *err);

#endif
