/* What a plan says of itself beside its programs: what follows from them is worked out again, and what is predicted
 * from more than a plan holds must at least be possible. */
#include <inttypes.h>
#include <math.h>

#include "verify_private.h"

/* Sums of the same terms in another order differ by rounding. */
static bool same(double a, double b) { return fabs(a - b) <= 1e-9 * (fabs(a) + fabs(b)); }

/* ---- Of a variant ---- */

/* Where the last tensor ends, in the arena or in host memory. */
static uint64_t end_of(const struct plan_program *program, bool host)
{
    uint64_t end = 0;
    for (size_t t = 0; t < program->tensor_count; t++) {
        const struct plan_tensor *tensor = &program->tensors[t];
        if (tensor->host == host && tensor->offset + tensor->bytes > end) end = tensor->offset + tensor->bytes;
    }
    return (end / PLAN_ALIGN + (end % PLAN_ALIGN != 0)) * PLAN_ALIGN;
}

static bool check_sizes(const struct proof *proof)
{
    const struct plan_variant *variant = proof->variant;
    uint64_t train = end_of(&variant->train, false), evaluate = end_of(&variant->evaluate, false);
    uint64_t arena = train > evaluate ? train : evaluate, host = end_of(&variant->train, true);
    if (variant->arena_bytes != arena)
        return verify_fail(proof, VERIFY_FIGURE, "arena_bytes is %" PRIu64 ", and its last tensor ends at %" PRIu64,
                           variant->arena_bytes, arena);
    if (variant->host_bytes != host)
        return verify_fail(proof, VERIFY_FIGURE, "host_bytes is %" PRIu64 ", and its last tensor ends at %" PRIu64,
                           variant->host_bytes, host);
    bool optimal = variant->arena_bytes == variant->lower_bound_bytes;
    if (variant->proved_optimal == (optimal || variant->searched)) return true;
    return verify_fail(proof, VERIFY_FIGURE,
                       "proved_optimal is %s, and the arena of %" PRIu64 " bytes is %s its lower bound of %" PRIu64,
                       optimal ? "false" : "true", variant->arena_bytes, optimal ? "equal to" : "larger than",
                       variant->lower_bound_bytes);
}

/* What of a training program runs again. */
struct repetition {
    double first_flops, again_flops; /* of forward and backward; of what repeats them */
    uint32_t ops, convolutions;      /* that repeat */
    bool turns_round, copies;        /* makes inputs again from outputs; has something in host memory */
};

static struct repetition find_repetition(const struct plan_variant *variant)
{
    struct repetition found = {0};
    for (size_t i = 0; i < variant->train.op_count; i++) {
        const struct plan_op *op = &variant->train.ops[i];
        const struct op *graph_op = &variant->graph->ops[op->op];
        switch (op->pass) {
        case PASS_FORWARD:
        case PASS_BACKWARD: found.first_flops += (double)graph_op->flops; break;
        case PASS_RECOMPUTE: found.convolutions += graph_op->kind == OP_CONV; /* fall through */
        case PASS_RECONSTRUCT:
            found.again_flops += (double)graph_op->flops;
            found.ops++;
            found.turns_round |= op->pass == PASS_RECONSTRUCT;
            break;
        case PASS_OFFLOAD:
        case PASS_FETCH: found.copies = true; break;
        default: break;
        }
    }
    return found;
}

static bool check_repetition(const struct proof *proof)
{
    const struct plan_variant *variant = proof->variant;
    struct repetition found = find_repetition(variant);
    double fraction = found.first_flops > 0 ? found.again_flops / found.first_flops : 0;
    if (variant->recomputed_convolutions != found.convolutions)
        return verify_fail(proof, VERIFY_FIGURE,
                           "recomputed_convolutions is %" PRIu32 ", and its program runs %" PRIu32 " again",
                           variant->recomputed_convolutions, found.convolutions);
    if (!same(variant->extra_flops_fraction, fraction))
        return verify_fail(proof, VERIFY_FIGURE, "extra_flops_fraction is %.17g, and what its program runs again is %g",
                           variant->extra_flops_fraction, fraction);
    if (found.ops == 0 && !found.copies && variant->extra_time_fraction != 0)
        return verify_fail(proof, VERIFY_FIGURE,
                           "extra_time_fraction is %g, and its program neither runs anything again nor copies",
                           variant->extra_time_fraction);
    return true;
}

/* Longer than thirty years, or longer than the step by so many times: no prediction, but an error or a lie. */
#define MOST_SECONDS  1e9
#define MOST_FRACTION 1e6

