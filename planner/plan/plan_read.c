/* Plans from files, which may be damaged, edited by hand or made to deceive: every field is checked for type and range,
 * the graph is built anew and must have the file's hash, and the whole is proved by plan_verify before anybody sees it.
 */
#include "plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "hash.h"
#include "lower.h"
#include "model_fields.h"
#include "mem.h"
#include "plan_fields.h"
#include "plan_file.h"
#include "plan_file_private.h"
#include "plan_read_program.h"
#include "verify.h"

#define MOST_FILE_BYTES (UINT64_C(1) << 29) /* of ResNet-100000 220 MB */
#define MOST_VALUES     (1u << 19)          /* outside the programs: 4096 devices and as many variants */
#define MOST_WRITER     100u

static const char *dtype_at(int i) { return dtype_name((enum dtype)i); }
static const char *policy_at(int i) { return recompute_policy_name((enum recompute_policy)i); }
static const char *optimizer_at(int i) { return optimizer_name((enum optimizer)i); }

static bool read_classes(const struct plan_reader *r, const json_t *object, const char *where, uint64_t *classes)
{
    json_t *found = json_get_object(object, "classes", where, r->err);
    if (!found) return false;
    if (json_object_size(found) != MEMORY_CLASSES)
        return plan_wrong_field(r, where, "classes", "every class of memory once");
    for (int c = 0; c < MEMORY_CLASSES; c++) {
        const char *name = memory_class_name((enum memory_class)c);
        bool older =
            c == MEMORY_OPTIMIZER && !json_object_get(found, name) && json_object_get(found, PLAN_OLDER_OPTIMIZER);
        TRY(plan_get_bytes(r, found, older ? PLAN_OLDER_OPTIMIZER : name, where, &classes[c]));
    }
    return true;
}

/* ---- Variants ---- */

/* Each layer runs at least once: a graph is only built that is of the file's size. */
static bool check_depth(const struct plan_reader *r, const json_t *object, const char *parent, const struct plan *plan)
{
    const json_t *train = json_get_object(object, "train", parent, r->err);
    const struct json_table *ops = train ? json_document_table(r->document, train, "ops", parent, r->err) : NULL;
    if (!ops || ops->rows >= plan->spec.depth) return ops != NULL;
    return error_set(r->err, ERROR_INPUT, "%s.train: field 'ops' has %zu rows; %s has %" PRIu32 " layers", parent,
                     ops->rows, plan->spec.name, plan->spec.depth);
}

/* Plans of before there was a choice have neither field. */
static bool read_reduction(const struct plan_reader *r, const json_t *found, const char *where,
                           struct graph_options *options)
{
    const char *dtype = dtype_name(DTYPE_F32);
    if (json_object_get(found, "reduce_dtype")) TRY(json_get_string(found, "reduce_dtype", where, &dtype, r->err));
    options->reduce_dtype = DTYPE_F32;
    while (options->reduce_dtype <= DTYPE_BF16 && strcmp(dtype_name(options->reduce_dtype), dtype) != 0)
        options->reduce_dtype++;
    if (options->reduce_dtype > DTYPE_BF16) return plan_wrong_field(r, where, "reduce_dtype", "f32, f16 or bf16");
    return !json_object_get(found, "reduce_apart") ||
           json_get_bool(found, "reduce_apart", where, &options->reduce_apart, r->err);
}

