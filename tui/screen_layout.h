/* What goes where on a screen of a given size: a pure function. */
#ifndef FATHOM_SCREEN_LAYOUT_H
#define FATHOM_SCREEN_LAYOUT_H

#include "dashboard.h"

struct layout {
    struct rect header, gpus, ops, layers, memory, loss, kernels, footer; /* zero rows = not shown */
};

/* gpus: of which there is something to tell; a line each where the screen is high, else one. */
struct layout layout_for(enum view view, uint32_t rows, uint32_t columns, size_t gpus);

#endif
