#include <inttypes.h>
#include <string.h>

#include "hash.h"
#include "mem.h"
#include "place_import.h"
#include "place_wire.h"

/* Field numbers of onnx.proto. */
enum { MODEL_GRAPH = 7 };
enum {
    GRAPH_NODE = 1,
    GRAPH_INITIALIZER = 5,
    GRAPH_INPUT = 11,
    GRAPH_OUTPUT = 12,
    GRAPH_VALUE = 13,
    GRAPH_SPARSE = 15
};
enum { NODE_INPUT = 1, NODE_OUTPUT = 2, NODE_NAME = 3, NODE_OP = 4, NODE_ATTRIBUTE = 5 };
enum { ATTRIBUTE_GRAPH = 6, ATTRIBUTE_GRAPHS = 11 };
enum { TENSOR_NAME = 8, SPARSE_VALUES = 1 };
enum { VALUE_NAME = 1, VALUE_TYPE = 2, TYPE_TENSOR = 1, TENSOR_ELEMENT = 1, TENSOR_SHAPE = 2 };
enum { SHAPE_DIM = 1, DIM_VALUE = 1, DIM_PARAM = 2 };

#define SHOWN        60 /* characters of a name in a message */
#define MOST_TENSORS 5000000

struct name {
    const uint8_t *bytes;
    size_t length;
};

enum shape_state { SHAPE_MISSING, SHAPE_SYMBOLIC, SHAPE_NO_TENSOR, SHAPE_ELEMENT, SHAPE_HUGE, SHAPE_KNOWN };

struct tensor {
    struct name name;
    enum shape_state shape;
    struct name symbol; /* of SHAPE_SYMBOLIC */
    uint64_t element;   /* of SHAPE_ELEMENT: its code */
    uint64_t bytes;     /* of SHAPE_KNOWN */
    uint64_t lower, upper;
    bool made, weight, output;
};

struct onnx {
    const char *path;
    struct tensor *tensors;
    size_t count, capacity;
    uint32_t *slots; /* index + 1, open addressing */
    size_t slot_count;
    uint64_t nodes;
};

static int shown(struct name name) { return (int)(name.length < SHOWN ? name.length : SHOWN); }
#define SHOW(name) shown(name), (const char *)(name).bytes

static struct name name_of(const struct wire_field *field)
{
    return (struct name){field->bytes.at, (size_t)(field->bytes.end - field->bytes.at)};
}

static bool same_name(struct name a, struct name b)
{
    return a.length == b.length && memcmp(a.bytes, b.bytes, a.length) == 0;
}

static bool broken(const struct onnx *onnx, const char *where, struct error *err)
{
    return error_set(err, ERROR_INPUT, "%s: not a whole ONNX model: a field of %s is cut off or malformed", onnx->path,
                     where);
}