static bool read_graph(const struct plan_reader *r, const json_t *object, const char *parent, const struct plan *plan,
                       struct plan_variant *variant)
{
    static const char *const names[] = {"batch", "micro_batches", "step_images",  "all_reduce", "bucket_bytes",
                                        "hash",  "reduce_dtype",  "reduce_apart", NULL};
    char where[PLAN_WHERE], right[HASH_TEXT];
    snprintf(where, sizeof where, "%.400s.graph", parent);
    const json_t *found = json_get_object(object, "graph", parent, r->err);
    if (!found) return false;
    struct graph_options options = {.dtype = plan->dtype,
                                    .sync_bn = plan->sync_bn,
                                    .freeze_bn = plan->freeze_bn,
                                    .bn_group = plan->bn_group,
                                    .lowering = plan->lowering,
                                    .update = plan->update,
                                    .frozen = plan->frozen};
    const char *hash;
    TRY(plan_check_fields(r, found, where, names));
    TRY(plan_get_u32(r, found, "batch", where, plan->batch, &options.batch));
    TRY(plan_get_u32(r, found, "micro_batches", where, plan->batch, &options.micro_batches));
    TRY(json_get_u64(found, "step_images", where, plan->batch, &options.step_images, r->err));
    TRY(json_get_bool(found, "all_reduce", where, &options.all_reduce, r->err));
    TRY(plan_get_bytes(r, found, "bucket_bytes", where, &options.bucket_bytes));
    TRY(read_reduction(r, found, where, &options));
    TRY(json_get_string(found, "hash", where, &hash, r->err));
    if (options.batch == 0 || options.micro_batches == 0)
        return plan_wrong_field(r, where, "batch", "at least one image");
    variant->graph = graph_build(&plan->spec, &options, r->err);
    if (!variant->graph) return error_prefix(r->err, "%s", where);
    variant->graph_hash = graph_hash(variant->graph);
    if (strcmp(hash_format(variant->graph_hash, right), hash) != 0)
        return error_set(r->err, ERROR_INPUT,
                         "%s: it was made for graph %s of %s; this build's is %s: make the plan again", where, hash,
                         plan->spec.name, right);
    return true;
}

static bool read_variant(const struct plan_reader *r, const json_t *object, size_t index, const struct plan *plan,
                         struct plan_variant *variant)
{
    static const char *const names[] = {"graph",
                                        "arena_bytes",
                                        "host_bytes",
                                        "lower_bound_bytes",
                                        "peak_op",
                                        "proved_optimal",
                                        "classes",
                                        "compute_seconds",
                                        "bound_seconds",
                                        "extra_flops_fraction",
                                        "extra_time_fraction",
                                        "recomputed_convolutions",
                                        "train",
                                        "evaluate",
                                        NULL};
    char where[PLAN_WHERE];
    snprintf(where, sizeof where, "%s: variants[%zu]", r->path, index);
    TRY(plan_check_fields(r, object, where, names));
    TRY(plan_get_bytes(r, object, "arena_bytes", where, &variant->arena_bytes));
    if (json_object_get(object, "host_bytes"))
        TRY(plan_get_bytes(r, object, "host_bytes", where, &variant->host_bytes));
    TRY(plan_get_bytes(r, object, "lower_bound_bytes", where, &variant->lower_bound_bytes));
    TRY(plan_get_u32(r, object, "peak_op", where, NO_OP - 1, &variant->peak_op));
    TRY(json_get_bool(object, "proved_optimal", where, &variant->proved_optimal, r->err));
    TRY(read_classes(r, object, where, variant->classes));
    TRY(plan_get_real(r, object, "compute_seconds", where, &variant->compute_seconds));
    if (json_object_get(object, "bound_seconds"))
        TRY(plan_get_real(r, object, "bound_seconds", where, &variant->bound_seconds));
    TRY(plan_get_real(r, object, "extra_flops_fraction", where, &variant->extra_flops_fraction));
    TRY(plan_get_real(r, object, "extra_time_fraction", where, &variant->extra_time_fraction));
    TRY(plan_get_u32(r, object, "recomputed_convolutions", where, NO_OP - 1, &variant->recomputed_convolutions));
    TRY(check_depth(r, object, where, plan) && read_graph(r, object, where, plan, variant));
    return plan_read_program(r, object, "train", where, variant->graph, &variant->train) &&
           plan_read_program(r, object, "evaluate", where, variant->graph, &variant->evaluate);
}

static bool read_variants(const struct plan_reader *r, const json_t *root, struct plan *plan)
{
    const json_t *found = json_get_array(root, "variants", r->path, r->err);
    if (!found) return false;
    size_t count = json_array_size(found);
    if (count == 0 || count > plan->device_count)
        return plan_wrong_field(r, r->path, "variants", "at least one, and no more than devices");
    plan->variants = mem_zalloc(MEM_PLAN, count, sizeof *plan->variants);
    if (!plan->variants) return error_memory(r->err, count * sizeof *plan->variants, "a plan's variants");
    plan->variant_count = count;
    for (size_t v = 0; v < count; v++) TRY(read_variant(r, json_array_get(found, v), v, plan, &plan->variants[v]));
    return true;
}

/* ---- Devices ---- */

