/* `fathom plan --explain`: why it fits or not, what the step computes, stage by stage and kind by kind, and what is
 * live at the peak. */
#include <inttypes.h>

#include "cost_table.h"
#include "draw.h"
#include "page.h"
#include "plan_engines.h"
#include "plan_report.h"
#include "plan_why.h"
#include "plan_words.h"
#include "printable.h"
#include "units.h"

static void print_stages(const struct breakdown *breakdown, FILE *to)
{
    fprintf(to, "  %-8s %6s %11s %11s %11s %12s %10s\n", "stage", "ops", "parameters", "MACs/image", "FLOPs",
            "bytes moved", "kept");
    for (size_t i = 0; i < breakdown->stage_count; i++) {
        char parameters[UNITS_TEXT], macs[UNITS_TEXT], flops[UNITS_TEXT], moved[UNITS_TEXT], kept[UNITS_TEXT];
        const struct breakdown_total *s = &breakdown->stages[i];
        if (s->ops == 0) continue;
        fprintf(to, "  %-8s %6" PRIu64 " %11s %11s %11s %12s %10s\n", s->name, s->ops,
                units_format_count(s->parameters, parameters), units_format_si((double)s->macs, macs),
                units_format_si((double)s->flops, flops), units_format_bytes(s->bytes_moved, moved),
                units_format_bytes(s->kept_bytes, kept));
    }
}

static void print_kinds(const struct breakdown *breakdown, FILE *to)
{
    fprintf(to, "\n  %-20s %6s %12s %12s", "op", "count", "FLOPs", "bytes moved");
    fprintf(to, breakdown->timed ? " %12s\n" : "\n", "predicted");
    for (int k = 0; k < OP_KINDS; k++) {
        char flops[UNITS_TEXT], moved[UNITS_TEXT], seconds[UNITS_TEXT];
        const struct breakdown_total *kind = &breakdown->kinds[k];
        if (kind->ops == 0) continue;
        fprintf(to, "  %-20s %6" PRIu64 " %12s %12s", kind->name, kind->ops,
                units_format_si((double)kind->flops, flops), units_format_bytes(kind->bytes_moved, moved));
        if (breakdown->timed && kind->seconds > 0) fprintf(to, " %12s", units_format_seconds(kind->seconds, seconds));
        fputc('\n', to);
    }
}

/* Of a step's predicted time, what was measured and what is scaled from it. */
static void print_source(const struct plan *plan, uint32_t device, const struct cost_table *measured, FILE *to)
{
    const struct plan_variant *variant = &plan->variants[plan->devices[device].variant];
    struct cost_speed speed = cost_speed_of(&plan->devices[device].spec, plan->dtype, measured);
    double seconds[COST_SOURCES] = {0}, sum = 0;
    if (!speed.measured) {
        page_say(to, 2, 2,
                 "predicted: the largest of arithmetic, traffic and launch, from the catalogue's or machine file's "
                 "speeds");
        return;
    }
    for (size_t i = 0; i < variant->train.op_count; i++) {
        const struct op *op = &variant->graph->ops[variant->train.ops[i].op];
        enum cost_source source;
        if (op->kind == OP_ALL_REDUCE) continue;
        double one = cost_table_seconds(speed.measured, &speed, variant->graph, op, &source);
        seconds[source] += one;
        sum += one;
    }
    page_say(to, 2, 2,
             "predicted: %.1f %% from the same ops measured in %s; %.1f %% scaled from others of their kind, %.1f %% "
             "from ops of other kinds",
             100 * seconds[COST_MEASURED] / sum, cost_table_name(speed.measured), 100 * seconds[COST_SCALED] / sum,
             100 * seconds[COST_ROOFLINE] / sum);
}

static void print_peak(const struct plan_variant *variant, const struct breakdown *breakdown, FILE *to)
{
    const struct plan_program *program = &variant->train;
    const struct plan_op *peak = &program->ops[variant->peak_op];
    const struct op *op = &variant->graph->ops[peak->op];
    fputc('\n', to);
    page_say(to, 2, 2,
             "the peak is at op %" PRIu32 " of %zu (%s, %s of %s), with %" PRIu32 " tensors live; the largest:",
             variant->peak_op + 1, program->op_count, op_pass_name(peak->pass), op_kind_name(op->kind),
             variant->graph->layers[op->layer].path, breakdown->live);
    for (size_t i = 0; i < breakdown->largest_count; i++) {
        const struct plan_tensor *tensor = &program->tensors[breakdown->largest[i]];
        char bytes[UNITS_TEXT], name[TENSOR_NAME] = "workspace";
        if (tensor->origin != NO_TENSOR) graph_tensor_name(variant->graph, tensor->origin, name);
        fprintf(to, "  %12s  %-18s %s\n", units_format_bytes(tensor->bytes, bytes),
                words_memory_class(&variant->graph->options.update, tensor->class), name);
    }
}

static void print_tables(const struct plan_report *report, uint32_t device, const struct breakdown *breakdown, FILE *to)
{
    const struct plan *plan = report->plan;
    const struct plan_variant *variant = &plan->variants[plan->devices[device].variant];
    fprintf(to, "\n%s, %s, a micro-batch of %" PRIu32 " images\n\n", plan->spec.name,
            PRINTABLE(plan->devices[device].spec.name), variant->graph->options.batch);
    print_stages(breakdown, to);
    print_kinds(breakdown, to);
    if (breakdown->timed) print_source(plan, device, report->measured, to);
    print_peak(variant, breakdown, to);
    if (report->engines) plan_engines_print(report->engines, variant, to);
}

static uint32_t device_of_variant(const struct plan *plan, uint32_t variant)
{
    uint32_t device = 0;
    while (device + 1 < plan->device_count && plan->devices[device].variant != variant) device++;
    return device;
}

/* The reasons are those of the fullest device; the tables those of every variant. */
bool plan_report_explain(const struct plan_report *report, FILE *to, struct error *err)
{
    const struct plan *plan = report->plan;
    uint32_t fullest = draw_fullest_device(plan);
    struct breakdown breakdown;
    bool ok = breakdown_make(plan, fullest, report->measured, &breakdown, err) &&
              plan_why_print(report, fullest, &breakdown, to, err);
    breakdown_finish(&breakdown);
    for (uint32_t v = 0; ok && v < plan->variant_count; v++) {
        uint32_t device = device_of_variant(plan, v);
        ok = breakdown_make(plan, device, report->measured, &breakdown, err);
        if (ok) print_tables(report, device, &breakdown, to);
        breakdown_finish(&breakdown);
    }
    return ok;
}
