/* ONNX models as placement problems, from models written here byte by byte. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "files.h"
#include "mem.h"
#include "place_import.h"
#include "text.h"

enum { FLOAT = 1, INT8 = 3, STRING = 8, DOUBLE = 11, INT4 = 22 };
#define OPEN (-1)

static void put_varint(struct text *text, uint64_t value)
{
    uint8_t byte;
    do {
        byte = (uint8_t)(value & 0x7f) | (value > 0x7f ? 0x80 : 0);
        text_add_bytes(text, &byte, 1);
        value >>= 7;
    } while (value);
}

static void put_number(struct text *text, uint32_t field, uint64_t value)
{
    put_varint(text, field << 3);
    put_varint(text, value);
}

static void put_bytes(struct text *text, uint32_t field, const void *bytes, size_t length)
{
    put_varint(text, field << 3 | 2);
    put_varint(text, length);
    text_add_bytes(text, bytes, length);
}

static void put_string(struct text *text, uint32_t field, const char *string)
{
    put_bytes(text, field, string, strlen(string));
}

/* Takes over `inner`. */
static void put_message(struct text *text, uint32_t field, struct text *inner)
{
    put_bytes(text, field, inner->bytes, inner->length);
    text_finish(inner);
}

/* A ValueInfoProto; element 0: without a type. */
static void put_value(struct text *graph, uint32_t field, const char *name, int element, int64_t rows, int64_t columns)
{
    struct text value = {0}, type = {0}, tensor = {0}, shape = {0};
    put_string(&value, 1, name);
    for (int i = 0; i < 2; i++) {
        struct text dim = {0};
        int64_t extent = i ? columns : rows;
        if (extent == OPEN)
            put_string(&dim, 2, "batch");
        else
            put_number(&dim, 1, (uint64_t)extent);
        put_message(&shape, 1, &dim);
    }
    if (element) {
        put_number(&tensor, 1, (uint64_t)element);
        put_message(&tensor, 2, &shape);
        put_message(&type, 1, &tensor);
        put_message(&value, 2, &type);
    }
    text_finish(&shape);
    put_message(graph, field, &value);
}

/* A NodeProto; b may be NULL. */
static void put_node(struct text *graph, const char *op, const char *a, const char *b, const char *out)
{
    struct text node = {0};
    if (a) put_string(&node, 1, a);
    if (b) put_string(&node, 1, b);
    put_string(&node, 2, out);
    put_string(&node, 3, "n");
    put_string(&node, 4, op);
    put_message(graph, 1, &node);
}

static void put_weight(struct text *graph, const char *name)
{
    struct text tensor = {0};
    put_string(&tensor, 8, name);
    put_bytes(&tensor, 9, "\0\0\0\0", 4);
    put_message(graph, 5, &tensor);
}

static struct text wrap(struct text *graph)
{
    struct text model = {0};
    put_number(&model, 1, 8);
    put_message(&model, 7, graph);
    return model;
}

/* x -> a = conv(x, w) -> b = relu(a) -> y = add(b, a), with a constant beside; the names of a and b differ in a comma.
 */
static struct text make_model(void)
{
    struct text graph = {0};
    put_node(&graph, "Conv", "x", "w", "a,1");
    put_node(&graph, "Constant", NULL, NULL, "k");
    put_node(&graph, "Relu", "a,1", "", "a_1");
    put_node(&graph, "Add", "a_1", "a,1", "y");
    put_node(&graph, "Shape", "x", "k", "unused");
    put_weight(&graph, "w");
    put_value(&graph, 11, "x", FLOAT, 4, 8);
    put_value(&graph, 11, "w", FLOAT, OPEN, 8);
    put_value(&graph, 12, "y", DOUBLE, 4, 8);
    put_value(&graph, 13, "a,1", INT4, 3, 5);
    put_value(&graph, 13, "a_1", INT8, 4, 8);
    put_value(&graph, 13, "unused", FLOAT, 0, 8);
    return wrap(&graph);
}

