#include "variant.h"

#include <inttypes.h>
#include <stdio.h>

#include "invertible.h"
#include "keep.h"
#include "layout.h"
#include "mem.h"
#include "plan_request.h"
#include "program.h"
#include "schedule.h"
#include "units.h"
#include "variant_private.h"
#include "variant_request.h"

/* The host's copies of the images and labels of one step; and what decodes them. One loader serves all devices of a
 * process.
 */
static uint64_t loader_bytes_of(const struct plan_request *plan, const struct graph *graph)
{
    return PLAN_LOADER_BATCHES * plan->batch * graph_loaded_bytes(graph) + plan_request_decode_bytes(plan);
}

/* A run's parameters pass through one buffer on their way to and from files, as large as the largest. */
static uint64_t staging_bytes(const struct graph *graph)
{
    uint64_t most = 0;
    for (size_t i = 0; i < graph->parameter_count; i++) {
        uint64_t bytes = graph->tensors[graph->parameters[i]].bytes;
        if (bytes > most) most = bytes;
    }
    return most;
}

void variant_outside(const struct variant_request *request, const struct graph *graph, size_t ops, uint64_t host_bytes,
                     uint64_t classes[MEMORY_CLASSES])
{
    const struct device_spec *device = request->device;
    classes[MEMORY_COMMUNICATION] = request->devices > 1 ? device->comm_bytes : 0;
    classes[MEMORY_CONTEXT] = device->context_bytes + device->op_bytes * ops;
    if (device->kernel_bytes > 0) classes[MEMORY_CONTEXT] += device->kernel_bytes * graph_convolution_shapes(graph);
    if (device->kind == DEVICE_CPU) classes[MEMORY_KEPT] += host_bytes;
    if (device->kind != DEVICE_CPU || !request->first) return;
    classes[MEMORY_INPUT] += loader_bytes_of(request->plan, graph);
    classes[MEMORY_CONTEXT] += staging_bytes(graph);
}

uint64_t making_arena_limit(const struct making *making, size_t train_ops, uint64_t host_bytes)
{
    const struct plan_request *plan = making->request->plan;
    uint64_t classes[MEMORY_CLASSES] = {0}, left = device_usable_bytes(making->request->device);
    variant_outside(making->request, making->variant->graph, train_ops + making->variant->evaluate.op_count, host_bytes,
                    classes);
    for (size_t c = 0; c < MEMORY_CLASSES; c++) left = classes[c] < left ? left - classes[c] : 0;
    uint64_t budget = plan->recompute == RECOMPUTE_BUDGET ? plan->recompute_budget_bytes : 0;
    return budget > 0 && budget < left ? budget : left;
}

static bool place_draft(const struct making *making, struct draft *draft, uint64_t enough_bytes,
                        struct place_result *placed, struct error *err)
{
    const struct plan_request *plan = making->request->plan;
    return layout_place(making->variant->graph, &draft->program, draft->home, plan->sharing, enough_bytes,
                        plan->search_seconds, placed, err);
}

static bool make_evaluate(struct making *making, struct error *err)
{
    struct draft draft = {0};
    struct place_result placed;
    bool ok = draft_evaluate(making->request, making->variant->graph, &draft, err) &&
              place_draft(making, &draft, 0, &placed, err);
    if (ok) {
        making->variant->evaluate = draft.program;
        making->evaluate_bytes = placed.arena_bytes;
        draft.program = (struct plan_program){0};
    }
    draft_finish(&draft);
    return ok;
}

void variant_count(struct plan_variant *variant)
{
    double first = 0, again = 0;
    variant->proved_optimal = variant->searched || variant->arena_bytes == variant->lower_bound_bytes;
    variant->recomputed_convolutions = 0;
    for (size_t i = 0; i < variant->train.body_count; i++) {
        const struct plan_op *op = &variant->train.ops[i];
        const struct op *graph_op = &variant->graph->ops[op->op];
        if (plan_op_repeats(op)) again += (double)graph_op->flops;
        if (op->pass == PASS_FORWARD || op->pass == PASS_BACKWARD) first += (double)graph_op->flops;
        variant->recomputed_convolutions += op->pass == PASS_RECOMPUTE && graph_op->kind == OP_CONV;
    }
    variant->extra_flops_fraction = first > 0 ? again / first : 0;
}

static enum recompute_policy policy_of(const struct chain_schedule *schedule)
{
    enum recompute_policy policy = RECOMPUTE_NONE;
    for (size_t i = 0; i < schedule->count; i++) {
        const struct chain_step *step = &schedule->steps[i];
        bool some = (step->keep & KEEP_MODE_MASK) == KEEP_SOME || step->keep & KEEP_REMAKE_INPUT;
        if (step->kind == CHAIN_RUN || step->kind == CHAIN_CHECKPOINT || some) return RECOMPUTE_BUDGET;
        bool again = (step->keep & KEEP_MODE_MASK) == KEEP_CONVOLUTIONS || step->keep & KEEP_RECONSTRUCT;
        if (again) policy = RECOMPUTE_ELEMENTWISE;
    }
    return policy;
}

