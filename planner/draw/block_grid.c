#include "block_grid.h"

#include "keep.h"
#include "mem.h"

/* Sums of bytes by row and column; [columns] of a row takes what ends at its edge. */
struct sums {
    uint64_t *held, *output, *host;
    uint64_t *total, *total_output; /* by row */
};

struct making {
    const struct graph *graph;
    const struct plan_program *program;
    struct block_grid *grid;
    struct sums sums;
    uint32_t *block_of; /* by graph tensor: the block whose forward pass makes it, if a backward op reads it */
};

static size_t column_of(const struct making *m, size_t op)
{
    return op * m->grid->columns / (m->program->op_count ? m->program->op_count : 1);
}

/* Only what a backward op reads counts: the rest is never kept. A block's output counts always. */
static void find_blocks(struct making *m)
{
    const struct graph *graph = m->graph;
    for (size_t t = 0; t < graph->tensor_count; t++) m->block_of[t] = NO_OP;
    for (uint32_t i = graph->forward_end; i < graph->backward_end; i++)
        for (size_t k = 0; k < graph->ops[i].inputs; k++) m->block_of[graph->ops[i].in[k]] = 0;
    for (uint32_t b = 0; b < graph->block_count; b++)
        if (graph->blocks[b].output != NO_TENSOR) m->block_of[graph->blocks[b].output] = 0;
    for (size_t t = 0; t < graph->tensor_count; t++)
        if (graph->tensors[t].class != CLASS_ACTIVATION || graph->tensors[t].gradient) m->block_of[t] = NO_OP;
    for (uint32_t i = 0; i < graph->forward_end; i++)
        for (size_t k = 0; k < graph->ops[i].outputs; k++) {
            uint32_t *block = &m->block_of[graph->ops[i].out[k]];
            if (*block != NO_OP) *block = graph->ops[i].block;
        }
}

static bool is_output(const struct making *m, uint32_t tensor)
{
    return m->graph->blocks[m->block_of[tensor]].output == tensor;
}

static void sum_totals(struct making *m)
{
    for (uint32_t t = 0; t < m->graph->tensor_count; t++) {
        if (m->block_of[t] >= m->graph->block_count) continue;
        size_t row = m->block_of[t] / m->grid->group;
        m->sums.total[row] += m->graph->tensors[t].bytes;
        if (is_output(m, t)) m->sums.total_output[row] += m->graph->tensors[t].bytes;
    }
}

static void sum_held(struct making *m)
{
    size_t width = m->grid->columns + 1;
    for (size_t i = 0; i < m->program->tensor_count; i++) {
        const struct plan_tensor *t = &m->program->tensors[i];
        if (t->origin == NO_TENSOR || m->block_of[t->origin] >= m->graph->block_count) continue;
        size_t row = m->block_of[t->origin] / m->grid->group * width;
        size_t first = row + column_of(m, t->first), end = row + column_of(m, t->last + 1u);
        uint64_t *sums = t->host ? m->sums.host : is_output(m, t->origin) ? m->sums.output : m->sums.held;
        sums[first] += t->bytes;
        sums[end] -= t->bytes; /* wraps; the running sum comes back */
    }
}

/* Shares of what is there beside the block's output. A twentieth is forgiven: neighbours share cells. */
static enum block_state held_state(uint64_t held, uint64_t whole, uint64_t output, uint64_t host)
{
    if (host) return BLOCK_HOST;
    if (held >= whole - whole / 20 && whole > 0) return BLOCK_ALL;
    if (held > whole / 20) return BLOCK_PART;
    if (output == 0) return BLOCK_IDLE;
    return whole ? BLOCK_OUTPUT : BLOCK_ALL;
}

static void fill_held(struct making *m)
{
    size_t columns = m->grid->columns;
    for (size_t r = 0; r < m->grid->rows; r++) {
        const size_t at = r * (columns + 1);
        uint64_t held = 0, output = 0, host = 0;
        for (size_t c = 0; c < columns; c++) {
            held += m->sums.held[at + c];
            output += m->sums.output[at + c];
            host += m->sums.host[at + c];
            uint64_t whole = m->sums.total[r] - m->sums.total_output[r];
            m->grid->cells[r * columns + c] = (uint8_t)held_state(held, whole, output, host);
        }
    }
}

static enum block_state op_state(const struct graph *graph, const struct plan_op *op)
{
    switch (op->pass) {
    case PASS_FORWARD: return BLOCK_FORWARD;
    case PASS_BACKWARD: return BLOCK_BACKWARD;
    case PASS_RECONSTRUCT: return BLOCK_REDO;
    case PASS_RECOMPUTE: return keep_is_elementwise(graph->ops[op->op].kind) ? BLOCK_REDO : BLOCK_AGAIN;
    case PASS_OFFLOAD:
    case PASS_FETCH: return BLOCK_COPY;
    default: return BLOCK_IDLE;
    }
}

/* Runs of a few ops would hardly be seen: each takes a few columns at least. */
#define OP_SHARE 240

static void fill_ops(struct making *m)
{
    size_t least = (m->grid->columns + OP_SHARE - 1) / OP_SHARE;
    for (size_t i = 0; i < m->program->op_count; i++) {
        const struct plan_op *op = &m->program->ops[i];
        uint32_t block = m->graph->ops[op->op].block;
        if (block >= m->graph->block_count) continue;
        uint8_t state = (uint8_t)op_state(m->graph, op);
        size_t row = block / m->grid->group * m->grid->columns, end = column_of(m, i + 1);
        size_t first = column_of(m, i);
        if (end < first + least) end = first + least;
        for (size_t c = first; c < end && c < m->grid->columns; c++)
            if (m->grid->cells[row + c] < state) m->grid->cells[row + c] = state;
    }
}

static bool allocate(struct making *m, struct error *err)
{
    struct block_grid *grid = m->grid;
    size_t rows = grid->rows, sums = rows * (grid->columns + 1);
    grid->cells = mem_zalloc(MEM_PLAN, rows * grid->columns, 1);
    m->block_of = mem_alloc(MEM_PLAN, m->graph->tensor_count, sizeof *m->block_of);
    m->sums.held = mem_zalloc(MEM_PLAN, 3 * sums + 2 * rows, sizeof *m->sums.held);
    if (!grid->cells || !m->block_of || !m->sums.held)
        return error_memory(err, (3 * sums + 2 * rows) * sizeof *m->sums.held, "the drawing's lanes");
    m->sums.output = m->sums.held + sums;
    m->sums.host = m->sums.output + sums;
    m->sums.total = m->sums.host + sums;
    m->sums.total_output = m->sums.total + rows;
    return true;
}

bool block_grid_make(const struct graph *graph, const struct plan_program *program, size_t columns, size_t most_rows,
                     struct block_grid *grid, struct error *err)
{
    struct making m = {.graph = graph, .program = program, .grid = grid};
    *grid = (struct block_grid){.columns = columns, .group = (graph->block_count + most_rows - 1) / most_rows};
    if (graph->block_count == 0) return true;
    grid->rows = (graph->block_count + grid->group - 1) / grid->group;
    bool ok = allocate(&m, err);
    if (ok) {
        find_blocks(&m);
        sum_totals(&m);
        sum_held(&m);
        fill_held(&m);
        fill_ops(&m);
    }
    mem_free(m.block_of);
    mem_free(m.sums.held);
    return ok;
}

void block_grid_finish(struct block_grid *grid)
{
    mem_free(grid->cells);
    *grid = (struct block_grid){0};
}
