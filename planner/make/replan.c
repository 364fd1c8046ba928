#include "replan.h"

static bool reconstructs(const struct plan_program *program)
{
    for (size_t i = 0; i < program->op_count; i++)
        if (program->ops[i].pass == PASS_RECONSTRUCT) return true;
    return false;
}

void plan_request_again(const struct plan *plan, const struct machine *machine, struct plan_request *request)
{
    const struct graph_options *options = &plan->variants[0].graph->options;
    *request = (struct plan_request){.spec = plan->spec,
                                     .dtype = plan->dtype,
                                     .batch = plan->batch,
                                     .machine = machine,
                                     .reduce_dtype = options->reduce_dtype,
                                     .reduce_apart = options->reduce_apart,
                                     .bucket_bytes = options->bucket_bytes,
                                     .sync_bn = plan->sync_bn,
                                     .update = plan->update,
                                     .lowering = plan->lowering,
                                     .frozen = plan->frozen,
                                     .recompute = RECOMPUTE_AUTO,
                                     .decode_bytes = plan->decode_bytes,
                                     .only_if_fits = true};
    for (size_t v = 0; v < plan->variant_count; v++) {
        if (plan->variants[v].host_bytes > 0) request->offload_bytes = UINT64_MAX;
        request->reconstruct |= reconstructs(&plan->variants[v].train);
    }
}
