/* What goes where on a screen of a given size: a pure function. */
#ifndef FATHOM_SCREEN_LAYOUT_H
#define FATHOM_SCREEN_LAYOUT_H

#include "dashboard.h"

struct layout {
    struct rect header, gpus, ops, layers, memory, loss, kernels, footer; /* zero rows = not shown */
};

/* What the overview has to tell below its table: the other one, or the table, takes the room of what it has not. */
struct layout_below {
    bool memory, loss;
};

/* gpus: of which there is something to tell; a line each where the screen is high, else one. */
struct layout layout_for(enum view view, uint32_t rows, uint32_t columns, size_t gpus, struct layout_below below);

#endif
