#include "make.h"

#include <inttypes.h>

#include "batch_split.h"
#include "clock.h"
#include "mem.h"
#include "predict.h"
#include "verify.h"

static bool check_request(const struct plan_request *request, struct error *err)
{
    size_t devices = request->machine ? request->machine->device_count : 0;
    if (devices == 0) return error_set(err, ERROR_INPUT, "a plan needs at least one device");
    if (request->batch < devices)
        return error_set(err, ERROR_INPUT,
                         "--batch: %" PRIu32 " is less than the %zu devices; at least one image each is wanted",
                         request->batch, devices);
    const uint32_t group = request->bn_group;
    if (group > 0 && request->batch % group != 0)
        return error_set(err, ERROR_INPUT,
                         "--bn-group: groups of %" PRIu32 " images do not divide the batch of %" PRIu32, group,
                         request->batch);
    if (group > 0 && request->batch / group < devices)
        return error_set(err, ERROR_INPUT,
                         "--bn-group: %" PRIu32 " images are %" PRIu32 " groups of %" PRIu32
                         ", less than the %zu devices; at least one each is wanted",
                         request->batch, request->batch / group, group, devices);
    if (request->dtype != DTYPE_F32 && request->dtype != DTYPE_F16 && request->dtype != DTYPE_BF16)
        return error_set(err, ERROR_INPUT, "dtype is %s; f32, f16 or bf16 is wanted", dtype_name(request->dtype));
    return true;
}

static struct plan *create_plan(const struct plan_request *request, struct error *err)
{
    size_t devices = request->machine->device_count;
    struct plan *plan = mem_zalloc(MEM_PLAN, 1, sizeof *plan);
    if (plan) {
        plan->devices = mem_zalloc(MEM_PLAN, devices, sizeof *plan->devices);
        plan->variants = mem_zalloc(MEM_PLAN, devices, sizeof *plan->variants);
    }
    if (!plan || !plan->devices || !plan->variants) {
        error_memory(err, devices * sizeof *plan->variants, "a plan");
        plan_destroy(plan);
        return NULL;
    }
    plan->spec = request->spec;
    plan->dtype = request->dtype;
    plan->batch = request->batch;
    plan->sync_bn = request->sync_bn;
    plan->freeze_bn = request->freeze_bn;
    plan->bn_group = request->bn_group;
    plan->update = request->update;
    plan->frozen = request->frozen;
    if (request->recompute == RECOMPUTE_BUDGET) plan->recompute_budget_bytes = request->recompute_budget_bytes;
    plan->device_count = devices;
    if (request->machine->devices[0].kind == DEVICE_CPU) plan->decode_bytes = plan_request_decode_bytes(request);
    return plan;
}

static void describe_devices(struct plan *plan, const struct plan_request *request)
{
    for (uint32_t d = 0; d < plan->device_count; d++) {
        plan->devices[d].spec = request->machine->devices[d];
        plan->devices[d].spec.source = NULL;
    }
}

static bool fill(struct plan *plan, const struct plan_request *request, struct error *err)
{
    describe_devices(plan, request);
    TRY(batch_split_choose(request, plan, err));
    plan->lowering = plan_request_lowering(request, plan->devices[0].micro_batches);
    bool divided = plan->devices[0].micro_batches > 1 || (plan->device_count > 1 && !plan->sync_bn) ||
                   (plan->bn_group > 0 && plan->bn_group < plan->batch);
    plan->changes_bn = divided && graph_normalizes(plan->variants[0].graph);
    return true;
}

/* A plan that does not verify is the planner's fault, not the request's. */
static bool prove(const struct plan *plan, struct error *err)
{
    struct error found = {0};
    if (plan_verify(plan, NULL, &found)) return true;
    return error_set(err, found.kind == ERROR_INPUT ? ERROR_FAILED : found.kind, "%s", found.text);
}

static struct plan *make(const struct plan_request *request, struct error *err)
{
    uint64_t start = clock_now_ns();
    if (!check_request(request, err)) return NULL;
    struct plan *plan = create_plan(request, err);
    if (!plan) return NULL;
    if (!fill(plan, request, err) || !predict_times(plan, request->machine, request->measured, err) ||
        !prove(plan, err)) {
        plan_destroy(plan);
        return NULL;
    }
    plan->plan_seconds = (double)(clock_now_ns() - start) * 1e-9;
    return plan;
}

/* ---- Budgets ---- */

/* Parameters are views of their buckets, and count with those; so do their gradients. */
static void add_lasting(const struct tensor *tensor, struct plan_lasting *lasting)
{
    if (tensor->view_of != NO_TENSOR) return;
    if (tensor->class == CLASS_WEIGHT && tensor->persistent) lasting->weight_bytes += tensor->bytes;
    if (tensor->class == CLASS_OPTIMIZER && tensor->persistent) lasting->optimizer_bytes += tensor->bytes;
    if (tensor->class == CLASS_GRADIENT) lasting->gradient_bytes += tensor->bytes;
}

bool plan_lasting_find(const struct plan_request *request, struct plan_lasting *lasting, struct error *err)
{
    struct graph_options options = plan_request_graph(request);
    options.batch = plan_request_unit(request);
    options.micro_batches = 1;
    struct graph *graph = graph_build(&request->spec, &options, err);
    if (!graph) return false;
    *lasting = (struct plan_lasting){0};
    for (size_t i = 0; i < graph->tensor_count; i++) add_lasting(&graph->tensors[i], lasting);
    graph_destroy(graph);
    return true;
}

bool plan_budget_hopeless(const struct plan_request *request, bool *hopeless, struct error *err)
{
    struct plan_lasting lasting;
    *hopeless = false;
    if (request->recompute != RECOMPUTE_BUDGET || request->recompute_budget_bytes == 0) return true;
    TRY(plan_lasting_find(request, &lasting, err));
    *hopeless = request->recompute_budget_bytes < lasting.weight_bytes + lasting.optimizer_bytes;
    return true;
}

/* ---- Lesser requests ---- */

/* What holds gradients longer than without it. */
static const uint32_t longer[] = {LOWER_GRADIENT_KEEP, LOWER_GRADIENT_KEEP | LOWER_GRADIENT_ADD};
#define LONGER (sizeof longer / sizeof longer[0])

/* A request that asks for less, where it may: the n-th such; false when there is none. */
static bool lessen(const struct plan_request *request, size_t n, struct plan_request *lesser)
{
    bool within = request->reduce_apart && request->reduce_anywhere;
    *lesser = *request;
    if (within) lesser->reduce_apart = false;
    if (within && n == 0) return true;
    n -= within;
    if (!request->lower_less || n >= LONGER) return false;
    lesser->lowering &= ~longer[n];
    return true;
}

struct plan *plan_make(const struct plan_request *request, struct error *err)
{
    struct error first = {0}, unsaid = {0};
    struct plan_request lesser;
    bool hopeless = false;
    struct plan *plan = make(request, &first);
    if (!plan && first.kind == ERROR_UNFIT && !plan_budget_hopeless(request, &hopeless, err)) return NULL;
    bool again = plan ? !plan->fits : first.kind == ERROR_UNFIT && !hopeless;
    for (size_t n = 0; again && lessen(request, n, &lesser); n++) {
        bool same = lesser.lowering == request->lowering && lesser.reduce_apart == request->reduce_apart;
        if (same) continue;
        struct plan *other = make(&lesser, &unsaid);
        again = !other || !other->fits;
        plan_destroy(again ? other : plan);
        if (!again) return other;
    }
    if (!plan && err) *err = first;
    return plan;
}
