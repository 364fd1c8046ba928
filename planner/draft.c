#include "draft.h"

#include "liveness.h"
#include "mem.h"

/* With 16-bit activations convolutions and products take 16-bit weights, and give gradients of them: a copy of the f32
 * ones, as large as the op's. */
static uint64_t half_weights_bytes(const struct graph *graph, const struct op *op)
{
    uint32_t weights = NO_TENSOR;
    if (op->kind == OP_CONV || op->kind == OP_FC || op->kind == OP_CONV_BWD_DATA || op->kind == OP_FC_BWD_DATA)
        weights = op->in[1];
    if (op->kind == OP_CONV_BWD_WEIGHTS || op->kind == OP_FC_BWD_WEIGHTS) weights = op->out[0];
    if (weights == NO_TENSOR || graph->options.dtype == DTYPE_F32) return 0;
    return dtype_bytes(graph->options.dtype, tensor_elements(&graph->tensors[weights]));
}

/* Without a backend to ask: a convolution that is not a plain matrix product may want its operands unfolded once, up to
 * the device's cap. Host backends are always asked. */
static bool estimate_workspace(void *context, const struct graph *graph, const struct op *op, enum op_pass pass,
                               uint64_t *bytes, struct error *err)
{
    (void)pass;
    (void)err;
    const struct device_spec *device = context;
    bool convolution = op->kind == OP_CONV || op->kind == OP_CONV_BWD_DATA || op->kind == OP_CONV_BWD_WEIGHTS;
    bool product = op->attr.conv.kernel == 1 && op->attr.conv.stride == 1;
    *bytes = 0;
    if (device->kind != DEVICE_GPU) return true;
    if (convolution && !product)
        *bytes = op->bytes_moved < device->workspace_bytes ? op->bytes_moved : device->workspace_bytes;
    *bytes += half_weights_bytes(graph, op);
    return true;
}

void draft_finish(struct draft *draft)
{
    plan_program_finish(&draft->program);
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
    return liveness_find(graph, program, plan->sharing, draft->home, err);
}

bool draft_train(const struct variant_request *request, const struct graph *graph,
                 const struct chain_schedule *schedule, struct draft *draft, struct error *err)
{
    return program_emit_train(graph, schedule->steps, schedule->count, &draft->program, err) &&
           draft_complete(request, graph, draft, err);
}

bool draft_evaluate(const struct variant_request *request, const struct graph *graph, struct draft *draft,
                    struct error *err)
{
    return program_emit_evaluate(graph, &draft->program, err) && draft_complete(request, graph, draft, err);
}
