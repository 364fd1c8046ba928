#include "variant.h"

#include <inttypes.h>
#include <math.h>

#include "blocks.h"
#include "draft.h"
#include "invertible.h"
#include "layout.h"
#include "mem.h"
#include "program.h"
#include "schedule.h"
#include "timeline.h"

/* Batches that the loader keeps ready, and the one in use (data.h). */
#define LOADER_BATCHES 3u

void variant_finish(struct plan_variant *variant)
{
    plan_program_finish(&variant->train);
    plan_program_finish(&variant->evaluate);
    graph_destroy(variant->graph);
    *variant = (struct plan_variant){0};
}

/* The host's copies of the images and labels of one step: pixels as floats, labels as 32-bit integers. One loader
 * serves all devices of a process. */
static uint64_t loader_bytes_of(const struct plan_request *plan)
{
    uint64_t pixels = (uint64_t)plan->spec.image_size * plan->spec.image_size * 3;
    return LOADER_BATCHES * plan->batch * (pixels * sizeof(float) + sizeof(int32_t));
}

void variant_outside(const struct variant_request *request, size_t ops, uint64_t host_bytes,
                     uint64_t classes[MEMORY_CLASSES])
{
    const struct device_spec *device = request->device;
    classes[MEMORY_COMMUNICATION] = request->devices > 1 ? device->comm_bytes : 0;
    classes[MEMORY_CONTEXT] = device->context_bytes + device->op_bytes * ops;
    classes[MEMORY_RESERVE] = device->reserve_bytes;
    if (device->kind == DEVICE_CPU) classes[MEMORY_KEPT] += host_bytes;
    if (device->kind == DEVICE_CPU && request->first) classes[MEMORY_INPUT] += loader_bytes_of(request->plan);
}

/* A variant in the making. */
struct making {
    const struct variant_request *request;
    struct plan_variant *variant;
    uint64_t evaluate_bytes; /* of arena, for the evaluation program */
    double faster_than;      /* schedules that take so long are not adopted; 0 = any */
};

/* What the arena may take beside what lies outside it: the policy's budget, and what the device has left. */
static uint64_t arena_limit(const struct making *making, size_t train_ops, uint64_t host_bytes)
{
    const struct plan_request *plan = making->request->plan;
    uint64_t classes[MEMORY_CLASSES] = {0}, left = making->request->device->memory_bytes;
    variant_outside(making->request, train_ops + making->variant->evaluate.op_count, host_bytes, classes);
    for (size_t c = 0; c < MEMORY_CLASSES; c++) left = classes[c] < left ? left - classes[c] : 0;
    uint64_t budget = plan->recompute == RECOMPUTE_BUDGET ? plan->recompute_budget_bytes : 0;
    return budget > 0 && budget < left ? budget : left;
}

static bool place_draft(const struct making *making, struct draft *draft, struct place_result *placed,
                        struct error *err)
{
    const struct plan_request *plan = making->request->plan;
    return layout_place(making->variant->graph, &draft->program, draft->home, plan->sharing, plan->search_seconds,
                        placed, err);
}

static bool make_evaluate(struct making *making, struct error *err)
{
    struct draft draft = {0};
    struct place_result placed;
    bool ok = draft_evaluate(making->request, making->variant->graph, &draft, err) &&
              place_draft(making, &draft, &placed, err);
    if (ok) {
        making->variant->evaluate = draft.program;
        making->evaluate_bytes = placed.arena_bytes;
        draft.program = (struct plan_program){0};
    }
    draft_finish(&draft);
    return ok;
}

/* What recomputation costs, from the graph's counts. */
static void count_recomputed(struct plan_variant *variant)
{
    double first = 0, again = 0;
    variant->recomputed_convolutions = 0;
    for (size_t i = 0; i < variant->train.body_count; i++) {
        const struct plan_op *made = &variant->train.ops[i];
        const struct op *op = &variant->graph->ops[made->op];
        if (plan_op_copies(made)) continue;
        *(plan_op_repeats(made) ? &again : &first) += (double)op->flops;
        variant->recomputed_convolutions += made->pass == PASS_RECOMPUTE && op->kind == OP_CONV;
    }
    variant->extra_flops_fraction = first > 0 ? again / first : 0;
}

