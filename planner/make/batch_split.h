/* How a request's batch is shared by its devices, and in how many pieces each takes its share. */
#ifndef FATHOM_BATCH_SPLIT_H
#define FATHOM_BATCH_SPLIT_H

#include "plan_request.h"

/* Fills the plan's variants and devices (whose specs are there), fits and recompute. Devices of one kind get shares
 * that differ by one image at most; of several kinds, shares for the least predicted step under each one's memory,
 * never slower than those that keeping everything would suggest (split_search.h). Micro-batches change batch
 * normalisation's statistics, so with request->micro_batches 0 there are as few as fit, whatever must run again
 * instead, and one when nothing fits: the plan then shows by how much it misses. Errors as plan_make. */
bool batch_split_choose(const struct plan_request *request, struct plan *plan, struct error *err);

#endif
