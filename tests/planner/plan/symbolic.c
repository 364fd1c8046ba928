/* Programs executed with hashes for numbers, over the plan's own bytes: an op's result is a hash of the op and of what
 * its operands' bytes hold. Whatever was shared, redone or split over streams, a step must leave the same parameters,
 * momentum, running statistics and metrics as the plan that keeps everything and shares nothing. Dead bytes and scratch
 * are filled with rubbish as soon as the plan says so. */
#include <string.h>

#include "hash.h"
#include "invertible.h"
#include "mem.h"
#include "planner_kit.h"
#include "sharing.h"

#define CELL 64u /* bytes; views of buckets start at multiples of it */

struct machine_state {
    const struct plan_variant *variant;
    const struct plan_program *program;
    uint64_t *cells;
    uint64_t rubbish;
    uint32_t micro_batch;
};

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t pair[2] = {a, b};
    return hash_bytes(pair, sizeof pair, 7);
}

static const struct plan_tensor *at(const struct machine_state *m, uint32_t tensor)
{
    return &m->program->tensors[tensor];
}

static uint64_t *cells_of(const struct machine_state *m, uint32_t tensor, size_t *count)
{
    *count = (size_t)((at(m, tensor)->bytes + CELL - 1) / CELL);
    return m->cells + at(m, tensor)->offset / CELL;
}

static uint64_t read_value(const struct machine_state *m, uint32_t tensor)
{
    size_t count;
    const uint64_t *cells = cells_of(m, tensor, &count);
    return hash_bytes(cells, count * sizeof *cells, 0);
}

static void write_value(struct machine_state *m, uint32_t tensor, uint64_t value)
{
    size_t count;
    uint64_t *cells = cells_of(m, tensor, &count);
    for (size_t i = 0; i < count; i++) cells[i] = mix(value, i);
}

static void spoil(struct machine_state *m, uint32_t tensor)
{
    write_value(m, tensor, mix(++m->rubbish, UINT64_C(0xbadbadbad)));
}

static uint64_t op_value(const struct machine_state *m, const struct plan_op *op)
{
    uint64_t value = mix(op->op, 99);
    for (uint32_t k = 0; k < m->variant->graph->ops[op->op].inputs; k++) value = mix(value, read_value(m, op->in[k]));
    return value;
}

/* Statistics are of x alone; y and mask of x, scale and shift, and of the statistics that were saved. */
static void run_bn(struct machine_state *m, const struct plan_op *op)
{
    const struct op *graph_op = &m->variant->graph->ops[op->op];
    uint64_t x = read_value(m, op->in[0]);
    uint64_t mean = mix(x, 1), variance = mix(x, 2);
    uint64_t affine = mix(read_value(m, op->in[1]), read_value(m, op->in[2]));
    if (op->pass == PASS_FORWARD) {
        write_value(m, op->in[3], mix(read_value(m, op->in[3]), mean));
        write_value(m, op->in[4], mix(read_value(m, op->in[4]), variance));
        write_value(m, op->out[1], mean);
        write_value(m, op->out[2], variance);
    }
    uint64_t y = mix(mix(x, affine), mix(read_value(m, op->out[1]), read_value(m, op->out[2])));
    write_value(m, op->out[0], y);
    if (graph_op->outputs > 3) write_value(m, op->out[3], mix(y, 3));
}

/* Cell by cell, as buckets hold many parameters and gaps between them. */
static void run_bucket(struct machine_state *m, const struct plan_op *op, enum op_kind kind)
{
    size_t count;
    uint64_t *in = cells_of(m, op->in[0], &count), *out = cells_of(m, op->out[0], &count);
    if (kind == OP_ACCUMULATE)
        for (size_t i = 0; i < count; i++) out[i] = m->micro_batch == 0 ? in[i] : mix(out[i], in[i]);
    if (kind == OP_ALL_REDUCE)
        for (size_t i = 0; i < count; i++) out[i] = mix(out[i], 5);
    if (kind != OP_UPDATE) return;
    uint64_t *gradient = cells_of(m, op->in[1], &count), *momentum = cells_of(m, op->in[2], &count);
    for (size_t i = 0; i < count; i++) {
        momentum[i] = mix(momentum[i], gradient[i]);
        in[i] = mix(in[i], momentum[i]);
    }
}

