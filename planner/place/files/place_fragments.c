#include "place_fragments.h"

#include <inttypes.h>
#include <string.h>

#include "mem.h"
#include "printable.h"
#include "units.h"

static bool wrong_list(const char *text, const char *what, struct error *err)
{
    return error_set(err, ERROR_INPUT, "%s '%s': sizes of chunks are wanted, 4x256MiB or 2x256MiB,1GiB", what,
                     PRINTABLE_CUT(text, 60));
}

/* One item of the list, "4x256MiB" or "1GiB", that ends at `end`. */
static bool parse_item(const char *item, size_t length, const char *what, uint64_t *times, uint64_t *bytes,
                       struct error *err)
{
    char copy[64];
    if (length == 0 || length >= sizeof copy) return wrong_list(item, what, err);
    memcpy(copy, item, length);
    copy[length] = '\0';
    size_t digits = strspn(copy, "0123456789");
    bool counted = digits > 0 && (copy[digits] == 'x' || copy[digits] == 'X');
    *times = 1;
    if (counted) {
        copy[digits] = '\0';
        TRY(units_parse_count(copy, what, 1, FRAGMENTS_MOST, times, err));
    }
    const char *size = counted ? copy + digits + 1 : copy;
    TRY(units_parse_bytes(size, what, bytes, err));
    return *bytes > 0 || wrong_list(item, what, err);
}

bool fragments_parse(const char *text, const char *what, uint64_t **sizes, size_t *count, struct error *err)
{
    void *list = NULL;
    size_t capacity = 0, used = 0;
    for (const char *item = text; item;) {
        size_t length = strcspn(item, ",");
        uint64_t times, bytes;
        TRY_GOTO(parse_item(item, length, what, &times, &bytes, err), fail);
        if (times > FRAGMENTS_MOST - used) {
            error_set(err, ERROR_INPUT, "%s '%s': at most %d chunks are possible", what, PRINTABLE_CUT(text, 60),
                      FRAGMENTS_MOST);
            goto fail;
        }
        if (!mem_grow(MEM_GENERAL, &list, &capacity, used + times, sizeof **sizes)) {
            error_memory(err, (used + times) * sizeof **sizes, "sizes of chunks");
            goto fail;
        }
        for (; times > 0; times--) ((uint64_t *)list)[used++] = bytes;
        item = item[length] == ',' ? item + length + 1 : NULL;
    }
    *sizes = list;
    *count = used;
    return true;
fail:
    mem_free(list);
    return false;
}

/* The problem with what smaller chunks lack of the largest as fixed buffers that live throughout. */
struct filled {
    struct place_buffer *buffers;
    uint64_t *chunk;
    size_t count;
    uint64_t chunk_bytes, lacking;
};

static bool filled_init(struct filled *filled, const struct place_buffer *buffers, const uint64_t *chunk, size_t count,
                        const uint64_t *sizes, size_t chunks, struct error *err)
{
    uint64_t lower = UINT64_MAX, upper = 0;
    for (size_t i = 0; i < count; i++) {
        if (buffers[i].lower < lower) lower = buffers[i].lower;
        if (buffers[i].upper > upper) upper = buffers[i].upper;
    }
    for (size_t c = 0; c < chunks; c++)
        if (sizes[c] > filled->chunk_bytes) filled->chunk_bytes = sizes[c];
    filled->buffers = mem_alloc(MEM_SEARCH, count + chunks, sizeof *filled->buffers);
    filled->chunk = mem_alloc(MEM_SEARCH, count + chunks, sizeof *filled->chunk);
    if (!filled->buffers || !filled->chunk)
        return error_memory(err, (count + chunks) * sizeof *filled->buffers, "chunks of different sizes");
    memcpy(filled->buffers, buffers, count * sizeof *buffers);
    memcpy(filled->chunk, chunk, count * sizeof *chunk);
    filled->count = count;
    for (size_t c = 0; c < chunks && count > 0; c++) {
        uint64_t lacks = filled->chunk_bytes - sizes[c];
        if (lacks == 0) continue;
        filled->lacking += lacks;
        filled->chunk[filled->count] = c;
        filled->buffers[filled->count++] =
            (struct place_buffer){.lower = lower, .upper = upper, .size = lacks, .align = 1, .fixed = sizes[c]};
    }
    return true;
}

static bool check_fixed(const struct place_buffer *buffer, uint64_t chunk, size_t index, const uint64_t *sizes,
                        size_t chunks, struct error *err)
{
    if (chunk == PLACE_UNPLACED || buffer->fixed == PLACE_UNPLACED) return true;
    if (chunk >= chunks)
        return error_set(err, ERROR_INPUT, "buffer %zu: chunk %" PRIu64 " where there are %zu", index, chunk, chunks);
    if (buffer->size <= sizes[chunk] && buffer->fixed <= sizes[chunk] - buffer->size) return true;
    return error_set(err, ERROR_INPUT,
                     "buffer %zu: %" PRIu64 " bytes fixed at %" PRIu64 " end above its chunk of %" PRIu64, index,
                     buffer->size, buffer->fixed, sizes[chunk]);
}

/* Chunks in use, and the bound without what was added. */
static bool restate(const struct filled *filled, size_t count, size_t chunks, struct place_chunks_result *result,
                    struct error *err)
{
    result->lower_bound_bytes -= filled->lacking;
    if (result->least_chunks <= chunks) result->least_chunks = 0;
    if (result->chunks > chunks) return true;
    bool *used = mem_zalloc(MEM_SEARCH, chunks, sizeof *used);
    if (!used) return error_memory(err, chunks, "chunks in use");
    result->chunks = 0;
    for (size_t i = 0; i < count; i++) {
        if (filled->buffers[i].size == 0 || used[filled->chunk[i]]) continue;
        used[filled->chunk[i]] = true;
        result->chunks++;
    }
    mem_free(used);
    result->proved_least = result->chunks <= 1;
    return true;
}

bool fragments_solve(struct place_buffer *buffers, uint64_t *chunk, size_t count, const uint64_t *sizes, size_t chunks,
                     const struct place_options *options, struct place_chunks_result *result, struct error *err)
{
    struct filled filled = {0};
    struct place_chunks_result found;
    bool ok = filled_init(&filled, buffers, chunk, count, sizes, chunks, err);
    for (size_t i = 0; ok && i < count; i++) ok = check_fixed(&buffers[i], chunk[i], i, sizes, chunks, err);
    ok = ok && place_chunks_solve(filled.buffers, filled.chunk, filled.count, filled.chunk_bytes, chunks, options,
                                  &found, err);
    if (ok && filled.lacking > 0) ok = restate(&filled, count, chunks, &found, err);
    if (ok) {
        memcpy(chunk, filled.chunk, count * sizeof *chunk);
        for (size_t i = 0; i < count; i++) buffers[i].offset = filled.buffers[i].offset;
        *result = found;
    }
    mem_free(filled.buffers);
    mem_free(filled.chunk);
    return ok;
}
