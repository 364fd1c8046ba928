/* Plans whose training programs follow a given schedule, and schedules that offload at random. */
#ifndef FATHOM_OFFLOAD_KIT_H
#define FATHOM_OFFLOAD_KIT_H

#include <criterion/criterion.h>

#include "draft.h"
#include "keep.h"
#include "layout.h"
#include "mem.h"
#include "plan_request.h"
#include "program.h"
#include "variant.h"
#include "variant_request.h"

static inline uint64_t offload_evaluate_bytes(const struct plan_variant *variant)
{
    uint64_t top = 0;
    for (size_t t = 0; t < variant->evaluate.tensor_count; t++) {
        const struct plan_tensor *tensor = &variant->evaluate.tensors[t];
        uint64_t end = tensor->offset + layout_round(tensor->bytes);
        if (end > top) top = end;
    }
    return top;
}

static inline void offload_account(const struct variant_request *wanted, const struct plan_variant *variant,
                                   struct plan_device *device)
{
    device->peak_bytes = 0;
    memcpy(device->classes, variant->classes, sizeof device->classes);
    variant_outside(wanted, variant->graph, variant->train.op_count + variant->evaluate.op_count, variant->host_bytes,
                    device->classes);
    for (size_t c = 0; c < MEMORY_CLASSES; c++) device->peak_bytes += device->classes[c];
}

/* Replaces the training program of each variant; the workspaces are asked for as request says. */
static inline void offload_follow(struct plan *plan, const struct plan_request *request,
                                  const struct chain_schedule *schedule)
{
    struct error err = {0};
    plan->fits = true;
    plan->recompute = RECOMPUTE_BUDGET;
    plan->step_seconds = 0;
    for (uint32_t d = 0; d < plan->device_count; d++) {
        struct plan_device *device = &plan->devices[d];
        struct plan_variant *variant = &plan->variants[device->variant];
        struct variant_request wanted = {
            request, &device->spec, device->images, device->micro_batches, (uint32_t)plan->device_count, d == 0};
        struct draft draft = {0};
        struct place_result placed;
        uint64_t evaluate = offload_evaluate_bytes(variant);
        cr_assert(draft_train(&wanted, variant->graph, schedule, &draft, &err), "%s", err.text);
        cr_assert(layout_place(variant->graph, &draft.program, draft.home, request->sharing, 0, 0, &placed, &err));
        cr_assert(layout_place_host(&draft.program, request->sharing, &variant->host_bytes, &err), "%s", err.text);
        plan_program_finish(&variant->train);
        variant->train = draft.program;
        draft.program = (struct plan_program){0};
        variant->arena_bytes = placed.arena_bytes > evaluate ? placed.arena_bytes : evaluate;
        variant->lower_bound_bytes = placed.lower_bound_bytes;
        variant->peak_op = (uint32_t)placed.peak_instant;
        cr_assert(layout_classes(variant->graph, &variant->train, draft.home, variant->peak_op, variant->arena_bytes,
                                 variant->classes, &err));
        draft_finish(&draft);
        variant->searched = false;
        variant_count(variant);
        variant->compute_seconds = variant->extra_time_fraction = 0;
        offload_account(&wanted, variant, device);
        plan->fits &= device->peak_bytes <= device->spec.memory_bytes;
    }
}

/* Every block saved with what keep_of says of it. */
static inline struct chain_schedule offload_save_all(size_t blocks, uint32_t (*keep_of)(uint32_t block))
{
    struct chain_schedule schedule = {.count = 2 * blocks};
    schedule.steps = mem_alloc(MEM_PLAN, schedule.count, sizeof *schedule.steps);
    cr_assert(schedule.steps);
    for (uint32_t b = 0; b < blocks; b++) {
        uint32_t keep = keep_of(b);
        schedule.steps[b] = (struct chain_step){CHAIN_SAVE, b, keep & KEEP_MODE_MASK, keep};
        schedule.steps[2 * blocks - 1 - b] = (struct chain_step){CHAIN_BACKWARD, b, keep & KEEP_MODE_MASK, keep};
    }
    return schedule;
}

static inline uint32_t offload_keep_all(uint32_t block)
{
    (void)block;
    return KEEP_ALL | KEEP_ON_HOST;
}

/* All that every block keeps waits in host memory. */
static inline void offload_everything(struct plan *plan, const struct plan_request *request)
{
    struct chain_schedule schedule = offload_save_all(plan->variants[0].graph->block_count, offload_keep_all);
    offload_follow(plan, request, &schedule);
    chain_schedule_finish(&schedule);
}

/* A small generator, so that a failing case can be made again from its seed. */
static inline uint32_t offload_random(uint64_t *state, uint32_t below)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % below;
}

static inline void offload_step(struct chain_schedule *schedule, enum chain_step_kind kind, uint32_t block,
                                uint32_t keep)
{
    schedule->steps[schedule->count++] = (struct chain_step){kind, block, keep & KEEP_MODE_MASK, keep};
}

#define OFFLOAD_MOST_STEPS 20000

/* Blocks [first, last] with the first one's input there: as the chain's program reads its schedules out (chain.h), with
 * kept blocks under any of the flags, inputs made again where the block before is kept, and checkpoints sent to host
 * memory, at random. */
static inline void offload_random_part(struct chain_schedule *schedule, uint32_t first, uint32_t last, uint32_t flags,
                                       bool after_saved, uint64_t *state)
{
    if (first == last || offload_random(state, 3) > 0) {
        uint32_t keep = offload_random(state, KEEP_MODES);
        for (uint32_t flag = KEEP_ON_HOST; flag <= KEEP_LEAN; flag *= 2)
            if (flags & flag && offload_random(state, 2)) keep |= flag;
        bool remakes = after_saved && !(flags & KEEP_RECONSTRUCT) && !(keep & KEEP_ON_HOST);
        if (remakes && offload_random(state, 2)) keep |= KEEP_REMAKE_INPUT;
        if (keep & KEEP_RECONSTRUCT && (keep & KEEP_MODE_MASK) == KEEP_SOME) keep &= ~(uint32_t)KEEP_RECONSTRUCT;
        if ((keep & KEEP_MODE_MASK) == KEEP_SOME) keep |= KEEP_DROP(0) * offload_random(state, 1u << KEEP_MOST_DROPS);
        offload_step(schedule, CHAIN_SAVE, first, keep);
        if (first < last) offload_random_part(schedule, first + 1, last, flags, true, state);
        offload_step(schedule, CHAIN_BACKWARD, first, keep);
        return;
    }
    uint32_t middle = first + 1 + offload_random(state, last - first);
    bool leaves = first > 0 && flags & KEEP_ON_HOST && offload_random(state, 2);
    offload_step(schedule, CHAIN_CHECKPOINT, first, 0);
    if (leaves) offload_step(schedule, CHAIN_OFFLOAD, first, 0);
    for (uint32_t b = first + 1; b < middle; b++) offload_step(schedule, CHAIN_RUN, b, 0);
    offload_random_part(schedule, middle, last, flags, false, state);
    if (leaves) offload_step(schedule, CHAIN_FETCH, first, 0);
    offload_random_part(schedule, first, middle - 1, flags, false, state);
}

static inline struct chain_schedule offload_random_schedule(size_t blocks, uint32_t flags, uint64_t seed)
{
    struct chain_schedule schedule = {0};
    schedule.steps = mem_alloc(MEM_PLAN, OFFLOAD_MOST_STEPS, sizeof *schedule.steps);
    cr_assert(schedule.steps);
    offload_random_part(&schedule, 0, (uint32_t)blocks - 1, flags, false, &seed);
    return schedule;
}

#endif
