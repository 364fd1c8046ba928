/* Numbers for kernels that come with names: the same place of a step has the same number every time, and is described to
 * the sink when it is first seen. One thread. */
#ifndef FATHOM_KERNEL_IDS_H
#define FATHOM_KERNEL_IDS_H

#include "sink.h"

struct kernel_ids;

/* NULL when out of memory. The sink is borrowed. */
struct kernel_ids *kernel_ids_create(struct trace_sink *sink);
void kernel_ids_destroy(struct kernel_ids *ids);

/* Of the kernel's device, op and name, and `place`, which tells apart those that have these in common: a graph's node, or
 * the how-manieth it is of its op. kernel->id is not read. False when out of memory. */
bool kernel_ids_find(struct kernel_ids *ids, const struct trace_kernel *kernel, uint64_t place, uint32_t *id);

#endif
