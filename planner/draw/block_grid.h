/* What each block of the network does while a step runs, on a grid: the recompute schedule of draw.c. */
#ifndef FATHOM_BLOCK_GRID_H
#define FATHOM_BLOCK_GRID_H

#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "plan.h"

/* Of what a block computes, that which its backward pass reads: is it in memory? Later ones hide earlier ones where
 * several blocks or ops share a cell. */
enum block_state {
    BLOCK_IDLE,
    BLOCK_OUTPUT, /* no more than its output: a checkpoint for the block after it */
    BLOCK_PART,   /* some of the rest */
    BLOCK_ALL,
    BLOCK_HOST,    /* something of it waits in host memory */
    BLOCK_COPY,    /* something goes there or comes back */
    BLOCK_FORWARD, /* runs for the first time */
    BLOCK_REDO,    /* runs again, but for its convolutions */
    BLOCK_AGAIN,   /* runs again */
    BLOCK_BACKWARD,
    BLOCK_STATES
};

struct block_grid {
    uint8_t *cells; /* enum block_state, rows * columns, the first block's row first */
    size_t rows, columns;
    size_t group; /* blocks of a row; the last row may have fewer */
};

/* A row per block, or per so many that at most `most_rows` are needed; the program's ops are spread evenly over the
 * columns. A graph without blocks gives no rows. The caller ends it with block_grid_finish, also after a failure.
 * ERROR_MEMORY.
 */
bool block_grid_make(const struct graph *graph, const struct plan_program *program, size_t columns, size_t most_rows,
                struct block_grid *grid, struct error *err);
void block_grid_finish(struct block_grid *grid);

#endif
