/* Which op is being launched, for callbacks of CUPTI's. Those come on the thread that launches, or on a thread that a library
 * has make its calls while the launching one waits: each sum of an NCCL communicator that does not block is launched, and
 * recorded, by a thread of its own (groupLaunchNonBlocking in NCCL's group.cc). */
#ifndef FATHOM_SCOPES_H
#define FATHOM_SCOPES_H

#include "owners.h"

/* The calling thread launches an op until it says scopes_close. */
void scopes_open(uint32_t device, uint32_t op, uint64_t step);
void scopes_close(void);
/* Whether it does. */
bool scopes_is_open(void);

/* Who owns the next thing that a callback on this thread tells of: a node of `graph`, or, with NULL, a launch in `context`. Of
 * a thread that never launches an op: who launches into the same context, or graph where either has none, or the one that
 * launches at all. False: nobody. */
bool scopes_next(const void *graph, const void *context, struct owner *owner);
/* The calling thread's launches go into this graph: others that are asked about it are its. */
void scopes_see_graph(const void *graph);

#endif
