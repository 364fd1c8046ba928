/* What each block of the network does while a step runs, on a grid: the recompute schedule of draw.c. */
#ifndef FATHOM_LANES_H
#define FATHOM_LANES_H

#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "plan.h"

/* Of what a block computes, that which its backward pass reads: is it in memory? Later ones hide earlier ones where
 * several blocks or ops share a cell. */
enum lane {
    LANE_IDLE,
    LANE_OUTPUT, /* no more than its output: a checkpoint for the block after it */
    LANE_PART,   /* some of the rest */
    LANE_ALL,
    LANE_HOST,    /* something of it waits in host memory */
    LANE_COPY,    /* something goes there or comes back */
    LANE_FORWARD, /* runs for the first time */
    LANE_REDO,    /* runs again, but for its convolutions */
    LANE_AGAIN,   /* runs again */
    LANE_BACKWARD,
    LANES
};

struct lanes {
    uint8_t *cells; /* enum lane, rows * columns, the first block's row first */
    size_t rows, columns;
    size_t group; /* blocks of a row; the last row may have fewer */
};

/* A row per block, or per so many that at most `most_rows` are needed; the program's ops are spread evenly over the
 * columns. A graph without blocks gives no rows. The caller ends it with lanes_finish, also after a failure.
 * ERROR_MEMORY.
 */
bool lanes_make(const struct graph *graph, const struct plan_program *program, size_t columns, size_t most_rows,
                struct lanes *lanes, struct error *err);
void lanes_finish(struct lanes *lanes);

#endif
