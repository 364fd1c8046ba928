#include <inttypes.h>
#include <math.h>

#include "json.h"
#include "plan_report.h"
#include "predict.h"

static json_t *device_json(const struct plan_device *device)
{
    json_t *classes = json_object();
    for (int i = 0; i < MEMORY_CLASSES; i++)
        json_object_set_new(classes, memory_class_name((enum memory_class)i),
                            json_integer((json_int_t)device->classes[i]));
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:o}", "name", device->spec.name, "memory_bytes",
                     (json_int_t)device->spec.memory_bytes, "batch", (json_int_t)device->images, "micro_batches",
                     (json_int_t)device->micro_batches, "peak_bytes", (json_int_t)device->peak_bytes, "classes",
                     classes);
}

static const struct plan_variant *largest_variant(const struct plan *plan)
{
    const struct plan_variant *largest = &plan->variants[0];
    for (size_t v = 1; v < plan->variant_count; v++)
        if (plan->variants[v].arena_bytes > largest->arena_bytes) largest = &plan->variants[v];
    return largest;
}

static json_t *frontier_json(const struct frontier *frontier)
{
    json_t *points = json_array();
    for (size_t i = 0; i < frontier->count; i++) {
        const struct frontier_point *p = &frontier->points[i];
        json_array_append_new(
            points, json_pack("{s:I, s:I, s:b, s:s, s:I, s:f, s:o}", "arena_bytes", (json_int_t)p->arena_bytes,
                              "peak_bytes", (json_int_t)p->peak_bytes, "fits", p->peak_bytes <= frontier->memory_bytes,
                              "recompute", recompute_policy_name(p->recompute), "recomputed_convolutions",
                              (json_int_t)p->recomputed_convolutions, "recompute_fraction", p->extra_flops_fraction,
                              "step_seconds", p->step_seconds > 0 ? json_real(p->step_seconds) : json_null()));
    }
    return points;
}

json_t *plan_report_object(const struct plan_report *report)
{
    const struct plan *plan = report->plan;
    const struct plan_variant *largest = largest_variant(plan);
    json_t *devices = json_array();
    bool optimal = true;
    double extra = 0;
    for (size_t i = 0; i < plan->device_count; i++) json_array_append_new(devices, device_json(&plan->devices[i]));
    for (size_t v = 0; v < plan->variant_count; v++) {
        optimal = optimal && plan->variants[v].proved_optimal;
        extra = fmax(extra, plan->variants[v].extra_flops_fraction);
    }
    json_t *root = json_pack(
        "{s:s, s:I, s:I, s:s, s:I, s:b, s:o, s:I, s:I, s:b, s:s, s:f, s:b, s:o, s:f}", "model", plan->spec.name,
        "parameters", (json_int_t)largest->graph->parameter_elements, "forward_macs",
        (json_int_t)largest->graph->forward_macs, "dtype", dtype_name(plan->dtype), "batch", (json_int_t)plan->batch,
        "fits", plan->fits, "devices", devices, "arena_bytes", (json_int_t)largest->arena_bytes, "lower_bound_bytes",
        (json_int_t)largest->lower_bound_bytes, "proved_optimal", optimal, "recompute",
        recompute_policy_name(plan->recompute), "recompute_fraction", extra, "changes_bn", plan->changes_bn,
        "step_seconds", plan->step_seconds > 0 ? json_real(plan->step_seconds) : json_null(), "plan_seconds",
        plan->plan_seconds);
    if (report->largest_searched)
        json_object_set_new(root, "largest_batch", json_integer((json_int_t)report->largest_batch));
    if (plan->device_count > 1 && plan->step_seconds > 0)
        json_object_set_new(root, "scaling_efficiency", json_real(predict_efficiency(plan)));
    if (report->frontier) json_object_set_new(root, "frontier", frontier_json(report->frontier));
    if (report->deepest) {
        json_object_set_new(root, "deepest_depth", json_integer(plan->fits ? (json_int_t)plan->spec.depth : 0));
        json_object_set_new(root, "deepest_unfit_depth",
                            report->deepest->unfit ? json_integer((json_int_t)report->deepest->unfit) : json_null());
    }
    return root;
}

bool plan_report_json(const struct plan_report *report, FILE *to, struct error *err)
{
    json_t *root = plan_report_object(report);
    if (!root || json_dumpf(root, to, JSON_INDENT(2)) != 0) {
        json_decref(root);
        return ferror(to) || error_memory(err, 4096, "the JSON output");
    }
    json_decref(root);
    fputc('\n', to);
    return true;
}
