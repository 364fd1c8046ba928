#include "verify.h"

#include <inttypes.h>
#include <string.h>

#include "mem.h"
#include "verify_private.h"

static bool examine(struct proof *proof)
{
    size_t tensors = proof->program->tensor_count;
    if (proof->program->op_count == 0 || proof->program->body_count > proof->program->op_count)
        return verify_fail(proof, VERIFY_RANGE, "%zu of %zu ops run once per micro-batch", proof->program->body_count,
                           proof->program->op_count);
    proof->base = mem_alloc(MEM_PLAN, tensors, sizeof *proof->base);
    proof->only = mem_alloc(MEM_PLAN, proof->graph->tensor_count, sizeof *proof->only);
    proof->used_first = mem_alloc(MEM_PLAN, tensors, sizeof *proof->used_first);
    proof->used_last = mem_zalloc(MEM_PLAN, tensors, sizeof *proof->used_last);
    if (!proof->base || !proof->only || !proof->used_first || !proof->used_last)
        return error_memory(proof->err, tensors * sizeof *proof->base, "verifying a plan");
    for (size_t t = 0; t < tensors; t++) proof->used_first[t] = NO_OP;
    return verify_tensors(proof) && verify_ops(proof) &&
           ranges_init(&proof->ranges, proof->program->tensors, tensors, proof->variant->arena_bytes, proof->err) &&
           verify_lifetimes(proof) && verify_replay(proof) && verify_sums(proof);
}

static bool verify_program(const struct plan_variant *variant, bool evaluate, enum verify_fault *fault,
                           struct error *err)
{
    struct proof proof = {.variant = variant,
                          .program = evaluate ? &variant->evaluate : &variant->train,
                          .graph = variant->graph,
                          .evaluate = evaluate,
                          .fault = fault,
                          .err = err};
    bool ok = examine(&proof);
    ranges_finish(&proof.ranges);
    mem_free(proof.base);
    mem_free(proof.only);
    mem_free(proof.used_first);
    mem_free(proof.used_last);
    return ok;
}

/* Between the programs: what persists lies at the same bytes in both. Each one's persistent tensors are complete and
 * unique by now. */
static bool check_persistent(const struct proof *proof, const struct plan_variant *variant)
{
    const struct plan_program *train = &variant->train, *evaluate = &variant->evaluate;
    uint64_t *offset = mem_zalloc(MEM_PLAN, variant->graph->tensor_count, sizeof *offset);
    if (!offset) return error_memory(proof->err, variant->graph->tensor_count * sizeof *offset, "verifying a plan");
    for (size_t t = 0; t < train->tensor_count; t++)
        if (train->tensors[t].origin != NO_TENSOR) offset[train->tensors[t].origin] = train->tensors[t].offset;
    bool ok = true;
    for (size_t t = 0; ok && t < evaluate->tensor_count; t++) {
        uint32_t origin = evaluate->tensors[t].origin;
        if (origin == NO_TENSOR || !variant->graph->tensors[origin].persistent) continue;
        if (variant->graph->tensors[origin].view_of != NO_TENSOR) continue;
        if (evaluate->tensors[t].offset != offset[origin])
            ok =
                verify_fail(proof, VERIFY_RANGE, "tensor %zu of the evaluation lies elsewhere than in the training", t);
    }
    mem_free(offset);
    return ok;
}

static bool verify_variant(const struct plan *plan, const struct plan_variant *variant, enum verify_fault *fault,
                           struct error *err)
{
    struct proof proof = {.variant = variant, .graph = variant->graph, .fault = fault, .err = err};
    const struct graph_options *options = &variant->graph->options;
    uint64_t hash = graph_hash(variant->graph);
    if (hash != variant->graph_hash)
        return verify_fail(&proof, VERIFY_HASH, "it was made for graph %016" PRIx64 "; this one is %016" PRIx64,
                           variant->graph_hash, hash);
    if (options->step_images != plan->batch || options->dtype != plan->dtype || options->sync_bn != plan->sync_bn ||
        options->freeze_bn != plan->freeze_bn || options->bn_group != plan->bn_group ||
        options->lowering != plan->lowering || !update_needs_same(&options->update, &plan->update) ||
        options->frozen != plan->frozen || options->all_reduce != (plan->device_count > 1) ||
        strcmp(variant->graph->spec.name, plan->spec.name) != 0)
        return verify_fail(
            &proof, VERIFY_HASH,
            "a variant's graph is of another model, batch, type, lowering, optimizer or frozen part than the plan");
    if (variant->host_bytes > UINT64_MAX - variant->arena_bytes)
        return verify_fail(&proof, VERIFY_RANGE, "%" PRIu64 " bytes of arena and %" PRIu64 " of host memory",
                           variant->arena_bytes, variant->host_bytes);
    return verify_program(variant, false, fault, err) && verify_program(variant, true, fault, err) &&
           check_persistent(&proof, variant) && verify_figures(&proof);
}

bool plan_verify(const struct plan *plan, enum verify_fault *fault, struct error *err)
{
    struct proof proof = {.fault = fault, .err = err};
    if (fault) *fault = VERIFY_OK;
    if (plan->device_count == 0) return verify_fail(&proof, VERIFY_RANGE, "it has no device");
    for (size_t v = 0; v < plan->variant_count; v++) TRY(verify_variant(plan, &plan->variants[v], fault, err));
    return verify_devices(&proof, plan) && verify_statements(&proof, plan);
}
