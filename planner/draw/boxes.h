/* The rectangles of draw.c: tensors on a grid, as few as it takes. */
#ifndef FATHOM_BOXES_H
#define FATHOM_BOXES_H

#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "plan.h"

struct box {
    enum memory_class class;
    uint32_t stage;                    /* of the network; 0 for what belongs to none */
    uint32_t left, right, bottom, top; /* in grid units; up is up */
    uint32_t tensor, tensors;          /* the first of so many, one after the other at the same addresses */
    uint32_t last_op;                  /* of them all */
};

struct boxes {
    struct box *items; /* by class, stage, bottom, top, left */
    size_t count;
    double pixels; /* a grid unit's size */
};

/* Rounds every tensor's edges to a grid over width x height pixels (so that areas hold on average), merges what touches
 * in time at the same addresses, and coarsens the grid until at most `most` boxes are left. */
bool boxes_make(const struct graph *graph, const struct plan_program *program, uint64_t bytes_high, double width,
                double height, size_t most, struct boxes *boxes, struct error *err);
void boxes_finish(struct boxes *boxes);

#endif
