#include "decode_memory.h"

#include <pthread.h>

#include "mem.h"
#include "units.h"

#define MOST_IDLE 32u

struct decode_memory {
    uint64_t limit;
    pthread_mutex_t lock; /* over what follows */
    pthread_cond_t changed;
    uint64_t mapped;                     /* bytes of all blocks, idle ones too */
    struct decode_block idle[MOST_IDLE]; /* given back and kept: mapping a block costs as much as a small picture */
    size_t idle_count;
    uint64_t next_turn, turn; /* takes are served in their order, so that large blocks get theirs */
};

struct decode_memory *decode_memory_create(uint64_t limit, struct error *err)
{
    struct decode_memory *memory = mem_zalloc(MEM_INPUT, 1, sizeof *memory);
    if (!memory) {
        error_memory(err, sizeof *memory, "decoding pictures");
        return NULL;
    }
    memory->limit = limit;
    pthread_mutex_init(&memory->lock, NULL);
    pthread_cond_init(&memory->changed, NULL);
    return memory;
}

uint64_t decode_memory_limit(const struct decode_memory *memory) { return memory->limit; }

static void unmap_idle(struct decode_memory *memory)
{
    struct decode_block *block = &memory->idle[--memory->idle_count];
    mem_unmap(MEM_INPUT, block->bytes, block->size);
    memory->mapped -= block->size;
}

void decode_memory_destroy(struct decode_memory *memory)
{
    if (!memory) return;
    while (memory->idle_count > 0) unmap_idle(memory);
    pthread_cond_destroy(&memory->changed);
    pthread_mutex_destroy(&memory->lock);
    mem_free(memory);
}

/* The smallest idle block that serves, and is not so large that others would miss it. */
static bool take_idle(struct decode_memory *memory, size_t size, struct decode_block *block)
{
    size_t best = memory->idle_count;
    for (size_t i = 0; i < memory->idle_count; i++) {
        size_t found = memory->idle[i].size;
        if (found < size || found > 2 * size) continue;
        if (best == memory->idle_count || found < memory->idle[best].size) best = i;
    }
    if (best == memory->idle_count) return false;
    *block = memory->idle[best];
    memory->idle[best] = memory->idle[--memory->idle_count];
    return true;
}

static bool take_locked(struct decode_memory *memory, size_t size, struct decode_block *block)
{
    uint64_t turn = memory->next_turn++;
    while (turn != memory->turn) pthread_cond_wait(&memory->changed, &memory->lock);
    bool found = take_idle(memory, size, block);
    while (!found && memory->mapped + size > memory->limit) {
        if (memory->idle_count > 0)
            unmap_idle(memory);
        else
            pthread_cond_wait(&memory->changed, &memory->lock);
        found = take_idle(memory, size, block);
    }
    if (!found) *block = (struct decode_block){mem_map(MEM_INPUT, size), size};
    if (!found && block->bytes) memory->mapped += size;
    memory->turn++;
    pthread_cond_broadcast(&memory->changed);
    return block->bytes != NULL;
}

bool decode_memory_take(struct decode_memory *memory, uint64_t bytes, struct decode_block *block, struct error *err)
{
    *block = (struct decode_block){0};
    if (bytes > memory->limit) return error_memory(err, bytes, "decoding a picture");
    uint64_t size = (bytes + DECODE_BLOCK - 1) / DECODE_BLOCK * DECODE_BLOCK;
    if (size > memory->limit) size = memory->limit;
    pthread_mutex_lock(&memory->lock);
    bool ok = take_locked(memory, (size_t)size, block);
    pthread_mutex_unlock(&memory->lock);
    if (ok) return true;
    *block = (struct decode_block){0};
    return error_memory(err, size, "decoding a picture");
}

void decode_memory_give(struct decode_memory *memory, struct decode_block *block)
{
    if (!block->bytes) return;
    pthread_mutex_lock(&memory->lock);
    if (memory->idle_count == MOST_IDLE) unmap_idle(memory);
    memory->idle[memory->idle_count++] = *block;
    pthread_cond_broadcast(&memory->changed);
    pthread_mutex_unlock(&memory->lock);
    *block = (struct decode_block){0};
}

bool decode_memory_take_picture(struct decode_memory *memory, uint64_t bytes, const struct decode_picture *picture,
                                struct decode_block *block, struct error *err)
{
    uint64_t limit = decode_memory_limit(memory);
    char need[UNITS_TEXT], most[UNITS_TEXT];
    if (bytes <= limit) return decode_memory_take(memory, bytes, block, err);
    return error_set(err, ERROR_FAILED, "%s: is %s of %u x %u pixels, which takes %s to decode; at most %s are taken%s",
                     picture->name, picture->what, picture->width, picture->height, units_format_bytes(bytes, need),
                     units_format_bytes(limit, most),
                     limit < DECODE_MOST_BYTES ? " (--decode-memory)" : picture->advice);
}
