/* Offsets from the orders of a drawing in which something was lost (place_loose.h). */
#ifndef FATHOM_PLACE_STACK_H
#define FATHOM_PLACE_STACK_H

#include "place_draw.h"

/* Of a drawing that has ended: the lowest offsets of its items in these orders. The first `count` have sizes, others
 * are air. size[] and offset[] are by item. False = out of memory. */
bool stack_items(const struct drawing *drawing, size_t count, const uint64_t *size, uint64_t *offset,
                 struct error *err);

#endif
