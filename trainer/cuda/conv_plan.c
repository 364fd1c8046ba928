/* From a question to a plan that runs: which engine, and one plan for all that ask the same. */
#include "conv.h"

#include <string.h>

#include "mem.h"

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

static size_t find_here(const struct cuda_convolutions *all, cudnnHandle_t handle, const struct conv_plan *plan,
                        struct conv_candidate *found, bool *none)
{
    const struct convolution convolution = conv_describe(&plan->question);
    struct error unsaid = {0};
    size_t count = 0;
    struct found_engine *engines = mem_alloc(MEM_KERNEL, CONV_MOST_CANDIDATES, sizeof *engines);
    *none = *none && engines;
    if (!engines) return 0;
    if (!cudnn_find_engines(all->cudnn, (struct cudnn_target){.handle = handle}, &convolution, engines,
                            CONV_MOST_CANDIDATES, &count, &unsaid))
        count = 0, *none = false;
    for (size_t i = 0; i < count; i++) found[i] = (struct conv_candidate){.engine = engines[i]};
    mem_free(engines);
    return count;
}

size_t conv_candidates(const struct cuda_convolutions *all, cudnnHandle_t handle, const struct conv_plan *plan,
                       enum conv_source source, struct conv_candidate *found, bool *none)
{
    size_t kept = 0, count = source == CONV_PLANNED ? conv_book_find(all, &plan->question, found)
                                                    : find_here(all, handle, plan, found, none);
    *none = *none && count == 0;
    for (size_t i = 0; i < count; i++)
        if (is_allowed(all, plan, &found[i].engine)) found[kept++] = found[i];
    return kept;
}

/* ---- Building ---- */

bool conv_build_first(const struct cuda_convolutions *all, cudnnHandle_t handle, struct conv_plan *plan,
                      struct conv_candidate *room)
{
    bool none = true;
    for (enum conv_source source = CONV_PLANNED; source < CONV_SOURCES; source++) {
        size_t count = conv_candidates(all, handle, plan, source, room, &none);
        for (size_t i = 0; i < count; i++)
            if (conv_build(all, handle, plan, &room[i].engine)) return true;
    }
    return false;
}

/* Where nobody foresaw it. */
static bool build_now(struct cuda_convolutions *all, struct conv_plan *plan, struct error *err)
{
    struct conv_candidate *room = mem_alloc(MEM_KERNEL, CONV_MOST_CANDIDATES, sizeof *room);
    if (!room) return error_memory(err, CONV_MOST_CANDIDATES * sizeof *room, "engines");
    conv_book_open(all, &plan->question);
    plan->there = conv_build_first(all, all->handle, plan, room);
    mem_free(room);
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

struct conv_plan *conv_plan_entry(struct cuda_convolutions *all, const struct engine_question *question,
                                  uint64_t limit_bytes, struct error *err)
{
    struct conv_plan *plan = find(all, question, limit_bytes);
    if (plan) return plan;
    plan = mem_zalloc(MEM_KERNEL, 1, sizeof *plan);
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
    struct conv_plan *plan = conv_plan_entry(all, question, limit_bytes, err);
    *found = NULL;
    if (!plan) return false;
    if (!plan->tried && !conv_cache_load(all, plan)) TRY(build_now(all, plan, err));
    plan->tried = true;
    if (plan->there) *found = plan;
    return true;
}

/* ---- Another one ---- */

/* As a plan that answers no question. */
static bool retire(struct cuda_convolutions *all, struct conv_plan *plan)
{
    struct conv_plan *retired = mem_zalloc(MEM_KERNEL, 1, sizeof *retired);
    if (!retired || !mem_grow(MEM_KERNEL, (void **)&all->plans, &all->capacity, all->count + 1, sizeof *all->plans)) {
        mem_free(retired);
        return false;
    }
    *retired = (struct conv_plan){.tried = true, .there = true, .plan = plan->plan};
    all->plans[all->count++] = retired;
    plan->plan = (struct cudnn_plan){0};
    plan->there = false;
    return true;
}

void conv_plan_spoil(struct cuda_convolutions *all, const struct conv_plan *failed)
{
    if (all->device->has_peers) conv_cache_avoid(all, failed); /* the run ends, for the next one */
    find(all, &failed->question, failed->limit_bytes)->unrecorded = true;
}

void conv_plan_give_up(struct cuda_convolutions *all, const struct conv_plan *failed)
{
    struct conv_plan *plan = find(all, &failed->question, failed->limit_bytes);
    conv_cache_avoid(all, plan);
    retire(all, plan);
    plan->there = plan->unrecorded = false;
}

bool conv_plan_replace(struct cuda_convolutions *all, const struct conv_plan *failed)
{
    struct conv_plan *plan = find(all, &failed->question, failed->limit_bytes);
    struct conv_candidate *room = mem_alloc(MEM_KERNEL, CONV_MOST_CANDIDATES, sizeof *room);
    conv_cache_avoid(all, plan);
    plan->unrecorded = false;
    const bool built = room && retire(all, plan) && conv_build_first(all, all->handle, plan, room);
    mem_free(room);
    if (!built) return false;
    plan->there = true;
    plan->best_ns = plan->first_ns = 0;
    conv_cache_save(all, plan);
    return true;
}
