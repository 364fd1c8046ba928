/* Removal of what a program computes again or copies, and nothing reads. */
#ifndef FATHOM_PROGRAM_PRUNE_H
#define FATHOM_PROGRAM_PRUNE_H

#include "plan.h"

/* A rerun block also reruns its last ops, whose results only the next block wanted; those go, with the tensors that
 * then nothing touches. First runs, and tensors that are there before the step, stay. ERROR_MEMORY; the program is then
 * as it was. */
bool program_prune(const struct graph *graph, struct plan_program *program, struct error *err);

#endif
