/* From a question to a plan that runs. */
#include "conv.h"

#include <string.h>

#include "mem.h"

#define MOST_ENGINES 128

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
                                .kernel = q->kernel,
                                .stride = q->stride,
                                .padding = q->padding};
}

/* ---- Choosing ---- */

static bool notes(const struct found_engine *engine, char letter) { return strchr(engine->notes, letter) != NULL; }

static bool is_allowed(const struct cuda_convolutions *all, const struct conv_plan *plan,
                       const struct found_engine *engine)
{
    const struct device_options *options = &all->device->options;
    if ((uint64_t)engine->workspace_bytes > plan->limit_bytes) return false;
    if (options->deterministic && notes(engine, 'n')) return false;
    if (plan->question.dtype == DTYPE_F32 && !options->tf32 && (notes(engine, 'T') || notes(engine, 'D'))) return false;
    return !conv_cache_avoids(all, &plan->question, engine);
}

static bool build(struct cuda_convolutions *all, struct conv_plan *plan, const struct found_engine *engine)
{
    const struct cudnn_target target = {.handle = all->handle};
    const struct convolution convolution = conv_describe(&plan->question);
    struct error unsaid = {0};
    if (cudnn_plan_build(&plan->plan, all->cudnn, target, &convolution, engine->id, engine->knobs, &unsaid) &&
        cudnn_plan_workspace(&plan->plan) <= (int64_t)plan->limit_bytes) {
        plan->engine = *engine;
        return true;
    }
    cudnn_plan_finish(&plan->plan);
    return false;
}

static void take_first(struct cuda_convolutions *all, struct conv_plan *plan, const struct found_engine *engines,
                       size_t count)
{
    for (size_t i = 0; i < count && !plan->there; i++)
        plan->there = is_allowed(all, plan, &engines[i]) && build(all, plan, &engines[i]);
}

/* The first engine that may be taken and can be built: of the planner's answers, else of cuDNN's here. */
static bool choose(struct cuda_convolutions *all, struct conv_plan *plan, struct error *err)
{
    const struct cudnn_target target = {.handle = all->handle};
    const struct convolution convolution = conv_describe(&plan->question);
    struct error unsaid = {0};
    size_t count = 0;
    struct found_engine *engines = mem_alloc(MEM_KERNEL, MOST_ENGINES, sizeof *engines);
    if (!engines) return error_memory(err, MOST_ENGINES * sizeof *engines, "engines");
    take_first(all, plan, engines, conv_book_find(all, &plan->question, engines, MOST_ENGINES));
    if (!plan->there && cudnn_find_engines(all->cudnn, target, &convolution, engines, MOST_ENGINES, &count, &unsaid))
        take_first(all, plan, engines, count);
    mem_free(engines);
    if (plan->there) conv_cache_save(all, plan);
    return true;
}

/* ---- All of them ---- */

static struct conv_plan *find(const struct cuda_convolutions *all, const struct engine_question *question,
                              uint64_t limit_bytes)
{
    for (size_t i = 0; i < all->count; i++)
        if (all->plans[i]->limit_bytes == limit_bytes && engine_question_same(&all->plans[i]->question, question))
            return all->plans[i];
    return NULL;
}

static struct conv_plan *add(struct cuda_convolutions *all, const struct engine_question *question,
                             uint64_t limit_bytes, struct error *err)
{
    struct conv_plan *plan = mem_zalloc(MEM_KERNEL, 1, sizeof *plan);
    if (!plan || !mem_grow(MEM_KERNEL, (void **)&all->plans, &all->capacity, all->count + 1, sizeof *all->plans)) {
        mem_free(plan);
        error_memory(err, sizeof *plan, "a convolution's plan");
        return NULL;
    }
    plan->question = *question;
    plan->limit_bytes = limit_bytes;
    all->plans[all->count++] = plan;
    return plan;
}

bool conv_plan_find(struct cuda_convolutions *all, const struct engine_question *question, uint64_t limit_bytes,
                    const struct conv_plan **found, struct error *err)
{
    struct conv_plan *plan = find(all, question, limit_bytes);
    *found = NULL;
    if (!plan) {
        plan = add(all, question, limit_bytes, err);
        if (!plan) return false;
        plan->there = conv_cache_load(all, plan);
        TRY(plan->there || choose(all, plan, err));
    }
    if (plan->there) *found = plan;
    return true;
}