/* What is in the views of a 16-bit bucket, to twice as many bytes at twice their places. */
static void run_widen(struct machine_state *m, const struct plan_op *op)
{
    const struct graph *graph = m->variant->graph;
    for (uint32_t g = 0; g < graph->tensor_count; g++) {
        const struct tensor *t = &graph->tensors[g];
        if (t->view_of != graph->ops[op->op].in[0]) continue;
        const uint64_t *half = m->cells + (at(m, op->in[0])->offset + t->view_offset) / CELL;
        uint64_t *out = m->cells + (at(m, op->out[0])->offset + 2 * t->view_offset) / CELL;
        for (size_t i = 0; i < 2 * t->bytes / CELL; i++) out[i] = mix(half[i / 2], 7);
    }
}

/* Sums of whole numbers are exact, and can be turned round. */
static void run_add(struct machine_state *m, const struct plan_op *op)
{
    size_t count;
    const uint64_t *a = cells_of(m, op->in[0], &count), *b = cells_of(m, op->in[1], &count);
    uint64_t *out = cells_of(m, op->out[0], &count);
    for (size_t i = 0; i < count; i++) out[i] = op->pass == PASS_RECONSTRUCT ? a[i] - b[i] : a[i] + b[i];
}

static void run_op(struct machine_state *m, const struct plan_op *op)
{
    const struct op *graph_op = &m->variant->graph->ops[op->op];
    if (graph_op->kind == OP_ADD) {
        run_add(m, op);
        return;
    }
    if (graph_op->kind == OP_BN) {
        run_bn(m, op);
        return;
    }
    if (graph_op->kind == OP_GRADIENTS_WIDEN) {
        run_widen(m, op);
        return;
    }
    if (graph_op->kind == OP_BN_FINALIZE && op->pass == PASS_FORWARD)
        for (uint32_t k = 3; k < 5; k++)
            write_value(m, op->in[k], mix(read_value(m, op->in[k]), read_value(m, op->in[0])));
    if (graph_op->kind == OP_ACCUMULATE || graph_op->kind == OP_ALL_REDUCE || graph_op->kind == OP_UPDATE) {
        run_bucket(m, op, graph_op->kind);
        return;
    }
    uint64_t value = op_value(m, op);
    for (uint32_t k = 0; k < plan_op_outputs(m->variant->graph, op); k++) {
        uint64_t result = mix(value, k);
        if (m->variant->graph->tensors[graph_op->out[k]].persistent && m->micro_batch > 0)
            result = mix(result, read_value(m, op->out[k]));
        write_value(m, op->out[k], result);
    }
}

static bool is_output(const struct machine_state *m, const struct plan_op *op, uint64_t offset)
{
    for (uint32_t k = 0; k < OP_MOST_OUTPUTS; k++)
        if (op->out[k] != NO_TENSOR && at(m, op->out[k])->offset == offset) return true;
    return false;
}

static bool stays(const struct machine_state *m, uint32_t tensor)
{
    uint32_t origin = at(m, tensor)->origin;
    return origin != NO_TENSOR &&
           (m->variant->graph->tensors[origin].persistent || m->variant->graph->tensors[origin].view_of != NO_TENSOR);
}

/* Tensors that die at op i, unless an output has taken their bytes. */
static void bury(struct machine_state *m, uint32_t i)
{
    const struct plan_op *op = &m->program->ops[i];
    for (uint32_t t = 0; t < m->program->tensor_count; t++) {
        const struct plan_tensor *tensor = at(m, t);
        if (tensor->last != i || stays(m, t)) continue;
        if (is_output(m, op, tensor->offset) && tensor->first != i) continue;
        if (tensor->first == i && is_output(m, op, tensor->offset) && tensor->last > i) continue;
        spoil(m, t);
    }
}

static void run_part(struct machine_state *m, size_t from, size_t to)
{
    for (uint32_t i = (uint32_t)from; i < to; i++) {
        if (m->program->ops[i].workspace != NO_TENSOR) spoil(m, m->program->ops[i].workspace);
        run_op(m, &m->program->ops[i]);
        if (m->program->ops[i].workspace != NO_TENSOR) spoil(m, m->program->ops[i].workspace);
        bury(m, i);
    }
}

