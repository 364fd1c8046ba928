#include <inttypes.h>
#include <math.h>

#include "breakdown.h"
#include "certainty.h"
#include "engine_book.h"
#include "invertible.h"
#include "json.h"
#include "json_print.h"
#include "lower.h"
#include "plan_pytorch.h"
#include "plan_report.h"
#include "plan_scaling.h"
#include "plan_words.h"
#include "predict.h"
#include "workspace.h"

static json_t *whole(uint64_t value) { return json_integer((json_int_t)value); }

static json_t *seconds_or_null(double seconds) { return seconds > 0 ? json_real(seconds) : json_null(); }

static json_t *classes_json(const uint64_t bytes[MEMORY_CLASSES])
{
    json_t *classes = json_object();
    for (int i = 0; i < MEMORY_CLASSES; i++)
        json_object_set_new(classes, memory_class_name((enum memory_class)i), whole(bytes[i]));
    return classes;
}

static json_t *certainty_json(const struct plan *plan)
{
    const struct certainty of = certainty_of(plan), *c = &of;
    return json_pack("{s:s, s:I, s:I, s:I, s:b}", "verdict", certainty_name(c->verdict), "exact_bytes",
                     (json_int_t)c->exact_bytes, "modelled_bytes", (json_int_t)c->modelled_bytes, "error_bytes",
                     (json_int_t)c->error_bytes, "measured", c->measured);
}

static json_t *device_json(const struct plan_device *device)
{
    char version[ENGINE_VERSION_TEXT];
    uint32_t cudnn = device->spec.cudnn_version;
    json_t *engines = cudnn ? json_string(engine_version_words(cudnn, version)) : json_null();
    return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:o}", "name", json_text(device->spec.name),
                     "memory_bytes", (json_int_t)device->spec.memory_bytes, "reserve_bytes",
                     (json_int_t)device->spec.reserve_bytes, "batch", (json_int_t)device->images, "micro_batches",
                     (json_int_t)device->micro_batches, "peak_bytes", (json_int_t)device->peak_bytes, "classes",
                     classes_json(device->classes), "variant", (json_int_t)device->variant, "workspace_bytes",
                     (json_int_t)device->spec.workspace_bytes, "cudnn", engines);
}

static json_t *totals_json(const struct breakdown_total *totals, size_t count, bool stages, bool timed)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < count; i++) {
        const struct breakdown_total *t = &totals[i];
        if (t->ops == 0) continue;
        json_t *row = json_pack("{s:s, s:I, s:I, s:I, s:o}", "name", t->name, "ops", (json_int_t)t->ops, "flops",
                                (json_int_t)t->flops, "bytes_moved", (json_int_t)t->bytes_moved, "seconds",
                                timed ? json_real(t->seconds) : json_null());
        if (stages) {
            json_object_set_new(row, "parameters", whole(t->parameters));
            json_object_set_new(row, "forward_macs", whole(t->macs));
            json_object_set_new(row, "kept_bytes", whole(t->kept_bytes));
        }
        json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *parts_json(const struct breakdown *breakdown)
{
    json_t *parts = json_array();
    for (size_t i = 0; i < breakdown->part_count; i++) {
        const struct breakdown_part *part = &breakdown->parts[i];
        json_t *stage = part->stage == NO_STAGE ? json_null() : json_string(breakdown->stages[part->stage].name);
        json_array_append_new(parts, json_pack("{s:s, s:o, s:b, s:I}", "class", memory_class_name(part->class), "stage",
                                               stage, "gaps", part->gaps, "bytes", (json_int_t)part->bytes));
    }
    return parts;
}

static json_t *largest_json(const struct plan_variant *variant, const struct breakdown *breakdown)
{
    json_t *largest = json_array();
    for (size_t i = 0; i < breakdown->largest_count; i++) {
        const struct plan_tensor *tensor = &variant->train.tensors[breakdown->largest[i]];
        char name[TENSOR_NAME] = "workspace";
        if (tensor->origin != NO_TENSOR) graph_tensor_name(variant->graph, tensor->origin, name);
        json_array_append_new(largest, json_pack("{s:s, s:s, s:I}", "name", name, "class",
                                                 memory_class_name(tensor->class), "bytes", (json_int_t)tensor->bytes));
    }
    return largest;
}

static json_t *peak_json(const struct plan_variant *variant, const struct breakdown *breakdown)
{
    const struct plan_op *peak = &variant->train.ops[variant->peak_op];
    const struct op *op = &variant->graph->ops[peak->op];
    return json_pack("{s:I, s:I, s:s, s:s, s:s, s:I, s:o, s:o}", "op", (json_int_t)variant->peak_op, "ops",
                     (json_int_t)variant->train.op_count, "pass", op_pass_name(peak->pass), "kind",
                     op_kind_name(op->kind), "layer", variant->graph->layers[op->layer].path, "live_tensors",
                     (json_int_t)breakdown->live, "parts", parts_json(breakdown), "largest_tensors",
                     largest_json(variant, breakdown));
}

static json_t *blocks_json(const struct breakdown_blocks *blocks)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "count", (json_int_t)blocks->count, "kept",
                     (json_int_t)blocks->kept, "redone", (json_int_t)blocks->redone, "rerun", (json_int_t)blocks->rerun,
                     "most_runs", (json_int_t)blocks->most_runs, "offloaded", (json_int_t)blocks->offloaded,
                     "reconstructed", (json_int_t)blocks->reconstructed);
}

