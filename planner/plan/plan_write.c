/* A plan as JSON: one device, op and tensor per line, so that two plans can be compared with ordinary tools
 * (docs/formats.md). */
#include "plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "files.h"
#include "hash.h"
#include "lower.h"
#include "plan_file_private.h"
#include "plan_file.h"
#include "printable.h"

static void write_string(FILE *out, const char *text) { printable_write_json(out, text, strlen(text)); }

static const char *truth(bool value) { return value ? "true" : "false"; }

static void write_classes(FILE *out, const uint64_t *classes)
{
    fprintf(out, "\"classes\": {");
    for (size_t c = 0; c < MEMORY_CLASSES; c++)
        fprintf(out, "%s\"%s\": %" PRIu64, c ? ", " : "", memory_class_name((enum memory_class)c), classes[c]);
    fprintf(out, "}");
}

static void write_model(FILE *out, const struct model_spec *spec)
{
    fprintf(out, "\"model\": {\"name\": ");
    write_string(out, spec->name);
    fprintf(out, ", \"dataset\": \"%s\", \"unit\": \"%s\", \"shortcut\": \"%s\", \"image_size\": %" PRIu32,
            dataset_kind_name(spec->dataset), unit_kind_name(spec->unit), shortcut_kind_name(spec->shortcut),
            spec->image_size);
    if (spec->image_width) fprintf(out, ", \"image_width\": %" PRIu32, spec->image_width);
    fprintf(out, ", \"classes\": %" PRIu32, spec->classes);
    if (spec->bottleneck) fprintf(out, ", \"stride_in\": \"%s\"", stride_place_name(spec->stride_in));
    for (size_t i = 0; i < MODEL_NUMBERS; i++)
        if (model_has_number(spec, (enum model_number)i))
            fprintf(out, ", \"%s\": %.17g", model_number_info((enum model_number)i)->field, spec->number[i]);
    fprintf(out, "},\n");
}

static void write_device(FILE *out, const struct plan_device *device)
{
    const struct device_spec *spec = &device->spec;
    fprintf(out, "{\"kind\": \"%s\", \"name\": ", device_kind_name(spec->kind));
    write_string(out, spec->name);
    fprintf(out,
            ", \"memory_bytes\": %" PRIu64 ", \"context_bytes\": %" PRIu64 ", \"comm_bytes\": %" PRIu64
            ", \"reserve_bytes\": %" PRIu64 ", \"op_bytes\": %" PRIu64 ", \"workspace_bytes\": %" PRIu64,
            spec->memory_bytes, spec->context_bytes, spec->comm_bytes, spec->reserve_bytes, spec->op_bytes,
            spec->workspace_bytes);
    fprintf(out, ", \"flops_f32\": %.17g, \"flops_f16\": %.17g, \"bandwidth\": %.17g, \"launch_seconds\": %.17g",
            spec->flops_f32, spec->flops_f16, spec->bandwidth, spec->launch_seconds);
    if (spec->kernel_bytes > 0) fprintf(out, ", \"kernel_bytes\": %" PRIu64, spec->kernel_bytes);
    char capability[DEVICE_CAPABILITY];
    if (spec->capability)
        fprintf(out, ", \"compute_capability\": %s", device_capability_words(spec->capability, capability));
    if (spec->cudnn_version) fprintf(out, ", \"cudnn_version\": %" PRIu32, spec->cudnn_version);
    fprintf(out,
            ", \"variant\": %" PRIu32 ", \"images\": %" PRIu32 ", \"micro_batches\": %" PRIu32
            ", \"peak_bytes\": %" PRIu64 ", ",
            device->variant, device->images, device->micro_batches, device->peak_bytes);
    write_classes(out, device->classes);
    fprintf(out, "}");
}

static void write_indices(FILE *out, const uint32_t *indices, uint32_t count)
{
    fputc('[', out);
    for (uint32_t k = 0; k < count; k++) fprintf(out, "%s%" PRIu32, k ? "," : "", indices[k]);
    fputc(']', out);
}

