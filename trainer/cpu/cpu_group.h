/* Virtual devices that reduce together: each is driven by its own thread, and those of a process meet at barriers. Where a
 * run has several processes, the first member of each exchanges for all of them (cpu_group_ranks.c).
 *
 * Sums are taken in rank order, each element by exactly one thread, so that every device holds the same bits, however many
 * processes they are in. Every member must make the same calls in the same order; a call with another length than its
 * peers' is an error, which ends the group for all. */
#ifndef FATHOM_CPU_GROUP_H
#define FATHOM_CPU_GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "backend.h"
#include "errors.h"

/* An id that no other group of this process has; other processes cannot join under it. */
bool cpu_group_name(struct group_id *id, struct error *err);
/* ranks: NULL, or the processes that the devices are of, as they have taken them. ERROR_FAILED when the id is not of this
 * process though it is the only one, or the rank is taken or not below the size, which all must agree on. */
bool cpu_group_create(const struct group_id *id, uint32_t rank, uint32_t size, struct ranks *ranks,
                      struct group **group, struct error *err);
/* Memory of this process, one of several, for sums of up to so many bytes of each device. */
uint64_t cpu_group_bytes(const struct ranks *ranks, uint64_t sum_bytes);
/* Blocks until all ranks have joined. limit_ns: the longest that this and every later call waits for peers, after which
 * it fails and aborts the group; 0 = for ever. */
bool cpu_group_join(struct group *group, uint64_t limit_ns, struct error *err);
/* Every waiting and every later call of all ranks fails. */
void cpu_group_abort(struct group *group);
/* Takes NULL. This rank may not be inside a call. */
void cpu_group_destroy(struct group *group);

uint32_t group_count(const struct group *group);

/* out[i] = sum over ranks of in[i], on every device; out may be in. */
bool group_sum_f32(struct group *group, const float *in, float *out, uint64_t count, struct error *err);
bool group_sum_f64(struct group *group, const double *in, double *out, uint64_t count, struct error *err);
/* Of f16 or bf16: added up in f32, and rounded once. */
bool group_sum_half(struct group *group, enum dtype dtype, const uint16_t *in, uint16_t *out, uint64_t count,
                    struct error *err);

#endif