/* Plans of before it was in them have none. */
static bool read_capability(const struct plan_reader *r, const json_t *object, const char *where, uint32_t *capability)
{
    double number = 0;
    if (!json_object_get(object, "compute_capability")) return true;
    TRY(plan_get_real(r, object, "compute_capability", where, &number));
    return device_capability_of(number, capability) ||
           plan_wrong_field(r, where, "compute_capability", "a number like 9.0");
}

static bool read_device_spec(const struct plan_reader *r, const json_t *object, const char *where,
                             struct device_spec *spec)
{
    const char *kind, *name;
    TRY(json_get_string(object, "kind", where, &kind, r->err));
    TRY(json_get_string(object, "name", where, &name, r->err));
    if (strcmp(kind, "gpu") != 0 && strcmp(kind, "cpu") != 0) return plan_wrong_field(r, where, "kind", "gpu or cpu");
    if (strlen(name) >= sizeof spec->name) return plan_wrong_field(r, where, "name", "a name of less than 48 bytes");
    spec->kind = kind[0] == 'g' ? DEVICE_GPU : DEVICE_CPU;
    memcpy(spec->name, name, strlen(name) + 1);
    TRY(plan_get_bytes(r, object, "memory_bytes", where, &spec->memory_bytes));
    TRY(plan_get_bytes(r, object, "context_bytes", where, &spec->context_bytes));
    TRY(plan_get_bytes(r, object, "comm_bytes", where, &spec->comm_bytes));
    TRY(plan_get_bytes(r, object, "reserve_bytes", where, &spec->reserve_bytes));
    TRY(plan_get_bytes(r, object, "op_bytes", where, &spec->op_bytes));
    if (json_object_get(object, "kernel_bytes"))
        TRY(plan_get_bytes(r, object, "kernel_bytes", where, &spec->kernel_bytes));
    TRY(plan_get_bytes(r, object, "workspace_bytes", where, &spec->workspace_bytes));
    TRY(plan_get_real(r, object, "flops_f32", where, &spec->flops_f32));
    TRY(plan_get_real(r, object, "flops_f16", where, &spec->flops_f16));
    TRY(plan_get_real(r, object, "bandwidth", where, &spec->bandwidth));
    TRY(read_capability(r, object, where, &spec->capability));
    if (json_object_get(object, "cudnn_version"))
        TRY(plan_get_u32(r, object, "cudnn_version", where, INT32_MAX, &spec->cudnn_version));
    return plan_get_real(r, object, "launch_seconds", where, &spec->launch_seconds);
}

static bool read_device(const struct plan_reader *r, const json_t *object, size_t index, const struct plan *plan,
                        struct plan_device *device)
{
    static const char *const names[] = {"kind",       "name",          "memory_bytes",       "context_bytes",
                                        "comm_bytes", "reserve_bytes", "op_bytes",           "workspace_bytes",
                                        "flops_f32",  "flops_f16",     "bandwidth",          "launch_seconds",
                                        "variant",    "images",        "micro_batches",      "peak_bytes",
                                        "classes",    "cudnn_version", "compute_capability", "kernel_bytes",
                                        NULL};
    char where[PLAN_WHERE];
    snprintf(where, sizeof where, "%s: devices[%zu]", r->path, index);
    TRY(plan_check_fields(r, object, where, names));
    TRY(read_device_spec(r, object, where, &device->spec));
    TRY(plan_get_u32(r, object, "variant", where, (uint32_t)plan->device_count - 1, &device->variant));
    TRY(plan_get_u32(r, object, "images", where, plan->batch, &device->images));
    TRY(plan_get_u32(r, object, "micro_batches", where, plan->batch, &device->micro_batches));
    TRY(json_get_u64(object, "peak_bytes", where, INT64_MAX, &device->peak_bytes, r->err));
    return read_classes(r, object, where, device->classes);
}

static bool read_devices(const struct plan_reader *r, const json_t *root, struct plan *plan)
{
    const json_t *found = json_get_array(root, "devices", r->path, r->err);
    if (!found) return false;
    size_t count = json_array_size(found);
    if (count == 0 || count > MACHINE_MOST_DEVICES) return plan_wrong_field(r, r->path, "devices", "1 to 4096 devices");
    plan->devices = mem_zalloc(MEM_PLAN, count, sizeof *plan->devices);
    if (!plan->devices) return error_memory(r->err, count * sizeof *plan->devices, "a plan's devices");
    plan->device_count = count;
    for (size_t d = 0; d < count; d++) TRY(read_device(r, json_array_get(found, d), d, plan, &plan->devices[d]));
    return true;
}

