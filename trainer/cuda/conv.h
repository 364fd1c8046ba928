/* Convolutions by cuDNN: what the files conv*.c share.
 *
 * A convolution of the graph is a question (engine_question.h). Its engine is the first that the rules let and the plan's
 * workspace holds, in the order of cuDNN's heuristics; its plan is built once and shared by all ops that ask the same; an op
 * has arguments of its own. Plans are kept on disk. What has no engine is done by the device's own kernels. */
#ifndef FATHOM_CUDA_CONV_H
#define FATHOM_CUDA_CONV_H

#include "cuda_device.h"
#include "cudnn_plan.h"
#include "engines.h"

/* Of one question under a limit of workspace, on one device. */
struct conv_plan {
    struct engine_question question;
    uint64_t limit_bytes;
    bool there; /* false: no engine */
    struct found_engine engine;
    struct cudnn_plan plan;
};

struct cuda_convolutions {
    struct device *device;
    const struct cudnn_library *cudnn;
    cudnnHandle_t handle;
    cudaStream_t stream; /* the handle's */
    struct conv_plan **plans;
    size_t count, capacity;
    uint64_t device_hash; /* what tells plans of this device from others' */
    char folder[FILES_PATH]; /* of plans; "" = none */
    struct engine_book book; /* the planner's answers for this very GPU, of one batch and type; without a device: none */
    struct engine_question book_of;
    uint64_t naive; /* convolutions for which there is no engine */
    char why_naive[256]; /* the first of them */
};

/* The plan for a question with at most so much workspace; *found is NULL where no engine can be had. ERROR_MEMORY. */
bool conv_plan_find(struct cuda_convolutions *all, const struct engine_question *question, uint64_t limit_bytes,
                    const struct conv_plan **found, struct error *err);
/* As cuDNN's graphs have it. */
struct convolution conv_describe(const struct engine_question *question);

/* What the planner was answered about a question on this GPU and kept, into engines[0, most); how many, 0 where it was not
 * asked. */
size_t conv_book_find(struct cuda_convolutions *all, const struct engine_question *question,
                      struct found_engine *engines, size_t most);

/* ---- On disk (conv_cache.c): whatever is wrong there, a plan is built anew ---- */

/* The folder, and what its files are told apart by. */
void conv_cache_begin(struct cuda_convolutions *all);
/* Fills plan->engine and plan->plan of a plan whose question and limit are set. False: it is not there. */
bool conv_cache_load(struct cuda_convolutions *all, struct conv_plan *plan);
void conv_cache_save(const struct cuda_convolutions *all, const struct conv_plan *plan);
/* Engines that failed when they ran, on this device: not taken again. */
bool conv_cache_avoids(const struct cuda_convolutions *all, const struct engine_question *question,
                       const struct found_engine *engine);
void conv_cache_avoid(const struct cuda_convolutions *all, const struct conv_plan *plan);

#endif