/* Takes the draft's program as the variant's. */
static bool adopt(const struct making *making, struct draft *draft, const struct place_result *placed,
                  uint64_t host_bytes, struct error *err)
{
    struct plan_variant *variant = making->variant;
    bool train_is_larger = placed->arena_bytes >= making->evaluate_bytes;
    plan_program_finish(&variant->train);
    variant->train = draft->program;
    draft->program = (struct plan_program){0};
    variant->arena_bytes = train_is_larger ? placed->arena_bytes : making->evaluate_bytes;
    variant->host_bytes = host_bytes;
    variant->lower_bound_bytes = placed->lower_bound_bytes;
    variant->peak_op = (uint32_t)placed->peak_instant;
    variant->proved_optimal = placed->proved_optimal && train_is_larger;
    count_recomputed(variant);
    return layout_classes(variant->graph, &variant->train, draft->home, variant->peak_op, variant->arena_bytes,
                          variant->classes, err);
}

/* How a schedule turned out. */
struct trial {
    uint64_t arena_bytes; /* or its bound, when that alone is over the limit */
    uint64_t limit_bytes;
    uint64_t host_bytes;
    bool fits;
    double seconds; /* predicted, where faster_than is asked for and it fits */
};

static bool predict(const struct making *making, const struct plan_program *program, double *seconds, struct error *err)
{
    const struct device_spec *device = making->request->device;
    const struct plan_request *plan = making->request->plan;
    struct cost_speed speed = cost_speed_of(device, plan->dtype, plan->measured);
    struct timeline_request request = {
        .graph = making->variant->graph, .program = program, .speed = &speed, .host_bandwidth = device->host_bandwidth};
    struct timeline times;
    TRY(timeline_make(&request, &times, err));
    *seconds = times.body * making->request->micro_batches + times.rest;
    return true;
}

static bool is_wanted(const struct making *making, bool in_any_case, const struct trial *trial)
{
    return in_any_case || (trial->fits && (making->faster_than == 0 || trial->seconds < making->faster_than));
}

/* Drafts and places a schedule, and adopts it if it is within the limit, or in any case. */
static bool try_schedule(const struct making *making, const struct chain_schedule *schedule, bool in_any_case,
                         struct trial *trial, struct error *err)
{
    const struct graph *graph = making->variant->graph;
    struct draft draft = {0};
    struct place_result placed;
    uint64_t bound = 0, host = 0;
    bool ok = draft_train(making->request, graph, schedule, &draft, err) &&
              layout_bound(graph, &draft.program, draft.home, &bound, err) &&
              layout_place_host(&draft.program, making->request->plan->sharing, &host, err);
    *trial = (struct trial){
        .arena_bytes = bound, .limit_bytes = arena_limit(making, draft.program.op_count, host), .host_bytes = host};
    if (ok && (in_any_case || bound <= trial->limit_bytes)) {
        ok = place_draft(making, &draft, &placed, err);
        if (ok) trial->arena_bytes = placed.arena_bytes;
        trial->fits = trial->arena_bytes <= trial->limit_bytes && host <= making->request->plan->offload_bytes;
        if (ok && trial->fits && making->faster_than > 0) ok = predict(making, &draft.program, &trial->seconds, err);
        if (ok && is_wanted(making, in_any_case, trial)) ok = adopt(making, &draft, &placed, host, err);
    }
    draft_finish(&draft);
    return ok;
}

static bool try_uniform(const struct making *making, uint32_t keep, bool in_any_case, struct trial *trial,
                        struct error *err)
{
    struct chain_schedule schedule;
    TRY(schedule_uniform(making->variant->graph, keep, &schedule, err));
    bool ok = try_schedule(making, &schedule, in_any_case, trial, err);
    chain_schedule_finish(&schedule);
    return ok;
}

/* Every block redoes its BN-ReLU and memory is left: some blocks need not. What is adopted already stays when the
 * attempt turns out too large. */
static bool use_slack(const struct making *making, const struct trial *uniform, struct error *err)
{
    struct blocks blocks;
    struct chain_schedule schedule = {0};
    struct trial trial;
    uint64_t slack = uniform->limit_bytes - uniform->arena_bytes;
    bool ok = blocks_measure(making->request, making->variant->graph, &blocks, err) &&
              schedule_mixed(&blocks.chain, slack / blocks.quantum_bytes, &schedule, err) &&
              try_schedule(making, &schedule, false, &trial, err);
    chain_schedule_finish(&schedule);
    blocks_finish(&blocks);
    return ok;
}

/* --- Under a budget ------------------------------------------------------------------------------------------------
 */

/* *quanta comes down to what the schedule uses: it is the same for every limit in between. */
static bool try_quanta(const struct making *making, const struct blocks *blocks, uint64_t *quanta, bool in_any_case,
                       struct trial *trial, struct error *err)
{
    struct chain_schedule schedule;
    TRY(chain_solve(&blocks->chain, *quanta, 0, &schedule, err));
    if (schedule.peak_quanta < *quanta) *quanta = schedule.peak_quanta;
    bool ok = try_schedule(making, &schedule, in_any_case, trial, err);
    chain_schedule_finish(&schedule);
    return ok;
}

