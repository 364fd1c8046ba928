/* Allocation with a purpose, so that a measured peak lines up with the planned one class by class.
 *
 * Every heap allocation of the project goes through here (the arch test keeps it so). Counters are atomic; the fault
 * hooks make the n-th allocation of this thread fail, for tests that loop n upward until the call succeeds. */
#ifndef FATHOM_MEM_H
#define FATHOM_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mem_purpose {
    MEM_GENERAL,
    MEM_GRAPH,
    MEM_PLAN,    /* plans and their tables */
    MEM_SEARCH,  /* placement and recomputation search */
    MEM_ARENA,   /* the planned bytes of a virtual device */
    MEM_INPUT,   /* datasets and loaders */
    MEM_KERNEL,  /* prepared ops of a backend */
    MEM_TRACE,
    MEM_SCREEN,
    MEM_PURPOSES
};

const char *mem_purpose_name(enum mem_purpose purpose);

/* NULL when out of memory or when count * size overflows; memory is zeroed. A count or size of 0 gives a valid pointer. */
void *mem_zalloc(enum mem_purpose purpose, size_t count, size_t size);
/* As above, not zeroed. */
void *mem_alloc(enum mem_purpose purpose, size_t count, size_t size);
/* Grows or shrinks; on failure returns NULL and the old block stays valid. block may be NULL. */
void *mem_resize(enum mem_purpose purpose, void *block, size_t count, size_t size);
char *mem_strdup(enum mem_purpose purpose, const char *text);
/* Takes NULL. Only for blocks from this header. */
void mem_free(void *block);

/* Page-aligned zero memory straight from the kernel, untouched pages not resident; freed with mem_unmap. */
void *mem_map(enum mem_purpose purpose, uint64_t bytes);
void mem_unmap(enum mem_purpose purpose, void *block, uint64_t bytes);
/* Whole pages within a part of such a block are not resident from now on, and zero when they are touched again. */
void mem_drop_pages(void *part, uint64_t bytes);

/* To be called before any thread is started. Where the address space is limited (ulimit -v) all threads share one heap:
 * the C library would reserve 64 MiB and more of it for each. */
void mem_spare_addresses(void);

/* Gives the kernel back what was freed and the C library still holds; takes milliseconds. */
void mem_trim(void);

uint64_t mem_current_bytes(enum mem_purpose purpose);
uint64_t mem_peak_bytes(enum mem_purpose purpose);

/* Fault injection for this thread: the n-th allocation from now fails (1 = the next), 0 = none. Returns whether the
 * previous setting has fired. */
bool mem_fail_at(uint64_t n);

/* Grows an array to hold at least `needed` elements, doubling: array, capacity and element size in, true when there is
 * room. On failure array and capacity are as before. */
bool mem_grow(enum mem_purpose purpose, void **array, size_t *capacity, size_t needed, size_t size);

#endif