/* ---- The whole ---- */

static bool read_version(const struct plan_reader *r, const json_t *root)
{
    const char *format;
    uint64_t version;
    if (!json_is_object(root)) return error_set(r->err, ERROR_INPUT, "%s: not a plan: an object is wanted", r->path);
    TRY(json_get_string(root, "format", r->path, &format, r->err));
    if (strcmp(format, "fathom plan") != 0) return plan_wrong_field(r, r->path, "format", "\"fathom plan\"");
    TRY(json_get_u64(root, "version", r->path, INT64_MAX, &version, r->err));
    if (version == PLAN_VERSION) return true;
    bool older = version < PLAN_VERSION;
    return error_set(r->err, ERROR_INPUT, "%s: %s fathom wrote it (plan version %" PRIu64 "; this one reads %d): %s",
                     r->path, older ? "an older" : "a newer", version, PLAN_VERSION,
                     older ? "make the plan again with `fathom plan`"
                           : "read it with that one, or make the plan again");
}

static bool read_model(const struct plan_reader *r, const json_t *root, struct plan *plan)
{
    static const char *const names[] = {"name",         "dataset", "unit",      "shortcut",  "image_size",
                                        "image_width",  "classes", "stride_in", "gate_bias", "shortcut_scale",
                                        "branch_scale", "dropout", NULL};
    char where[PLAN_WHERE];
    snprintf(where, sizeof where, "%s: model", r->path);
    const json_t *found = json_get_object(root, "model", r->path, r->err);
    return found && plan_check_fields(r, found, where, names) && model_fields_read(found, where, &plan->spec, r->err);
}

static bool find_lowering(const char *name, uint32_t *lowering)
{
    for (unsigned bit = 0; name && bit < LOWERINGS; bit++) {
        if (strcmp(name, graph_lowering_name(bit)) != 0) continue;
        *lowering |= 1u << bit;
        return true;
    }
    return false;
}

static bool read_lowering(const struct plan_reader *r, const json_t *root, uint32_t *lowering)
{
    const json_t *found = json_get_array(root, "lowering", r->path, r->err);
    if (!found) return false;
    for (size_t i = 0; i < json_array_size(found); i++)
        if (!find_lowering(json_string_value(json_array_get(found, i)), lowering))
            return plan_wrong_field(
                r, r->path, "lowering",
                "a list of bn, sums, normalize, normalize-weights, gradient, gradient-sums and add");
    return true;
}

/* Where it is not said nothing is frozen. */
static bool read_freeze_bn(const struct plan_reader *r, const json_t *root, struct plan *plan)
{
    const char *found = json_string_value(json_object_get(root, "freeze_bn"));
    plan->freeze_bn = BN_TRAINED;
    if (!json_object_get(root, "freeze_bn")) return true;
    for (int i = BN_STATISTICS_FROZEN; i <= BN_FROZEN; i++)
        if (found && strcmp(found, bn_freeze_name((enum bn_freeze)i)) == 0) plan->freeze_bn = (enum bn_freeze)i;
    return plan->freeze_bn ? true : plan_wrong_field(r, r->path, "freeze_bn", "\"statistics\" or \"all\"");
}

/* Earlier versions said nothing of it. */
static bool read_decoding(const struct plan_reader *r, const json_t *root, struct plan *plan)
{
    bool cpu = plan->devices[0].spec.kind == DEVICE_CPU;
    if (!json_object_get(root, "decode_bytes")) {
        plan->decode_bytes = cpu && plan->spec.image_size != PLAN_PICTURE_SIDE ? PLAN_PICTURE_BYTES : 0;
        return true;
    }
    TRY(plan_get_bytes(r, root, "decode_bytes", r->path, &plan->decode_bytes));
    return cpu || plan->decode_bytes == 0 ||
           plan_wrong_field(r, r->path, "decode_bytes", "0 where the devices are GPUs");
}

