#include "plan.h"

#include <inttypes.h>

#include "clock.h"
#include "mem.h"
#include "predict.h"
#include "variant.h"
#include "verify.h"

const char *memory_class_name(enum memory_class class_)
{
    static const char *const names[MEMORY_CLASSES] = {"weights",   "gradients", "momentum",      "kept",    "transient",
                                                      "workspace", "input",     "communication", "context", "reserve"};
    return names[class_];
}

const char *recompute_policy_name(enum recompute_policy policy)
{
    static const char *const names[] = {"auto", "none", "elementwise", "budget"};
    return names[policy];
}

uint64_t plan_offloaded_bytes(const struct plan_program *program)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < program->op_count; i++)
        if (program->ops[i].pass == PASS_OFFLOAD) sum += program->tensors[program->ops[i].in[0]].bytes;
    return sum;
}

void plan_destroy(struct plan *plan)
{
    if (!plan) return;
    for (size_t v = 0; v < plan->variant_count; v++) variant_finish(&plan->variants[v]);
    mem_free(plan->variants);
    mem_free(plan->devices);
    mem_free(plan);
}

static bool check_request(const struct plan_request *request, struct error *err)
{
    size_t devices = request->machine ? request->machine->device_count : 0;
    if (devices == 0) return error_set(err, ERROR_INPUT, "a plan needs at least one device");
    if (request->batch < devices)
        return error_set(err, ERROR_INPUT,
                         "batch is %" PRIu32 ", less than the %zu devices; at least one image each is wanted",
                         request->batch, devices);
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
    if (request->recompute == RECOMPUTE_BUDGET) plan->recompute_budget_bytes = request->recompute_budget_bytes;
    plan->device_count = devices;
    return plan;
}

static void describe_devices(struct plan *plan, const struct plan_request *request)
{
    uint32_t each = request->batch / (uint32_t)plan->device_count, more = request->batch % (uint32_t)plan->device_count;
    for (uint32_t d = 0; d < plan->device_count; d++) {
        plan->devices[d].spec = request->machine->devices[d];
        plan->devices[d].spec.source = NULL;
        plan->devices[d].images = each + (d < more);
    }
}

/* Micro-batches are of equal size on a device, or their gradients would not sum to the step's. */
static bool divides(const struct plan *plan, uint32_t micro_batches)
{
    for (size_t d = 0; d < plan->device_count; d++)
        if (plan->devices[d].images % micro_batches != 0) return false;
    return true;
}

static uint32_t next_divisor(const struct plan *plan, uint32_t micro_batches)
{
    for (uint32_t m = micro_batches + 1; m <= plan->devices[0].images; m++)
        if (divides(plan, m)) return m;
    return 0;
}

static bool same_memory(const struct device_spec *a, const struct device_spec *b)
{
    return a->kind == b->kind && a->memory_bytes == b->memory_bytes && a->context_bytes == b->context_bytes &&
           a->comm_bytes == b->comm_bytes && a->reserve_bytes == b->reserve_bytes && a->op_bytes == b->op_bytes &&
           a->workspace_bytes == b->workspace_bytes;
}

/* The device that already has the variant which device d can share; d itself when none has. On hosts the first device
 * counts the loader, and may have less left than its equals. */
static uint32_t find_twin(const struct plan *plan, uint32_t d)
{
    for (uint32_t other = 0; other < d; other++) {
        const struct plan_device *a = &plan->devices[other], *b = &plan->devices[d];
        if (a->images == b->images && same_memory(&a->spec, &b->spec)) return other;
    }
    return d;
}

static void account(const struct variant_request *request, const struct plan *plan, struct plan_device *device)
{
    const struct plan_variant *variant = &plan->variants[device->variant];
    device->peak_bytes = 0;
    for (size_t c = 0; c < MEMORY_CLASSES; c++) device->classes[c] = variant->classes[c];
    variant_outside(request, variant->train.op_count + variant->evaluate.op_count, variant->host_bytes,
                    device->classes);
    for (size_t c = 0; c < MEMORY_CLASSES; c++) device->peak_bytes += device->classes[c];
}

static void drop_variants(struct plan *plan)
{
    for (size_t v = 0; v < plan->variant_count; v++) variant_finish(&plan->variants[v]);
    plan->variant_count = 0;
}

static bool has_bn(const struct graph *graph)
{
    for (uint32_t i = 0; i < graph->forward_end; i++)
        if (graph->ops[i].kind == OP_BN) return true;
    return false;
}