/* A variant's parts of the peak are those of its first device. */
static json_t *variant_json(const struct plan_report *report, uint32_t v, struct error *err)
{
    const struct plan *plan = report->plan;
    const struct plan_variant *variant = &plan->variants[v];
    uint32_t device = 0;
    while (device + 1 < plan->device_count && plan->devices[device].variant != v) device++;
    struct breakdown breakdown;
    json_t *root = NULL;
    if (breakdown_make(plan, device, report->measured, &breakdown, err))
        root = json_pack("{s:I, s:I, s:I, s:I, s:b, s:f, s:f, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                         "micro_batch", (json_int_t)variant->graph->options.batch, "arena_bytes",
                         (json_int_t)variant->arena_bytes, "host_bytes", (json_int_t)variant->host_bytes,
                         "lower_bound_bytes", (json_int_t)variant->lower_bound_bytes, "proved_optimal",
                         variant->proved_optimal, "recompute_fraction", variant->extra_flops_fraction,
                         "recompute_time_fraction", variant->extra_time_fraction, "recomputed_convolutions",
                         (json_int_t)variant->recomputed_convolutions, "lean_convolutions",
                         (json_int_t)workspace_count_lean(&plan->devices[device].spec, variant), "reconstructed_inputs",
                         (json_int_t)invertible_reconstructed(&variant->train), "compute_seconds",
                         seconds_or_null(variant->compute_seconds), "bound_seconds",
                         seconds_or_null(variant->bound_seconds), "classes", classes_json(variant->classes), "peak",
                         peak_json(variant, &breakdown), "blocks", blocks_json(&breakdown.blocks), "stages",
                         totals_json(breakdown.stages, breakdown.stage_count, true, breakdown.timed), "kinds",
                         totals_json(breakdown.kinds, OP_KINDS, false, breakdown.timed));
    breakdown_finish(&breakdown);
    return root;
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
            points,
            json_pack("{s:b, s:I, s:I, s:f, s:b, s:s, s:I, s:I, s:I, s:I, s:f, s:o}", "own", i == frontier->own_index,
                      "arena_bytes", (json_int_t)p->arena_bytes, "peak_bytes", (json_int_t)p->peak_bytes,
                      "memory_share", p->memory_share, "fits", p->memory_share <= 1, "recompute",
                      recompute_policy_name(p->recompute), "recomputed_convolutions",
                      (json_int_t)p->recomputed_convolutions, "lean_convolutions", (json_int_t)p->lean_convolutions,
                      "micro_batches", (json_int_t)p->micro_batches, "offloaded_bytes", (json_int_t)p->offloaded_bytes,
                      "recompute_fraction", p->extra_flops_fraction, "step_seconds", seconds_or_null(p->step_seconds)));
    }
    return points;
}

