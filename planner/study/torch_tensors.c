#include "torch_tensors.h"

#include "mem.h"

static bool new_entry(struct torch_tensors *t, uint32_t *storage, struct error *err)
{
    if (t->unused_count > 0) {
        *storage = t->unused[--t->unused_count];
        return true;
    }
    if (!mem_grow(MEM_PLAN, (void **)&t->storages, &t->capacity, t->count + 1, sizeof *t->storages) ||
        !mem_grow(MEM_PLAN, (void **)&t->unused, &t->unused_capacity, t->count + 1, sizeof *t->unused))
        return error_memory(err, sizeof *t->storages, "tensors");
    *storage = (uint32_t)t->count++;
    return true;
}

bool torch_tensors_make(struct torch_tensors *t, uint64_t bytes, uint32_t *storage, struct error *err)
{
    uint32_t block, made = NO_STORAGE;
    TRY(torch_allocator_take(&t->allocator, bytes, &block, err));
    if (block == TORCH_NO_BLOCK && bytes > 0) {
        t->out_of_memory = true;
        return false;
    }
    TRY(new_entry(t, &made, err));
    t->storages[made] = (struct torch_storage){.bytes = bytes, .block = block, .holders = 1};
    *storage = made;
    t->live_bytes += bytes;
    if (t->live_bytes > t->peak_live_bytes) t->peak_live_bytes = t->live_bytes;
    return true;
}

void torch_tensors_hold(struct torch_tensors *t, uint32_t storage)
{
    if (storage != NO_STORAGE) t->storages[storage].holders++;
}

bool torch_tensors_drop(struct torch_tensors *t, uint32_t *storage, struct error *err)
{
    uint32_t dropped = *storage;
    *storage = NO_STORAGE;
    if (dropped == NO_STORAGE || --t->storages[dropped].holders > 0) return true;
    t->live_bytes -= t->storages[dropped].bytes;
    t->unused[t->unused_count++] = dropped; /* there is room for as many as there are entries */
    return torch_allocator_free(&t->allocator, t->storages[dropped].block, err);
}

void torch_tensors_save(struct torch_tensors *t, uint32_t storage)
{
    torch_tensors_hold(t, storage);
    if (storage != NO_STORAGE && t->storages[storage].saved++ == 0) t->saved_bytes += t->storages[storage].bytes;
}

bool torch_tensors_release(struct torch_tensors *t, uint32_t *storage, struct error *err)
{
    if (*storage != NO_STORAGE && --t->storages[*storage].saved == 0) t->saved_bytes -= t->storages[*storage].bytes;
    return torch_tensors_drop(t, storage, err);
}

bool torch_tensors_pass(struct torch_tensors *t, uint64_t bytes, struct error *err)
{
    uint32_t storage;
    return torch_tensors_make(t, bytes, &storage, err) && torch_tensors_drop(t, &storage, err);
}

void torch_tensors_finish(struct torch_tensors *t)
{
    torch_allocator_finish(&t->allocator);
    mem_free(t->storages);
    mem_free(t->unused);
    *t = (struct torch_tensors){0};
}
