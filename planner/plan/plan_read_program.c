#include "plan_read_program.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "mem.h"
#include "plan_file_private.h"

#define LEAST_OP_BYTES     30u /* of a row, as text */
#define LEAST_TENSOR_BYTES 16u

static const char *class_at(int i) { return memory_class_name((enum memory_class)i); }
static const char *pass_at(int i) { return op_pass_name((enum op_pass)i); }

/* ---- Rows of numbers ---- */

/* Where a row stands, for errors: "plan.json: variants[0].train.ops[12]". */
struct row {
    const struct plan_reader *reader;
    const char *where; /* of the program */
    const char *table;
    size_t index;
};

static bool wrong_cell(const struct row *row, const char *field, const char *wanted)
{
    error_set(row->reader->err, ERROR_INPUT, "%s.%s[%zu]: '%s': %s is wanted", row->where, row->table, row->index,
              field, wanted);
    return false; /* said here, so that a compiler sees which cells are read */
}

static bool cell_u64(const struct row *row, const json_t *cell, const char *field, uint64_t most, uint64_t *value)
{
    if (!json_is_integer(cell) || json_integer_value(cell) < 0 || (uint64_t)json_integer_value(cell) > most) {
        char wanted[64];
        snprintf(wanted, sizeof wanted, "a whole number from 0 to %" PRIu64, most);
        return wrong_cell(row, field, wanted);
    }
    *value = (uint64_t)json_integer_value(cell);
    return true;
}

static bool cell_u32(const struct row *row, const json_t *cell, const char *field, size_t most, uint32_t *value)
{
    uint64_t wide;
    TRY(cell_u64(row, cell, field, most < NO_TENSOR ? most : NO_TENSOR - 1, &wide));
    *value = (uint32_t)wide;
    return true;
}

/* null = none. */
static bool cell_optional(const struct row *row, const json_t *cell, const char *field, size_t most, uint32_t *value)
{
    *value = NO_TENSOR;
    return json_is_null(cell) || cell_u32(row, cell, field, most, value);
}

static bool cell_name(const struct row *row, const json_t *cell, const char *field, const char *(*name)(int), int count,
                      int *value)
{
    const char *text = json_string_value(cell);
    return (text && plan_find_name(text, name, count, value)) || wrong_cell(row, field, "the name of one");
}

static bool cell_same(const struct row *row, const json_t *cell, const char *field, const char *right)
{
    const char *text = json_string_value(cell);
    return (text && strcmp(text, right) == 0) || wrong_cell(row, field, right);
}

static bool cell_indices(const struct row *row, const json_t *cell, const char *field, uint32_t count, size_t most,
                         uint32_t *indices, uint32_t room)
{
    if (!json_is_array(cell) || json_array_size(cell) != count) return wrong_cell(row, field, "one tensor per operand");
    for (uint32_t k = 0; k < room; k++) {
        indices[k] = NO_TENSOR;
        if (k < count) TRY(cell_u32(row, json_array_get(cell, k), field, most, &indices[k]));
    }
    return true;
}

/* ---- Programs ---- */

/* What updates were called when all were SGD's. */
static bool is_older_name(const json_t *cell, enum op_kind kind)
{
    const char *name = json_string_value(cell);
    return kind == OP_UPDATE && name && strcmp(name, "sgd_update") == 0;
}

static bool read_op(const struct row *row, const json_t *cells, const struct graph *graph, size_t most_tensor,
                    struct plan_op *op)
{
    if (!json_is_array(cells) || json_array_size(cells) != PLAN_OP_CELLS)
        return wrong_cell(row, "all", "a row of 8 fields");
    int pass = 0;
    uint32_t stream;
    TRY(cell_u32(row, json_array_get(cells, 3), "graph_op", graph->op_count - 1, &op->op));
    const struct op *graph_op = &graph->ops[op->op];
    TRY(cell_name(row, json_array_get(cells, 0), "pass", pass_at, OP_PASSES, &pass));
    if (!is_older_name(json_array_get(cells, 1), graph_op->kind))
        TRY(cell_same(row, json_array_get(cells, 1), "kind", op_kind_name(graph_op->kind)));
    TRY(cell_same(row, json_array_get(cells, 2), "layer", graph->layers[graph_op->layer].path));
    TRY(cell_u32(row, json_array_get(cells, 4), "stream", PLAN_STREAMS - 1, &stream));
    op->pass = (enum op_pass)pass;
    TRY(cell_indices(row, json_array_get(cells, 5), "in", plan_op_inputs(graph, op), most_tensor, op->in,
                     OP_MOST_INPUTS));
    TRY(cell_indices(row, json_array_get(cells, 6), "out", plan_op_outputs(graph, op), most_tensor, op->out,
                     OP_MOST_OUTPUTS));
    TRY(cell_optional(row, json_array_get(cells, 7), "workspace", most_tensor, &op->workspace));
    op->stream = (uint8_t)stream;
    return true;
}

static bool read_class(const struct row *row, const json_t *cell, enum memory_class *class)
{
    int found = MEMORY_OPTIMIZER;
    const char *name = json_string_value(cell);
    bool older = name && strcmp(name, PLAN_OLDER_OPTIMIZER) == 0;
    if (!older) TRY(cell_name(row, cell, "class", class_at, MEMORY_CLASSES, &found));
    *class = (enum memory_class)found;
    return true;
}

