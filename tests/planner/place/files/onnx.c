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

/* x -> a = conv(x, w) -> b = relu(a) -> y = add(b, a), with a constant beside. */
static struct text make_model(void)
{
    struct text graph = {0};
    put_node(&graph, "Conv", "x", "w", "a,1");
    put_node(&graph, "Constant", NULL, NULL, "k");
    put_node(&graph, "Relu", "a,1", "", "b");
    put_node(&graph, "Add", "b", "a,1", "y");
    put_node(&graph, "Shape", "x", "k", "unused");
    put_weight(&graph, "w");
    put_value(&graph, 11, "x", FLOAT, 4, 8);
    put_value(&graph, 11, "w", FLOAT, OPEN, 8);
    put_value(&graph, 12, "y", DOUBLE, 4, 8);
    put_value(&graph, 13, "a,1", INT4, 3, 5);
    put_value(&graph, 13, "b", INT8, 4, 8);
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
    expect(&table, "a_1", 0, 4, 8);
    expect(&table, "b", 2, 4, 32);
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
    place_table_finish(&table);
    text_finish(&model);
    snprintf(command, sizeof command, "rm -r %s", folder);
    cr_assert_eq(chdir("/"), 0);
    cr_assert_eq(system(command), 0);
}
