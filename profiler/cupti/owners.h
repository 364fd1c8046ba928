/* Which op started what runs on a device: by the node of a graph, or by a launch.
 *
 * Records of a replayed graph bear the id of a node of the executable graph. Nodes are created while an op is launched into
 * a recording, and cloned when the recording is made executable: the clone has the op of its original. Never by correlation
 * ids, which are wrong there in CUPTI 13.0; what is launched outside of graphs has no other mark, and is kept for as long as
 * a record may still come. */
#ifndef FATHOM_OWNERS_H
#define FATHOM_OWNERS_H

#include <stdbool.h>
#include <stdint.h>

struct owner {
    uint32_t device, op; /* op: or TRACE_NO_OWNER, TRACE_OF_RUN, OWNER_EVALUATION */
    uint32_t place;      /* the how-manieth thing that one launch of the op started */
    uint32_t kernel;     /* its id in the trace; OWNER_NO_KERNEL until its first record */
    const char *name;    /* of that record: a graph's node never runs another kernel */
};
#define OWNER_NO_KERNEL  UINT32_MAX
#define OWNER_EVALUATION (UINT32_MAX - 2) /* of a program that has no op table */

struct owners;

/* NULL when out of memory. */
struct owners *owners_create(void);
void owners_destroy(struct owners *owners);

/* Any thread; all but the two that find lock for themselves. False when out of memory. */
bool owners_add_node(struct owners *owners, uint64_t node, const struct owner *owner);
/* Nothing when the original has no owner. */
bool owners_clone_node(struct owners *owners, uint64_t node, uint64_t original);
/* Its graph is destroyed; records of it may still come. */
bool owners_retire_node(struct owners *owners, uint64_t node, uint64_t now_ns);
/* Those that were retired before. */
void owners_forget(struct owners *owners, uint64_t before_ns);
/* The oldest of 65,536 launches is forgotten. */
bool owners_add_launch(struct owners *owners, uint32_t correlation, const struct owner *owner);

/* For a reader of many records: find between lock and unlock; *owner may be changed until unlock. NULL: nobody's. */
void owners_lock(struct owners *owners);
void owners_unlock(struct owners *owners);
struct owner *owners_find_node(struct owners *owners, uint64_t node);
struct owner *owners_find_launch(struct owners *owners, uint32_t correlation);

#endif
