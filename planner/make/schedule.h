/* How a variant's blocks are kept: from a policy to the steps of chain.h. */
#ifndef FATHOM_SCHEDULE_H
#define FATHOM_SCHEDULE_H

#include "chain.h"
#include "plan.h"
#include "program.h"

/* Every block saved under one code (a mode and flags, program.h), then every backward. The caller ends it with
 * chain_schedule_finish. ERROR_MEMORY.
 */
bool schedule_uniform(const struct graph *graph, uint32_t keep, struct chain_schedule *schedule, struct error *err);

/* The same with each block under a code of its own. */
bool schedule_each(const struct graph *graph, const uint32_t *keep, struct chain_schedule *schedule, struct error *err);

/* No block runs twice; `count` of them, spread evenly, are saved under `some`, the others under `rest`. */
bool schedule_spread(const struct graph *graph, size_t count, uint32_t some, uint32_t rest,
                     struct chain_schedule *schedule, struct error *err);

#endif