bool making_host_fits(const struct making *making, const struct candidate *candidate)
{
    return candidate->host_bytes <= making->request->plan->offload_bytes;
}

bool making_try(const struct making *making, const struct chain_schedule *schedule, bool in_any_case,
                struct candidate *candidate, bool *fits, struct error *err)
{
    const struct graph *graph = making->variant->graph;
    const struct plan_request *plan = making->request->plan;
    struct draft *draft = &candidate->draft;
    uint64_t bound = 0;
    *fits = false;
    TRY(draft_train(making->request, graph, schedule, draft, err));
    TRY(layout_bound(graph, &draft->program, draft->home, &bound, err));
    TRY(layout_place_host(&draft->program, plan->sharing, &candidate->host_bytes, err));
    uint64_t limit = making_arena_limit(making, draft->program.op_count, candidate->host_bytes);
    candidate->arena_bytes = bound;
    candidate->limit_bytes = limit;
    candidate->policy = policy_of(schedule);
    candidate->chain_seconds = schedule->seconds;
    if (bound > limit && !in_any_case) {
        draft_finish(draft);
        return true;
    }
    candidate->enough_bytes = plan->search_seconds > 0 ? 0 : limit;
    TRY(place_draft(making, draft, candidate->enough_bytes, &candidate->placed, err));
    candidate->arena_bytes = candidate->placed.arena_bytes;
    *fits = candidate->arena_bytes <= limit && making->evaluate_bytes <= limit;
    return true;
}

bool making_place_finally(const struct making *making, struct candidate *candidate, struct error *err)
{
    const struct place_result *placed = &candidate->placed;
    if (placed->arena_bytes > candidate->enough_bytes || placed->arena_bytes == placed->lower_bound_bytes) return true;
    candidate->enough_bytes = 0;
    TRY(place_draft(making, &candidate->draft, 0, &candidate->placed, err));
    candidate->arena_bytes = placed->arena_bytes;
    return true;
}

/* Takes the candidate's program as the variant's. */
static bool adopt(const struct making *making, struct candidate *candidate, struct error *err)
{
    struct plan_variant *variant = making->variant;
    const struct place_result *placed = &candidate->placed;
    TRY(making_place_finally(making, candidate, err));
    bool train_is_larger = placed->arena_bytes >= making->evaluate_bytes;
    plan_program_finish(&variant->train);
    variant->train = candidate->draft.program;
    candidate->draft.program = (struct plan_program){0};
    variant->arena_bytes = train_is_larger ? placed->arena_bytes : making->evaluate_bytes;
    layout_place_apart(variant->graph, &variant->train, variant->arena_bytes);
    layout_place_apart(variant->graph, &variant->evaluate, variant->arena_bytes);
    variant->host_bytes = candidate->host_bytes;
    variant->lower_bound_bytes = placed->lower_bound_bytes;
    variant->peak_op = (uint32_t)placed->peak_instant;
    variant->spare_seconds = candidate->bound_seconds > 0 ? candidate->chain_seconds - candidate->bound_seconds : -1;
    variant->chain_seconds = candidate->chain_seconds;
    variant->chain_limit = candidate->chain_limit;
    variant->searched = placed->proved_optimal && train_is_larger;
    variant_count(variant);
    return layout_classes(variant->graph, &variant->train, candidate->draft.home, variant->peak_op,
                          variant->arena_bytes, variant->classes, err);
}

/* Every block kept alike. */
static bool try_uniform(const struct making *making, uint32_t keep, bool in_any_case, struct candidate *candidate,
                        bool *fits, struct error *err)
{
    struct chain_schedule schedule;
    TRY(schedule_uniform(making->variant->graph, keep, &schedule, err));
    bool ok = making_try(making, &schedule, in_any_case, candidate, fits, err);
    chain_schedule_finish(&schedule);
    return ok;
}

/* A budget that is wanted has to be kept; that the device has too little memory is the plan's to say. */
static bool check_budget(const struct making *making, struct error *err)
{
    const struct plan_request *plan = making->request->plan;
    const struct plan_variant *variant = making->variant;
    if (plan->recompute != RECOMPUTE_BUDGET || plan->recompute_budget_bytes == 0 ||
        variant->arena_bytes <= plan->recompute_budget_bytes)
        return true;
    char budget[UNITS_TEXT], least[UNITS_TEXT], exact[40] = "", again[64] = "";
    double percent = 100 * variant->extra_flops_fraction;
    if (percent >= 0.05) snprintf(again, sizeof again, ", with %.1f %% more computation", percent);
    if (plan->recompute_budget_bytes >= 1024)
        snprintf(exact, sizeof exact, " (%" PRIu64 " bytes)", plan->recompute_budget_bytes);
    return error_set(err, ERROR_UNFIT, "--budget: found %s%s; the least arena found for %s has %s (%" PRIu64 ")%s",
                     units_format_bytes(plan->recompute_budget_bytes, budget), exact, plan->spec.name,
                     units_format_bytes(variant->arena_bytes, least), variant->arena_bytes, again);
}

