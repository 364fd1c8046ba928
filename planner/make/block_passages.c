#include "block_passages.h"

#include "cost.h"
#include "layout.h"
#include "mem.h"
#include "workspace.h"

/* A program's live bytes over time, fixed tensors left out. */
struct curve {
    uint64_t *live;     /* at each op */
    uint64_t *resident; /* between each op and the next */
    size_t count;
};

static void curve_finish(struct curve *curve)
{
    mem_free(curve->live);
    mem_free(curve->resident);
}

/* Tensors that are there under any schedule: they are counted once, in full, and not by block. */
static bool is_fixed(const struct graph *graph, const struct plan_tensor *tensor)
{
    if (tensor->origin == NO_TENSOR) return false;
    const struct tensor *origin = &graph->tensors[tensor->origin];
    return origin->persistent || origin->class == CLASS_WEIGHT || origin->class == CLASS_GRADIENT ||
           origin->class == CLASS_INPUT || origin->class == CLASS_STATISTIC || origin->view_of != NO_TENSOR;
}

uint64_t block_passages_fixed(const struct graph *graph, const struct draft *draft)
{
    uint64_t sum = 0;
    for (size_t t = 0; t < draft->program.tensor_count; t++)
        if (draft->home[t] == t && is_fixed(graph, &draft->program.tensors[t]))
            sum += layout_round(draft->program.tensors[t].bytes);
    return sum;
}

/* Sums changes over time: live[] first holds what comes at an op, resident[] what goes after it. A tensor that takes
 * over another's bytes in place (at that one's last op) brings nothing, and keeps those from going. */
static bool draw_curve(const struct graph *graph, const struct draft *draft, struct curve *curve, struct error *err)
{
    const struct plan_program *program = &draft->program;
    *curve = (struct curve){.count = program->op_count};
    curve->live = mem_zalloc(MEM_PLAN, program->op_count, sizeof *curve->live);
    curve->resident = mem_zalloc(MEM_PLAN, program->op_count, sizeof *curve->resident);
    if (!curve->live || !curve->resident)
        return error_memory(err, program->op_count * sizeof *curve->live, "measuring blocks");
    for (size_t t = 0; t < program->tensor_count; t++) {
        const struct plan_tensor *tensor = &program->tensors[t];
        if (tensor->host || is_fixed(graph, tensor)) continue;
        uint64_t bytes = layout_round(tensor->bytes);
        if (draft->home[t] == t)
            curve->live[tensor->first] += bytes;
        else
            curve->resident[tensor->first] -= bytes; /* modulo 2^64: the sums are right */
        curve->resident[tensor->last] += bytes;
    }
    uint64_t now = 0;
    for (size_t i = 0; i < program->op_count; i++) {
        now += curve->live[i];
        curve->live[i] = now;
        now -= curve->resident[i];
        curve->resident[i] = now;
    }
    return true;
}

/* A block's input goes to the host for the block's sake, not for that of the one before, whose op made it. */
static uint32_t sender(const struct graph *graph, const struct draft *draft, const struct plan_op *op)
{
    uint32_t block = graph->ops[op->op].block;
    uint32_t tensor = draft->program.tensors[op->in[0]].origin;
    bool is_output = block != NO_OP && tensor == graph->blocks[block].output;
    return is_output && block + 1 < graph->block_count ? block + 1 : block;
}

/* What runs again does so for the sake of the backward op after it, be it of the block before that one's. */
static void find_owners(const struct graph *graph, const struct plan_program *program, uint32_t *owners)
{
    uint32_t backward = NO_OP;
    for (size_t i = program->op_count; i-- > 0;) {
        const struct plan_op *op = &program->ops[i];
        uint32_t block = graph->ops[op->op].block;
        if (op->pass == PASS_BACKWARD && block != NO_OP) backward = block;
        owners[i] = plan_op_repeats(op) && backward != NO_OP ? backward : block;
    }
}

static void pass_op(const struct graph *graph, const struct draft *draft, size_t i, const struct cost_speed *speed,
                    uint64_t live, uint32_t owner, struct passage *passage)
{
    const struct plan_op *op = &draft->program.ops[i];
    bool forward = op->pass == PASS_FORWARD || op->pass == PASS_EVALUATE;
    bool remade = plan_op_repeats(op) && graph->ops[op->op].block != owner;
    uint64_t *most = forward ? &passage->forward_most : &passage->backward_most;
    if (live > *most) *most = live;
    if (remade || passage->remake_most > 0)
        passage->remake_most = live > passage->remake_most ? live : passage->remake_most;
    if (!plan_op_copies(op))
        *(forward ? &passage->forward_seconds : &passage->backward_seconds) +=
            workspace_op_seconds(speed, graph, &draft->program, op);
}

static void pass_through(const struct graph *graph, const struct draft *draft, const struct curve *curve,
                         const uint32_t *owners, const struct cost_speed *speed, struct passage *passages)
{
    for (size_t i = 0; i < draft->program.op_count; i++) {
        const struct plan_op *op = &draft->program.ops[i];
        if (owners[i] == NO_OP) continue;
        struct passage *passage = &passages[owners[i]];
        pass_op(graph, draft, i, speed, curve->live[i], owners[i], passage);
        if (op->pass == PASS_OFFLOAD)
            passages[sender(graph, draft, op)].sent += layout_round(draft->program.tensors[op->in[0]].bytes);
        if (op->pass == PASS_FORWARD || op->pass == PASS_EVALUATE) passage->resident = curve->resident[i];
    }
}

bool block_passages_measure(const struct variant_request *request, const struct graph *graph, const struct draft *draft,
                            struct passage *passages, struct error *err)
{
    struct cost_speed speed = cost_speed_of(request->device, request->plan->dtype, request->plan->measured);
    struct curve curve;
    uint32_t *owners = mem_alloc(MEM_PLAN, draft->program.op_count, sizeof *owners);
    bool ok = draw_curve(graph, draft, &curve, err);
    if (ok && !owners) ok = error_memory(err, draft->program.op_count * sizeof *owners, "measuring blocks");
    if (ok) {
        find_owners(graph, &draft->program, owners);
        pass_through(graph, draft, &curve, owners, &speed, passages);
    }
    curve_finish(&curve);
    mem_free(owners);
    return ok;
}
