/* `fathom plan --explain`: what the step computes, stage by stage and kind by kind, and what is live at the peak. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cost.h"
#include "mem.h"
#include "plan_report.h"
#include "units.h"
#include "words.h"

struct totals {
    char name[40];
    uint64_t ops, parameters, macs, flops, bytes_moved, kept_bytes;
    double seconds;
};

static uint32_t stage_of(const struct graph *graph, uint32_t layer) { return graph->layers[layer].stage; }

static size_t count_stages(const struct graph *graph)
{
    size_t stages = 0;
    for (size_t i = 0; i < graph->layer_count; i++)
        if (graph->layers[i].stage >= stages) stages = graph->layers[i].stage + 1;
    return stages;
}

/* A stage's name is what the path of its forward ops begins with: gradient buckets have paths of their own. */
static void name_stages(const struct graph *graph, struct totals *stages)
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

static void add_op(struct totals *totals, const struct graph *graph, const struct op *op,
                   const struct cost_speed *speed)
{
    totals->ops++;
    totals->macs += forward_macs(graph, op);
    totals->flops += op->flops;
    totals->bytes_moved += op->bytes_moved;
    totals->seconds += cost_op_seconds(speed, graph, op, false);
}

static void fill_stages(const struct plan_variant *variant, const struct cost_speed *speed, struct totals *stages)
{
    const struct graph *graph = variant->graph;
    name_stages(graph, stages);
    for (size_t i = 0; i < graph->parameter_count; i++) {
        const struct tensor *t = &graph->tensors[graph->parameters[i]];
        stages[stage_of(graph, t->layer)].parameters += tensor_elements(t);
    }
    for (size_t i = 0; i < variant->train.body_count; i++) {
        const struct plan_op *made = &variant->train.ops[i];
        const struct op *op = &graph->ops[made->op];
        struct totals *stage = &stages[stage_of(graph, op->layer)];
        uint64_t macs = stage->macs;
        add_op(stage, graph, op, speed);
        if (made->pass == PASS_RECOMPUTE) stage->macs = macs;
    }
    for (size_t i = 0; i < variant->train.tensor_count; i++) {
        const struct plan_tensor *t = &variant->train.tensors[i];
        if (t->class_ != MEMORY_KEPT || t->origin == NO_TENSOR) continue;
        stages[stage_of(graph, graph->tensors[t->origin].layer)].kept_bytes += t->bytes;
    }
}

static void fill_kinds(const struct plan_variant *variant, const struct cost_speed *speed,
                       struct totals kinds[OP_KINDS])
{
    for (int k = 0; k < OP_KINDS; k++) snprintf(kinds[k].name, sizeof kinds->name, "%s", op_kind_name((enum op_kind)k));
    for (size_t i = 0; i < variant->train.op_count; i++) {
        const struct op *op = &variant->graph->ops[variant->train.ops[i].op];
        add_op(&kinds[op->kind], variant->graph, op, speed);
    }
}

static void print_stages(const struct totals *stages, size_t count, FILE *to)
{
    fprintf(to, "  %-12s %6s %14s %12s %12s %12s %12s\n", "stage", "ops", "parameters", "MACs/image", "FLOPs",
            "bytes moved", "kept");
    for (size_t i = 0; i < count; i++) {
        char parameters[UNITS_TEXT], macs[UNITS_TEXT], flops[UNITS_TEXT], moved[UNITS_TEXT], kept[UNITS_TEXT];
        const struct totals *s = &stages[i];
        if (s->ops == 0) continue;
        fprintf(to, "  %-12s %6" PRIu64 " %14s %12s %12s %12s %12s\n", s->name, s->ops,
                units_format_count(s->parameters, parameters), units_format_si((double)s->macs, macs),
                units_format_si((double)s->flops, flops), units_format_bytes(s->bytes_moved, moved),
                units_format_bytes(s->kept_bytes, kept));
    }
}

