/* The page that draw.c puts together and what its parts share. Private to draw*.c. */
#ifndef FATHOM_DRAW_PRIVATE_H
#define FATHOM_DRAW_PRIVATE_H

#include "block_grid.h"
#include "plan.h"
#include "svg.h"

#define PAGE_WIDTH 1600.0
#define MAP_LEFT   110.0
#define MAP_TOP    132.0
#define MAP_WIDTH  1080.0
#define MAP_HEIGHT 560.0
#define MAP_BOTTOM (MAP_TOP + MAP_HEIGHT)
#define KEY_BOTTOM (MAP_BOTTOM + 112) /* the ribbons and the map's key end here */
#define BAR_LEFT   1266.0
#define BAR_WIDTH  52.0

struct drawing {
    const struct plan *plan;
    const struct plan_device *device;
    const struct plan_variant *variant;
    const struct plan_program *program;
    uint64_t bytes_high;  /* the map's upper edge */
    uint64_t limit_bytes; /* of the arena: what the device's memory leaves */
    struct block_grid grid;
    struct text svg;
};

/* Colours of memory classes. */
const char *draw_class_colour(enum memory_class class);

static inline double map_x(const struct drawing *d, double op)
{
    return MAP_LEFT + MAP_WIDTH * op / (double)d->program->op_count;
}

/* The device's memory as one bar, beside the map: the legend, drawn to scale. */
void draw_bar(struct drawing *d);

/* How high draw_schedule's part of the page is, from d->grid. */
double draw_schedule_height(const struct drawing *d);
/* When each block runs, keeps what, and runs again, below `top`. */
void draw_schedule(struct drawing *d, double top);

#endif
