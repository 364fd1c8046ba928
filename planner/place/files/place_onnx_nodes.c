#include "place_onnx_nodes.h"

#include <inttypes.h>
#include <stdlib.h>

#include "mem.h"

enum { TYPE_GRAPH = 5, TYPE_GRAPHS = 10 }; /* AttributeProto.AttributeType */

#define MOST_FUNCTIONS 1000000

static bool is_standard(struct onnx_name domain) { return domain.length == 0 || onnx_name_is(domain, "ai.onnx"); }

static int compare_names(struct onnx_name a, struct onnx_name b)
{
    size_t least = a.length < b.length ? a.length : b.length;
    int order = least ? memcmp(a.bytes, b.bytes, least) : 0;
    return order ? order : (a.length > b.length) - (a.length < b.length);
}

static int compare_functions(const void *left, const void *right)
{
    const struct onnx_function *a = left, *b = right;
    int order = compare_names(a->domain, b->domain);
    return order ? order : compare_names(a->name, b->name);
}

static struct onnx_function make_function(struct onnx_name domain, struct onnx_name name)
{
    return (struct onnx_function){is_standard(domain) ? (struct onnx_name){0} : domain, name};
}

/* Overloads of one name count as one: what is called by that name is refused whichever it is. */
static bool add_function(const char *path, struct wire wire, struct onnx_functions *functions, struct error *err)
{
    struct onnx_name domain = {0}, name = {0};
    struct wire_field field;
    void *list = functions->list;
    while (wire_next(&wire, &field)) {
        if (field.type != WIRE_BYTES) continue;
        if (field.number == FUNCTION_NAME) name = onnx_name_of(&field);
        if (field.number == FUNCTION_DOMAIN) domain = onnx_name_of(&field);
    }
    if (wire.broken) return onnx_broken(path, "a function", err);
    if (functions->count == MOST_FUNCTIONS)
        return error_set(err, ERROR_INPUT, "%s: more than %d functions", path, MOST_FUNCTIONS);
    if (!mem_grow(MEM_GENERAL, &list, &functions->capacity, functions->count + 1, sizeof *functions->list))
        return error_memory(err, functions->count * sizeof *functions->list, "the functions of a model");
    functions->list = list;
    functions->list[functions->count++] = make_function(domain, name);
    return true;
}

static bool check_version(const char *path, uint64_t version, struct error *err)
{
    if (version >= 1 && version <= ONNX_IR_VERSION) return true;
    return error_set(err, ERROR_INPUT, "%s: ONNX IR version %" PRId64 "; 1 to %d are read", path, (int64_t)version,
                     ONNX_IR_VERSION);
}

bool onnx_read_model(const char *path, struct wire model, struct onnx_functions *functions, struct wire *graph,
                     struct error *err)
{
    struct wire_field field;
    size_t graphs = 0;
    TRY(onnx_check_fields(path, ONNX_MODEL, model, err));
    while (wire_next(&model, &field)) {
        switch (field.number) {
        case MODEL_IR_VERSION: TRY(check_version(path, field.value, err)); break;
        case MODEL_FUNCTION: TRY(add_function(path, field.bytes, functions, err)); break;
        case MODEL_GRAPH:
            *graph = field.bytes;
            graphs++;
            break;
        case MODEL_TRAINING:
            return error_set(err, ERROR_INPUT,
                             "%s: the model has training_info, whose graphs are not counted; without it the graph for "
                             "inference is read",
                             path);
        default: break;
        }
    }
    if (graphs != 1)
        return error_set(err, ERROR_INPUT, "%s: %zu graphs at the top; an ONNX model has one", path, graphs);
    if (functions->count > 0) qsort(functions->list, functions->count, sizeof *functions->list, compare_functions);
    return true;
}

void onnx_functions_finish(struct onnx_functions *functions)
{
    mem_free(functions->list);
    *functions = (struct onnx_functions){0};
}