/* What the text says in notes. */
static json_t *notes_json(const struct plan *plan, const struct machine *machine)
{
    json_t *notes = json_array();
    char words[WORDS_UNTRAINABLE];
    if (machine && machine->note) json_array_append_new(notes, json_string("device-taken-for-one-of-several"));
    if (plan->changes_bn) json_array_append_new(notes, json_string("bn-over-fewer-images"));
    for (size_t v = 0; v < plan->variant_count; v++)
        if (invertible_reconstructed(&plan->variants[v].train) > 0) {
            json_array_append_new(notes, json_string("exact-to-rounding"));
            break;
        }
    if (*words_untrainable(plan, words)) json_array_append_new(notes, json_string("devices-cannot-train"));
    if (plan->step_seconds <= 0) json_array_append_new(notes, json_string("time-unknown"));
    if (plan->step_seconds > 0 && plan->device_count > 1)
        json_array_append_new(notes, json_string("scaling-simulated"));
    for (size_t v = 0; v < plan->variant_count; v++)
        if (!plan->variants[v].proved_optimal) {
            json_array_append_new(notes, json_string("arena-above-bound"));
            break;
        }
    return notes;
}

static json_t *alternative_json(const struct plan *plan)
{
    uint64_t peak = 0, arena = 0;
    if (!plan) return json_null();
    for (size_t d = 0; d < plan->device_count; d++)
        if (plan->devices[d].peak_bytes > peak) peak = plan->devices[d].peak_bytes;
    for (size_t v = 0; v < plan->variant_count; v++)
        if (plan->variants[v].arena_bytes > arena) arena = plan->variants[v].arena_bytes;
    return json_pack("{s:b, s:I, s:I, s:o}", "fits", plan->fits, "peak_bytes", (json_int_t)peak, "arena_bytes",
                     (json_int_t)arena, "step_seconds", seconds_or_null(plan->step_seconds));
}

static json_t *advice_json(const struct plan_report *report)
{
    static const char *const kinds[ADVICE_KINDS] = {"recompute", "batch",   "micro-batches", "memory-gib",
                                                    "devices",   "offload", "reconstruct",   "workspace-mib"};
    json_t *list = json_array();
    for (size_t i = 0; i < report->advice_count; i++) {
        const struct advice *a = &report->advice[i];
        char sentence[256];
        json_array_append_new(list, json_pack("{s:s, s:I, s:f, s:b, s:s}", "kind", kinds[a->kind], "value",
                                              (json_int_t)a->value, "recompute_fraction", a->extra_flops_fraction,
                                              "changes_bn", a->changes_bn, "sentence",
                                              advise_sentence(a, sentence, sizeof sentence)));
    }
    return list;
}

static json_t *changes_json(const struct plan_report *report)
{
    json_t *list = json_array();
    for (size_t i = 0; i < report->change_count; i++) {
        const struct change *c = &report->changes[i];
        char words[80];
        json_array_append_new(list, json_pack("{s:s, s:b, s:b, s:I, s:I, s:f, s:b}", "change",
                                              change_words(c, words, sizeof words), "fits", c->fits, "changes_bn",
                                              c->changes_bn, "peak_bytes", (json_int_t)c->peak_bytes, "saved_bytes",
                                              (json_int_t)c->saved_bytes, "time_ratio", c->time_ratio,
                                              "planned_quickly", c->quick));
    }
    return list;
}

static json_t *summary_json(const struct plan *plan)
{
    const struct plan_variant *largest = largest_variant(plan);
    char verdict[WORDS_VERDICT];
    bool optimal = true;
    double extra = 0, slower = 0;
    for (size_t v = 0; v < plan->variant_count; v++) {
        optimal = optimal && plan->variants[v].proved_optimal;
        extra = fmax(extra, plan->variants[v].extra_flops_fraction);
        slower = fmax(slower, plan->variants[v].extra_time_fraction);
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:s, s:I, s:b, s:I, s:I, s:b, s:s, s:f, s:f, s:b, s:o, s:f, "
                     "s:o, s:s, s:b, s:b}",
                     "model", plan->spec.name, "dataset", dataset_kind_name(plan->spec.dataset), "unit",
                     unit_kind_name(plan->spec.unit), "shortcut", shortcut_kind_name(plan->spec.shortcut), "sync_bn",
                     plan->sync_bn, "parameters", (json_int_t)largest->graph->parameter_elements, "forward_macs",
                     (json_int_t)largest->graph->forward_macs, "dtype", dtype_name(plan->dtype), "batch",
                     (json_int_t)plan->batch, "fits", plan->fits, "arena_bytes", (json_int_t)largest->arena_bytes,
                     "lower_bound_bytes", (json_int_t)largest->lower_bound_bytes, "proved_optimal", optimal,
                     "recompute", recompute_policy_name(plan->recompute), "recompute_fraction", extra,
                     "recompute_time_fraction", slower, "changes_bn", plan->changes_bn, "step_seconds",
                     seconds_or_null(plan->step_seconds), "plan_seconds", plan->plan_seconds, "verdict",
                     json_text(words_verdict(plan, verdict, sizeof verdict)), "optimizer",
                     optimizer_name(plan->update.optimizer), "clips_gradients", plan->update.clips, "averages_weights",
                     plan->update.averages);
}

