/* The accesses of kernels that were compiled for the host with -fsanitize=thread: what the compiler calls before each.
 */
#include <stdio.h>
#include <stdlib.h>

#include "vendor.h"

#define MOST_OWN 4096u

static struct region *kernel_device;
static struct {
    uintptr_t at;
    size_t bytes;
} own[MOST_OWN];
static size_t own_count, strays;

void instrument_begin(struct region *device)
{
    kernel_device = device;
    own_count = strays = 0;
}

void instrument_end(void) { kernel_device = NULL; }

void host_kernel_memory(const void *at, size_t bytes)
{
    if (own_count == MOST_OWN) {
        fprintf(stderr, "stand-in: a kernel has more memory of its own than is kept count of\n");
        abort();
    }
    own[own_count].at = (uintptr_t)at;
    own[own_count++].bytes = bytes;
}

/* Constants of the library that holds the kernels. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char _end[] __attribute__((visibility("hidden")));

static bool is_own(uintptr_t at)
{
    for (size_t i = own_count; i > 0; i--)
        if (at - own[i - 1].at < own[i - 1].bytes) return true;
    return at - (uintptr_t)__ehdr_start < (uintptr_t)_end - (uintptr_t)__ehdr_start;
}

/* Where neither device memory nor pinned memory is: a kernel that says what it has of its own touches nothing else. */
static void touch_elsewhere(bool writes)
{
    if (own_count == 0 || strays++ > 0) return;
    violate("%s %s memory that is neither the device's nor pinned nor its own", access_now.what,
            writes ? "writes" : "reads");
}

static void touch_slowly(const void *at, size_t bytes, bool writes)
{
    if (is_own((uintptr_t)at)) return;
    if (region_of(at))
        memory_touch(at, bytes, writes);
    else
        touch_elsewhere(writes);
}

static inline void seen(const void *at, size_t bytes, bool writes)
{
    if (!kernel_device) return;
    uint64_t offset = (uint64_t)((uintptr_t)at - (uintptr_t)kernel_device->base);
    struct conflict conflict;
    if (offset >= kernel_device->bytes) {
        touch_slowly(at, bytes, writes);
        return;
    }
    struct granule *g = &kernel_device->shadow.granules[offset / GRANULE];
    if (offset % GRANULE + bytes > g->valid) {
        touch_slowly(at, bytes, writes);
        return;
    }
    uint32_t time = access_now.clock->at[access_now.lane];
    if (g->written_at == time && g->writer == access_now.lane) return;
    if (!writes && g->read_at == time && g->reader == access_now.lane) return;
    if (granule_touch(g, access_now.clock, access_now.lane, writes, &conflict)) return;
    conflict.offset = offset / GRANULE * GRANULE;
    memory_tell(kernel_device, &conflict);
}

/* What the compiler calls before each access; normally ThreadSanitizer's. */
#define SEEN(bytes)                                                                                                    \
    void __tsan_read##bytes(void *at);                                                                                 \
    void __tsan_write##bytes(void *at);                                                                                \
    void __tsan_unaligned_read##bytes(void *at);                                                                       \
    void __tsan_unaligned_write##bytes(void *at);                                                                      \
    void __tsan_volatile_read##bytes(void *at);                                                                        \
    void __tsan_volatile_write##bytes(void *at);                                                                       \
    void __tsan_read##bytes(void *at) { seen(at, bytes, false); }                                                      \
    void __tsan_write##bytes(void *at) { seen(at, bytes, true); }                                                      \
    void __tsan_unaligned_read##bytes(void *at) { seen(at, bytes, false); }                                            \
    void __tsan_unaligned_write##bytes(void *at) { seen(at, bytes, true); }                                            \
    void __tsan_volatile_read##bytes(void *at) { seen(at, bytes, false); }                                             \
    void __tsan_volatile_write##bytes(void *at) { seen(at, bytes, true); }
SEEN(1)
SEEN(2)
SEEN(4)
SEEN(8)
SEEN(16)

void __tsan_read_range(void *at, size_t bytes);
void __tsan_write_range(void *at, size_t bytes);
void __tsan_vptr_update(void **at, void *value);
void __tsan_func_entry(void *from);
void __tsan_func_exit(void);
void __tsan_init(void);
void __tsan_read_range(void *at, size_t bytes) { touch_slowly(at, bytes, false); }
void __tsan_write_range(void *at, size_t bytes) { touch_slowly(at, bytes, true); }
void __tsan_vptr_update(void **at, void *value) { *at = value; }
void __tsan_func_entry(void *from) { (void)from; }
void __tsan_func_exit(void) {}
void __tsan_init(void) {}

/* Of one kernel's threads, which take turns: each is what it says. */
#define ATOMIC(bits, type)                                                                                             \
    type __tsan_atomic##bits##_load(const volatile type *at, int order);                                               \
    void __tsan_atomic##bits##_store(volatile type *at, type value, int order);                                        \
    type __tsan_atomic##bits##_exchange(volatile type *at, type value, int order);                                     \
    type __tsan_atomic##bits##_fetch_add(volatile type *at, type value, int order);                                    \
    type __tsan_atomic##bits##_fetch_or(volatile type *at, type value, int order);                                     \
    type __tsan_atomic##bits##_fetch_and(volatile type *at, type value, int order);                                    \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile type *at, type *expected, type value, int order,        \
                                                      int failed);                                                     \
    type __tsan_atomic##bits##_load(const volatile type *at, int order)                                                \
    {                                                                                                                  \
        (void)order;                                                                                                   \
        seen((const void *)at, sizeof *at, false);                                                                     \
        return *at;                                                                                                    \
    }                                                                                                                  \
    void __tsan_atomic##bits##_store(volatile type *at, type value, int order)                                         \
    {                                                                                                                  \
        (void)order;                                                                                                   \
        seen((const void *)at, sizeof *at, true);                                                                      \
        *at = value;                                                                                                   \
    }                                                                                                                  \
    static type swap##bits(volatile type *at, type value)                                                              \
    {                                                                                                                  \
        type old = *at;                                                                                                \
        seen((const void *)at, sizeof *at, true);                                                                      \
        *at = value;                                                                                                   \
        return old;                                                                                                    \
    }                                                                                                                  \
    type __tsan_atomic##bits##_exchange(volatile type *at, type value, int order)                                      \
    {                                                                                                                  \
        (void)order;                                                                                                   \
        return swap##bits(at, value);                                                                                  \
    }                                                                                                                  \
    type __tsan_atomic##bits##_fetch_add(volatile type *at, type value, int order)                                     \
    {                                                                                                                  \
        (void)order;                                                                                                   \
        return swap##bits(at, (type)(*at + value));                                                                    \
    }                                                                                                                  \
    type __tsan_atomic##bits##_fetch_or(volatile type *at, type value, int order)                                      \
    {                                                                                                                  \
        (void)order;                                                                                                   \
        return swap##bits(at, (type)(*at | value));                                                                    \
    }                                                                                                                  \
    type __tsan_atomic##bits##_fetch_and(volatile type *at, type value, int order)                                     \
    {                                                                                                                  \
        (void)order;                                                                                                   \
        return swap##bits(at, (type)(*at & value));                                                                    \
    }                                                                                                                  \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile type *at, type *expected, type value, int order,        \
                                                      int failed)                                                      \
    {                                                                                                                  \
        (void)order;                                                                                                   \
        (void)failed;                                                                                                  \
        bool equal = *at == *expected;                                                                                 \
        *expected = swap##bits(at, equal ? value : *at);                                                               \
        return equal;                                                                                                  \
    }
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)