static void print_kinds(const struct totals kinds[OP_KINDS], bool known, FILE *to)
{
    fprintf(to, "\n  %-20s %6s %12s %12s %12s\n", "op", "count", "FLOPs", "bytes moved", known ? "predicted" : "");
    for (int k = 0; k < OP_KINDS; k++) {
        char flops[UNITS_TEXT], moved[UNITS_TEXT], seconds[UNITS_TEXT];
        if (kinds[k].ops == 0) continue;
        fprintf(to, "  %-20s %6" PRIu64 " %12s %12s %12s\n", kinds[k].name, kinds[k].ops,
                units_format_si((double)kinds[k].flops, flops), units_format_bytes(kinds[k].bytes_moved, moved),
                known ? units_format_seconds(kinds[k].seconds, seconds) : "");
    }
}

static int compare_sizes(const void *left, const void *right)
{
    const struct plan_tensor *const *a = left, *const *b = right;
    return ((*a)->bytes < (*b)->bytes) - ((*a)->bytes > (*b)->bytes);
}

#define MOST_AT_PEAK 8

/* Views are left out: their bucket is there. */
static bool is_live(const struct graph *graph, const struct plan_tensor *tensor, uint32_t op)
{
    bool view = tensor->origin != NO_TENSOR && graph->tensors[tensor->origin].view_of != NO_TENSOR;
    return !view && tensor->first <= op && tensor->last >= op;
}

static bool print_peak(const struct plan_variant *variant, FILE *to, struct error *err)
{
    const struct plan_program *program = &variant->train;
    const struct plan_tensor **live = mem_alloc(MEM_PLAN, program->tensor_count, sizeof *live);
    if (!live) return error_memory(err, program->tensor_count * sizeof *live, "the tensors live at the peak");
    size_t count = 0;
    for (size_t i = 0; i < program->tensor_count; i++)
        if (is_live(variant->graph, &program->tensors[i], variant->peak_op)) live[count++] = &program->tensors[i];
    qsort(live, count, sizeof *live, compare_sizes);
    const struct plan_op *peak = &program->ops[variant->peak_op];
    const struct op *op = &variant->graph->ops[peak->op];
    fprintf(to, "\n  the peak is at op %" PRIu32 " of %zu (%s, %s of %s), with %zu tensors live; the largest:\n",
            variant->peak_op + 1, program->op_count, op_pass_name(peak->pass), op_kind_name(op->kind),
            variant->graph->layers[op->layer].path, count);
    for (size_t i = 0; i < count && i < MOST_AT_PEAK; i++) {
        char bytes[UNITS_TEXT], name[TENSOR_NAME] = "workspace";
        if (live[i]->origin != NO_TENSOR) graph_tensor_name(variant->graph, live[i]->origin, name);
        fprintf(to, "  %12s  %-18s %s\n", units_format_bytes(live[i]->bytes, bytes),
                words_memory_class(live[i]->class_), name);
    }
    mem_free(live);
    return true;
}

static bool explain_variant(const struct plan *plan, size_t v, FILE *to, struct error *err)
{
    const struct plan_variant *variant = &plan->variants[v];
    const struct plan_device *device = &plan->devices[0];
    for (size_t d = 0; d < plan->device_count && device->variant != v; d++) device = &plan->devices[d];
    struct cost_speed speed = cost_speed_of(&device->spec, plan->dtype, NULL);
    struct totals kinds[OP_KINDS] = {0};
    size_t count = count_stages(variant->graph);
    struct totals *stages = mem_zalloc(MEM_PLAN, count, sizeof *stages);
    if (!stages) return error_memory(err, count * sizeof *stages, "the stages");
    fill_stages(variant, &speed, stages);
    fill_kinds(variant, &speed, kinds);
    fprintf(to, "\n%s, %s, a micro-batch of %" PRIu32 " images\n\n", plan->spec.name, device->spec.name,
            variant->graph->options.batch);
    print_stages(stages, count, to);
    print_kinds(kinds, speed.known, to);
    mem_free(stages);
    return print_peak(variant, to, err);
}

bool plan_report_explain(const struct plan *plan, FILE *to, struct error *err)
{
    for (size_t v = 0; v < plan->variant_count; v++) TRY(explain_variant(plan, v, to, err));
    return true;
}