static void expect(const struct place_table *table, const char *id, uint64_t lower, uint64_t upper, uint64_t size)
{
    for (size_t i = 0; i < table->count; i++) {
        if (strcmp(table->ids[i], id) != 0) continue;
        const struct place_buffer *buffer = &table->buffers[i];
        cr_expect(buffer->lower == lower && buffer->upper == upper && buffer->size == size, "%s [%llu, %llu) %llu", id,
                  (unsigned long long)buffer->lower, (unsigned long long)buffer->upper,
                  (unsigned long long)buffer->size);
        return;
    }
    cr_expect(false, "no buffer %s", id);
}

Test(place_onnx, activations_live_from_their_node_to_their_last_reader)
{
    struct error err = {0};
    struct place_table table;
    struct text model = make_model();
    cr_assert(place_onnx_parse(&table, "m", model.bytes, model.length, &err), "%s", err.text);
    cr_assert_eq(table.count, 5);
    expect(&table, "x", 0, 5, 128);
    expect(&table, "a,1", 0, 4, 8);
    expect(&table, "a_1", 2, 4, 32);
    expect(&table, "y", 3, 5, 256);
    expect(&table, "unused", 4, 5, 0);
    place_table_finish(&table);
    text_finish(&model);
}

static void refuse(struct text *model, const char *says)
{
    struct error err = {0};
    struct place_table table;
    cr_expect_not(place_onnx_parse(&table, "m", model->bytes, model->length, &err), "%s", says);
    cr_expect_eq(err.kind, ERROR_INPUT);
    cr_expect(strstr(err.text, says), "'%s' does not say '%s'", err.text, says);
    cr_expect_null(table.buffers);
    text_finish(model);
}

