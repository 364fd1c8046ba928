#include <inttypes.h>
#include <string.h>

#include "hash.h"
#include "mem.h"
#include "place_import.h"
#include "place_onnx_format.h"
#include "place_onnx_nodes.h"
#include "place_onnx_shape.h"

#define MOST_TENSORS 5000000

struct tensor {
    struct onnx_name name;
    struct onnx_shape shape;
    uint64_t lower, upper;
    bool made, weight, output;
    bool annotates; /* a scale or zero point of an annotation */
};

struct onnx {
    const char *path;
    struct onnx_functions functions;
    struct tensor *tensors;
    size_t count, capacity;
    uint32_t *slots; /* index + 1, open addressing */
    size_t slot_count;
    uint64_t nodes;
};

static size_t find_slot(const struct onnx *onnx, struct onnx_name name)
{
    size_t at = (size_t)hash_bytes(name.bytes, name.length, 0) & (onnx->slot_count - 1);
    while (onnx->slots[at] && !onnx_same_name(onnx->tensors[onnx->slots[at] - 1].name, name))
        at = (at + 1) & (onnx->slot_count - 1);
    return at;
}

static bool grow_slots(struct onnx *onnx, struct error *err)
{
    if (onnx->slot_count > 2 * onnx->count) return true;
    size_t slots = onnx->slot_count ? 2 * onnx->slot_count : 64;
    uint32_t *fresh = mem_zalloc(MEM_GENERAL, slots, sizeof *fresh);
    if (!fresh) return error_memory(err, slots * sizeof *fresh, "the names of tensors");
    mem_free(onnx->slots);
    onnx->slots = fresh;
    onnx->slot_count = slots;
    for (size_t i = 0; i < onnx->count; i++) onnx->slots[find_slot(onnx, onnx->tensors[i].name)] = (uint32_t)i + 1;
    return true;
}

/* The tensor of that name, made on first mention. */
static bool find_tensor(struct onnx *onnx, struct onnx_name name, struct tensor **tensor, struct error *err)
{
    TRY(grow_slots(onnx, err));
    size_t slot = find_slot(onnx, name);
    if (!onnx->slots[slot]) {
        void *tensors = onnx->tensors;
        if (onnx->count == MOST_TENSORS)
            return error_set(err, ERROR_INPUT, "%s: more than %d tensors", onnx->path, MOST_TENSORS);
        if (!mem_grow(MEM_GENERAL, &tensors, &onnx->capacity, onnx->count + 1, sizeof *onnx->tensors))
            return error_memory(err, onnx->count * sizeof *onnx->tensors, "the tensors of a model");
        onnx->tensors = tensors;
        onnx->tensors[onnx->count++] = (struct tensor){.name = name};
        onnx->slots[slot] = (uint32_t)onnx->count;
    }
    *tensor = &onnx->tensors[onnx->slots[slot] - 1];
    return true;
}

/* A ValueInfoProto: name and type. One tensor may have several, which must agree. */
static bool read_value(struct onnx *onnx, struct wire value, struct tensor **found, struct error *err)
{
    struct wire_field field;
    struct onnx_name name = {0};
    struct onnx_shape shape = {0};
    TRY(onnx_check_fields(onnx->path, ONNX_VALUE, value, err));
    while (wire_next(&value, &field)) {
        if (field.number == VALUE_NAME) name = onnx_name_of(&field);
        if (field.number == VALUE_TYPE) TRY(onnx_read_shape(onnx->path, field.bytes, &shape, err));
    }
    if (name.length == 0) return error_set(err, ERROR_INPUT, "%s: an input, output or value has no name", onnx->path);
    TRY(find_tensor(onnx, name, found, err));
    onnx_merge_shape(&(*found)->shape, &shape);
    return true;
}

static bool mark_weight(struct onnx *onnx, struct wire tensor, struct error *err)
{
    struct wire_field field;
    struct tensor *found;
    while (wire_find(&tensor, TENSOR_NAME, &field)) {
        TRY(find_tensor(onnx, onnx_name_of(&field), &found, err));
        found->weight = true;
    }
    return !tensor.broken || onnx_broken(onnx->path, "an initializer", err);
}

static bool mark_sparse(struct onnx *onnx, struct wire sparse, struct error *err)
{
    struct wire_field field;
    while (wire_find(&sparse, SPARSE_VALUES, &field)) TRY(mark_weight(onnx, field.bytes, err));
    return !sparse.broken || onnx_broken(onnx->path, "a sparse initializer", err);
}

/* A TensorAnnotation says by which tensors another is quantized, so these are read somewhere: they must be weights. */
static bool mark_annotation(struct onnx *onnx, struct wire annotation, struct error *err)
{
    struct wire_field entry, value;
    struct tensor *found;
    while (wire_find(&annotation, ANNOTATION_ENTRY, &entry)) {
        while (wire_find(&entry.bytes, ENTRY_VALUE, &value)) {
            TRY(find_tensor(onnx, onnx_name_of(&value), &found, err));
            found->annotates = true;
        }
        if (entry.bytes.broken) return onnx_broken(onnx->path, "a quantization annotation", err);
    }
    return !annotation.broken || onnx_broken(onnx->path, "a quantization annotation", err);
}

