/* What cuDNN answers for one convolution on a device that is described to it. */
#ifndef FATHOM_CUDNN_ENGINES_H
#define FATHOM_CUDNN_ENGINES_H

#include "cudnn_library.h"

enum convolution_pass { PASS_OF_FORWARD, PASS_OF_DATA, PASS_OF_WEIGHTS };

struct convolution {
    enum convolution_pass pass;
    cudnnDataType_t type;
    int64_t images, height, width, channels, filters, kernel, stride, padding;
};

/* An engine with its knobs: what a trainer builds its plan from. */
struct found_engine {
    int64_t id, workspace_bytes;
    char notes[16]; /* of the letters of engines.h */
    char knobs[96]; /* "type=value,..." */
};

/* The device of all questions after it, from its JSON. ERROR_INPUT when cuDNN does not take it. */
bool cudnn_describe_device(const struct cudnn_library *cudnn, const char *json, cudnnBackendDescriptor_t *device,
                           struct error *err);

/* Engines in the order of heuristics, then of fallbacks, into engines[0, most); *count of them. None is no failure.
 * ERROR_FAILED with cuDNN's words. */
bool cudnn_find_engines(const struct cudnn_library *cudnn, cudnnBackendDescriptor_t device,
                        const struct convolution *convolution, struct found_engine *engines, size_t most, size_t *count,
                        struct error *err);

#endif
