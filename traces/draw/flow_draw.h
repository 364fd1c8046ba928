/* Gradient flow as a picture: norms over depth on a logarithmic axis, a curve for each recorded step; two runs in one. */
#ifndef FATHOM_FLOW_DRAW_H
#define FATHOM_FLOW_DRAW_H

#include "flow.h"

#define FLOW_DRAW_CURVES 12 /* of a run: at most so many steps, spread evenly, the first and the last among them */

struct flow_picture {
    const struct flow *flows[2]; /* each with units and steps */
    const char *names[2];
    size_t count;
    bool rms; /* norms over the square root of how many numbers they are of */
};

/* Writes the SVG file. What is unknown, not finite or 0 leaves a gap. ERROR_MEMORY, or what writing gives. */
bool flow_draw(const struct flow_picture *picture, const char *path, struct error *err);

#endif
