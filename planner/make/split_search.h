/* How a batch is best shared between unequal devices when what a share takes is only known by planning it. */
#ifndef FATHOM_SPLIT_SEARCH_H
#define FATHOM_SPLIT_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

/* Devices of one kind: equal in memory and speed. */
struct split_kind {
    uint32_t devices;
    uint64_t memory_bytes;
    uint64_t fixed_bytes; /* taken whatever the share: guides guesses alone */
};

/* What a share takes on a device of a kind. */
struct split_cost {
    bool fits;
    double seconds;
    uint64_t peak_bytes; /* as small as can be where it does not fit; 0 = unknown */
    uint32_t effort;     /* of finding out */
};
/* The same answer for the same question; asked again it is cheap. */
typedef bool (*split_cost_fn)(void *context, size_t kind, uint32_t units, struct split_cost *cost, struct error *err);

/* What the devices of a kind get: the last `fewer` of them one unit less than the others. */
struct split_portion {
    uint32_t units, fewer;
};

/* Moves whole units (images, or as many images as there are micro-batches) between kinds while the slowest share gets
 * faster and all fit, from portions[count], whose sum over all devices is what is shared, and leaves the best split
 * found there: never a slower one, nor one that does not fit for one that does. *fits: whether all shares do; *seconds
 * then is the slowest. No device is left without a unit. If seconds and memory never fall with units, and the effort
 * suffices, no split is faster. Deterministic. ERROR_MEMORY, or what cost_of fails with. */
bool split_search(const struct split_kind *kinds, size_t count, uint32_t most_effort, split_cost_fn cost_of,
                  void *context, struct split_portion *portions, bool *fits, double *seconds, struct error *err);

#endif
