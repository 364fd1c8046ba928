/* One plan of one engine: built, or made again of its text. */
#include "conv.h"

#include <string.h>

_Static_assert((int)CONV_NORMALIZED == (int)BESIDES_NORMALIZED && (int)CONV_RECTIFIED == (int)BESIDES_RECTIFIED &&
                   (int)CONV_ADDS == (int)BESIDES_ADDS && (int)CONV_SUMS == (int)BESIDES_SUMS &&
                   (int)CONV_GRADIENT_SUMS == (int)BESIDES_GRADIENT_SUMS && (int)CONV_SHUTS == (int)BESIDES_SHUTS &&
                   ENGINE_BIAS == (unsigned)BESIDES_BIAS,
               "a question's bits are those of cuDNN's graphs");

static cudnnDataType_t type_of(uint32_t dtype)
{
    return dtype == DTYPE_F16 ? CUDNN_DATA_HALF : dtype == DTYPE_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

struct convolution conv_describe(const struct engine_question *q)
{
    return (struct convolution){.pass = (enum convolution_pass)q->pass,
                                .type = type_of(q->dtype),
                                .weights = type_of(q->weights),
                                .besides = q->fused,
                                .images = q->images,
                                .height = q->height,
                                .width = q->width,
                                .channels = q->channels,
                                .filters = q->filters,
                                .kernel = {q->kernel[0], q->kernel[1]},
                                .stride = q->stride,
                                .padding = {q->padding[0], q->padding[1]}};
}

/* Whether it keeps to its limit, too. */
static bool take(struct conv_plan *plan, const struct found_engine *engine, bool made)
{
    int64_t bytes = made ? cudnn_plan_workspace(&plan->plan) : -1;
    if (bytes >= 0 && (uint64_t)bytes <= plan->limit_bytes) {
        plan->engine = *engine;
        return true;
    }
    cudnn_plan_finish(&plan->plan);
    return false;
}

bool conv_build(const struct cuda_convolutions *all, cudnnHandle_t handle, struct conv_plan *plan,
                const struct found_engine *engine)
{
    const struct convolution convolution = conv_describe(&plan->question);
    struct error unsaid = {0};
    bool made = cudnn_plan_build(&plan->plan, all->cudnn, (struct cudnn_target){.handle = handle}, &convolution,
                                 engine->id, engine->knobs, &unsaid);
    return take(plan, engine, made);
}

bool conv_load(struct cuda_convolutions *all, struct conv_plan *plan, const struct found_engine *engine,
               const char *text)
{
    struct error unsaid = {0};
    bool made = cudnn_plan_load(&plan->plan, all->cudnn, (struct cudnn_target){.handle = all->handle}, text,
                                strlen(text), &unsaid);
    return take(plan, engine, made);
}