static void write_optional(FILE *out, uint32_t index)
{
    if (index == NO_TENSOR)
        fputs("null", out);
    else
        fprintf(out, "%" PRIu32, index);
}

static void write_op(FILE *out, const struct graph *graph, const struct plan_op *op)
{
    const struct op *graph_op = &graph->ops[op->op];
    fprintf(out, "[\"%s\", \"%s\", ", op_pass_name(op->pass), op_kind_name(graph_op->kind));
    write_string(out, graph->layers[graph_op->layer].path);
    fprintf(out, ", %" PRIu32 ", %u, ", op->op, (unsigned)op->stream);
    write_indices(out, op->in, plan_op_inputs(graph, op));
    fputs(", ", out);
    write_indices(out, op->out, plan_op_outputs(graph, op));
    fputs(", ", out);
    write_optional(out, op->workspace);
    fputc(']', out);
}

static void write_tensor(FILE *out, const struct plan_tensor *tensor)
{
    fputc('[', out);
    write_optional(out, tensor->origin);
    fprintf(out, ", \"%s\", %" PRIu64 ", %" PRIu64 ", %" PRIu32 ", %" PRIu32 "%s]", memory_class_name(tensor->class),
            tensor->offset, tensor->bytes, tensor->first, tensor->last, tensor->host ? ", \"host\"" : "");
}

static void write_names(FILE *out, const char *field, const char *const *names, size_t count)
{
    fprintf(out, "\"%s\": [", field);
    for (size_t i = 0; i < count; i++) fprintf(out, "%s\"%s\"", i ? ", " : "", names[i]);
    fprintf(out, "],\n");
}

static void write_program(FILE *out, const char *name, const struct graph *graph, const struct plan_program *program)
{
    fprintf(out, "\"%s\": {\"body_ops\": %zu,\n", name, program->body_count);
    write_names(out, "op_fields", plan_op_cells, PLAN_OP_CELLS);
    fprintf(out, "\"ops\": [\n");
    for (size_t i = 0; i < program->op_count; i++) {
        write_op(out, graph, &program->ops[i]);
        fputs(i + 1 < program->op_count ? ",\n" : "\n", out);
    }
    fprintf(out, "],\n");
    write_names(out, "tensor_fields", plan_tensor_cells, PLAN_TENSOR_CELLS);
    fprintf(out, "\"tensors\": [\n");
    for (size_t t = 0; t < program->tensor_count; t++) {
        write_tensor(out, &program->tensors[t]);
        fputs(t + 1 < program->tensor_count ? ",\n" : "\n", out);
    }
    fprintf(out, "]}");
}

static void write_variant(FILE *out, const struct plan_variant *variant)
{
    const struct graph_options *options = &variant->graph->options;
    char hash[HASH_TEXT];
    fprintf(out,
            "{\"graph\": {\"batch\": %" PRIu32 ", \"micro_batches\": %" PRIu32 ", \"step_images\": %" PRIu64
            ", \"all_reduce\": %s, \"bucket_bytes\": %" PRIu64,
            options->batch, options->micro_batches, options->step_images, truth(options->all_reduce),
            options->bucket_bytes);
    if (options->reduce_dtype != DTYPE_F32)
        fprintf(out, ", \"reduce_dtype\": \"%s\"", dtype_name(options->reduce_dtype));
    if (options->reduce_apart) fprintf(out, ", \"reduce_apart\": true");
    fprintf(out, ", \"hash\": \"%s\"},\n", hash_format(variant->graph_hash, hash));
    fprintf(out,
            "\"arena_bytes\": %" PRIu64 ", \"lower_bound_bytes\": %" PRIu64 ", \"peak_op\": %" PRIu32
            ", \"proved_optimal\": %s,\n",
            variant->arena_bytes, variant->lower_bound_bytes, variant->peak_op,
            truth(variant->arena_bytes == variant->lower_bound_bytes));
    if (variant->host_bytes > 0) fprintf(out, "\"host_bytes\": %" PRIu64 ",\n", variant->host_bytes);
    write_classes(out, variant->classes);
    fprintf(out, ",\n\"compute_seconds\": %.17g", variant->compute_seconds);
    if (variant->bound_seconds > 0) fprintf(out, ", \"bound_seconds\": %.17g", variant->bound_seconds);
    fprintf(out,
            ", \"extra_flops_fraction\": %.17g, \"extra_time_fraction\": %.17g"
            ", \"recomputed_convolutions\": %" PRIu32 ",\n",
            variant->extra_flops_fraction, variant->extra_time_fraction, variant->recomputed_convolutions);
    write_program(out, "train", variant->graph, &variant->train);
    fprintf(out, ",\n");
    write_program(out, "evaluate", variant->graph, &variant->evaluate);
    fprintf(out, "}");
}

