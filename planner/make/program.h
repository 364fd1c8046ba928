/* From a graph and a schedule of its blocks to a program: which op runs when, and on which instance of each tensor.
 *
 * Knows nothing of bytes: offsets and lifetimes are layout.h's and liveness.h's. */
#ifndef FATHOM_PROGRAM_H
#define FATHOM_PROGRAM_H

#include "chain.h"
#include "keep.h"
#include "workspace.h"

/* Emits the training program of a schedule (chain.h) over graph->blocks: each forward op once with PASS_FORWARD, again
 * with PASS_RECOMPUTE where the schedule or a backward op's missing input demands it. Recomputed BN names the saved
 * mean and variance as its outputs 1 and 2. Bucket reductions go to stream 1 right after the last op that writes the
 * bucket; with micro-batches they follow the body. The caller ends *program with plan_program_finish, also after a failure.
 * ERROR_INPUT when the schedule runs a block whose input is not there; ERROR_MEMORY. */
bool program_emit_train(const struct graph *graph, const struct chain_step *steps, size_t count,
                        struct plan_program *program, struct error *err);

/* The forward ops alone, PASS_EVALUATE. Its persistent tensors have the same indices as in the training program. */
bool program_emit_evaluate(const struct graph *graph, struct plan_program *program, struct error *err);

/* Asks for every op's workspace, `lean` for ops of blocks kept with KEEP_LEAN, and adds a tensor for each that is not
 * empty. */
bool program_add_workspaces(const struct graph *graph, struct plan_program *program, plan_workspace_fn workspace,
                            plan_workspace_fn lean, void *context, struct error *err);

#endif
