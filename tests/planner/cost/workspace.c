/* What convolutions get to work in on GPUs, and what less of it costs. */
#include <math.h>

#include "draft.h"
#include "graph_kit.h"
#include "keep.h"
#include "plan_request.h"
#include "planner_kit.h"
#include "schedule.h"
#include "variant_request.h"
#include "workspace.h"

static struct graph *build_for(const char *model, uint32_t batch, enum dtype dtype, uint32_t lowering)
{
    return build_with(model, MODEL_OPTIONS_DEFAULT,
                      (struct graph_options){.batch = batch, .micro_batches = 1, .dtype = dtype, .lowering = lowering});
}

static uint64_t ask(const struct graph *graph, uint32_t op, uint64_t cap, bool lean)
{
    struct workspace_tier tier = {catalogue_find("h100"), cap};
    struct error err = {0};
    uint64_t bytes = 0;
    cr_assert((lean ? workspace_estimate_lean : workspace_estimate)(&tier, graph, &graph->ops[op], PASS_FORWARD, &bytes,
                                                                    &err));
    return bytes;
}

/* cuDNN 9's answer for the stem on 256 images of 224 x 224 in bf16 is 205 MB: three channels padded to eight. */
Test(workspace, a_16_bit_stem_pads_its_image)
{
    struct graph *graph = build_for("resnet-50", 256, DTYPE_BF16, 0);
    uint64_t padded = 256ull * 224 * 224 * 8 * 2, weights = 64 * 7 * 7 * 3 * 2;
    cr_assert_eq(graph->ops[0].kind, OP_CONV);
    cr_expect_eq(ask(graph, 0, 0, false), padded + weights);
    cr_expect_eq(ask(graph, 0, 16u << 20, false), padded + weights, "no cap makes it smaller");
    cr_expect_eq(ask(graph, 0, 0, true), padded + weights);
    graph_destroy(graph);
    graph = build_for("resnet-50", 256, DTYPE_F32, 0);
    cr_expect_eq(ask(graph, 0, 0, false), 128u << 20);
    cr_expect_eq(ask(graph, 0, 16u << 20, false), 16u << 20);
    cr_expect_eq(ask(graph, 0, 0, true), WORKSPACE_LEAN_BYTES);
    cr_expect_eq(ask(graph, 0, 1u << 20, true), 1u << 20);
    graph_destroy(graph);
}

/* Ops that read copied weights need none of their own; gradients of weights are rounded back to f32. */
Test(workspace, copied_weights_need_no_copy)
{
    struct graph *plain = build_for("resnet-50", 8, DTYPE_F16, 0),
                 *copied = build_for("resnet-50", 8, DTYPE_F16, LOWER_WEIGHTS);
    cr_assert_eq(copied->ops[0].kind, OP_WEIGHTS_COPY);
    for (uint32_t i = 0; i < plain->op_count; i++) {
        uint64_t before = workspace_weights_copy(plain, &plain->ops[i]);
        uint64_t now = workspace_weights_copy(copied, &copied->ops[i + 1]);
        bool gradient = plain->ops[i].kind == OP_CONV_BWD_WEIGHTS || plain->ops[i].kind == OP_FC_BWD_WEIGHTS;
        cr_expect_eq(now, gradient ? before : 0);
        cr_expect_eq(ask(copied, i + 1, 1, false) + before, ask(plain, i, 1, false) + now);
    }
    graph_destroy(plain);
    graph_destroy(copied);
}

/* One op of the stem's kind with so much workspace. */
static double slowdown(const struct graph *graph, uint64_t bytes)
{
    struct plan_tensor tensor = {.origin = NO_TENSOR, .bytes = bytes};
    struct plan_op op = {.op = 0, .workspace = bytes ? 0 : NO_TENSOR};
    struct plan_program program = {.ops = &op, .op_count = 1, .tensors = &tensor, .tensor_count = 1};
    return workspace_slowdown(graph, &program, &op);
}

Test(workspace, less_of_it_is_slower_as_measured)
{
    struct graph *graph = build_for("resnet-18", 256, DTYPE_F32, 0);
    cr_expect_eq(slowdown(graph, 256u << 20), 1);
    cr_expect_eq(slowdown(graph, 128u << 20), 1);
    cr_expect_float_eq(slowdown(graph, 64u << 20), 6.30 / 5.23, 0.04);
    cr_expect_float_eq(slowdown(graph, 8u << 20), 9.80 / 5.23, 0.04);
    cr_expect_float_eq(slowdown(graph, 0), 1.9, 1e-9);
    for (uint64_t bytes = 1u << 20; bytes < 256u << 20; bytes *= 2)
        cr_expect_geq(slowdown(graph, bytes), slowdown(graph, 2 * bytes));
    graph_destroy(graph);
}

/* Where the peak is at a convolution; where it is not, a cap costs time alone. */
Test(workspace, a_cap_takes_memory_from_plans_and_adds_time)
{
    struct kit_options options = {.model = "resnet-200", .batch = 16, .gpus = "1400MiB", .micro_batches = 1};
    struct plan *all = kit_make_from(&options);
    options.workspace_cap = 8u << 20;
    struct plan *capped = kit_make_from(&options);
    cr_expect(all->fits && capped->fits, "without a cap the blocks do with less where the peak is");
    plan_destroy(all);
    plan_destroy(capped);
    options = (struct kit_options){.model = "resnet-50", .batch = 64, .gpus = "titan-x", .recompute = RECOMPUTE_NONE};
    all = kit_make_from(&options);
    options.workspace_cap = 8u << 20;
    capped = kit_make_from(&options);
    cr_expect_leq(capped->variants[0].arena_bytes, all->variants[0].arena_bytes);
    cr_expect_gt(capped->step_seconds, 1.1 * all->step_seconds);
    cr_expect_lt(capped->step_seconds, 1.9 * all->step_seconds);
    plan_destroy(all);
    plan_destroy(capped);
}

static uint64_t largest_workspace(const struct graph *graph, const struct draft *draft, uint32_t block)
{
    uint64_t most = 0;
    for (size_t i = 0; i < draft->program.op_count; i++) {
        const struct plan_op *op = &draft->program.ops[i];
        if (graph->ops[op->op].block != block || op->workspace == NO_TENSOR) continue;
        if (draft->program.tensors[op->workspace].bytes > most) most = draft->program.tensors[op->workspace].bytes;
    }
    return most;
}

/* Only the blocks that are kept so. */
Test(workspace, lean_blocks_do_with_little)
{
    struct graph *graph = build_for("resnet-50", 64, DTYPE_F32, 0);
    struct plan_request plan = {.batch = 64};
    struct variant_request request = {.plan = &plan, .device = catalogue_find("titan-x"), .images = 64};
    struct chain_schedule schedule;
    struct draft draft = {0};
    struct error err = {0};
    cr_assert(schedule_uniform(graph, KEEP_CONVOLUTIONS, &schedule, &err));
    schedule.steps[3].keep |= KEEP_LEAN;
    schedule.steps[schedule.count - 4].keep |= KEEP_LEAN;
    cr_assert(draft_train(&request, graph, &schedule, &draft, &err), "%s", err.text);
    cr_expect_gt(largest_workspace(graph, &draft, 2), WORKSPACE_LEAN_BYTES);
    cr_expect_eq(largest_workspace(graph, &draft, 3), WORKSPACE_LEAN_BYTES);
    cr_expect_gt(largest_workspace(graph, &draft, 4), WORKSPACE_LEAN_BYTES);
    draft_finish(&draft);
    chain_schedule_finish(&schedule);
    graph_destroy(graph);
}
