#define _GNU_SOURCE
#include "spill.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "mem.h"

#define FIRST_RECORDS 64

void spill_begin(struct spill *spill, size_t size, int (*compare)(const void *, const void *), const char *beside,
                 size_t most_bytes)
{
    *spill = (struct spill){.size = size, .compare = compare, .beside = beside, .file = -1};
    spill->most_bytes = most_bytes ? most_bytes : SPILL_BYTES;
}

static bool no_memory(const struct spill *spill, size_t bytes, struct error *err)
{
    return error_memory(err, bytes, spill->beside);
}

/* ---- Chunks on disk ---- */

static void sort_chunk(struct spill *spill)
{
    if (spill->count > 1) qsort(spill->records, spill->count, spill->size, spill->compare);
}

static bool write_all(struct spill *spill, const unsigned char *bytes, size_t length, struct error *err)
{
    while (length > 0) {
        ssize_t wrote = pwrite(spill->file, bytes, length, (off_t)spill->file_bytes);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0)
            return error_errno(err, ERROR_FAILED, errno, "%s: what is sorted beside it cannot be written",
                               spill->beside);
        spill->file_bytes += (uint64_t)wrote;
        bytes += wrote;
        length -= (size_t)wrote;
    }
    return true;
}

static bool write_chunk(struct spill *spill, struct error *err)
{
    void *chunks = spill->chunks;
    if (spill->file < 0) TRY(files_scratch(spill->beside, &spill->file, err));
    if (!mem_grow(MEM_TRACE, &chunks, &spill->chunk_capacity, spill->chunk_count + 1, sizeof *spill->chunks))
        return no_memory(spill, sizeof *spill->chunks, err);
    spill->chunks = chunks;
    struct spill_chunk chunk = {.begin = spill->file_bytes};
    sort_chunk(spill);
    TRY(write_all(spill, spill->records, spill->count * spill->size, err));
    chunk.end = spill->file_bytes;
    spill->chunks[spill->chunk_count++] = chunk;
    spill->count = 0;
    return true;
}

bool spill_add(struct spill *spill, const void *record, struct error *err)
{
    if (spill->count == spill->capacity) {
        size_t most = spill->most_bytes / spill->size, wanted = spill->capacity ? spill->capacity * 2 : FIRST_RECORDS;
        if (wanted > most) wanted = most > 0 ? most : 1;
        if (spill->capacity >= wanted) {
            TRY(write_chunk(spill, err));
        } else {
            void *records = mem_resize(MEM_TRACE, spill->records, wanted, spill->size);
            if (!records) return no_memory(spill, wanted * spill->size, err);
            spill->records = records;
            spill->capacity = wanted;
        }
    }
    memcpy(spill->records + spill->count++ * spill->size, record, spill->size);
    spill->total++;
    return true;
}

/* ---- Reading ---- */

static bool read_more(struct spill *spill, struct spill_chunk *chunk, struct error *err)
{
    size_t bytes = spill->buffer_records * spill->size, got = 0;
    if (bytes > chunk->end - chunk->at) bytes = (size_t)(chunk->end - chunk->at);
    while (got < bytes) {
        ssize_t part = pread(spill->file, chunk->records + got, bytes - got, (off_t)(chunk->at + got));
        if (part < 0 && errno == EINTR) continue;
        if (part <= 0)
            return error_errno(err, ERROR_FAILED, part < 0 ? errno : EIO,
                               "%s: what was sorted beside it cannot be read", spill->beside);
        got += (size_t)part;
    }
    chunk->at += bytes;
    chunk->next = 0;
    chunk->count = bytes / spill->size;
    return true;
}

static const unsigned char *head_of(const struct spill *spill, size_t chunk)
{
    return spill->chunks[chunk].records + spill->chunks[chunk].next * spill->size;
}

static bool is_before(const struct spill *spill, size_t a, size_t b)
{
    return spill->compare(head_of(spill, a), head_of(spill, b)) < 0;
}

static void sink_down(struct spill *spill, size_t at)
{
    size_t *heap = spill->heap, moved = heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= spill->heap_count) break;
        if (child + 1 < spill->heap_count && is_before(spill, heap[child + 1], heap[child])) child++;
        if (!is_before(spill, heap[child], moved)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

static bool make_buffers(struct spill *spill, struct error *err)
{
    if (spill->buffer) return true;
    size_t each = spill->most_bytes / spill->size / spill->chunk_count;
    spill->buffer_records = each > 0 ? each : 1;
    mem_free(spill->records);
    spill->records = NULL;
    spill->capacity = 0;
    spill->heap = mem_alloc(MEM_TRACE, spill->chunk_count, sizeof *spill->heap);
    spill->given = mem_alloc(MEM_TRACE, 1, spill->size);
    spill->buffer = mem_alloc(MEM_TRACE, spill->buffer_records * spill->chunk_count, spill->size);
    return (spill->heap && spill->given && spill->buffer) || no_memory(spill, spill->most_bytes, err);
}

bool spill_rewind(struct spill *spill, struct error *err)
{
    spill->next = 0;
    if (spill->file < 0) {
        sort_chunk(spill);
        return true;
    }
    if (spill->count > 0) TRY(write_chunk(spill, err));
    TRY(make_buffers(spill, err));
    spill->heap_count = 0;
    for (size_t i = 0; i < spill->chunk_count; i++) {
        struct spill_chunk *chunk = &spill->chunks[i];
        chunk->at = chunk->begin;
        chunk->records = spill->buffer + i * spill->buffer_records * spill->size;
        TRY(read_more(spill, chunk, err));
        spill->heap[spill->heap_count++] = i;
    }
    for (size_t i = spill->heap_count / 2; i-- > 0;) sink_down(spill, i);
    return true;
}

bool spill_next(struct spill *spill, const void **record, struct error *err)
{
    *record = NULL;
    if (spill->file < 0) {
        if (spill->next < spill->count) *record = spill->records + spill->next++ * spill->size;
        return true;
    }
    if (spill->heap_count == 0) return true;
    struct spill_chunk *chunk = &spill->chunks[spill->heap[0]];
    memcpy(spill->given, head_of(spill, spill->heap[0]), spill->size);
    chunk->next++;
    if (chunk->next == chunk->count && chunk->at < chunk->end) TRY(read_more(spill, chunk, err));
    if (chunk->next == chunk->count) spill->heap[0] = spill->heap[--spill->heap_count];
    if (spill->heap_count > 0) sink_down(spill, 0);
    *record = spill->given;
    return true;
}

void spill_finish(struct spill *spill)
{
    mem_free(spill->records);
    mem_free(spill->chunks);
    mem_free(spill->heap);
    mem_free(spill->buffer);
    mem_free(spill->given);
    if (spill->size > 0 && spill->file >= 0) close(spill->file);
    *spill = (struct spill){0};
}
