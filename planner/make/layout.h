/* Offsets: a program's tensors into one arena. */
#ifndef FATHOM_LAYOUT_H
#define FATHOM_LAYOUT_H

#include "place.h"
#include "plan.h"
#include "sharing.h"

/* bytes rounded up to PLAN_ALIGN. */
uint64_t layout_round(uint64_t bytes);

/* Places a program whose lifetimes and homes liveness_find has filled. Persistent tensors are stacked from 0 in the
 * order of their indices (the same in both programs of a variant), the others above them by place_solve, or one after
 * the other when each is to have its own bytes; what lies apart waits for layout_place_apart. An arena of
 * `enough_bytes` is not made smaller where that takes time (0: as small as can be found): whether one is found is the
 * same for both. result counts the whole arena, persistent tensors and those apart included; its peak_instant is an op.
 * ERROR_MEMORY. */
bool layout_place(const struct graph *graph, struct plan_program *program, const uint32_t *home,
                  enum sharing_policy sharing, uint64_t enough_bytes, double search_seconds,
                  struct place_result *result, struct error *err);

/* Places what lies apart (tensor.apart) at the end of an arena of so many bytes, in the graph's order. */
void layout_place_apart(const struct graph *graph, struct plan_program *program, uint64_t arena_bytes);

/* Likewise offsets in host memory, where tensors that wait there are placed by themselves. *bytes = 0 when there are
 * none. ERROR_MEMORY. */
bool layout_place_host(struct plan_program *program, enum sharing_policy sharing, uint64_t *bytes, struct error *err);

/* The bound alone, for deciding whether a program is worth placing. Lifetimes and homes as above. */
bool layout_bound(const struct graph *graph, const struct plan_program *program, const uint32_t *home, uint64_t *bytes,
                  struct error *err);

/* Arena classes live at an instant; what is left up to arena_bytes goes to MEMORY_TRANSIENT. */
bool layout_classes(const struct graph *graph, const struct plan_program *program, const uint32_t *home,
                    uint32_t instant, uint64_t arena_bytes, uint64_t classes[MEMORY_CLASSES], struct error *err);

#endif