static size_t find_slot(const struct onnx *onnx, struct name name)
{
    size_t at = (size_t)hash_bytes(name.bytes, name.length, 0) & (onnx->slot_count - 1);
    while (onnx->slots[at] && !same_name(onnx->tensors[onnx->slots[at] - 1].name, name))
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
static bool find_tensor(struct onnx *onnx, struct name name, struct tensor **tensor, struct error *err)
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

/* TensorProto.DataType; 0 = not a type of fixed size. */
static uint64_t element_bits(uint64_t code)
{
    static const uint8_t bits[] = {0,  32,  8,  8, 16, 16, 32, 64, 0, 8, 16, 64, 32, 64,
                                   64, 128, 16, 8, 8,  8,  8,  4,  4, 4, 8,  2,  2};
    return code < sizeof bits ? bits[code] : 0;
}

static bool read_dim(const struct onnx *onnx, struct wire dim, struct tensor *tensor, uint64_t *count,
                     struct error *err)
{
    struct wire_field field;
    enum shape_state state = SHAPE_MISSING;
    uint64_t value = 0;
    while (wire_next(&dim, &field)) {
        if (field.number == DIM_VALUE && field.type == WIRE_VARINT) {
            value = field.value;
            state = value <= INT64_MAX ? SHAPE_KNOWN : SHAPE_MISSING; /* a negative one stands for unknown */
        } else if (field.number == DIM_PARAM && field.type == WIRE_BYTES) {
            tensor->symbol = name_of(&field);
            state = SHAPE_SYMBOLIC;
        }
    }
    if (dim.broken) return broken(onnx, "a dimension", err);
    if (state == SHAPE_KNOWN && __builtin_mul_overflow(*count, value, count)) state = SHAPE_HUGE;
    if (tensor->shape == SHAPE_KNOWN) tensor->shape = state;
    return true;
}

static bool read_shape(const struct onnx *onnx, struct wire shape, struct tensor *tensor, uint64_t *count,
                       struct error *err)
{
    struct wire_field field;
    tensor->shape = SHAPE_KNOWN;
    *count = 1;
    while (wire_find(&shape, SHAPE_DIM, &field)) TRY(read_dim(onnx, field.bytes, tensor, count, err));
    return !shape.broken || broken(onnx, "a shape", err);
}

static bool read_tensor_type(const struct onnx *onnx, struct wire type, struct tensor *tensor, struct error *err)
{
    struct wire_field field;
    uint64_t count = 0, bits;
    tensor->shape = SHAPE_MISSING;
    tensor->element = 0;
    while (wire_next(&type, &field)) {
        if (field.number == TENSOR_ELEMENT && field.type == WIRE_VARINT) tensor->element = field.value;
        if (field.number == TENSOR_SHAPE && field.type == WIRE_BYTES)
            TRY(read_shape(onnx, field.bytes, tensor, &count, err));
    }
    if (type.broken) return broken(onnx, "a tensor's type", err);
    if (tensor->shape != SHAPE_KNOWN) return true;
    if (element_bits(tensor->element) == 0)
        tensor->shape = SHAPE_ELEMENT;
    else if (__builtin_mul_overflow(count, element_bits(tensor->element), &bits))
        tensor->shape = SHAPE_HUGE;
    else
        tensor->bytes = bits / 8 + (bits % 8 != 0);
    return true;
}

/* A ValueInfoProto: name and type. An entry without a shape does not undo one that had it. */
static bool read_value(struct onnx *onnx, struct wire value, struct tensor **found, struct error *err)
{
    struct wire_field field;
    struct name name = {0};
    struct tensor read = {0};
    while (wire_next(&value, &field)) {
        if (field.type != WIRE_BYTES) continue;
        if (field.number == VALUE_NAME) name = name_of(&field);
        if (field.number != VALUE_TYPE) continue;
        read.shape = SHAPE_NO_TENSOR;
        struct wire_field type;
        while (wire_find(&field.bytes, TYPE_TENSOR, &type)) TRY(read_tensor_type(onnx, type.bytes, &read, err));
        if (field.bytes.broken) return broken(onnx, "a value's type", err);
    }
    if (value.broken) return broken(onnx, "a value", err);
    if (name.length == 0) return error_set(err, ERROR_INPUT, "%s: an input, output or value has no name", onnx->path);
    TRY(find_tensor(onnx, name, found, err));
    if ((*found)->shape == SHAPE_KNOWN || read.shape == SHAPE_MISSING) return true;
    (*found)->shape = read.shape;
    (*found)->symbol = read.symbol;
    (*found)->element = read.element;
    (*found)->bytes = read.bytes;
    return true;
}

static bool mark_weight(struct onnx *onnx, struct wire tensor, struct error *err)
{
    struct wire_field field;
    struct tensor *found;
    while (wire_find(&tensor, TENSOR_NAME, &field)) {
        TRY(find_tensor(onnx, name_of(&field), &found, err));
        found->weight = true;
    }
    return !tensor.broken || broken(onnx, "an initializer", err);
}

static bool mark_sparse(struct onnx *onnx, struct wire sparse, struct error *err)
{
    struct wire_field field;
    while (wire_find(&sparse, SPARSE_VALUES, &field)) TRY(mark_weight(onnx, field.bytes, err));
    return !sparse.broken || broken(onnx, "a sparse initializer", err);
}

/* Everything of the graph but its nodes, which stand first in the file and need the rest. */
static bool read_values(struct onnx *onnx, struct wire graph, struct error *err)
{
    struct wire_field field;
    struct tensor *tensor;
    while (wire_next(&graph, &field)) {
        if (field.type != WIRE_BYTES) continue;
        switch (field.number) {
        case GRAPH_NODE: onnx->nodes++; break;
        case GRAPH_INITIALIZER: TRY(mark_weight(onnx, field.bytes, err)); break;
        case GRAPH_SPARSE: TRY(mark_sparse(onnx, field.bytes, err)); break;
        case GRAPH_VALUE: TRY(read_value(onnx, field.bytes, &tensor, err)); break;
        case GRAPH_INPUT:
            TRY(read_value(onnx, field.bytes, &tensor, err));
            tensor->made = true;
            tensor->upper = 1;
            break;
        case GRAPH_OUTPUT:
            TRY(read_value(onnx, field.bytes, &tensor, err));
            tensor->output = true;
            break;
        default: break;
        }
    }
    return !graph.broken || broken(onnx, "the graph", err);
}

struct node {
    uint64_t instant;
    struct name op, name;
    bool nested;
};

static bool describe_node(const struct onnx *onnx, struct wire wire, struct node *node, struct error *err)
{
    struct wire_field field, inner;
    while (wire_next(&wire, &field)) {
        if (field.type != WIRE_BYTES) continue;
        if (field.number == NODE_OP) node->op = name_of(&field);
        if (field.number == NODE_NAME) node->name = name_of(&field);
        if (field.number != NODE_ATTRIBUTE) continue;
        while (wire_next(&field.bytes, &inner))
            node->nested |= inner.number == ATTRIBUTE_GRAPH || inner.number == ATTRIBUTE_GRAPHS;
        if (field.bytes.broken) return broken(onnx, "an attribute", err);
    }
    if (wire.broken) return broken(onnx, "a node", err);
    if (!node->nested) return true;
    return error_set(err, ERROR_INPUT,
                     "%s: node %" PRIu64 " '%.*s' (%.*s) has graphs inside, whose order is open; only models without "
                     "branches and loops are read (onnxsim folds constant ones)",
                     onnx->path, node->instant, SHOW(node->name), SHOW(node->op));
}

static bool use_input(struct onnx *onnx, const struct node *node, struct name name, struct error *err)
{
    struct tensor *tensor;
    if (name.length == 0) return true; /* an optional input left out */
    TRY(find_tensor(onnx, name, &tensor, err));
    if (!tensor->made && !tensor->weight)
        return error_set(err, ERROR_INPUT,
                         "%s: node %" PRIu64 " '%.*s' reads tensor '%.*s', which no node before it makes; nodes in "
                         "topological order are wanted",
                         onnx->path, node->instant, SHOW(node->name), SHOW(name));
    tensor->upper = node->instant + 1;
    return true;
}

static bool make_output(struct onnx *onnx, const struct node *node, struct name name, struct error *err)
{
    struct tensor *tensor;
    if (name.length == 0) return true;
    TRY(find_tensor(onnx, name, &tensor, err));
    if (tensor->made || tensor->weight)
        return error_set(err, ERROR_INPUT, "%s: node %" PRIu64 " '%.*s' makes tensor '%.*s', which is there already",
                         onnx->path, node->instant, SHOW(node->name), SHOW(name));
    if (node->op.length == 8 && memcmp(node->op.bytes, "Constant", 8) == 0) {
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
    struct node node = {.instant = instant};
    struct wire inputs = wire, outputs = wire;
    struct wire_field field;
    TRY(describe_node(onnx, wire, &node, err));
    while (wire_find(&inputs, NODE_INPUT, &field)) TRY(use_input(onnx, &node, name_of(&field), err));
    while (wire_find(&outputs, NODE_OUTPUT, &field)) TRY(make_output(onnx, &node, name_of(&field), err));
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
    switch (tensor->shape) {
    case SHAPE_KNOWN: return true;
    case SHAPE_SYMBOLIC:
        return error_set(err, ERROR_INPUT,
                         "%s: tensor '%.*s' has the open dimension '%.*s'; fix it in the model's inputs "
                         "(onnx.tools.update_model_dims), then run onnx.shape_inference.infer_shapes",
                         onnx->path, SHOW(tensor->name), SHOW(tensor->symbol));
    case SHAPE_NO_TENSOR:
        return error_set(err, ERROR_INPUT, "%s: '%.*s' is not a dense tensor (a sequence, map or optional)", onnx->path,
                         SHOW(tensor->name));
    case SHAPE_ELEMENT:
        return error_set(err, ERROR_INPUT, "%s: tensor '%.*s' has element type %" PRIu64 ", which has no fixed size",
                         onnx->path, SHOW(tensor->name), tensor->element);
    case SHAPE_HUGE:
        return error_set(err, ERROR_INPUT, "%s: tensor '%.*s' is larger than 2^64 bits", onnx->path,
                         SHOW(tensor->name));
    case SHAPE_MISSING: break;
    }
    return error_set(err, ERROR_INPUT,
                     "%s: the shape of tensor '%.*s' is unknown; onnx.shape_inference.infer_shapes adds shapes to a "
                     "model",
                     onnx->path, SHOW(tensor->name));
}

/* Names go into CSV and SVG: what would break a row, or no letter at all, becomes '_'. */
static char *copy_name(char *at, struct name name)
{
    for (size_t i = 0; i < name.length; i++) {
        uint8_t byte = name.bytes[i];
        *at++ = byte < 0x21 || byte == 0x7f || byte == ',' || byte == '"' ? '_' : (char)byte;
    }
    *at++ = '\0';
    return at;
}

static bool placed(const struct tensor *tensor) { return tensor->made && !tensor->weight; }

static bool fill_table(const struct onnx *onnx, struct place_table *table, struct error *err)
{
    size_t count = 0, letters = 0;
    for (size_t i = 0; i < onnx->count; i++) {
        if (onnx->tensors[i].output && !onnx->tensors[i].made && !onnx->tensors[i].weight)
            return error_set(err, ERROR_INPUT, "%s: no node makes the output '%.*s'", onnx->path,
                             SHOW(onnx->tensors[i].name));
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
            (struct place_buffer){tensor->lower, tensor->upper, tensor->bytes, 1, PLACE_UNPLACED, PLACE_UNPLACED};
    }
    return true;
}

static bool read_graph(struct onnx *onnx, struct wire model, struct place_table *table, struct error *err)
{
    struct wire_field field, graph;
    size_t graphs = 0;
    while (wire_find(&model, MODEL_GRAPH, &field)) {
        graph = field;
        graphs++;
    }
    if (model.broken) return broken(onnx, "the model", err);
    if (graphs != 1)
        return error_set(err, ERROR_INPUT, "%s: %zu graphs at the top; an ONNX model has one", onnx->path, graphs);
    TRY(read_values(onnx, graph.bytes, err));
    TRY(run_nodes(onnx, graph.bytes, err));
    return fill_table(onnx, table, err);
}

bool place_onnx_parse(struct place_table *table, const char *path, const void *bytes, size_t length, struct error *err)
{
    struct onnx onnx = {.path = path};
    const uint8_t *first = bytes;
    *table = (struct place_table){0};
    bool ok = read_graph(&onnx, (struct wire){first, first + length, false}, table, err);
    if (!ok) place_table_finish(table);
    mem_free(onnx.tensors);
    mem_free(onnx.slots);
    return ok;
}
