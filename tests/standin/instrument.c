/* The accesses of kernels that were compiled for the host with -fsanitize=thread: what the compiler calls before each.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vendor.h"

#define MOST_OWN 4096u

struct range {
    uintptr_t at;
    size_t bytes;
};

/* The kernel that runs: its device, and its time on its lane. */
static struct {
    struct range device;
    struct granule *granules;
    struct region *region;
    uint32_t time;
    uint8_t lane;
} now;
static struct range own[MOST_OWN], last_own;
static size_t own_count, strays;

/* Of shared memory: in which interval between barriers each word was written and read last, and by which thread. */
struct word {
    uint32_t written, read, writer, reader;
};
#define WORD    4u
#define SEVERAL UINT32_MAX /* readers */
static struct shared {
    struct range range;
    struct word *words;
    size_t capacity;
} shared[2]; /* what the launch gave, what kernels declare */
static size_t shared_count;
static const struct host_kernel_now *kernel_now;

void instrument_begin(struct region *device)
{
    now.device = (struct range){(uintptr_t)device->base, device->bytes};
    now.granules = device->shadow.granules;
    now.region = device;
    now.lane = access_now.lane;
    now.time = access_now.clock->at[now.lane];
    own_count = shared_count = strays = 0;
    last_own = (struct range){0};
}

void instrument_end(void) { now.device = last_own = (struct range){0}; }

static bool holds(struct range range, uintptr_t at) { return at - range.at < range.bytes; }

void host_kernel_memory(const void *at, size_t bytes)
{
    if (own_count == MOST_OWN) {
        fprintf(stderr, "stand-in: a kernel has more memory of its own than is kept count of\n");
        abort();
    }
    own[own_count].at = (uintptr_t)at;
    own[own_count++].bytes = bytes;
}

void host_kernel_shared(const void *at, size_t bytes, const struct host_kernel_now *moment)
{
    if (shared_count == sizeof shared / sizeof shared[0]) abort();
    struct shared *s = &shared[shared_count++];
    const size_t words = bytes / WORD + 2;
    s->range = (struct range){(uintptr_t)at, bytes};
    kernel_now = moment;
    if (words <= s->capacity) return;
    s->words = need(realloc(s->words, words * sizeof *s->words));
    memset(s->words + s->capacity, 0, (words - s->capacity) * sizeof *s->words);
    s->capacity = words;
}

/* Constants of the library that holds the kernels. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char _end[] __attribute__((visibility("hidden")));

static bool is_own(uintptr_t at)
{
    for (size_t i = 0; i < own_count; i++)
        if (holds(own[i], at)) {
            last_own = own[i];
            return true;
        }
    return at - (uintptr_t)__ehdr_start < (uintptr_t)_end - (uintptr_t)__ehdr_start;
}

/* Where neither device memory nor pinned memory is: a kernel that says what it has of its own touches nothing else. */
static void touch_elsewhere(bool writes)
{
    if (own_count == 0 || strays++ > 0) return;
    violate("%s %s memory that is neither the device's nor pinned nor its own", access_now.what,
            writes ? "writes" : "reads");
}

/* Two threads at one word, one of which writes, with no barrier between them. */
static bool races(const struct word *w, uint32_t interval, uint32_t thread, bool writes)
{
    return (w->written == interval && w->writer != thread) || (writes && w->read == interval && w->reader != thread);
}

static void touch_shared(struct shared *s, uintptr_t at, size_t bytes, bool writes)
{
    const uint32_t interval = kernel_now->interval, thread = kernel_now->thread;
    const size_t first = (at - s->range.at) / WORD, last = (at - s->range.at + bytes - 1) / WORD;
    for (struct word *w = &s->words[first]; w <= &s->words[last]; w++) {
        if (races(w, interval, thread, writes) && strays++ == 0)
            violate("thread %u of %s %s shared memory that another one has %s with no barrier between them", thread,
                    access_now.what, writes ? "writes" : "reads", w->written == interval ? "written" : "read");
        if (writes) {
            w->written = interval;
            w->writer = thread;
        } else {
            w->reader = w->read == interval && w->reader != thread ? SEVERAL : thread;
            w->read = interval;
        }
    }
}

static bool is_shared(uintptr_t at, size_t bytes, bool writes)
{
    for (size_t i = 0; i < shared_count; i++)
        if (holds(shared[i].range, at)) {
            touch_shared(&shared[i], at, bytes, writes);
            return true;
        }
    return false;
}

static void touch_slowly(const void *at, size_t bytes, bool writes)
{
    if (!access_now.clock || is_shared((uintptr_t)at, bytes, writes) || is_own((uintptr_t)at)) return;
    if (region_of(at))
        memory_touch(at, bytes, writes);
    else
        touch_elsewhere(writes);
}

static void touch_granule(struct granule *g, uint64_t offset, bool writes)
{
    struct conflict conflict;
    if (granule_touch(g, access_now.clock, now.lane, writes, &conflict)) return;
    conflict.offset = offset / GRANULE * GRANULE;
    memory_tell(now.region, &conflict);
}

static inline void seen(const void *address, size_t bytes, bool writes)
{
    uintptr_t at = (uintptr_t)address;
    if (holds(last_own, at)) return;
    if (!holds(now.device, at)) {
        if (now.device.bytes > 0) touch_slowly(address, bytes, writes);
        return;
    }
    uint64_t offset = at - now.device.at;
    struct granule *g = &now.granules[offset / GRANULE];
    if (offset % GRANULE + bytes > g->valid) {
        touch_slowly(address, bytes, writes);
        return;
    }
    if (g->written_at == now.time && g->writer == now.lane) return;
    if (!writes && g->read_at == now.time && g->reader == now.lane) return;
    touch_granule(g, offset, writes);
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
