/* One variant of a plan: the programs of devices that have the same micro-batch and memory, and their arena. */
#ifndef FATHOM_VARIANT_H
#define FATHOM_VARIANT_H

#include "variant_request.h"

/* Builds the graph, chooses how blocks are kept, emits both programs and places them. A variant that does not fit is
 * made all the same, as small as the policy allows, unless only one that fits is wanted (ERROR_UNFIT). *policy is what
 * was chosen, never RECOMPUTE_AUTO. The caller ends *variant with plan_variant_finish, also after a failure. */
bool variant_make(const struct variant_request *request, struct plan_variant *variant, enum recompute_policy *policy,
                  struct error *err);
/* How much faster than the variant's schedule another of its form could be (spare_seconds), where a limit of the chain is
 * known and that is not: takes about as long as the variant's own search, and as much memory. ERROR_MEMORY. */
bool variant_bound(const struct variant_request *request, struct plan_variant *variant, struct error *err);
/* Whether that is still to be worked out. */
static inline bool variant_lacks_bound(const struct plan_variant *variant)
{
    return variant->chain_limit > 0 && variant->spare_seconds < 0;
}

/* Fills what follows from the programs, the arena, its bound and `searched`: proved_optimal, and from the graph's counts
 * extra_flops_fraction and recomputed_convolutions. */
void variant_count(struct plan_variant *variant);

/* What a device needs outside the arena, by class; classes of the arena are left alone but for what a host device keeps
 * in its own memory beside the arena: the loader's buffers, what decodes pictures, the buffer that
 * parameters pass through, and offloaded tensors. */
void variant_outside(const struct variant_request *request, const struct graph *graph, size_t ops, uint64_t host_bytes,
                     uint64_t classes[MEMORY_CLASSES]);

#endif