static uint32_t instance_of(const struct machine_state *m, uint32_t origin)
{
    for (uint32_t t = 0; t < m->program->tensor_count; t++)
        if (at(m, t)->origin == origin) return t;
    return NO_TENSOR;
}

/* A parameter that is only read as its copy has no instance of its own: it is where its bucket has it. */
static uint64_t *cells_of_graph_tensor(const struct machine_state *m, uint32_t tensor, size_t *count)
{
    const struct tensor *t = &m->variant->graph->tensors[tensor];
    uint32_t own = instance_of(m, tensor);
    if (own != NO_TENSOR) return cells_of(m, own, count);
    cr_assert_neq(t->view_of, NO_TENSOR);
    *count = (size_t)((t->bytes + CELL - 1) / CELL);
    return m->cells + (at(m, instance_of(m, t->view_of))->offset + t->view_offset) / CELL;
}

/* What stays from step to step, parameter by parameter, as gaps in buckets mean nothing. */
static bool is_state(const struct tensor *t) { return t->persistent && t->role != ROLE_BUCKET; }

static void set_state(struct machine_state *m)
{
    for (uint32_t g = 0; g < m->variant->graph->tensor_count; g++) {
        size_t count;
        if (!is_state(&m->variant->graph->tensors[g])) continue;
        uint64_t *cells = cells_of_graph_tensor(m, g, &count);
        for (size_t i = 0; i < count; i++) cells[i] = mix(mix(g, 1000), i);
    }
}

static uint64_t summarise(const struct machine_state *m)
{
    uint64_t sum = 0;
    for (uint32_t g = 0; g < m->variant->graph->tensor_count; g++) {
        size_t count;
        if (!is_state(&m->variant->graph->tensors[g])) continue;
        const uint64_t *cells = cells_of_graph_tensor(m, g, &count);
        sum = mix(sum, hash_bytes(cells, count * sizeof *cells, 0));
    }
    return sum;
}

static bool is_input(const struct machine_state *m, uint32_t tensor)
{
    uint32_t origin = at(m, tensor)->origin;
    return origin != NO_TENSOR && m->variant->graph->tensors[origin].class == CLASS_INPUT;
}

static uint64_t run_step(const struct plan *plan, uint64_t rubbish)
{
    struct machine_state m = {.variant = &plan->variants[0], .program = &plan->variants[0].train, .rubbish = rubbish};
    size_t cells = (size_t)(m.variant->arena_bytes / CELL) + 1;
    m.cells = mem_alloc(MEM_GENERAL, cells, sizeof *m.cells);
    cr_assert(m.cells);
    for (size_t i = 0; i < cells; i++) m.cells[i] = mix(rubbish, i);
    set_state(&m);
    for (uint32_t t = 0; t < m.program->tensor_count; t++)
        if (at(&m, t)->origin != NO_TENSOR && m.variant->graph->tensors[at(&m, t)->origin].class == CLASS_OPTIMIZER)
            write_value(&m, t, 2000);
    for (m.micro_batch = 0; m.micro_batch < plan->devices[0].micro_batches; m.micro_batch++) {
        for (uint32_t t = 0; t < m.program->tensor_count; t++)
            if (is_input(&m, t)) write_value(&m, t, mix(m.micro_batch, 3000 + at(&m, t)->origin));
        run_part(&m, 0, m.program->body_count);
    }
    m.micro_batch--;
    run_part(&m, m.program->body_count, m.program->op_count);
    uint64_t sum = summarise(&m);
    mem_free(m.cells);
    return sum;
}

