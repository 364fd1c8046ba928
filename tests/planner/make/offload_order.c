/* The executor's rule, on which the proof of offloading plans rests: whatever its streams do meanwhile, ops that share
 * bytes, one of them writing, run in the order of the program. */
#include "hazards.h"
#include "keep.h"
#include "offload_kit.h"
#include "plan_request.h"
#include "planner_kit.h"

struct clock { /* per stream, how many of the program's first ops are surely done (counted by index, plus one) */
    uint32_t done[PLAN_STREAMS];
};

static void join(struct clock *a, const struct clock *b)
{
    for (int s = 0; s < PLAN_STREAMS; s++)
        if (b->done[s] > a->done[s]) a->done[s] = b->done[s];
}

static bool shares_bytes(const struct plan_tensor *a, const struct plan_tensor *b)
{
    return a->host == b->host && a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

/* Reads and writes of an op, writes first; returns how many of both. */
static uint32_t list_operands(const struct plan *plan, uint32_t index, uint32_t *operands, uint32_t *written)
{
    const struct graph *graph = plan->variants[0].graph;
    const struct plan_op *op = &plan->variants[0].train.ops[index];
    uint32_t count = 0;
    for (uint32_t k = 0; k < plan_op_outputs(graph, op); k++) operands[count++] = op->out[k];
    if (op->workspace != NO_TENSOR) operands[count++] = op->workspace;
    *written = count;
    for (uint32_t k = 0; k < plan_op_inputs(graph, op); k++) operands[count++] = op->in[k];
    return count;
}

static bool conflict(const struct plan *plan, uint32_t a, uint32_t b)
{
    uint32_t of_a[16], of_b[16], written_a, written_b;
    uint32_t count_a = list_operands(plan, a, of_a, &written_a), count_b = list_operands(plan, b, of_b, &written_b);
    const struct plan_tensor *tensors = plan->variants[0].train.tensors;
    for (uint32_t i = 0; i < count_a; i++)
        for (uint32_t k = 0; k < count_b; k++)
            if ((i < written_a || k < written_b) && shares_bytes(&tensors[of_a[i]], &tensors[of_b[k]])) return true;
    return false;
}

/* After an op of a stream: what it waited for, and all that the ops before it on its stream had waited for. */
static void check_order(const struct plan *plan)
{
    const struct plan_program *train = &plan->variants[0].train;
    struct stream_waits *waits = mem_alloc(MEM_PLAN, train->op_count, sizeof *waits);
    struct clock *clocks = mem_zalloc(MEM_PLAN, train->op_count, sizeof *clocks), now[PLAN_STREAMS] = {{{0}}};
    struct error err = {0};
    cr_assert(waits && clocks);
    cr_assert(stream_waits_find(plan->variants[0].graph, train, NULL, waits, &err), "%s", err.text);
    for (uint32_t op = 0; op < train->op_count; op++) {
        uint8_t stream = train->ops[op].stream;
        for (int s = 0; s < PLAN_STREAMS; s++)
            if (waits[op].op[s] != NO_OP) join(&now[stream], &clocks[waits[op].op[s]]);
        for (uint32_t before = 0; before < op; before++)
            if (train->ops[before].stream != stream && conflict(plan, before, op))
                cr_assert_gt(now[stream].done[train->ops[before].stream], before, "op %u may overtake op %u", op,
                             before);
        now[stream].done[stream] = op + 1;
        clocks[op] = now[stream];
    }
    mem_free(waits);
    mem_free(clocks);
}

Test(order, ops_that_share_bytes_never_overtake_each_other)
{
    static const struct kit_options of[] = {
        {.model = "resnet-20", .batch = 32, .gpus = "2x80GiB", .bucket_bytes = 64 << 10},
        {.model = "resnet-29", .batch = 32, .gpus = "80GiB"},
        {.model = "resnet-18", .batch = 4, .gpus = "80GiB", .micro_batches = 2}};
    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++) {
        struct kit_options options = of[i];
        options.recompute = RECOMPUTE_NONE;
        struct plan *plan = kit_make_from(&options);
        struct plan_request request = {.spec = plan->spec, .batch = plan->batch};
        for (uint64_t seed = 100; seed < 112; seed++) {
            struct chain_schedule schedule =
                offload_random_schedule(plan->variants[0].graph->block_count, KEEP_ON_HOST, seed);
            offload_follow(plan, &request, &schedule);
            check_order(plan);
            chain_schedule_finish(&schedule);
        }
        plan_destroy(plan);
    }
}