static bool check_real(const struct proof *proof, const char *field, double value, double most)
{
    if (isfinite(value) && value >= 0 && value <= most) return true;
    return verify_fail(proof, VERIFY_FIGURE, "%s is %g; 0 to %g is possible", field, value, most);
}

/* Nothing takes less than the least time there is. */
static bool check_bound(const struct proof *proof)
{
    const struct plan_variant *variant = proof->variant;
    TRY(check_real(proof, "bound_seconds", variant->bound_seconds, MOST_SECONDS));
    if (variant->bound_seconds <= variant->compute_seconds * (1 + 1e-9)) return true;
    return verify_fail(proof, VERIFY_FIGURE, "bound_seconds is %g, and compute_seconds %g", variant->bound_seconds,
                       variant->compute_seconds);
}

bool verify_figures(const struct proof *proof)
{
    const struct plan_variant *variant = proof->variant;
    return check_real(proof, "compute_seconds", variant->compute_seconds, MOST_SECONDS) &&
           check_real(proof, "extra_time_fraction", variant->extra_time_fraction, MOST_FRACTION) &&
           check_bound(proof) && check_sizes(proof) && check_repetition(proof);
}

/* ---- Of the plan ---- */

/* A budget that is wanted is kept. What is said to run again is the most that does; a plan may do with less. */
static bool check_recompute(const struct proof *proof, const struct plan *plan, const struct plan_variant *variant)
{
    struct repetition found = find_repetition(variant);
    uint64_t budget = plan->recompute_budget_bytes;
    bool more = (plan->recompute == RECOMPUTE_NONE && found.ops > 0) ||
                (plan->recompute == RECOMPUTE_ELEMENTWISE && found.convolutions > 0 && !found.turns_round);
    if (more)
        return verify_fail(proof, VERIFY_FIGURE,
                           "recompute is '%s', and a program runs %" PRIu32 " ops again, %" PRIu32 " convolutions",
                           recompute_policy_name(plan->recompute), found.ops, found.convolutions);
    if (budget > 0 && plan->recompute != RECOMPUTE_BUDGET)
        return verify_fail(proof, VERIFY_FIGURE, "recompute_budget_bytes is %" PRIu64 ", and recompute is '%s'", budget,
                           recompute_policy_name(plan->recompute));
    if (budget > 0 && variant->arena_bytes > budget)
        return verify_fail(proof, VERIFY_FIGURE, "recompute_budget_bytes is %" PRIu64 ", and an arena has %" PRIu64,
                           budget, variant->arena_bytes);
    return true;
}

/* A step cannot be shorter than what one of its devices computes in it. */
static bool check_times(const struct proof *proof, const struct plan *plan)
{
    TRY(check_real(proof, "step_seconds", plan->step_seconds, MOST_SECONDS) &&
        check_real(proof, "plan_seconds", plan->plan_seconds, MOST_SECONDS));
    for (size_t v = 0; plan->step_seconds > 0 && v < plan->variant_count; v++) {
        double seconds = plan->variants[v].compute_seconds;
        if (seconds > 0 && seconds <= plan->step_seconds * (1 + 1e-9)) continue;
        return verify_fail(proof, VERIFY_FIGURE, "step_seconds is %g, and compute_seconds of variant %zu %g%s",
                           plan->step_seconds, v, seconds, seconds > 0 ? "" : ", which says that it is unknown");
    }
    return true;
}

bool verify_statements(const struct proof *proof, const struct plan *plan)
{
    bool fits = true, grouped = plan->bn_group > 0 && plan->bn_group < plan->batch;
    bool divided = grouped || (plan->device_count > 1 && !plan->sync_bn);
    for (size_t d = 0; d < plan->device_count; d++) {
        fits &= plan->devices[d].peak_bytes <= device_usable_bytes(&plan->devices[d].spec);
        divided |= plan->devices[d].micro_batches > 1;
    }
    if (plan->fits != fits)
        return verify_fail(proof, VERIFY_FIGURE, "fits is %s, and the peaks are %s the devices' memory",
                           plan->fits ? "true" : "false", fits ? "within" : "beyond");
    bool changes_bn = divided && graph_normalizes(plan->variants[0].graph);
    if (plan->changes_bn != changes_bn)
        return verify_fail(proof, VERIFY_FIGURE, "changes_bn is %s, and batch normalisation sees %s",
                           plan->changes_bn ? "true" : "false",
                           changes_bn ? "fewer images than the batch" : "as many images as without dividing the batch");
    for (size_t v = 0; v < plan->variant_count; v++) TRY(check_recompute(proof, plan, &plan->variants[v]));
    return check_times(proof, plan);
}
