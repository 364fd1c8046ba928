/* What devices of different variants must have in common, and where each one's memory goes. */
#include <inttypes.h>

#include "verify_private.h"

/* ---- Collectives ---- */

/* Whether all devices of the step meet in this op. */
static bool is_collective(const struct graph *graph, const struct plan_op *op)
{
    const struct op *graph_op = &graph->ops[op->op];
    if (plan_op_copies(op)) return false;
    bool bn = graph_op->kind == OP_BN || graph_op->kind == OP_BN_BWD || graph_op->kind == OP_BN_FINALIZE ||
              graph_op->kind == OP_BN_BWD_FINALIZE || graph_op->kind == OP_BN_BWD_APPLY;
    return graph_op->kind == OP_ALL_REDUCE || (bn && graph_op->attr.bn.sync && op->pass != PASS_RECOMPUTE);
}

static size_t next_collective(const struct plan_variant *variant, size_t from)
{
    while (from < variant->train.op_count && !is_collective(variant->graph, &variant->train.ops[from])) from++;
    return from;
}

static bool same_collective(const struct plan_variant *a, size_t i, const struct plan_variant *b, size_t j)
{
    if (i == a->train.op_count || j == b->train.op_count) return i == a->train.op_count && j == b->train.op_count;
    const struct plan_op *left = &a->train.ops[i], *right = &b->train.ops[j];
    bool repeats = i < a->train.body_count, other_repeats = j < b->train.body_count;
    return left->op == right->op && left->stream == right->stream && repeats == other_repeats;
}

static const char *collective_name(const struct plan_variant *variant, size_t op, char out[VERIFY_NAME])
{
    struct proof proof = {.variant = variant, .program = &variant->train, .graph = variant->graph};
    return op < variant->train.op_count ? verify_op_name(&proof, (uint32_t)op, out) : "none";
}

/* Devices of different variants meet in the same collectives, as often, in the same order and over as many bytes: else
 * each waits for the other. */
static bool check_collectives(const struct proof *proof, const struct plan_variant *a, const struct plan_variant *b)
{
    char name[VERIFY_NAME], other[VERIFY_NAME];
    const struct graph_options *left = &a->graph->options, *right = &b->graph->options;
    if (left->micro_batches != right->micro_batches)
        return verify_fail(proof, VERIFY_ORDER,
                           "micro_batches of one variant is %" PRIu32 " and of another %" PRIu32
                           ": their devices would wait for each other",
                           left->micro_batches, right->micro_batches);
    if (left->bucket_bytes != right->bucket_bytes)
        return verify_fail(proof, VERIFY_SIZE, "gradient buckets of %" PRIu64 " and of %" PRIu64 " bytes cannot meet",
                           left->bucket_bytes, right->bucket_bytes);
    if (left->reduce_dtype != right->reduce_dtype || left->reduce_apart != right->reduce_apart)
        return verify_fail(proof, VERIFY_SIZE, "gradients go between devices in %s%s and in %s%s, which cannot meet",
                           dtype_name(left->reduce_dtype), left->reduce_apart ? ", apart," : "",
                           dtype_name(right->reduce_dtype), right->reduce_apart ? ", apart" : "");
    for (size_t i = 0, j = 0;; i++, j++) {
        i = next_collective(a, i);
        j = next_collective(b, j);
        if (!same_collective(a, i, b, j))
            return verify_fail(proof, VERIFY_ORDER,
                               "one variant's next collective is %s and another's %s: their devices would wait for "
                               "each other",
                               collective_name(a, i, name), collective_name(b, j, other));
        if (i == a->train.op_count) return true;
    }
}

/* ---- Memory ---- */

/* Adds; false when the sum is too large. */
static bool add(uint64_t *sum, uint64_t bytes) { return !__builtin_add_overflow(*sum, bytes, sum); }

/* The batches that the loader keeps in a host's memory, and what decodes JPEGs: it serves all devices of the process,
 * and the first one accounts for it. */
static bool loader_bytes(const struct plan *plan, const struct graph *graph, uint64_t *bytes)
{
    uint64_t image = graph_loaded_bytes(graph);
    return !__builtin_mul_overflow(image, (uint64_t)plan->batch * PLAN_LOADER_BATCHES, bytes) &&
           add(bytes, plan->decode_bytes);
}

/* Parameters are f32; the largest passes through a buffer of the process. */
static uint64_t largest_parameter(const struct graph *graph)
{
    uint64_t most = 0;
    for (size_t i = 0; i < graph->tensor_count; i++) {
        const struct tensor *t = &graph->tensors[i];
        if (t->class == CLASS_WEIGHT && t->persistent && t->role != ROLE_BUCKET && t->bytes > most) most = t->bytes;
    }
    return most;
}