/* Nothing where nothing is fused, as before there was any lowering. */
static void write_lowering(FILE *out, uint32_t lowering)
{
    const char *names[LOWERINGS];
    size_t count = 0;
    for (unsigned bit = 0; bit < LOWERINGS; bit++)
        if (lowering >> bit & 1) names[count++] = graph_lowering_name(bit);
    if (count) write_names(out, "lowering", names, count);
}

/* Nothing of what plans had before they could have it otherwise. */
static void write_update(FILE *out, const struct update_needs *update)
{
    if (update->optimizer != OPTIMIZER_MOMENTUM)
        fprintf(out, "\"optimizer\": \"%s\",\n", optimizer_name(update->optimizer));
    if (update->clips) fputs("\"clips_gradients\": true,\n", out);
    if (update->averages) fputs("\"averages_weights\": true,\n", out);
}

static void write_plan(FILE *out, const struct plan *plan)
{
    fprintf(out, "{\"format\": \"fathom plan\", \"version\": %d, \"written_by\": \"fathom %s\",\n", PLAN_VERSION,
            FATHOM_VERSION);
    write_model(out, &plan->spec);
    fprintf(out,
            "\"dtype\": \"%s\", \"batch\": %" PRIu32 ", \"sync_bn\": %s, \"recompute\": \"%s\""
            ", \"recompute_budget_bytes\": %" PRIu64 ",\n",
            dtype_name(plan->dtype), plan->batch, truth(plan->sync_bn), recompute_policy_name(plan->recompute),
            plan->recompute_budget_bytes);
    write_lowering(out, plan->lowering);
    write_update(out, &plan->update);
    if (plan->freeze_bn) fprintf(out, "\"freeze_bn\": \"%s\",\n", bn_freeze_name(plan->freeze_bn));
    if (plan->bn_group > 0) fprintf(out, "\"bn_group\": %" PRIu32 ",\n", plan->bn_group);
    if (plan->frozen > 0) fprintf(out, "\"frozen\": %" PRIu32 ",\n", plan->frozen);
    if (plan->decode_bytes > 0) fprintf(out, "\"decode_bytes\": %" PRIu64 ",\n", plan->decode_bytes);
    fprintf(out, "\"fits\": %s, \"changes_bn\": %s, \"step_seconds\": %.17g, \"plan_seconds\": %.17g,\n",
            truth(plan->fits), truth(plan->changes_bn), plan->step_seconds, plan->plan_seconds);
    fprintf(out, "\"devices\": [\n");
    for (size_t d = 0; d < plan->device_count; d++) {
        write_device(out, &plan->devices[d]);
        fputs(d + 1 < plan->device_count ? ",\n" : "\n", out);
    }
    fprintf(out, "],\n\"variants\": [\n");
    for (size_t v = 0; v < plan->variant_count; v++) {
        write_variant(out, &plan->variants[v]);
        fputs(v + 1 < plan->variant_count ? ",\n" : "\n", out);
    }
    fprintf(out, "]}\n");
}

bool plan_write(const struct plan *plan, const char *path, struct error *err)
{
    struct files_writer writer = {0};
    TRY(files_begin(&writer, path, err));
    write_plan(writer.stream, plan);
    return files_commit(&writer, err);
}