static void compare(struct kit_options options)
{
    options.recompute = RECOMPUTE_NONE;
    options.sharing = SHARING_NONE;
    bool reconstruct = options.reconstruct;
    options.reconstruct = false;
    struct plan *reference = kit_make_from(&options);
    options.reconstruct = reconstruct;
    uint64_t right = run_step(reference, 1);
    cr_assert_eq(run_step(reference, 2), right, "%s: the result depends on what was in memory", options.model);
    plan_destroy(reference);
    options.sharing = SHARING_FULL;
    uint64_t arena = 0;
    for (int policy = RECOMPUTE_NONE; policy <= RECOMPUTE_BUDGET; policy++)
        for (uint64_t part = 100; part >= 40; part -= 20) {
            options.recompute = (enum recompute_policy)policy;
            options.budget = policy == RECOMPUTE_BUDGET ? arena * part / 100 : 0;
            struct error err = {0};
            struct plan *plan = kit_try(&options, &err);
            if (!plan) cr_assert_eq(err.kind, ERROR_UNFIT, "%s", err.text);
            if (!plan) break;
            if (policy == RECOMPUTE_NONE) arena = plan->variants[0].arena_bytes;
            cr_assert_eq(run_step(plan, 3), right, "%s, %s at %d %%", options.model,
                         recompute_policy_name(plan->recompute), (int)part);
            plan_destroy(plan);
            if (policy != RECOMPUTE_BUDGET) break;
        }
}

Test(symbolic, nets_of_every_kind)
{
    static const char *const models[] = {"resnet-8", "resnet-20", "resnet-29", "plain-8", "resnet-56"};
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        for (uint32_t micro_batches = 1; micro_batches <= 2; micro_batches++)
            compare(
                (struct kit_options){.model = models[i], .batch = 2, .gpus = "8GiB", .micro_batches = micro_batches});
}

Test(symbolic, units_and_shortcuts)
{
    for (int unit = UNIT_ORIGINAL; unit <= UNIT_NO_FINAL_RELU; unit++)
        compare((struct kit_options){.model = "resnet-14", .unit = unit + 1, .batch = 2, .gpus = "8GiB"});
    for (int shortcut = SHORTCUT_A; shortcut <= SHORTCUT_DROPOUT; shortcut++)
        for (int unit = UNIT_ORIGINAL; unit <= UNIT_PREACT; unit++)
            compare((struct kit_options){
                .model = "resnet-14", .unit = unit + 1, .shortcut = shortcut + 1, .batch = 2, .gpus = "8GiB"});
}

Test(symbolic, imagenet_and_vgg)
{
    compare((struct kit_options){.model = "resnet-18", .image_size = 32, .batch = 1, .gpus = "8GiB"});
    compare((struct kit_options){.model = "resnet-50", .image_size = 32, .batch = 1, .gpus = "8GiB"});
    compare((struct kit_options){.model = "vgg-a", .image_size = 32, .batch = 1, .gpus = "8GiB"});
}

Test(symbolic, several_devices_with_small_buckets)
{
    compare((struct kit_options){.model = "resnet-8", .batch = 4, .gpus = "2x8GiB", .bucket_bytes = 20000});
    compare((struct kit_options){
        .model = "resnet-8", .batch = 8, .gpus = "2x8GiB", .bucket_bytes = 20000, .micro_batches = 2});
}

/* Lowered programs: convolutions that read through a BN and write its sums, statistics that are made once. */
Test(symbolic, lowered_nets)
{
    static const struct kit_options of[] = {
        {.model = "resnet-29", .batch = 2, .gpus = "8GiB", .micro_batches = 2},
        {.model = "resnet-56", .batch = 2, .gpus = "8GiB", .micro_batches = 1},
        {.model = "resnet-50", .image_size = 32, .batch = 1, .gpus = "8GiB"},
        {.model = "plain-8", .batch = 2, .gpus = "8GiB"},
        {.model = "resnet-11", .batch = 8, .gpus = "2x8GiB", .bucket_bytes = 20000, .micro_batches = 2}};
    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++)
        for (uint32_t k = 0; k < 2; k++) {
            struct kit_options options = of[i];
            static const uint32_t lowerings[] = {LOWER_ALL, LOWER_ALL & ~LOWER_NORMALIZE_WEIGHTS};
            options.lowering = lowerings[k];
            compare(options);
        }
    for (int unit = UNIT_ORIGINAL; unit <= UNIT_NO_FINAL_RELU; unit++)
        for (int shortcut = SHORTCUT_A + unit % 3; shortcut <= SHORTCUT_DROPOUT; shortcut += 3)
            compare((struct kit_options){.model = "resnet-14",
                                         .unit = unit + 1,
                                         .shortcut = shortcut + 1,
                                         .batch = 2,
                                         .gpus = "8GiB",
                                         .lowering = LOWER_ALL});
}