static bool read_input(struct onnx *onnx, struct wire value, struct error *err)
{
    struct tensor *tensor;
    TRY(read_value(onnx, value, &tensor, err));
    if (tensor->made)
        return error_set(err, ERROR_INPUT, "%s: two inputs of the graph are called '%.*s'", onnx->path,
                         ONNX_SHOW(tensor->name));
    tensor->made = true;
    tensor->upper = 1;
    return true;
}

/* Everything of the graph but its nodes, which stand first in the file and need the rest. */
static bool read_values(struct onnx *onnx, struct wire graph, struct error *err)
{
    struct wire_field field;
    struct tensor *tensor;
    TRY(onnx_check_fields(onnx->path, ONNX_GRAPH, graph, err));
    while (wire_next(&graph, &field)) {
        switch (field.number) {
        case GRAPH_NODE: onnx->nodes++; break;
        case GRAPH_INITIALIZER: TRY(mark_weight(onnx, field.bytes, err)); break;
        case GRAPH_SPARSE: TRY(mark_sparse(onnx, field.bytes, err)); break;
        case GRAPH_VALUE: TRY(read_value(onnx, field.bytes, &tensor, err)); break;
        case GRAPH_ANNOTATION: TRY(mark_annotation(onnx, field.bytes, err)); break;
        case GRAPH_INPUT: TRY(read_input(onnx, field.bytes, err)); break;
        case GRAPH_OUTPUT:
            TRY(read_value(onnx, field.bytes, &tensor, err));
            tensor->output = true;
            break;
        default: break;
        }
    }
    return true;
}

static bool use_input(struct onnx *onnx, const struct onnx_node *node, struct onnx_name name, struct error *err)
{
    struct tensor *tensor;
    if (name.length == 0) return true; /* an optional input left out */
    TRY(find_tensor(onnx, name, &tensor, err));
    if (!tensor->made && !tensor->weight)
        return error_set(err, ERROR_INPUT,
                         "%s: node %" PRIu64 " '%.*s' reads tensor '%.*s', which no node before it makes; nodes in "
                         "topological order are wanted",
                         onnx->path, node->instant, ONNX_SHOW(node->name), ONNX_SHOW(name));
    tensor->upper = node->instant + 1;
    return true;
}

static bool make_output(struct onnx *onnx, const struct onnx_node *node, struct onnx_name name, struct error *err)
{
    struct tensor *tensor;
    if (name.length == 0) return true;
    TRY(find_tensor(onnx, name, &tensor, err));
    if (tensor->made || tensor->weight)
        return error_set(err, ERROR_INPUT, "%s: node %" PRIu64 " '%.*s' makes tensor '%.*s', which is there already",
                         onnx->path, node->instant, ONNX_SHOW(node->name), ONNX_SHOW(name));
    if (onnx_is_constant(node)) {
        tensor->weight = true;
        return true;
    }
    tensor->made = true;
    tensor->lower = node->instant;
    tensor->upper = node->instant + 1;
    return true;
}

static bool run_node(struct onnx *onnx, uint64_t instant, struct wire wire, struct error *err)
{
    struct onnx_node node = {.instant = instant};
    struct wire inputs = wire, outputs = wire;
    struct wire_field field;
    TRY(onnx_read_node(onnx->path, &onnx->functions, wire, &node, err));
    while (wire_find(&inputs, NODE_INPUT, &field)) TRY(use_input(onnx, &node, onnx_name_of(&field), err));
    while (wire_find(&outputs, NODE_OUTPUT, &field)) TRY(make_output(onnx, &node, onnx_name_of(&field), err));
    return true;
}

static bool run_nodes(struct onnx *onnx, struct wire graph, struct error *err)
{
    struct wire_field field;
    uint64_t instant = 0;
    while (wire_find(&graph, GRAPH_NODE, &field)) TRY(run_node(onnx, instant++, field.bytes, err));
    for (size_t i = 0; i < onnx->count; i++)
        if (onnx->tensors[i].output && onnx->nodes > 0) onnx->tensors[i].upper = onnx->nodes;
    return true;
}

