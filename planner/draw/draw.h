/* A plan as a picture: ops across, addresses up, one colour per memory class; the live bytes against arena, bound and
 * the device's memory; where that goes; and when each block runs, keeps what, and runs again. */
#ifndef FATHOM_DRAW_H
#define FATHOM_DRAW_H

#include <stdint.h>

#include "errors.h"
#include "plan.h"

/* Draws the training program of one device (an index into plan->devices) as SVG under the title, and writes it to the
 * path atomically. Whatever the number of tensors the file stays under 2 MB: rectangles smaller than the grid are
 * merged. ERROR_MEMORY, or the file's error. */
bool draw_plan(const struct plan *plan, uint32_t device, const char *title, const char *path, struct error *err);

/* The device whose memory is the fullest. */
uint32_t draw_fullest_device(const struct plan *plan);

#endif