#define MOST_TRIALS 8
/* More memory than this part of the limit is not left unused if another trial may use it. */
#define SLACK_DIVISOR 50

/* The next number of quanta to try, between the largest that fits and the smallest that does not: as far from the last
 * as its arena was from the limit. */
static uint64_t next_quanta(const struct blocks *blocks, const struct trial *trial, uint64_t last, uint64_t low,
                            uint64_t high)
{
    uint64_t quantum = blocks->quantum_bytes, next;
    if (trial->fits) {
        next = last + (trial->limit_bytes - trial->arena_bytes) / quantum;
    } else {
        uint64_t over = (trial->arena_bytes - trial->limit_bytes + quantum - 1) / quantum;
        next = over < last ? last - over : 0;
    }
    return next > low && next < high ? next : low + (high - low) / 2;
}

/* The chain counts blocks, the arena counts bytes after placement: the chain's limit moves until the placed arena just
 * fits (a limit on the former alone says nothing about the latter). */
static bool search_quanta(const struct making *making, const struct blocks *blocks, bool *fits, struct error *err)
{
    uint64_t least = chain_least_limit(&blocks->chain), low = least > 0 ? least - 1 : 0, high = UINT64_MAX / 4;
    if (least == UINT64_MAX) return error_memory(err, blocks->chain.count * sizeof *blocks->chain.blocks, "a schedule");
    uint64_t quanta = blocks_quanta(blocks, arena_limit(making, 2 * making->variant->graph->op_count, 0));
    *fits = false;
    for (int i = 0; i < MOST_TRIALS && high - low > 1; i++) {
        struct trial trial;
        if (quanta <= low) quanta = low + 1;
        uint64_t used = quanta;
        TRY(try_quanta(making, blocks, &used, false, &trial, err));
        *fits |= trial.fits;
        if (trial.fits)
            low = quanta;
        else
            high = quanta = used;
        if (trial.fits && trial.limit_bytes - trial.arena_bytes <= trial.limit_bytes / SLACK_DIVISOR) break;
        quanta = next_quanta(blocks, &trial, quanta, low, high);
    }
    struct trial trial;
    return *fits || try_quanta(making, blocks, &least, true, &trial, err);
}

static bool try_budget(const struct making *making, bool *fits, struct error *err)
{
    struct blocks blocks;
    bool ok = blocks_measure(making->request, making->variant->graph, &blocks, err) &&
              search_quanta(making, &blocks, fits, err);
    blocks_finish(&blocks);
    return ok;
}

/* --- In host memory ------------------------------------------------------------------------------------------------
 */

/* *adopted, and making->faster_than with it, when this is the fastest so far. */
static bool try_spread(struct making *making, size_t count, uint32_t mode, struct trial *trial, bool *adopted,
                       struct error *err)
{
    struct chain_schedule schedule;
    TRY(schedule_spread(making->variant->graph, count, mode | KEEP_ON_HOST, mode, &schedule, err));
    bool ok = try_schedule(making, &schedule, false, trial, err);
    chain_schedule_finish(&schedule);
    if (!ok || !trial->fits || trial->seconds >= making->faster_than) return ok;
    making->faster_than = trial->seconds;
    *adopted = true;
    return true;
}

#define MOST_SPREADS 8

/* The most blocks that host memory has room for: *count comes down to them, 0 when the arena is too small for the rest.
 */
static bool fit_host(struct making *making, uint32_t mode, size_t *count, struct trial *trial, bool *adopted,
                     struct error *err)
{
    uint64_t most = making->request->plan->offload_bytes;
    for (;;) {
        TRY(try_spread(making, *count, mode, trial, adopted, err));
        if (trial->fits) return true;
        double share = trial->host_bytes > most ? (double)most / (double)trial->host_bytes : 0;
        size_t fewer = (size_t)(share * (double)*count);
        *count = fewer < *count ? fewer : *count - 1;
        if (*count == 0) return true;
    }
}

/* The fewest blocks of a mode whose waiting in host memory makes the arena fit: between `high`, which fits, and `low`,
 * which does not, the arena is taken to shrink evenly. */
