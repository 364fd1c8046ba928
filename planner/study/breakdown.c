#include "breakdown.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cost.h"
#include "keep.h"
#include "mem.h"
#include "occupancy.h"
#include "workspace.h"

static uint32_t stage_of(const struct graph *graph, uint32_t layer) { return graph->layers[layer].stage; }

static size_t count_stages(const struct graph *graph)
{
    size_t stages = 0;
    for (size_t i = 0; i < graph->layer_count; i++)
        if (graph->layers[i].stage >= stages) stages = graph->layers[i].stage + 1;
    return stages;
}

/* A stage's name is what the path of its forward ops begins with: gradient buckets have paths of their own. */
static void name_stages(const struct graph *graph, struct breakdown_total *stages)
{
    for (uint32_t i = 0; i < graph->forward_end; i++) {
        const struct graph_layer *layer = &graph->layers[graph->ops[i].layer];
        size_t length = strcspn(layer->path, "/");
        snprintf(stages[layer->stage].name, sizeof stages->name, "%.*s", (int)length, layer->path);
    }
}

static uint64_t forward_macs(const struct graph *graph, const struct op *op)
{
    if (op->pass != PASS_FORWARD || (op->kind != OP_CONV && op->kind != OP_FC)) return 0;
    const struct tensor *y = &graph->tensors[op->out[0]], *w = &graph->tensors[op->in[1]];
    return tensor_elements(w) * y->dims[1] * y->dims[2];
}

/* Copies do not run the op that they name. */
static bool runs_op(const struct plan_op *op) { return op->pass != PASS_OFFLOAD && op->pass != PASS_FETCH; }

static void add_op(struct breakdown_total *total, const struct plan_variant *variant, const struct plan_op *op,
                   const struct cost_speed *speed)
{
    const struct op *graph_op = &variant->graph->ops[op->op];
    total->ops++;
    total->flops += graph_op->flops;
    total->bytes_moved += graph_op->bytes_moved;
    if (speed->known) total->seconds += workspace_op_seconds(speed, variant->graph, &variant->train, op);
}

static void add_stages(const struct plan_variant *variant, const struct cost_speed *speed,
                       struct breakdown_total *stages)
{
    const struct graph *graph = variant->graph;
    const struct plan_program *program = &variant->train;
    name_stages(graph, stages);
    for (size_t i = 0; i < graph->parameter_count; i++) {
        const struct tensor *t = &graph->tensors[graph->parameters[i]];
        stages[stage_of(graph, t->layer)].parameters += tensor_elements(t);
    }
    for (size_t i = 0; i < program->body_count; i++) {
        const struct op *op = &graph->ops[program->ops[i].op];
        struct breakdown_total *stage = &stages[stage_of(graph, op->layer)];
        if (runs_op(&program->ops[i])) add_op(stage, variant, &program->ops[i], speed);
        if (program->ops[i].pass == PASS_FORWARD) stage->macs += forward_macs(graph, op);
    }
    for (size_t i = 0; i < program->tensor_count; i++) {
        const struct plan_tensor *t = &program->tensors[i];
        if (t->class != MEMORY_KEPT || t->origin == NO_TENSOR || t->host) continue;
        stages[stage_of(graph, graph->tensors[t->origin].layer)].kept_bytes += t->bytes;
    }
}

static void add_kinds(const struct plan_variant *variant, const struct cost_speed *speed,
                      struct breakdown_total kinds[OP_KINDS])
{
    for (int k = 0; k < OP_KINDS; k++) snprintf(kinds[k].name, sizeof kinds->name, "%s", op_kind_name((enum op_kind)k));
    for (size_t i = 0; i < variant->train.op_count; i++) {
        const struct op *op = &variant->graph->ops[variant->train.ops[i].op];
        if (runs_op(&variant->train.ops[i])) add_op(&kinds[op->kind], variant, &variant->train.ops[i], speed);
    }
}

static bool is_staged(enum memory_class class) { return class == MEMORY_KEPT || class == MEMORY_TRANSIENT; }

static int compare_parts(const void *left, const void *right)
{
    const struct breakdown_part *a = left, *b = right;
    if (a->bytes != b->bytes) return a->bytes < b->bytes ? 1 : -1;
    if (a->class != b->class) return a->class < b->class ? -1 : 1;
    return (a->stage > b->stage) - (a->stage < b->stage);
}

/* sums: of stage s of the kept activations at [s], of the transients at [stages + s]. */
static void sum_staged(const struct plan_variant *variant, size_t stages, uint64_t *sums)
{
    const struct graph *graph = variant->graph;
    for (uint32_t i = 0; i < variant->train.tensor_count; i++) {
        const struct plan_tensor *t = &variant->train.tensors[i];
        if (!is_staged(t->class) || t->origin == NO_TENSOR) continue;
        if (!occupancy_holds(graph, &variant->train, i, variant->peak_op)) continue;
        size_t stage = stage_of(graph, graph->tensors[t->origin].layer);
        sums[(t->class == MEMORY_KEPT ? 0 : stages) + stage] += occupancy_bytes(t);
    }
}

static void add_part(struct breakdown *breakdown, enum memory_class class, uint32_t stage, bool gaps, uint64_t bytes)
{
    if (bytes) breakdown->parts[breakdown->part_count++] = (struct breakdown_part){class, stage, gaps, bytes};
}

/* What a class holds beyond its stages' tensors is gaps between them. */
static void add_staged(struct breakdown *breakdown, enum memory_class class, uint64_t bytes, const uint64_t *sums)
{
    for (uint32_t s = 0; s < breakdown->stage_count; s++) {
        uint64_t part = sums[s] < bytes ? sums[s] : bytes;
        add_part(breakdown, class, s, false, part);
        bytes -= part;
    }
    add_part(breakdown, class, NO_STAGE, true, bytes);
}