/* Weights in 16 bits: copies that are made once, and that all runs of a block read. */
Test(symbolic, copied_weights)
{
    static const struct kit_options of[] = {
        {.model = "resnet-29", .batch = 2, .gpus = "8GiB", .micro_batches = 2, .dtype = DTYPE_F16},
        {.model = "resnet-56", .batch = 2, .gpus = "8GiB", .micro_batches = 1, .dtype = DTYPE_BF16},
        {.model = "resnet-11", .batch = 8, .gpus = "2x8GiB", .bucket_bytes = 20000, .dtype = DTYPE_BF16}};
    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++)
        for (uint32_t k = 0; k < 2; k++) {
            struct kit_options options = of[i];
            options.lowering = k ? LOWER_ALL : LOWER_WEIGHTS;
            compare(options);
        }
}

/* Images that an op makes of bytes, and makes again where they were not kept. */
Test(symbolic, images_of_bytes)
{
    static const struct kit_options of[] = {
        {.model = "resnet-29", .batch = 2, .gpus = "8GiB", .micro_batches = 2},
        {.model = "resnet-11", .batch = 8, .gpus = "2x8GiB", .bucket_bytes = 20000, .dtype = DTYPE_BF16}};
    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++) {
        struct kit_options options = of[i];
        options.lowering = LOWER_INPUT;
        compare(options);
    }
}

/* Where sums are exact, inputs made again from outputs are the very same. */
static void make_inputs_again(uint32_t lowering)
{
    static const struct kit_options of[] = {
        {.model = "resnet-29", .batch = 2, .gpus = "8GiB", .micro_batches = 2},
        {.model = "resnet-56", .unit = UNIT_PREACT + 1, .batch = 2, .gpus = "8GiB", .micro_batches = 1},
        {.model = "resnet-14", .unit = UNIT_RELU_BEFORE_ADD + 1, .batch = 2, .gpus = "8GiB", .micro_batches = 1},
        {.model = "resnet-14", .unit = UNIT_RELU_ONLY_PREACT + 1, .batch = 2, .gpus = "8GiB", .micro_batches = 1},
        {.model = "resnet-14", .unit = UNIT_NO_FINAL_RELU + 1, .batch = 2, .gpus = "8GiB", .micro_batches = 1}};
    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++) {
        struct kit_options options = of[i];
        options.lowering = lowering & ~(uint32_t)(LOWER_ADD | LOWER_BN_ADD); /* that addition stays an op of its own */
        options.recompute = RECOMPUTE_ELEMENTWISE;
        struct plan *exact = kit_make_from(&options);
        options.reconstruct = true;
        struct plan *again = kit_make_from(&options);
        cr_expect_gt(invertible_reconstructed(&again->variants[0].train), 2, "%s", options.model);
        cr_expect_eq(run_step(again, 5), run_step(exact, 6), "%s, unit %d", options.model, options.unit - 1);
        plan_destroy(exact);
        plan_destroy(again);
        compare(options);
    }
}

Test(symbolic, inputs_made_again) { make_inputs_again(0); }

Test(symbolic, inputs_made_again_in_lowered_nets) { make_inputs_again(LOWER_ALL); }

/* That the comparison can fail: one kept activation moved onto its neighbour changes the result. */
Test(symbolic, an_overlap_changes_the_result)
{
    struct plan *plan = kit_make(.model = "resnet-8", .batch = 2, .gpus = "8GiB", .recompute = RECOMPUTE_NONE);
    uint64_t right = run_step(plan, 1);
    struct plan_program *program = &plan->variants[0].train;
    size_t changed = 0, tried = 0;
    for (uint32_t t = 0; t + 1 < program->tensor_count; t++) {
        struct plan_tensor *moved = &program->tensors[t];
        if (moved->class != MEMORY_KEPT || moved->bytes < 4096 || moved->offset < 4096) continue;
        moved->offset -= 4096;
        changed += run_step(plan, 1) != right;
        moved->offset += 4096;
        tried++;
    }
    cr_assert_gt(tried, 10);
    cr_assert_gt(changed, tried / 2, "%zu of %zu", changed, tried);
    plan_destroy(plan);
}