/* Under a policy that says how blocks are kept, some may still wait in host memory. */
static bool keep_alike(const struct making *making, enum keep_mode mode, struct candidate *best, bool *fits,
                       struct error *err)
{
    const struct plan_request *plan = making->request->plan;
    uint32_t reconstruct = mode == KEEP_CONVOLUTIONS && plan->reconstruct ? KEEP_RECONSTRUCT : 0;
    TRY(try_uniform(making, mode | reconstruct, !making->request->plan->only_if_fits, best, fits, err));
    return *fits || plan->offload_bytes == 0 || variant_spread(making, mode, best, fits, err);
}

/* Keeping everything costs no time; otherwise the fastest of all ways is sought. */
static bool find_fastest(const struct making *making, struct candidate *best, bool *fits, struct error *err)
{
    TRY(try_uniform(making, KEEP_ALL, false, best, fits, err));
    if (*fits) return true;
    candidate_finish(best);
    if (making->request->plan->only_if_fits && making->evaluate_bytes > making_arena_limit(making, 0, 0)) {
        best->arena_bytes = making->evaluate_bytes;
        return true;
    }
    TRY(variant_search(making, best, fits, err));
    if (making->request->plan->offload_bytes == 0) return true;
    return variant_spread(making, KEEP_ALL, best, fits, err) &&
           variant_spread(making, KEEP_CONVOLUTIONS, best, fits, err);
}

static bool find_best(const struct making *making, struct candidate *best, bool *fits, struct error *err)
{
    switch (making->request->plan->recompute) {
    case RECOMPUTE_NONE: return keep_alike(making, KEEP_ALL, best, fits, err);
    case RECOMPUTE_ELEMENTWISE: return keep_alike(making, KEEP_CONVOLUTIONS, best, fits, err);
    case RECOMPUTE_AUTO:
    case RECOMPUTE_BUDGET: break;
    }
    return find_fastest(making, best, fits, err);
}

static bool choose(const struct making *making, enum recompute_policy *policy, struct error *err)
{
    enum recompute_policy wanted = making->request->plan->recompute;
    struct candidate best = {0};
    bool fits = false;
    bool ok = find_best(making, &best, &fits, err);
    *policy = wanted == RECOMPUTE_AUTO ? best.policy : wanted;
    bool taken = fits || !making->request->plan->only_if_fits;
    if (!taken) making->variant->arena_bytes = best.arena_bytes;
    if (ok && !taken)
        ok = error_set(err, ERROR_UNFIT, "no way to keep its blocks makes %s fit", making->request->plan->spec.name);
    if (ok) ok = adopt(making, &best, err);
    candidate_finish(&best);
    return ok && (fits || check_budget(making, err));
}

#define SEVERAL_BUCKET_BYTES (25u << 20) /* of gradients, where several devices add them up */

static bool build_graph(const struct variant_request *request, struct plan_variant *variant, struct error *err)
{
    const struct plan_request *plan = request->plan;
    const bool several = request->devices > 1;
    struct graph_options options = plan_request_graph(plan);
    options.batch = request->images / request->micro_batches;
    options.micro_batches = request->micro_batches;
    options.all_reduce = several;
    options.reduce_dtype = several ? plan->reduce_dtype : DTYPE_F32;
    options.reduce_apart = several && plan->reduce_apart;
    options.sync_bn = plan->sync_bn;
    options.bn_group = plan->bn_group;
    options.lowering = plan_request_lowering(plan, request->micro_batches);
    if (several && options.bucket_bytes == 0) options.bucket_bytes = SEVERAL_BUCKET_BYTES;
    variant->graph = graph_build(&plan->spec, &options, err);
    if (!variant->graph) return false;
    variant->graph_hash = graph_hash(variant->graph);
    return true;
}

static bool check_reconstruct(const struct variant_request *request, const struct graph *graph, struct error *err)
{
    if (!request->plan->reconstruct || invertible_count(graph) > 0) return true;
    return error_set(err, ERROR_INPUT,
                     "reconstruct: no block of %s ends in the sum of its input and a branch, so none can be turned "
                     "round; blocks of pre-activation units with identity shortcuts do (--unit preact)",
                     graph->spec.name);
}

bool variant_make(const struct variant_request *request, struct plan_variant *variant, enum recompute_policy *policy,
                  struct error *err)
{
    struct making making = {.request = request, .variant = variant};
    *variant = (struct plan_variant){0};
    return build_graph(request, variant, err) && check_reconstruct(request, variant->graph, err) &&
           make_evaluate(&making, err) && choose(&making, policy, err);
}
