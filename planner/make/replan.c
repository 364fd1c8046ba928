#include "replan.h"

#include "mem.h"

static bool reconstructs(const struct plan_program *program)
{
    for (size_t i = 0; i < program->op_count; i++)
        if (program->ops[i].pass == PASS_RECONSTRUCT) return true;
    return false;
}

static void ask_again(const struct plan *plan, const struct machine *machine, struct plan_request *request)
{
    const struct graph_options *options = &plan->variants[0].graph->options;
    *request = (struct plan_request){.spec = plan->spec,
                                     .dtype = plan->dtype,
                                     .batch = plan->batch,
                                     .machine = machine,
                                     .reduce_dtype = options->reduce_dtype,
                                     .reduce_apart = options->reduce_apart,
                                     .reduce_anywhere = true,
                                     .bucket_bytes = options->bucket_bytes,
                                     .sync_bn = plan->sync_bn,
                                     .freeze_bn = plan->freeze_bn,
                                     .bn_group = plan->bn_group,
                                     .update = plan->update,
                                     .lowering = plan->lowering,
                                     .lower_less = true,
                                     .frozen = plan->frozen,
                                     .recompute = RECOMPUTE_AUTO,
                                     .decode_bytes = plan->decode_bytes,
                                     .only_if_fits = true};
    for (size_t v = 0; v < plan->variant_count; v++) {
        if (plan->variants[v].host_bytes > 0) request->offload_bytes = UINT64_MAX;
        request->reconstruct |= reconstructs(&plan->variants[v].train);
    }
}

bool plan_request_without(const struct plan *plan, const bool *gone, struct machine *machine,
                          struct plan_request *request, struct error *err)
{
    size_t count = 0;
    struct device_spec *left = mem_alloc(MEM_PLAN, plan->device_count, sizeof *left);
    if (!left) return error_memory(err, plan->device_count * sizeof *left, "the devices that are left");
    for (size_t i = 0; i < plan->device_count; i++)
        if (!gone[i]) left[count++] = plan->devices[i].spec;
    bool ok = (count > 0 || error_set(err, ERROR_INPUT, "no device of the plan is left")) &&
              machine_of_devices(left, count, machine, err);
    mem_free(left);
    if (ok) ask_again(plan, machine, request);
    return ok;
}