static bool is_function(const struct onnx_functions *functions, const struct onnx_node *node)
{
    struct onnx_function wanted = make_function(node->domain, node->op);
    return functions->count > 0 &&
           bsearch(&wanted, functions->list, functions->count, sizeof wanted, compare_functions) != NULL;
}

/* Operators that run graphs: those of the standard do so whether or not their attributes are there. */
static bool runs_graphs(const struct onnx_node *node)
{
    static const char *const names[] = {"If", "Loop", "Scan", "SequenceMap"};
    for (size_t i = 0; is_standard(node->domain) && i < sizeof names / sizeof names[0]; i++)
        if (onnx_name_is(node->op, names[i])) return true;
    bool training =
        onnx_name_is(node->domain, "ai.onnx.training") || onnx_name_is(node->domain, "ai.onnx.preview.training");
    return training && (onnx_name_is(node->op, "GraphCall") || onnx_name_is(node->op, "Gradient"));
}

/* What of a node may hold tensors that the graph does not list. */
struct hidden {
    bool graphs, reference, devices;
};

static bool look_into_attribute(const char *path, struct wire attribute, struct hidden *hidden, struct error *err)
{
    struct wire_field field;
    TRY(onnx_check_fields(path, ONNX_ATTRIBUTE, attribute, err));
    while (wire_next(&attribute, &field)) {
        switch (field.number) {
        case ATTRIBUTE_GRAPH:
        case ATTRIBUTE_GRAPHS: hidden->graphs = true; break;
        case ATTRIBUTE_TYPE: hidden->graphs |= field.value == TYPE_GRAPH || field.value == TYPE_GRAPHS; break;
        case ATTRIBUTE_REFERENCE: hidden->reference |= onnx_name_of(&field).length > 0; break;
        default: break;
        }
    }
    return true;
}

static bool refuse(const char *path, const struct onnx_node *node, const char *why, struct error *err)
{
    return error_set(err, ERROR_INPUT, "%s: node %" PRIu64 " '%.*s' (%.*s) %s", path, node->instant,
                     ONNX_SHOW(node->name), ONNX_SHOW(node->op), why);
}

static bool check_node(const char *path, const struct onnx_functions *functions, const struct onnx_node *node,
                       const struct hidden *hidden, struct error *err)
{
    if (node->op.length == 0) return refuse(path, node, "has no operator (op_type)", err);
    if (hidden->graphs || runs_graphs(node))
        return refuse(
            path, node,
            "has graphs inside, whose order is open; only models without branches and loops are read (onnxsim "
            "folds constant ones)",
            err);
    if (is_function(functions, node))
        return refuse(path, node,
                      "calls a function of the model, whose inner tensors the graph does not list; "
                      "onnx.inliner.inline_local_functions puts them there",
                      err);
    if (hidden->devices)
        return refuse(path, node, "is spread over devices (device_configurations); models of one device are read", err);
    if (hidden->reference)
        return refuse(path, node, "has an attribute by reference (ref_attr_name), which functions alone may have", err);
    return true;
}

bool onnx_read_node(const char *path, const struct onnx_functions *functions, struct wire wire, struct onnx_node *node,
                    struct error *err)
{
    struct hidden hidden = {0};
    struct wire_field field;
    TRY(onnx_check_fields(path, ONNX_NODE, wire, err));
    while (wire_next(&wire, &field)) {
        switch (field.number) {
        case NODE_OP: node->op = onnx_name_of(&field); break;
        case NODE_NAME: node->name = onnx_name_of(&field); break;
        case NODE_DOMAIN: node->domain = onnx_name_of(&field); break;
        case NODE_DEVICES: hidden.devices = true; break;
        case NODE_ATTRIBUTE: TRY(look_into_attribute(path, field.bytes, &hidden, err)); break;
        default: break;
        }
    }
    return check_node(path, functions, node, &hidden, err);
}

bool onnx_is_constant(const struct onnx_node *node)
{
    return is_standard(node->domain) && onnx_name_is(node->op, "Constant");
}
