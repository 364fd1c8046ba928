/* What cuDNN answers for one convolution on a device, be it described or there. */
#ifndef FATHOM_CUDNN_ENGINES_H
#define FATHOM_CUDNN_ENGINES_H

#include "cudnn_graph.h"

/* Who is asked: one of the two. */
struct cudnn_target {
    cudnnBackendDescriptor_t device; /* a description */
    cudnnHandle_t handle;            /* of a device that is there */
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
bool cudnn_find_engines(const struct cudnn_library *cudnn, struct cudnn_target target,
                        const struct convolution *convolution, struct found_engine *engines, size_t most, size_t *count,
                        struct error *err);

#endif
