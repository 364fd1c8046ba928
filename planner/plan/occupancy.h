/* Which tensors hold bytes of the arena while an op runs.
 *
 * Counted as placement counts (layout.h): sizes rounded to PLAN_ALIGN; a view's bytes are its base's; bytes handed over
 * in place count once, for the tensor that takes them; what lies in host memory counts nothing. */
#ifndef FATHOM_OCCUPANCY_H
#define FATHOM_OCCUPANCY_H

#include "plan.h"

/* Whether the tensor holds bytes of its own while the op runs. */
bool occupancy_holds(const struct graph *graph, const struct plan_program *program, uint32_t tensor, uint32_t op);

/* What the tensor takes of the arena when it holds bytes of its own. */
uint64_t occupancy_bytes(const struct plan_tensor *tensor);

/* Bytes held at each op of the program; the caller frees it with mem_free. NULL: ERROR_MEMORY. */
uint64_t *occupancy_curve(const struct graph *graph, const struct plan_program *program, struct error *err);

#endif
