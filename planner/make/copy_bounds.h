/* How fast schedules with copies to host memory can be at most, by their chain's figures. */
#ifndef FATHOM_COPY_BOUNDS_H
#define FATHOM_COPY_BOUNDS_H

#include "chain.h"

/* The chain is borrowed. */
struct copy_bounds {
    const struct chain *chain;
    double link_seconds;  /* of a quantum to the host and back, if nothing hides it */
    double micro_batches; /* a step runs the chain so many times */
    uint64_t quantum_bytes;
    uint64_t host_bytes; /* that the host may have */
};

/* Seconds that a step of the schedule takes at least. */
double copy_bounds_schedule(const struct copy_bounds *bounds, const struct chain_schedule *schedule);

/* Seconds of any schedule that takes no less than `seconds` by the chain, also where copies have another price. */
double copy_bounds_all(const struct copy_bounds *bounds, double seconds);

/* Whether so many quanta are more than the host may have. */
bool copy_bounds_overflow(const struct copy_bounds *bounds, double quanta);

/* *vain: no schedule within the chain's limit takes less than `seconds`, or the host has no room for any. Found without
 * a table. ERROR_MEMORY. */
bool copy_bounds_vain(const struct copy_bounds *bounds, uint64_t limit, double seconds, bool *vain, struct error *err);

#endif