static bool read_tensor(const struct row *row, const json_t *cells, const struct graph *graph, size_t most_op,
                        struct plan_tensor *tensor)
{
    size_t size = json_array_size(cells);
    if (size != 6 && size != 7) return wrong_cell(row, "all", "a row of 6 fields, or of 7 for one in host memory,");
    TRY(cell_optional(row, json_array_get(cells, 0), "graph_tensor", graph->tensor_count - 1, &tensor->origin));
    TRY(read_class(row, json_array_get(cells, 1), &tensor->class));
    TRY(cell_u64(row, json_array_get(cells, 2), "offset", PLAN_MOST_BYTES, &tensor->offset));
    TRY(cell_u64(row, json_array_get(cells, 3), "bytes", PLAN_MOST_BYTES, &tensor->bytes));
    TRY(cell_u32(row, json_array_get(cells, 4), "first", most_op, &tensor->first));
    TRY(cell_u32(row, json_array_get(cells, 5), "last", most_op, &tensor->last));
    tensor->host = size == 7;
    return !tensor->host || cell_same(row, json_array_get(cells, 6), "host", "host");
}

static bool read_ops(const struct plan_reader *r, const char *where, const struct json_table *table,
                     const struct graph *graph, struct plan_program *program)
{
    const char *at = table->begin;
    bool ok = true;
    for (size_t i = 0; ok && i < program->op_count; i++) {
        struct row row = {r, where, "ops", i};
        json_t *cells;
        ok = json_table_next(table, &at, where, "ops", &cells, r->err) &&
             read_op(&row, cells, graph, program->tensor_count - 1, &program->ops[i]);
        json_decref(cells);
    }
    return ok;
}

static bool read_tensors(const struct plan_reader *r, const char *where, const struct json_table *table,
                         const struct graph *graph, struct plan_program *program)
{
    const char *at = table->begin;
    bool ok = true;
    for (size_t t = 0; ok && t < program->tensor_count; t++) {
        struct row row = {r, where, "tensors", t};
        json_t *cells;
        ok = json_table_next(table, &at, where, "tensors", &cells, r->err) &&
             read_tensor(&row, cells, graph, program->op_count - 1, &program->tensors[t]);
        json_decref(cells);
    }
    return ok;
}

/* The names of a row's cells, which the reader takes in this order: any other would have its cells taken for others. */
static bool check_cells(const struct plan_reader *r, const json_t *program, const char *where, const char *field,
                        const char *const *names, size_t count)
{
    const json_t *found = json_get_array(program, field, where, r->err);
    if (!found) return false;
    bool same = json_array_size(found) == count;
    for (size_t i = 0; same && i < count; i++) {
        const char *text = json_string_value(json_array_get(found, i));
        same = text && strcmp(text, names[i]) == 0;
    }
    if (same) return true;
    char wanted[160] = "";
    for (size_t i = 0, used = 0; i < count; i++)
        used += (size_t)snprintf(wanted + used, sizeof wanted - used, "%s\"%s\"", i ? ", " : "", names[i]);
    return error_set(r->err, ERROR_INPUT, "%s: field '%s': [%s] is wanted, in this order", where, field, wanted);
}

/* Rows that are too short to be any would have more memory taken for them than the file has bytes. */
static const struct json_table *find_table(const struct plan_reader *r, const json_t *program, const char *field,
                                           size_t least_bytes, const char *where)
{
    const struct json_table *table = json_document_table(r->document, program, field, where, r->err);
    if (!table) return NULL;
    if (table->rows > 0 && table->rows < NO_OP && table->rows <= (size_t)(table->end - table->begin) / least_bytes)
        return table;
    error_set(r->err, ERROR_INPUT, "%s: field '%s': at least one row, each of all its fields, is wanted", where, field);
    return NULL;
}

static bool allocate_program(const struct plan_reader *r, size_t ops, size_t tensors, struct plan_program *program)
{
    program->ops = mem_zalloc(MEM_PLAN, ops, sizeof *program->ops);
    program->tensors = mem_zalloc(MEM_PLAN, tensors, sizeof *program->tensors);
    if (!program->ops || !program->tensors)
        return error_memory(r->err, tensors * sizeof *program->tensors, "a plan's program");
    program->op_count = ops;
    program->tensor_count = tensors;
    return true;
}

bool plan_read_program(const struct plan_reader *r, const json_t *variant, const char *name, const char *parent,
                       const struct graph *graph, struct plan_program *program)
{
    static const char *const names[] = {"body_ops", "op_fields", "ops", "tensor_fields", "tensors", NULL};
    char where[PLAN_WHERE];
    snprintf(where, sizeof where, "%.400s.%s", parent, name);
    const json_t *found = json_get_object(variant, name, parent, r->err);
    if (!found) return false;
    const struct json_table *ops = find_table(r, found, "ops", LEAST_OP_BYTES, where);
    const struct json_table *tensors = ops ? find_table(r, found, "tensors", LEAST_TENSOR_BYTES, where) : NULL;
    if (!tensors) return false;
    uint64_t body;
    TRY(plan_check_fields(r, found, where, names));
    TRY(check_cells(r, found, where, "op_fields", plan_op_cells, PLAN_OP_CELLS));
    TRY(check_cells(r, found, where, "tensor_fields", plan_tensor_cells, PLAN_TENSOR_CELLS));
    TRY(json_get_u64(found, "body_ops", where, ops->rows, &body, r->err));
    if (tensors->rows / (OP_MOST_INPUTS + OP_MOST_OUTPUTS + 1) > ops->rows + graph->tensor_count)
        return plan_wrong_field(r, where, "tensors", "no more rows than its ops can touch");
    TRY(allocate_program(r, ops->rows, tensors->rows, program));
    program->body_count = (size_t)body;
    return read_ops(r, where, ops, graph, program) && read_tensors(r, where, tensors, graph, program);
}