static bool read_update(const struct plan_reader *r, const json_t *root, struct update_needs *update)
{
    int optimizer = OPTIMIZER_MOMENTUM;
    if (json_object_get(root, "optimizer"))
        TRY(plan_get_name(r, root, "optimizer", r->path, optimizer_at, OPTIMIZERS, &optimizer));
    update->optimizer = (enum optimizer)optimizer;
    TRY(!json_object_get(root, "clips_gradients") ||
        json_get_bool(root, "clips_gradients", r->path, &update->clips, r->err));
    return !json_object_get(root, "averages_weights") ||
           json_get_bool(root, "averages_weights", r->path, &update->averages, r->err);
}

static bool read_plan(const struct plan_reader *r, const json_t *root, struct plan *plan)
{
    static const char *const names[] = {"format",
                                        "version",
                                        "written_by",
                                        "model",
                                        "dtype",
                                        "batch",
                                        "sync_bn",
                                        "lowering",
                                        "recompute",
                                        "recompute_budget_bytes",
                                        "fits",
                                        "changes_bn",
                                        "step_seconds",
                                        "plan_seconds",
                                        "devices",
                                        "variants",
                                        "decode_bytes",
                                        "optimizer",
                                        "clips_gradients",
                                        "averages_weights",
                                        "frozen",
                                        "freeze_bn",
                                        "bn_group",
                                        NULL};
    int dtype = 0, policy = 0;
    TRY(read_version(r, root));
    TRY(plan_check_fields(r, root, r->path, names));
    const char *writer;
    TRY(json_get_string(root, "written_by", r->path, &writer, r->err));
    if (strlen(writer) > MOST_WRITER) return plan_wrong_field(r, r->path, "written_by", "a name of at most 100 bytes");
    TRY(read_model(r, root, plan));
    TRY(plan_get_name(r, root, "dtype", r->path, dtype_at, DTYPE_BF16 + 1, &dtype));
    TRY(plan_get_u32(r, root, "batch", r->path, INT32_MAX, &plan->batch));
    TRY(json_get_bool(root, "sync_bn", r->path, &plan->sync_bn, r->err));
    TRY(!json_object_get(root, "lowering") || read_lowering(r, root, &plan->lowering));
    TRY(read_update(r, root, &plan->update));
    TRY(read_freeze_bn(r, root, plan));
    TRY(!json_object_get(root, "bn_group") || plan_get_u32(r, root, "bn_group", r->path, plan->batch, &plan->bn_group));
    TRY(!json_object_get(root, "frozen") || plan_get_u32(r, root, "frozen", r->path, UINT32_MAX, &plan->frozen));
    TRY(plan_get_name(r, root, "recompute", r->path, policy_at, RECOMPUTE_BUDGET + 1, &policy));
    TRY(plan_get_bytes(r, root, "recompute_budget_bytes", r->path, &plan->recompute_budget_bytes));
    TRY(json_get_bool(root, "fits", r->path, &plan->fits, r->err));
    TRY(json_get_bool(root, "changes_bn", r->path, &plan->changes_bn, r->err));
    TRY(plan_get_real(r, root, "step_seconds", r->path, &plan->step_seconds));
    TRY(plan_get_real(r, root, "plan_seconds", r->path, &plan->plan_seconds));
    if (plan->batch == 0) return plan_wrong_field(r, r->path, "batch", "at least one image");
    if (policy == RECOMPUTE_AUTO) return plan_wrong_field(r, r->path, "recompute", "what was chosen, not 'auto',");
    plan->dtype = (enum dtype)dtype;
    plan->recompute = (enum recompute_policy)policy;
    return read_devices(r, root, plan) && read_decoding(r, root, plan) && read_variants(r, root, plan);
}

struct plan *plan_read(const char *path, struct error *err)
{
    static const char *const tables[] = {"ops", "tensors", NULL};
    static const struct json_limits limits = {MOST_FILE_BYTES, MOST_VALUES, tables};
    struct json_document document;
    struct plan_reader reader = {path, &document, err};
    struct plan *plan = NULL;
    bool ok = json_document_read(path, &limits, &document, err);
    if (ok && !(plan = mem_zalloc(MEM_PLAN, 1, sizeof *plan))) ok = error_memory(err, sizeof *plan, "a plan");
    ok = ok && read_plan(&reader, document.root, plan);
    json_document_finish(&document);
    if (ok && !plan_verify(plan, NULL, err)) ok = error_prefix(err, "%s", path);
    if (ok) return plan;
    plan_destroy(plan);
    return NULL;
}