/* What each class of memory takes on a device, worked out again. */
static bool sum_classes(const struct plan *plan, size_t d, uint64_t classes[MEMORY_CLASSES])
{
    const struct plan_device *device = &plan->devices[d];
    const struct plan_variant *variant = &plan->variants[device->variant];
    uint64_t ops = variant->train.op_count + variant->evaluate.op_count, batches = 0, staging = 0, libraries, kernels;
    for (size_t c = 0; c < MEMORY_CLASSES; c++) classes[c] = c < MEMORY_COMMUNICATION ? variant->classes[c] : 0;
    uint64_t shapes = device->spec.kernel_bytes > 0 ? graph_convolution_shapes(variant->graph) : 0;
    if (__builtin_mul_overflow(device->spec.op_bytes, ops, &libraries) ||
        __builtin_mul_overflow(device->spec.kernel_bytes, shapes, &kernels))
        return false;
    bool host = device->spec.kind == DEVICE_CPU;
    if (host && d == 0 && !loader_bytes(plan, variant->graph, &batches)) return false;
    if (host && d == 0) staging = largest_parameter(variant->graph);
    if (plan->device_count > 1) classes[MEMORY_COMMUNICATION] = device->spec.comm_bytes;
    /* A host's own memory is where its tensors go to wait. */
    return add(&classes[MEMORY_KEPT], host ? variant->host_bytes : 0) && add(&classes[MEMORY_INPUT], batches) &&
           add(&classes[MEMORY_CONTEXT], device->spec.context_bytes) && add(&classes[MEMORY_CONTEXT], staging) &&
           add(&classes[MEMORY_CONTEXT], libraries) && add(&classes[MEMORY_CONTEXT], kernels);
}

/* What lies outside the arena cannot be proved, but the sums can be redone. */
static bool check_sums(const struct proof *proof, const struct plan *plan, size_t d)
{
    const struct plan_device *device = &plan->devices[d];
    uint64_t classes[MEMORY_CLASSES], sum = 0;
    bool right = sum_classes(plan, d, classes);
    for (size_t c = 0; right && c < MEMORY_CLASSES; c++) {
        if (device->classes[c] != classes[c])
            return verify_fail(proof, VERIFY_SIZE,
                               "device %zu (%s): %s in classes is %" PRIu64 " bytes; its programs and its kind, %s, "
                               "make it %" PRIu64,
                               d, device->spec.name, memory_class_name((enum memory_class)c), device->classes[c],
                               device->spec.kind == DEVICE_CPU ? "cpu" : "gpu", classes[c]);
        right = add(&sum, classes[c]);
    }
    if (right && sum == device->peak_bytes) return true;
    return verify_fail(proof, VERIFY_SIZE,
                       "device %zu (%s): peak_bytes is %" PRIu64 ", to which its classes of memory do not add up", d,
                       device->spec.name, device->peak_bytes);
}

/* ---- Devices ---- */

static bool check_device(const struct proof *proof, const struct plan *plan, size_t d)
{
    const struct plan_device *device = &plan->devices[d];
    if (device->variant >= plan->variant_count)
        return verify_fail(proof, VERIFY_RANGE, "device %zu runs variant %" PRIu32 " of %zu", d, device->variant,
                           plan->variant_count);
    if (device->spec.kind != plan->devices[0].spec.kind)
        return verify_fail(proof, VERIFY_FIGURE, "the kinds of devices 0 and %zu are cpu and gpu: they share no step",
                           d);
    const struct graph_options *options = &plan->variants[device->variant].graph->options;
    if (device->micro_batches != options->micro_batches ||
        device->images != (uint64_t)options->batch * options->micro_batches)
        return verify_fail(proof, VERIFY_SIZE,
                           "device %zu takes %" PRIu32 " images; its programs take %" PRIu32 " x %" PRIu32, d,
                           device->images, options->micro_batches, options->batch);
    TRY(check_sums(proof, plan, d));
    if (plan->fits && device->peak_bytes > device_usable_bytes(&device->spec))
        return verify_fail(proof, VERIFY_MEMORY,
                           "device %zu (%s) needs %" PRIu64 " bytes and has %" PRIu64 " beside its reserve", d,
                           device->spec.name, device->peak_bytes, device_usable_bytes(&device->spec));
    return true;
}

static bool check_used(const struct proof *proof, const struct plan *plan, size_t variant)
{
    for (size_t d = 0; d < plan->device_count; d++)
        if (plan->devices[d].variant == variant) return true;
    return verify_fail(proof, VERIFY_RANGE, "variant %zu of variants is run by no device", variant);
}

bool verify_devices(const struct proof *proof, const struct plan *plan)
{
    uint64_t images = 0;
    for (size_t v = 1; v < plan->variant_count; v++)
        TRY(check_collectives(proof, &plan->variants[0], &plan->variants[v]));
    for (size_t d = 0; d < plan->device_count; d++) {
        TRY(check_device(proof, plan, d));
        images += plan->devices[d].images;
    }
    if (images != plan->batch)
        return verify_fail(proof, VERIFY_SIZE, "its devices take %" PRIu64 " images of a batch of %" PRIu32, images,
                           plan->batch);
    for (size_t v = 0; v < plan->variant_count; v++) TRY(check_used(proof, plan, v));
    return true;
}
