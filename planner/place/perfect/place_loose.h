/* Going on with a drawing where it cannot be continued: of what ends at a vertex as much as can stand together hands
 * over to all that begins there, whatever the sizes, and the rest is lost from the tree. The drawing is then one of
 * orders alone: offsets follow from them by stacking, and are as low as they can be in these orders. */
#ifndef FATHOM_PLACE_LOOSE_H
#define FATHOM_PLACE_LOOSE_H

#include "place_splits.h"

/* An item that ended at a vertex, beside its other ones. */
struct lost {
    uint32_t vertex, item;
};

struct loose {
    struct lost *lost; /* by rising vertex */
    size_t lost_count, lost_capacity;
};

/* Whether it is to come to an end, asked every now and then. */
struct loose_limits {
    bool (*is_over)(const void *context);
    const void *context;
};

/* Makes a vertex, whatever it is, one that the tree allows: *taken, among splits->items. What is lost is so at the next
 * vertex of the tree. Takes bounded work, which is counted in splits->work; with less, by the limits, more is lost.
 * False = out of memory. */
bool loose_take(struct loose *loose, struct splits *splits, const struct vertex *vertex,
                const struct loose_limits *limits, struct vertex *taken, struct error *err);

/* Takes a zeroed object. */
void loose_finish(struct loose *loose);

#endif