static bool find_parts(const struct plan_device *device, const struct plan_variant *variant,
                       struct breakdown *breakdown, struct error *err)
{
    size_t stages = breakdown->stage_count, most = MEMORY_CLASSES + 2 * (stages + 1);
    uint64_t *sums = mem_zalloc(MEM_PLAN, 2 * stages, sizeof *sums);
    breakdown->parts = mem_alloc(MEM_PLAN, most, sizeof *breakdown->parts);
    if (!sums || !breakdown->parts) {
        mem_free(sums);
        return error_memory(err, most * sizeof *breakdown->parts, "the parts of the peak");
    }
    sum_staged(variant, stages, sums);
    for (int c = 0; c < MEMORY_CLASSES; c++) {
        enum memory_class class = (enum memory_class)c;
        if (is_staged(class))
            add_staged(breakdown, class, device->classes[c], class == MEMORY_KEPT ? sums : sums + stages);
        else
            add_part(breakdown, class, NO_STAGE, false, device->classes[c]);
    }
    qsort(breakdown->parts, breakdown->part_count, sizeof *breakdown->parts, compare_parts);
    mem_free(sums);
    return true;
}

/* Keeps the largest by insertion: of equal ones the first. */
static void find_largest(const struct plan_variant *variant, struct breakdown *breakdown)
{
    const struct plan_tensor *tensors = variant->train.tensors;
    for (uint32_t i = 0; i < variant->train.tensor_count; i++) {
        if (!occupancy_holds(variant->graph, &variant->train, i, variant->peak_op)) continue;
        breakdown->live++;
        size_t at = breakdown->largest_count;
        while (at > 0 && tensors[breakdown->largest[at - 1]].bytes < tensors[i].bytes) at--;
        if (at == BREAKDOWN_LARGEST) continue;
        size_t after = breakdown->largest_count - at;
        if (breakdown->largest_count < BREAKDOWN_LARGEST)
            breakdown->largest_count++;
        else
            after--;
        memmove(&breakdown->largest[at + 1], &breakdown->largest[at], after * sizeof *breakdown->largest);
        breakdown->largest[at] = i;
    }
}

struct block_runs {
    uint32_t first_op; /* graph op by which runs are counted; NO_OP before the first run */
    uint32_t runs;     /* of convolutions and the like, the first forward included */
    bool redone, offloaded, reconstructed;
};

static void count_op(const struct graph *graph, const struct plan_op *op, struct block_runs *block)
{
    bool elementwise = keep_is_elementwise(graph->ops[op->op].kind);
    if (op->pass == PASS_FORWARD && block->first_op == NO_OP && !elementwise) block->first_op = op->op;
    if (op->pass == PASS_OFFLOAD) block->offloaded = true;
    if (op->pass == PASS_RECONSTRUCT) block->reconstructed = true;
    if (op->pass == PASS_RECOMPUTE && elementwise) block->redone = true;
    if (op->pass == PASS_RECOMPUTE && !elementwise && op->op == block->first_op) block->runs++;
    if (op->pass == PASS_RECOMPUTE && !elementwise && block->runs == 0) block->runs = 1;
}

static bool count_blocks(const struct plan_variant *variant, struct breakdown_blocks *counts, struct error *err)
{
    const struct graph *graph = variant->graph;
    size_t count = graph->block_count;
    struct block_runs *blocks = mem_zalloc(MEM_PLAN, count, sizeof *blocks);
    if (!blocks) return error_memory(err, count * sizeof *blocks, "the blocks");
    for (size_t b = 0; b < count; b++) blocks[b].first_op = NO_OP;
    for (size_t i = 0; i < variant->train.op_count; i++) {
        const struct plan_op *op = &variant->train.ops[i];
        if (graph->ops[op->op].block < count) count_op(graph, op, &blocks[graph->ops[op->op].block]);
    }
    *counts = (struct breakdown_blocks){.count = (uint32_t)count, .most_runs = 1};
    for (size_t b = 0; b < count; b++) {
        counts->rerun += blocks[b].runs > 0;
        counts->redone += blocks[b].runs == 0 && blocks[b].redone;
        counts->kept += blocks[b].runs == 0 && !blocks[b].redone;
        counts->offloaded += blocks[b].offloaded;
        counts->reconstructed += blocks[b].reconstructed;
        if (blocks[b].runs + 1 > counts->most_runs) counts->most_runs = blocks[b].runs + 1;
    }
    mem_free(blocks);
    return true;
}

bool breakdown_make(const struct plan *plan, uint32_t device, const struct cost_table *measured,
                    struct breakdown *breakdown, struct error *err)
{
    const struct plan_device *of = &plan->devices[device];
    const struct plan_variant *variant = &plan->variants[of->variant];
    struct cost_speed speed = cost_speed_of(&of->spec, plan->dtype, measured);
    *breakdown = (struct breakdown){.stage_count = count_stages(variant->graph), .timed = speed.known};
    breakdown->stages = mem_zalloc(MEM_PLAN, breakdown->stage_count, sizeof *breakdown->stages);
    if (!breakdown->stages) return error_memory(err, breakdown->stage_count * sizeof *breakdown->stages, "the stages");
    add_stages(variant, &speed, breakdown->stages);
    add_kinds(variant, &speed, breakdown->kinds);
    find_largest(variant, breakdown);
    return find_parts(of, variant, breakdown, err) && count_blocks(variant, &breakdown->blocks, err);
}

void breakdown_finish(struct breakdown *breakdown)
{
    mem_free(breakdown->stages);
    mem_free(breakdown->parts);
    *breakdown = (struct breakdown){0};
}