static bool search_spread(struct making *making, uint32_t mode, bool *adopted, struct error *err)
{
    size_t low = 0, high = making->variant->graph->block_count;
    struct trial least, most;
    TRY(fit_host(making, mode, &high, &most, adopted, err));
    if (high == 0) return true;
    TRY(try_spread(making, low, mode, &least, adopted, err));
    for (int i = 0; i < MOST_SPREADS && high - low > 1 && !least.fits; i++) {
        struct trial trial;
        double slope = ((double)least.arena_bytes - (double)most.arena_bytes) / (double)(high - low);
        double fewer = ((double)most.limit_bytes - (double)most.arena_bytes) / slope;
        size_t count = slope > 0 && fewer < (double)(high - low) ? high - (size_t)fewer : low;
        if (count == high) count--;
        if (count <= low) count = low + (high - low) / 2;
        TRY(try_spread(making, count, mode, &trial, adopted, err));
        *(trial.fits ? &high : &low) = count;
        *(trial.fits ? &most : &least) = trial;
    }
    return true;
}

/* Where not all can be kept, some blocks may wait in host memory instead: taken when that is faster than what has been
 * adopted, or when that does not fit. */
static bool use_host(struct making *making, enum recompute_policy *policy, struct error *err)
{
    const struct plan_request *plan = making->request->plan;
    const struct plan_variant *variant = making->variant;
    static const enum recompute_policy policies[KEEP_MODES] = {RECOMPUTE_NONE, RECOMPUTE_ELEMENTWISE};
    uint64_t limit = arena_limit(making, variant->train.op_count, variant->host_bytes);
    bool fits = variant->arena_bytes <= limit;
    if (plan->offload_bytes == 0 || (fits && variant->extra_flops_fraction == 0)) return true;
    making->faster_than = HUGE_VAL;
    if (fits) TRY(predict(making, &variant->train, &making->faster_than, err));
    for (uint32_t mode = 0; mode < KEEP_MODES; mode++) {
        bool adopted = false;
        if (plan->recompute <= RECOMPUTE_ELEMENTWISE && plan->recompute != RECOMPUTE_AUTO &&
            plan->recompute != policies[mode])
            continue;
        TRY(search_spread(making, mode, &adopted, err));
        if (adopted && plan->recompute == RECOMPUTE_AUTO) *policy = policies[mode];
    }
    return true;
}

/* --- The choice ----------------------------------------------------------------------------------------------------
 */

static bool check_budget(const struct making *making, struct error *err)
{
    const struct plan_request *plan = making->request->plan;
    uint64_t budget = plan->recompute_budget_bytes, least = making->variant->arena_bytes;
    if (plan->recompute != RECOMPUTE_BUDGET || budget == 0 || least <= budget) return true;
    return error_set(err, ERROR_UNFIT, "recompute budget: %" PRIu64 " bytes; the least arena found for %s has %" PRIu64,
                     budget, plan->spec.name, least);
}

/* Keeping everything costs no time, redoing BN-ReLU little, running blocks again more: the first that fits is taken. */
static bool choose(const struct making *making, enum recompute_policy *policy, struct error *err)
{
    enum recompute_policy wanted = making->request->plan->recompute;
    struct trial trial;
    bool fits;
    *policy = wanted == RECOMPUTE_AUTO ? RECOMPUTE_NONE : wanted;
    uint32_t reconstruct = making->request->plan->reconstruct ? KEEP_RECONSTRUCT : 0;
    if (wanted == RECOMPUTE_ELEMENTWISE) return try_uniform(making, KEEP_CONVOLUTIONS | reconstruct, true, &trial, err);
    TRY(try_uniform(making, KEEP_ALL, wanted == RECOMPUTE_NONE, &trial, err));
    if (wanted == RECOMPUTE_NONE || trial.fits) return true;
    if (wanted == RECOMPUTE_AUTO) {
        *policy = RECOMPUTE_ELEMENTWISE;
        TRY(try_uniform(making, KEEP_CONVOLUTIONS, false, &trial, err));
        if (trial.fits) return use_slack(making, &trial, err);
    }
    *policy = RECOMPUTE_BUDGET;
    return try_budget(making, &fits, err);
}

static bool build_graph(const struct variant_request *request, struct plan_variant *variant, struct error *err)
{
    const struct plan_request *plan = request->plan;
    struct graph_options options = {
        .batch = request->images / request->micro_batches,
        .micro_batches = request->micro_batches,
        .step_images = plan->batch,
        .dtype = plan->dtype,
        .all_reduce = request->devices > 1,
        .sync_bn = plan->sync_bn,
        .bucket_bytes = plan->bucket_bytes     ? plan->bucket_bytes
                        : request->devices > 1 ? 25u << 20
                                               : 0,
    };
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
           make_evaluate(&making, err) && choose(&making, policy, err) && use_host(&making, policy, err) &&
           check_budget(&making, err);
}