Test(place_onnx, tensors_without_a_size_are_named)
{
    static const struct {
        int element;
        int64_t rows;
        const char *says;
    } rows[] = {{0, 1, "the shape of tensor 'y' is unknown; onnx.shape_inference"},
                {FLOAT, OPEN, "tensor 'y' has the open dimension 'batch'"},
                {FLOAT, -4, "the shape of tensor 'y' is unknown"},
                {FLOAT, INT64_MAX, "tensor 'y' is larger than 2^64 bits"},
                {STRING, 1, "tensor 'y' has element type 8"},
                {99, 1, "tensor 'y' has element type 99"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct text graph = {0};
        put_node(&graph, "Relu", "x", NULL, "y");
        put_value(&graph, 11, "x", FLOAT, 1, 1);
        put_value(&graph, 12, "y", rows[i].element, rows[i].rows, 8);
        struct text model = wrap(&graph);
        refuse(&model, rows[i].says);
    }
}

Test(place_onnx, graphs_that_do_not_hang_together_are_refused)
{
    struct text model, graph = {0};
    put_node(&graph, "Relu", "later", NULL, "y");
    model = wrap(&graph);
    refuse(&model, "reads tensor 'later', which no node before it makes");
    put_node(&graph, "Constant", NULL, NULL, "y");
    put_node(&graph, "Relu", NULL, NULL, "y");
    model = wrap(&graph);
    refuse(&model, "makes tensor 'y', which is there already");
    put_value(&graph, 12, "y", FLOAT, 1, 1);
    model = wrap(&graph);
    refuse(&model, "no node makes the output 'y'");
    struct text node = {0}, attribute = {0};
    put_string(&attribute, 6, "");
    put_string(&node, 4, "Loop");
    put_message(&node, 5, &attribute);
    put_message(&graph, 1, &node);
    model = wrap(&graph);
    refuse(&model, "(Loop) has graphs inside");
    struct text empty = {0};
    put_number(&empty, 1, 8);
    refuse(&empty, "0 graphs at the top");
}

/* x -> op -> y, both of 4 x 8 floats; what else the node holds is taken over. */
static struct text make_call(const char *domain, const char *op, struct text *more)
{
    struct text graph = {0}, node = {0};
    put_string(&node, 1, "x");
    put_string(&node, 2, "y");
    put_string(&node, 4, op);
    put_string(&node, 7, domain);
    if (more) text_add_bytes(&node, more->bytes, more->length);
    if (more) text_finish(more);
    put_message(&graph, 1, &node);
    put_value(&graph, 11, "x", FLOAT, 4, 8);
    put_value(&graph, 12, "y", FLOAT, 4, 8);
    return graph;
}

static void put_function(struct text *model, const char *domain, const char *name)
{
    struct text function = {0};
    put_string(&function, 1, name);
    put_string(&function, 10, domain);
    put_message(model, 25, &function);
}

static void accept(struct text *model, size_t buffers, const char *what)
{
    struct error err = {0};
    struct place_table table;
    cr_expect(place_onnx_parse(&table, "m", model->bytes, model->length, &err), "%s: %s", what, err.text);
    cr_expect_eq(table.count, buffers, "%s", what);
    place_table_finish(&table);
    text_finish(model);
}

Test(place_onnx, calls_of_local_functions_are_refused_by_name)
{
    static const struct {
        const char *domain, *op;
        bool calls;
    } rows[] = {{"mine", "F", true}, {"", "G", true},        {"ai.onnx", "G", true},     {"mine", "G", false},
                {"", "F", false},    {"theirs", "F", false}, {"mine", "Function", false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct text graph = make_call(rows[i].domain, rows[i].op, NULL), model = wrap(&graph);
        put_function(&model, "mine", "F");
        put_function(&model, "ai.onnx", "G");
        put_function(&model, "another", "A");
        if (rows[i].calls)
            refuse(&model, "calls a function of the model");
        else
            accept(&model, 2, rows[i].op);
    }
}

Test(place_onnx, nodes_that_hide_tensors_are_refused_by_name)
{
    static const struct {
        const char *domain, *op;
        uint32_t field; /* of the attribute */
        uint64_t number;
        const char *string, *says;
    } rows[] = {{"", "If", 0, 0, NULL, "(If) has graphs inside"},
                {"ai.onnx", "SequenceMap", 0, 0, NULL, "(SequenceMap) has graphs inside"},
                {"ai.onnx.preview.training", "Gradient", 0, 0, NULL, "(Gradient) has graphs inside"},
                {"com.microsoft", "BeamSearch", 11, 0, "", "(BeamSearch) has graphs inside"},
                {"foo", "Op", 20, 10, NULL, "(Op) has graphs inside"},
                {"foo", "Op", 21, 0, "alpha", "(Op) has an attribute by reference"},
                {"foo", "", 0, 0, NULL, "has no operator"},
                {"foo", "Op", 24, 0, "", "an attribute has a field 24, which ONNX up to IR version 14"},
                {"foo", "Op", 20, 0, "", "a field of an attribute is cut off or malformed"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct text attribute = {0}, more = {0};
        if (rows[i].string)
            put_string(&attribute, rows[i].field, rows[i].string);
        else if (rows[i].field)
            put_number(&attribute, rows[i].field, rows[i].number);
        if (rows[i].field) put_message(&more, 5, &attribute);
        struct text graph = make_call(rows[i].domain, rows[i].op, &more), model = wrap(&graph);
        refuse(&model, rows[i].says);
    }
    struct text devices = {0};
    put_string(&devices, 10, "");
    struct text graph = make_call("", "Relu", &devices), model = wrap(&graph);
    refuse(&model, "is spread over devices");
    graph = make_call("foo", "If", NULL);
    model = wrap(&graph);
    accept(&model, 2, "another's If");
    graph = make_call("foo", "Constant", NULL);
    model = wrap(&graph);
    accept(&model, 2, "another's Constant is computed");
}

Test(place_onnx, what_a_model_has_beside_its_graph_is_known_or_refused)
{
    static const struct {
        uint32_t field;
        const char *says;
    } rows[] = {{20, "has training_info"},  {27, "the model has a field 27"},
                {63, "a field 63"},         {70, "a field 70"},
                {7, "2 graphs at the top"}, {1, "a field of the model is cut off or malformed"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct text graph = make_call("", "Relu", NULL), model = wrap(&graph);
        put_string(&model, rows[i].field, "");
        refuse(&model, rows[i].says);
    }
    struct text graph = make_call("", "Relu", NULL), model = {0};
    put_number(&model, 1, 15);
    put_message(&model, 7, &graph);
    refuse(&model, "ONNX IR version 15; 1 to 14 are read");
}

/* A quantization annotation of x by `scale`. */
static void put_annotation(struct text *graph, const char *scale)
{
    struct text annotation = {0}, entry = {0};
    put_string(&annotation, 1, "x");
    put_string(&entry, 1, "SCALE_TENSOR");
    put_string(&entry, 2, scale);
    put_message(&annotation, 2, &entry);
    put_message(graph, 14, &annotation);
}

Test(place_onnx, what_a_graph_says_twice_must_agree)
{
    struct text graph = make_call("", "Relu", NULL), model;
    put_value(&graph, 13, "y", FLOAT, 8, 4);
    put_value(&graph, 13, "y", FLOAT, OPEN, 8);
    put_value(&graph, 13, "y", 0, 1, 1);
    model = wrap(&graph);
    accept(&model, 2, "the same size");
    graph = make_call("", "Relu", NULL);
    put_value(&graph, 13, "y", FLOAT, 5, 8);
    model = wrap(&graph);
    refuse(&model, "tensor 'y' has two shapes, one of 128 and one of 160 bytes");
    graph = make_call("", "Relu", NULL);
    put_value(&graph, 13, "y", STRING, 4, 8);
    model = wrap(&graph);
    refuse(&model, "tensor 'y' has element type 8");
    graph = make_call("", "Relu", NULL);
    put_value(&graph, 11, "x", FLOAT, 4, 8);
    model = wrap(&graph);
    refuse(&model, "two inputs of the graph are called 'x'");
    graph = make_call("", "Relu", NULL);
    put_weight(&graph, "scale");
    put_annotation(&graph, "scale");
    model = wrap(&graph);
    accept(&model, 2, "annotated by a weight");
    graph = make_call("", "Relu", NULL);
    put_annotation(&graph, "y");
    model = wrap(&graph);
    refuse(&model, "a quantization annotation names tensor 'y', which is no initializer");
}

/* y's TypeProto: a tensor of 4 x 8 floats and further fields. */
static struct text make_typed(uint32_t beside, uint32_t in_tensor, uint32_t in_dim)
{
    struct text graph = {0}, value = {0}, type = {0}, tensor = {0}, shape = {0}, dim = {0};
    put_node(&graph, "Relu", "x", NULL, "y");
    put_value(&graph, 11, "x", FLOAT, 4, 8);
    put_number(&dim, 1, 32);
    if (in_dim) put_string(&dim, in_dim, "");
    put_message(&shape, 1, &dim);
    put_number(&tensor, 1, FLOAT);
    put_bytes(&tensor, 2, shape.bytes, shape.length);
    if (in_tensor) put_bytes(&tensor, in_tensor, shape.bytes, shape.length);
    text_finish(&shape);
    put_message(&type, 1, &tensor);
    if (beside) put_string(&type, beside, "");
    put_string(&value, 1, "y");
    put_message(&value, 2, &type);
    put_message(&graph, 12, &value);
    return wrap(&graph);
}

Test(place_onnx, types_are_understood_whole_or_refused)
{
    static const struct {
        uint32_t beside, in_tensor, in_dim;
        const char *says; /* NULL: read */
    } rows[] = {{0, 0, 0, NULL},
                {6, 0, 3, NULL}, /* denotations */
                {4, 0, 0, "'y' is not a dense tensor"},
                {8, 0, 0, "'y' is not a dense tensor"},
                {9, 0, 0, "'y' is not a dense tensor"},
                {10, 0, 0, "a value's type has a field 10"},
                {0, 3, 0, "a tensor's type has a field 3"},
                {0, 2, 0, "a tensor's type has two fields 2"},
                {0, 0, 4, "a dimension has a field 4"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct text model = make_typed(rows[i].beside, rows[i].in_tensor, rows[i].in_dim);
        if (rows[i].says)
            refuse(&model, rows[i].says);
        else
            accept(&model, 2, "a plain type");
    }
}

Test(place_onnx, elements_below_a_byte_are_packed)
{
    static const struct {
        int element;
        uint64_t bytes; /* of 3 x 5 */
    } rows[] = {{22, 8},  {21, 8},  {23, 8},  {24, 15}, {25, 4},  {26, 4},
                {27, 12}, {28, 12}, {17, 15}, {16, 30}, {15, 240}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error err = {0};
        struct place_table table;
        struct text graph = {0}, model;
        put_node(&graph, "Cast", "x", NULL, "y");
        put_value(&graph, 11, "x", FLOAT, 3, 5);
        put_value(&graph, 12, "y", rows[i].element, 3, 5);
        model = wrap(&graph);
        cr_assert(place_onnx_parse(&table, "m", model.bytes, model.length, &err), "%s", err.text);
        expect(&table, "y", 0, 1, rows[i].bytes);
        place_table_finish(&table);
        text_finish(&model);
    }
}

Test(place_onnx, a_model_cut_off_anywhere_is_refused)
{
    struct text model = make_model();
    for (size_t length = 3; length < model.length; length++) {
        struct error err = {0};
        struct place_table table;
        cr_expect_not(place_onnx_parse(&table, "m", model.bytes, length, &err), "%zu bytes", length);
        cr_expect(strstr(err.text, "cut off"), "%s", err.text);
    }
    text_finish(&model);
}

Test(place_onnx, each_failed_allocation_is_survived)
{
    struct text model = make_model();
    uint64_t before = mem_current_bytes(MEM_GENERAL);
    for (uint64_t n = 1;; n++) {
        struct error err = {0};
        struct place_table table;
        mem_fail_at(n);
        bool ok = place_onnx_parse(&table, "m", model.bytes, model.length, &err);
        mem_fail_at(0);
        place_table_finish(&table);
        cr_assert_eq(mem_current_bytes(MEM_GENERAL), before, "allocation %llu leaks", (unsigned long long)n);
        if (ok) break;
        cr_assert_eq(err.kind, ERROR_MEMORY);
        cr_assert_lt(n, 100);
    }
    text_finish(&model);
}

Test(place_onnx, the_command_knows_a_model_by_its_content)
{
    char folder[] = "/tmp/fathom-onnx-XXXXXX", command[512];
    struct error err = {0};
    struct text model = make_model();
    cr_assert(mkdtemp(folder));
    cr_assert_eq(chdir(folder), 0);
    cr_assert(files_write("model", model.bytes, model.length, &err), "%s", err.text);
    snprintf(command, sizeof command, "%s place model --minimise -o placed.csv --json >out", getenv("FATHOM_BIN"));
    cr_assert_eq(system(command), 0);
    char *said;
    size_t length;
    cr_assert(files_read("out", 4096, &said, &length, &err), "%s", err.text);
    cr_assert(strstr(said, "\"arena_bytes\": 424, \"lower_bound_bytes\": 424, \"proved_optimal\": true"), "%s", said);
    mem_free(said);
    struct place_table table;
    cr_assert(place_table_read(&table, "placed.csv", &err), "%s", err.text);
    cr_assert_eq(table.count, 5);
    expect(&table, "a,1", 0, 4, 8);
    expect(&table, "a_1", 2, 4, 32);
    place_table_finish(&table);
    text_finish(&model);
    snprintf(command, sizeof command, "rm -r %s", folder);
    cr_assert_eq(chdir("/"), 0);
    cr_assert_eq(system(command), 0);
}