/* Variants and accounts for one number of micro-batches. */
static bool fill_plan(struct plan *plan, const struct plan_request *request, uint32_t micro_batches, struct error *err)
{
    drop_variants(plan);
    plan->fits = true;
    plan->recompute = RECOMPUTE_NONE;
    for (uint32_t d = 0; d < plan->device_count; d++) {
        struct plan_device *device = &plan->devices[d];
        struct variant_request wanted = {
            request, &device->spec, device->images, micro_batches, (uint32_t)plan->device_count, d == 0};
        uint32_t twin = find_twin(plan, d);
        device->micro_batches = micro_batches;
        device->variant = twin < d ? plan->devices[twin].variant : (uint32_t)plan->variant_count;
        if (twin == d) {
            enum recompute_policy policy;
            plan->variant_count++;
            TRY(variant_make(&wanted, &plan->variants[device->variant], &policy, err));
            if (policy > plan->recompute) plan->recompute = policy;
        }
        account(&wanted, plan, device);
        plan->fits &= device->peak_bytes <= device->spec.memory_bytes;
    }
    bool divided = micro_batches > 1 || (plan->device_count > 1 && !plan->sync_bn);
    plan->changes_bn = divided && has_bn(plan->variants[0].graph);
    return true;
}

/* Micro-batches change BN's statistics, so they are raised only when nothing else makes the plan fit; when they do not
 * either, the plan with one shows by how much it misses. */
static bool search_micro_batches(struct plan *plan, const struct plan_request *request, struct error *err)
{
    TRY(fill_plan(plan, request, 1, err));
    for (uint32_t m = next_divisor(plan, 1); m && !plan->fits; m = next_divisor(plan, m))
        TRY(fill_plan(plan, request, m, err));
    return plan->fits || fill_plan(plan, request, 1, err);
}

static bool all_alike(const struct plan *plan)
{
    for (size_t d = 1; d < plan->device_count; d++) {
        const struct device_spec *a = &plan->devices[0].spec, *b = &plan->devices[d].spec;
        if (!same_memory(a, b) || a->flops_f32 != b->flops_f32 || a->flops_f16 != b->flops_f16 ||
            a->bandwidth != b->bandwidth)
            return false;
    }
    return true;
}

/* Unequal devices get unequal shares: what an image takes is read off a plan of equal ones that keeps everything. */
static bool share_batch(struct plan *plan, const struct plan_request *request, struct error *err)
{
    uint32_t unit = request->micro_batches ? request->micro_batches : 1;
    if (all_alike(plan) || plan->batch % unit != 0 || plan->batch / unit < plan->device_count) return true;
    struct plan_request trial = *request;
    if (trial.recompute == RECOMPUTE_AUTO) trial.recompute = RECOMPUTE_NONE;
    trial.search_seconds = 0;
    TRY(fill_plan(plan, &trial, 1, err));
    TRY(predict_times(plan, request->machine, request->measured, err));
    uint32_t *images = mem_alloc(MEM_PLAN, plan->device_count, sizeof *images);
    if (!images) return error_memory(err, plan->device_count * sizeof *images, "the shares of a batch");
    bool ok = predict_shares(plan, unit, images, err);
    for (size_t d = 0; ok && d < plan->device_count; d++) plan->devices[d].images = images[d];
    mem_free(images);
    return ok;
}

static bool fill(struct plan *plan, const struct plan_request *request, struct error *err)
{
    describe_devices(plan, request);
    TRY(share_batch(plan, request, err));
    if (request->micro_batches == 0) return search_micro_batches(plan, request, err);
    if (!divides(plan, request->micro_batches))
        return error_set(err, ERROR_INPUT,
                         "micro-batches: %" PRIu32 " equal ones are wanted of %" PRIu32
                         " images on a device; a divisor is wanted",
                         request->micro_batches, plan->devices[0].images);
    return fill_plan(plan, request, request->micro_batches, err);
}

/* A plan that does not verify is the planner's fault, not the request's. */
static bool prove(const struct plan *plan, struct error *err)
{
    struct error found = {0};
    if (plan_verify(plan, NULL, &found)) return true;
    return error_set(err, found.kind == ERROR_INPUT ? ERROR_FAILED : found.kind, "%s", found.text);
}

struct plan *plan_make(const struct plan_request *request, struct error *err)
{
    uint64_t start = clock_now_ns();
    if (!check_request(request, err)) return NULL;
    struct plan *plan = create_plan(request, err);
    if (!plan) return NULL;
    if (!fill(plan, request, err) || !prove(plan, err) ||
        !predict_times(plan, request->machine, request->measured, err)) {
        plan_destroy(plan);
        return NULL;
    }
    plan->plan_seconds = (double)(clock_now_ns() - start) * 1e-9;
    return plan;
}
