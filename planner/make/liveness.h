/* When each tensor of a program holds its value, and which tensors may take each other's bytes. */
#ifndef FATHOM_LIVENESS_H
#define FATHOM_LIVENESS_H

#include "plan.h"
#include "sharing.h"

/* Fills first and last of every tensor, its memory class, and home[t]: the tensor whose bytes t takes (t itself when it
 * has its own; else the start of its chain of in-place ops, or the bucket that it is a view of). sharing: which ops may
 * run in place.
 *
 * Persistent tensors, those apart and metrics live throughout; tensors of the body that the rest of the step reads live from the
 * first op when the body repeats; views live as long as their bucket; what the communication stream touches lives until
 * the compute stream next waits for it. home has program->tensor_count elements, the caller's. ERROR_MEMORY. */
bool liveness_find(const struct graph *graph, struct plan_program *program, enum sharing_policy sharing, uint32_t *home,
                   struct error *err);

#endif
