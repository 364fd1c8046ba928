/* Devices of one process that reduce together: each is driven by its own thread, and all meet at barriers.
 *
 * Sums are taken in rank order, each element by exactly one thread, so that every device holds the same bits. Every
 * member must make the same calls in the same order; a call with another length than its peers' is an error, which ends
 * the group for all. */
#ifndef FATHOM_CPU_GROUP_H
#define FATHOM_CPU_GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "errors.h"

struct group;

bool cpu_group_create(uint32_t count, struct group **group, struct error *err);
/* Blocks until `count` threads have joined. */
bool cpu_group_join(struct group *group, uint32_t rank, struct error *err);
/* Every waiting and every later call fails. */
void cpu_group_abort(struct group *group);
/* Takes NULL. No member may be inside a call. */
void cpu_group_destroy(struct group *group);

uint32_t group_count(const struct group *group);

/* out[i] = sum over ranks of in[i], on every device; out may be in. */
bool group_sum_f32(struct group *group, uint32_t rank, const float *in, float *out, uint64_t count, struct error *err);
bool group_sum_f64(struct group *group, uint32_t rank, const double *in, double *out, uint64_t count,
                   struct error *err);

#endif
