#include "variant.h"

#include "layout.h"
#include "liveness.h"
#include "mem.h"
#include "program.h"
#include "schedule.h"

/* Batches that the loader keeps ready, and the one in use (data.h). */
#define LOADER_BATCHES 3u

void variant_finish(struct plan_variant *variant)
{
    program_finish(&variant->train);
    program_finish(&variant->evaluate);
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

void variant_outside(const struct variant_request *request, size_t ops, uint64_t classes[MEMORY_CLASSES])
{
    const struct device_spec *device = request->device;
    classes[MEMORY_COMMUNICATION] = request->devices > 1 ? device->comm_bytes : 0;
    classes[MEMORY_CONTEXT] = device->context_bytes + device->op_bytes * ops;
    classes[MEMORY_RESERVE] = device->reserve_bytes;
    if (device->kind == DEVICE_CPU && request->first) classes[MEMORY_INPUT] += loader_bytes_of(request->plan);
}

static uint64_t outside_bytes(const struct variant_request *request, const struct plan_variant *variant)
{
    uint64_t classes[MEMORY_CLASSES] = {0}, sum = 0;
    variant_outside(request, variant->train.op_count + variant->evaluate.op_count, classes);
    for (size_t c = 0; c < MEMORY_CLASSES; c++) sum += classes[c];
    return sum;
}

/* Without a backend to ask: a convolution that is not a plain matrix product may want its operands unfolded once, up to
 * the device's cap. Host backends are always asked. */
static bool estimate_workspace(void *context, const struct graph *graph, const struct op *op, enum op_pass pass,
                               uint64_t *bytes, struct error *err)
{
    (void)graph;
    (void)pass;
    (void)err;
    const struct device_spec *device = context;
    bool convolution = op->kind == OP_CONV || op->kind == OP_CONV_BWD_DATA || op->kind == OP_CONV_BWD_WEIGHTS;
    bool product = op->attr.conv.kernel == 1 && op->attr.conv.stride == 1;
    *bytes = 0;
    if (device->kind != DEVICE_GPU || !convolution || product) return true;
    *bytes = op->bytes_moved < device->workspace_bytes ? op->bytes_moved : device->workspace_bytes;
    return true;
}

/* A program with its lifetimes, before placement. */
struct draft {
    struct plan_program program;
    uint32_t *home;
};

static void draft_finish(struct draft *draft)
{
    program_finish(&draft->program);
    mem_free(draft->home);
    *draft = (struct draft){0};
}

static bool draft_complete(const struct variant_request *request, const struct graph *graph, struct draft *draft,
                           struct error *err)
{
    const struct plan_request *plan = request->plan;
    struct plan_program *program = &draft->program;
    struct device_spec device = *request->device;
    if (plan->workspace_bytes)
        TRY(program_add_workspaces(graph, program, plan->workspace_bytes, plan->workspace_context, err));
    else
        TRY(program_add_workspaces(graph, program, estimate_workspace, &device, err));
    draft->home = mem_alloc(MEM_PLAN, program->tensor_count, sizeof *draft->home);
    if (!draft->home) return error_memory(err, program->tensor_count * sizeof *draft->home, "lifetimes");
    return liveness_find(graph, program, plan->sharing == SHARING_FULL, draft->home, err);
}

static bool draft_train(const struct variant_request *request, const struct graph *graph,
                        const struct chain_schedule *schedule, struct draft *draft, struct error *err)
{
    return program_emit_train(graph, schedule->steps, schedule->count, &draft->program, err) &&
           draft_complete(request, graph, draft, err);
}

static bool place_draft(const struct variant_request *request, const struct graph *graph, struct draft *draft,
                        struct place_result *placed, struct error *err)
{
    return layout_place(graph, &draft->program, draft->home, request->plan->sharing, request->plan->search_seconds,
                        placed, err);
}

static bool make_evaluate(const struct variant_request *request, struct plan_variant *variant, struct error *err)
{
    struct draft draft = {0};
    struct place_result placed;
    bool ok = program_emit_evaluate(variant->graph, &draft.program, err) &&
              draft_complete(request, variant->graph, &draft, err) &&
              place_draft(request, variant->graph, &draft, &placed, err);
    if (ok) {
        variant->evaluate = draft.program;
        variant->arena_bytes = placed.arena_bytes;
        draft.program = (struct plan_program){0};
    }
    draft_finish(&draft);
    return ok;
}

/* What recomputation costs, from the graph's counts. */
static void count_recomputed(struct plan_variant *variant)
{
    double first = 0, again = 0;
    for (size_t i = 0; i < variant->train.body_count; i++) {
        const struct plan_op *made = &variant->train.ops[i];
        const struct op *op = &variant->graph->ops[made->op];
        if (made->pass == PASS_RECOMPUTE) {
            again += (double)op->flops;
            variant->recomputed_convolutions += op->kind == OP_CONV;
        } else {
            first += (double)op->flops;
        }
    }
    variant->extra_flops_fraction = first > 0 ? again / first : 0;
}

/* Takes the draft's program as the variant's. */
static bool adopt(struct plan_variant *variant, struct draft *draft, const struct place_result *placed,
                  struct error *err)
{
    program_finish(&variant->train);
    variant->train = draft->program;
    draft->program = (struct plan_program){0};
    bool train_is_larger = placed->arena_bytes >= variant->arena_bytes;
    if (train_is_larger) variant->arena_bytes = placed->arena_bytes;
    variant->lower_bound_bytes = placed->lower_bound_bytes;
    variant->peak_op = (uint32_t)placed->peak_instant;
    variant->proved_optimal = placed->proved_optimal && train_is_larger;
    variant->recomputed_convolutions = 0;
    count_recomputed(variant);
    return layout_classes(variant->graph, &variant->train, draft->home, variant->peak_op, variant->arena_bytes,
                          variant->classes, err);
}

/* Drafts, places and adopts a schedule. Unless it is the last resort, one that cannot fit by its bound is not placed,
 * and *fits alone is set. */
static bool try_schedule(const struct variant_request *request, struct plan_variant *variant,
                         const struct chain_schedule *schedule, bool last_resort, bool *fits, struct error *err)
{
    struct draft draft = {0};
    struct place_result placed;
    uint64_t bound = 0, memory = request->device->memory_bytes;
    bool ok = draft_train(request, variant->graph, schedule, &draft, err) &&
              layout_bound(variant->graph, &draft.program, draft.home, &bound, err);
    uint64_t outside =
        outside_bytes(request, &(struct plan_variant){.train = draft.program, .evaluate = variant->evaluate});
    *fits = bound + outside <= memory;
    if (ok && (*fits || last_resort)) {
        ok = place_draft(request, variant->graph, &draft, &placed, err) && adopt(variant, &draft, &placed, err);
        *fits = ok && variant->arena_bytes + outside <= memory;
    }
    draft_finish(&draft);
    return ok;
}

static bool try_uniform(const struct variant_request *request, struct plan_variant *variant, enum keep_mode mode,
                        bool last_resort, bool *fits, struct error *err)
{
    struct chain_schedule schedule;
    TRY(schedule_uniform(variant->graph, mode, &schedule, err));
    bool ok = try_schedule(request, variant, &schedule, last_resort, fits, err);
    schedule_finish(&schedule);
    return ok;
}

static bool choose(const struct variant_request *request, struct plan_variant *variant, enum recompute_policy *policy,
                   struct error *err)
{
    enum recompute_policy wanted = request->plan->recompute;
    bool fits;
    *policy = RECOMPUTE_NONE;
    if (wanted == RECOMPUTE_NONE || wanted == RECOMPUTE_AUTO)
        TRY(try_uniform(request, variant, KEEP_ALL, wanted == RECOMPUTE_NONE, &fits, err));
    if (wanted == RECOMPUTE_NONE || (wanted == RECOMPUTE_AUTO && fits)) return true;
    *policy = RECOMPUTE_ELEMENTWISE;
    return try_uniform(request, variant, KEEP_CONVOLUTIONS, true, &fits, err);
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

bool variant_make(const struct variant_request *request, struct plan_variant *variant, enum recompute_policy *policy,
                  struct error *err)
{
    *variant = (struct plan_variant){0};
    return build_graph(request, variant, err) && make_evaluate(request, variant, err) &&
           choose(request, variant, policy, err);
}
