/* What the kernel lets this process have: memory (of the machine, of every control group on its path, of its resource
 * limits), processors (affinity, quotas of control groups), and room for mappings. proc(5), cgroups(7), getrlimit(2). */
#ifndef FATHOM_SYSTEM_LIMITS_H
#define FATHOM_SYSTEM_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIMIT_SOURCE 512

struct limit {
    uint64_t amount;            /* bytes or processors; UINT64_MAX = unknown */
    char source[LIMIT_SOURCE];  /* what sets it: "ulimit -v", a control group's file; "" = the machine has no more */
};

struct limits {
    struct limit memory;     /* the most that this process may hold, with whatever else counts under the same limit */
    struct limit available;  /* what it may still take: page cache that the kernel gives up counts as free */
    struct limit processors; /* at least 1 */
};

/* root: where the machine's folders /proc and /sys lie, "" for this machine's own; a recorded tree for tests. Resource
 * limits and affinity are this process's own in any case. What cannot be read limits nothing. */
void limits_read(const char *root, struct limits *limits);

/* How many threads are worth running at once: this process's processors, read once. */
uint32_t limits_processors(void);

/* The most bytes, up to `most`, that can be mapped as one block now: what `ulimit -v` and `-d` and an overcommit limit
 * leave, to the MiB below. Where that is less than `most`, source says which. Nothing stays mapped. */
void limits_room(uint64_t most, struct limit *room);

/* Whether so many bytes of addresses are free as one block, with nothing in them: `ulimit -v` alone takes them away. */
bool limits_has_addresses(uint64_t bytes);

#endif