static json_t *fused_json(uint32_t lowering)
{
    json_t *names = json_array();
    for (unsigned bit = 0; bit < LOWERINGS; bit++)
        if (lowering >> bit & 1) json_array_append_new(names, json_string(graph_lowering_name(bit)));
    return names;
}

static void add_form(json_t *root, const struct model_spec *spec)
{
    if (spec->bottleneck) json_object_set_new(root, "stride_in", json_string(stride_place_name(spec->stride_in)));
    for (int i = 0; i < MODEL_NUMBERS; i++)
        if (model_has_number(spec, (enum model_number)i))
            json_object_set_new(root, model_number_info((enum model_number)i)->field, json_real(spec->number[i]));
}

/* What only a request could be asked. */
static void add_asked(json_t *root, const struct plan_report *report)
{
    const struct plan *plan = report->plan;
    if (plan->lowering) json_object_set_new(root, "fused", fused_json(plan->lowering));
    char frozen[WORDS_FROZEN];
    add_form(root, &plan->spec);
    if (plan->freeze_bn) json_object_set_new(root, "freeze_bn", json_string(bn_freeze_name(plan->freeze_bn)));
    if (plan->bn_group) json_object_set_new(root, "bn_group", json_integer(plan->bn_group));
    if (plan->frozen) json_object_set_new(root, "frozen", json_string(words_frozen(plan->frozen, frozen)));
    if (report->largest_searched) json_object_set_new(root, "largest_batch", whole(report->largest_batch));
    if (plan->device_count > 1 && plan->step_seconds > 0)
        json_object_set_new(root, "scaling_efficiency", json_real(predict_efficiency(plan)));
    if (plan->device_count > 1 && plan->step_seconds > 0 && report->machine)
        json_object_set_new(root, "all_reduce", plan_all_reduce_json(plan, report->machine));
    if (report->keep_all) json_object_set_new(root, "keeping_all", alternative_json(report->keep_all));
    if (report->redo) json_object_set_new(root, "redoing_elementwise", alternative_json(report->redo));
    if (!plan->fits && report->advice) json_object_set_new(root, "advice", advice_json(report));
    if (report->changes) json_object_set_new(root, "single_changes", changes_json(report));
    if (report->frontier) json_object_set_new(root, "frontier", frontier_json(report->frontier));
    if (report->scaling) json_object_set_new(root, "scaling", plan_scaling_json(report->scaling));
    if (report->pytorch)
        json_object_set_new(root, "pytorch", plan_pytorch_json(plan, report->pytorch, report->pytorch_cudnn));
    if (report->run) json_object_set_new(root, "whole_run", plan_run_json(report->run));
    if (report->deepest) {
        json_object_set_new(root, "deepest_depth", whole(plan->fits ? plan->spec.depth : 0));
        json_object_set_new(root, "deepest_unfit_depth",
                            report->deepest->unfit ? whole(report->deepest->unfit) : json_null());
    }
}

json_t *plan_report_object(const struct plan_report *report, struct error *err)
{
    const struct plan *plan = report->plan;
    json_t *root = summary_json(plan), *devices = json_array(), *variants = json_array();
    for (size_t i = 0; i < plan->device_count; i++) json_array_append_new(devices, device_json(&plan->devices[i]));
    bool ok = root && devices && variants;
    for (uint32_t v = 0; ok && v < plan->variant_count; v++) {
        json_t *variant = variant_json(report, v, err);
        ok = variant && json_array_append_new(variants, variant) == 0;
    }
    json_object_set_new(root, "devices", devices);
    json_object_set_new(root, "variants", variants);
    json_object_set_new(root, "certainty", certainty_json(plan));
    json_object_set_new(root, "notes", notes_json(plan, report->machine));
    if (ok) add_asked(root, report);
    if (ok) return root;
    json_decref(root);
    if (err->kind == ERROR_NONE) json_unmade(err);
    return NULL;
}

bool plan_report_json(const struct plan_report *report, FILE *to, struct error *err)
{
    json_t *root = plan_report_object(report, err);
    return root && json_print(root, 0, to, err);
}
