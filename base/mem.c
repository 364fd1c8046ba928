#define _GNU_SOURCE
#include "mem.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* In front of each block: its size and purpose, so that mem_free can count. Keeps 16-byte alignment. */
struct header {
    size_t bytes;
    size_t purpose;
};
_Static_assert(sizeof(struct header) == 16, "header must keep malloc's alignment");

static _Atomic uint64_t current_bytes[MEM_PURPOSES];
static _Atomic uint64_t peak_bytes[MEM_PURPOSES];
static _Thread_local uint64_t fail_countdown;
static _Thread_local bool fail_fired;

const char *mem_purpose_name(enum mem_purpose purpose)
{
    static const char *const names[MEM_PURPOSES] = {"general", "graph",  "plan",  "search", "arena",
                                                    "input",   "kernel", "trace", "screen"};
    return names[purpose];
}

static void count_in(enum mem_purpose purpose, uint64_t bytes)
{
    uint64_t now = atomic_fetch_add(&current_bytes[purpose], bytes) + bytes;
    uint64_t peak = atomic_load(&peak_bytes[purpose]);
    while (now > peak && !atomic_compare_exchange_weak(&peak_bytes[purpose], &peak, now)) {
    }
}

static void count_out(enum mem_purpose purpose, uint64_t bytes) { atomic_fetch_sub(&current_bytes[purpose], bytes); }

static bool fault_due(void)
{
    if (fail_countdown == 0 || --fail_countdown > 0) return false;
    fail_fired = true;
    return true;
}

bool mem_fail_at(uint64_t n)
{
    bool fired = fail_fired;
    fail_countdown = n;
    fail_fired = false;
    return fired;
}

static bool total_bytes(size_t count, size_t size, size_t *total)
{
    if (__builtin_mul_overflow(count, size, total)) return false;
    return !__builtin_add_overflow(*total, sizeof(struct header), total);
}

void *mem_alloc(enum mem_purpose purpose, size_t count, size_t size)
{
    size_t total;
    if (!total_bytes(count, size, &total) || fault_due()) return NULL;
    struct header *header = malloc(total);
    if (!header) return NULL;
    *header = (struct header){total, purpose};
    count_in(purpose, total);
    return header + 1;
}

void *mem_zalloc(enum mem_purpose purpose, size_t count, size_t size)
{
    size_t total;
    if (!total_bytes(count, size, &total) || fault_due()) return NULL;
    struct header *header = calloc(1, total);
    if (!header) return NULL;
    *header = (struct header){total, purpose};
    count_in(purpose, total);
    return header + 1;
}

void *mem_resize(enum mem_purpose purpose, void *block, size_t count, size_t size)
{
    if (!block) return mem_alloc(purpose, count, size);
    size_t total;
    if (!total_bytes(count, size, &total) || fault_due()) return NULL;
    struct header *header = (struct header *)block - 1;
    size_t old = header->bytes;
    header = realloc(header, total);
    if (!header) return NULL;
    header->bytes = total;
    count_out((enum mem_purpose)header->purpose, old);
    count_in((enum mem_purpose)header->purpose, total);
    return header + 1;
}

char *mem_strdup(enum mem_purpose purpose, const char *text)
{
    size_t length = strlen(text) + 1;
    char *copy = mem_alloc(purpose, length, 1);
    if (copy) memcpy(copy, text, length);
    return copy;
}

void mem_free(void *block)
{
    if (!block) return;
    struct header *header = (struct header *)block - 1;
    count_out((enum mem_purpose)header->purpose, header->bytes);
    free(header);
}

void *mem_map(enum mem_purpose purpose, uint64_t bytes)
{
    if (bytes == 0 || bytes > SIZE_MAX || fault_due()) return NULL;
    void *block = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block == MAP_FAILED) return NULL;
    count_in(purpose, bytes);
    return block;
}

void mem_unmap(enum mem_purpose purpose, void *block, uint64_t bytes)
{
    if (!block) return;
    munmap(block, (size_t)bytes);
    count_out(purpose, bytes);
}

void mem_drop_pages(void *part, uint64_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)part, end = begin + (uintptr_t)bytes;
    begin = (begin + page - 1) / page * page;
    end = end / page * page;
    if (begin < end) madvise((void *)begin, end - begin, MADV_DONTNEED);
}

void mem_spare_addresses(void)
{
    struct rlimit found;
    if (getrlimit(RLIMIT_AS, &found) == 0 && found.rlim_cur != RLIM_INFINITY) mallopt(M_ARENA_MAX, 1);
}

void mem_trim(void) { malloc_trim(0); }

uint64_t mem_current_bytes(enum mem_purpose purpose) { return atomic_load(&current_bytes[purpose]); }

uint64_t mem_peak_bytes(enum mem_purpose purpose) { return atomic_load(&peak_bytes[purpose]); }

bool mem_grow(enum mem_purpose purpose, void **array, size_t *capacity, size_t needed, size_t size)
{
    if (needed <= *capacity) return true;
    size_t grown = *capacity ? *capacity * 2 : 16;
    if (grown < needed) grown = needed;
    void *moved = mem_resize(purpose, *array, grown, size);
    if (!moved) return false;
    *array = moved;
    *capacity = grown;
    return true;
}