static bool check_tensor(const struct onnx *onnx, const struct tensor *tensor, struct error *err)
{
    const struct onnx_shape *shape = &tensor->shape;
    switch (shape->state) {
    case SHAPE_KNOWN: return true;
    case SHAPE_SYMBOLIC:
        return error_set(err, ERROR_INPUT,
                         "%s: tensor '%.*s' has the open dimension '%.*s'; fix it in the model's inputs "
                         "(onnx.tools.update_model_dims), then run onnx.shape_inference.infer_shapes",
                         onnx->path, ONNX_SHOW(tensor->name), ONNX_SHOW(shape->symbol));
    case SHAPE_NO_TENSOR:
        return error_set(err, ERROR_INPUT,
                         "%s: '%.*s' is not a dense tensor (but a sequence, map, optional or sparse one)", onnx->path,
                         ONNX_SHOW(tensor->name));
    case SHAPE_ELEMENT:
        return error_set(err, ERROR_INPUT, "%s: tensor '%.*s' has element type %" PRIu64 ", which has no fixed size",
                         onnx->path, ONNX_SHOW(tensor->name), shape->element);
    case SHAPE_HUGE:
        return error_set(err, ERROR_INPUT, "%s: tensor '%.*s' is larger than 2^64 bits", onnx->path,
                         ONNX_SHOW(tensor->name));
    case SHAPE_CONTRADICTED:
        return error_set(err, ERROR_INPUT,
                         "%s: tensor '%.*s' has two shapes, one of %" PRIu64 " and one of %" PRIu64 " bytes",
                         onnx->path, ONNX_SHOW(tensor->name), shape->bytes, shape->other_bytes);
    case SHAPE_MISSING: break;
    }
    return error_set(err, ERROR_INPUT,
                     "%s: the shape of tensor '%.*s' is unknown; onnx.shape_inference.infer_shapes adds shapes to a "
                     "model",
                     onnx->path, ONNX_SHOW(tensor->name));
}

/* As they are, so that each stays one of its own: writers of CSV, SVG and JSON quote them. A zero byte ends a string.
 */
static char *copy_name(char *at, struct onnx_name name)
{
    for (size_t i = 0; i < name.length; i++) *at++ = name.bytes[i] ? (char)name.bytes[i] : '_';
    *at++ = '\0';
    return at;
}

static bool placed(const struct tensor *tensor) { return tensor->made && !tensor->weight; }

/* Whether all that was named is there. */
static bool check_names(const struct onnx *onnx, struct error *err)
{
    for (size_t i = 0; i < onnx->count; i++) {
        const struct tensor *tensor = &onnx->tensors[i];
        if (tensor->output && !tensor->made && !tensor->weight)
            return error_set(err, ERROR_INPUT, "%s: no node makes the output '%.*s'", onnx->path,
                             ONNX_SHOW(tensor->name));
        if (tensor->annotates && !tensor->weight)
            return error_set(err, ERROR_INPUT,
                             "%s: a quantization annotation names tensor '%.*s', which is no initializer: who reads it "
                             "is open",
                             onnx->path, ONNX_SHOW(tensor->name));
    }
    return true;
}

static bool fill_table(const struct onnx *onnx, struct place_table *table, struct error *err)
{
    size_t count = 0, letters = 0;
    for (size_t i = 0; i < onnx->count; i++) {
        if (!placed(&onnx->tensors[i])) continue;
        TRY(check_tensor(onnx, &onnx->tensors[i], err));
        letters += onnx->tensors[i].name.length + 1;
        count++;
    }
    table->buffers = mem_alloc(MEM_GENERAL, count, sizeof *table->buffers);
    table->ids = mem_alloc(MEM_GENERAL, count, sizeof *table->ids);
    table->text = mem_alloc(MEM_GENERAL, letters, 1);
    if (!table->buffers || !table->ids || !table->text)
        return error_memory(err, count * sizeof *table->buffers, "the activations of a model");
    char *text = table->text;
    for (size_t i = 0; i < onnx->count; i++) {
        const struct tensor *tensor = &onnx->tensors[i];
        if (!placed(tensor)) continue;
        table->ids[table->count] = text;
        text = copy_name(text, tensor->name);
        table->buffers[table->count++] =
            (struct place_buffer){tensor->lower, tensor->upper, tensor->shape.bytes, 1, PLACE_UNPLACED, PLACE_UNPLACED};
    }
    return true;
}

static bool read_model(struct onnx *onnx, struct wire model, struct place_table *table, struct error *err)
{
    struct wire graph;
    TRY(onnx_read_model(onnx->path, model, &onnx->functions, &graph, err));
    TRY(read_values(onnx, graph, err));
    TRY(run_nodes(onnx, graph, err));
    TRY(check_names(onnx, err));
    return fill_table(onnx, table, err);
}

bool place_onnx_parse(struct place_table *table, const char *path, const void *bytes, size_t length, struct error *err)
{
    struct onnx onnx = {.path = path};
    const uint8_t *first = bytes;
    *table = (struct place_table){0};
    bool ok = read_model(&onnx, (struct wire){first, first + length, false}, table, err);
    if (!ok) place_table_finish(table);
    onnx_functions_finish(&onnx.functions);
    mem_free(onnx.tensors);
    mem_free(onnx.slots);
    return ok;
}
