/* Memory of devices and pinned memory: each one mapping, with a granule for every 64 bytes of it. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vendor.h"

#define NAN_BYTE    0xFF
#define NUMBER_BYTE 0x3F /* floats of 0.747 */
#define ALIGN       512u

struct region pinned;
struct access access_now;

static void *map(uint64_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return at == MAP_FAILED ? NULL : at;
}

void region_create(struct region *region, uint64_t bytes)
{
    bytes = (bytes + bytes / 4 + (64u << 20)) / GRANULE * GRANULE; /* room for what lies between allocations */
    *region = (struct region){.base = need(map(bytes)), .bytes = bytes};
    region->shadow.granule_bytes = GRANULE;
    region->shadow.granules = need(map(bytes / GRANULE * sizeof *region->shadow.granules));
}

/* ---- Allocations ---- */

static void set_valid(struct region *region, uint64_t offset, uint64_t bytes, bool valid)
{
    for (uint64_t i = 0; i * GRANULE < bytes; i++) {
        uint64_t left = bytes - i * GRANULE;
        region->shadow.granules[offset / GRANULE + i] =
            (struct granule){.valid = valid ? (uint16_t)(left < GRANULE ? left : GRANULE) : 0};
    }
}

/* Between two allocations there is always something that is none. */
static uint64_t footprint(uint64_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN + ALIGN; }

void *region_take(struct region *region, uint64_t bytes, uint64_t limit)
{
    uint64_t offset = ALIGN;
    if (bytes > limit || region->taken > limit - bytes) return NULL;
    struct allocation **place = &region->allocations;
    for (; *place && (*place)->offset < offset + footprint(bytes); place = &(*place)->next)
        offset = (*place)->offset + footprint((*place)->bytes);
    if (offset + footprint(bytes) > region->bytes) return NULL;
    struct allocation *a = NEW(struct allocation);
    *a = (struct allocation){.next = *place, .offset = offset, .bytes = bytes};
    *place = a;
    set_valid(region, offset, bytes, true);
    memset(region->base + offset, options.pace ? NUMBER_BYTE : NAN_BYTE, bytes);
    region->taken += bytes;
    if (region->taken > region->peak) region->peak = region->taken;
    return region->base + offset;
}

bool region_give(struct region *region, void *memory)
{
    struct allocation **place = &region->allocations;
    while (*place && region->base + (*place)->offset != memory) place = &(*place)->next;
    struct allocation *a = *place;
    if (!a) return false;
    *place = a->next;
    set_valid(region, a->offset, a->bytes, false);
    memset(region->base + a->offset, NAN_BYTE, a->bytes);
    region->taken -= a->bytes;
    free(a);
    return true;
}

struct allocation *region_find(struct region *region, const void *at, uint64_t bytes)
{
    uint64_t offset = (uint64_t)((const uint8_t *)at - region->base);
    for (struct allocation *a = region->allocations; a; a = a->next)
        if (offset >= a->offset && offset + bytes <= a->offset + a->bytes) return a;
    return NULL;
}

static bool holds(const struct region *region, const void *at)
{
    return region->base && (uintptr_t)at - (uintptr_t)region->base < region->bytes;
}

struct region *region_of(const void *at)
{
    for (unsigned i = 0; i < MOST_DEVICES; i++)
        if (holds(&devices[i].memory, at)) return &devices[i].memory;
    return holds(&pinned, at) ? &pinned : NULL;
}

bool memory_is_pinned(const void *at) { return holds(&pinned, at); }
bool memory_is_device(const void *at)
{
    struct region *region = region_of(at);
    return region && region != &pinned;
}

/* ---- Accesses ---- */

void memory_tell(const struct region *region, const struct conflict *c)
{
    const char *did = c->wrote ? "written" : "read";
    violate("%s %s byte %llu of %s memory, which lane %u has %s with nothing between them",
            access_now.what ? access_now.what : "a command", c->writes ? "writes" : "reads",
            (unsigned long long)c->offset, region == &pinned ? "pinned" : "device", c->lane, did);
}

void memory_touch(const void *at, uint64_t bytes, bool writes)
{
    struct region *region = region_of(at);
    struct conflict conflict;
    if (!region || bytes == 0) return;
    struct allocation *a = region_find(region, at, bytes);
    uint64_t offset = (uint64_t)((const uint8_t *)at - region->base);
    if (!a) {
        violate("%s %s %llu bytes at byte %llu of %s memory, which are in no allocation", access_now.what,
                writes ? "writes" : "reads", (unsigned long long)bytes, (unsigned long long)offset,
                region == &pinned ? "pinned" : "device");
        return;
    }
    a->device_writes += writes;
    if (!shadow_touch(&region->shadow, access_now.clock, access_now.lane, offset, bytes, writes, &conflict))
        memory_tell(region, &conflict);
}
