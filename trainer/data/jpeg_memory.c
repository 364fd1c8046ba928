#include "jpeg_memory.h"

#include <string.h>

#include <jerror.h>

/* An array of coefficients, all of it in memory. */
struct jvirt_barray_control {
    JBLOCKARRAY rows; /* NULL until it is realised */
    JDIMENSION row_count, row_blocks;
    JDIMENSION cleared; /* rows that were zeroed, where that is wanted */
    bool clear;
    struct jvirt_barray_control *next;
};

static size_t round_up(size_t bytes) { return (bytes + JPEG_MEMORY_ALIGN - 1) / JPEG_MEMORY_ALIGN * JPEG_MEMORY_ALIGN; }

static void *take(struct jpeg_space *space, size_t bytes)
{
    if (bytes > space->size - space->used) return NULL;
    size_t rounded = round_up(bytes), left = space->size - space->used;
    void *block = space->bytes + space->used;
    space->used += rounded < left ? rounded : left;
    return block;
}

/* ---- libjpeg's calls ---- */

static struct jpeg_memory *memory_of(j_common_ptr library) { return (struct jpeg_memory *)(void *)library->mem; }

static void *allocate(j_common_ptr library, int pool, size_t bytes)
{
    struct jpeg_memory *memory = memory_of(library);
    struct jpeg_space *space = pool == JPOOL_PERMANENT ? &memory->permanent
                               : memory->body.bytes    ? &memory->body
                                                       : &memory->header;
    void *block = take(space, bytes);
    if (!block) ERREXIT1(library, JERR_OUT_OF_MEMORY, pool);
    return block;
}

static JSAMPARRAY allocate_samples(j_common_ptr library, int pool, JDIMENSION row_samples, JDIMENSION row_count)
{
    size_t row_bytes = round_up(row_samples * sizeof(JSAMPLE));
    JSAMPARRAY rows = allocate(library, pool, row_count * sizeof(JSAMPROW));
    JSAMPROW samples = allocate(library, pool, row_count * row_bytes);
    for (JDIMENSION i = 0; i < row_count; i++) rows[i] = samples + i * row_bytes;
    return rows;
}

static JBLOCKARRAY allocate_blocks(j_common_ptr library, int pool, JDIMENSION row_blocks, JDIMENSION row_count)
{
    JBLOCKARRAY rows = allocate(library, pool, row_count * sizeof(JBLOCKROW));
    JBLOCKROW blocks = allocate(library, pool, (size_t)row_count * row_blocks * sizeof(JBLOCK));
    for (JDIMENSION i = 0; i < row_count; i++) rows[i] = blocks + (size_t)i * row_blocks;
    return rows;
}

/* For colour maps of two passes, which nobody here asks for. */
static jvirt_sarray_ptr request_samples(j_common_ptr library, int pool, boolean clear, JDIMENSION row_samples,
                                        JDIMENSION row_count, JDIMENSION most)
{
    (void)clear, (void)row_samples, (void)row_count, (void)most;
    ERREXIT1(library, JERR_BAD_POOL_ID, pool);
    return NULL;
}

static JSAMPARRAY access_samples(j_common_ptr library, jvirt_sarray_ptr array, JDIMENSION start, JDIMENSION count,
                                 boolean writable)
{
    (void)array, (void)start, (void)count, (void)writable;
    ERREXIT(library, JERR_BAD_VIRTUAL_ACCESS);
    return NULL;
}

static jvirt_barray_ptr request_blocks(j_common_ptr library, int pool, boolean clear, JDIMENSION row_blocks,
                                       JDIMENSION row_count, JDIMENSION most)
{
    (void)most; /* all rows are there at once */
    struct jpeg_memory *memory = memory_of(library);
    struct jvirt_barray_control *array = allocate(library, pool, sizeof *array);
    *array = (struct jvirt_barray_control){
        .row_count = row_count, .row_blocks = row_blocks, .clear = clear != FALSE, .next = memory->arrays};
    memory->arrays = array;
    return array;
}

static void realise_blocks(j_common_ptr library)
{
    for (struct jvirt_barray_control *array = memory_of(library)->arrays; array; array = array->next)
        if (!array->rows) array->rows = allocate_blocks(library, JPOOL_IMAGE, array->row_blocks, array->row_count);
}

/* Rows are zeroed when they are first seen: a picture that is broken off has not cost what lies below. */
static JBLOCKARRAY access_blocks(j_common_ptr library, jvirt_barray_ptr array, JDIMENSION start, JDIMENSION count,
                                 boolean writable)
{
    (void)writable;
    if (!array->rows || count > array->row_count || start > array->row_count - count)
        ERREXIT(library, JERR_BAD_VIRTUAL_ACCESS);
    for (; array->clear && array->cleared < start + count; array->cleared++)
        memset(array->rows[array->cleared], 0, array->row_blocks * sizeof(JBLOCK));
    return array->rows + start;
}

static void free_pool(j_common_ptr library, int pool)
{
    struct jpeg_memory *memory = memory_of(library);
    if (pool != JPOOL_IMAGE) return;
    memory->header.used = 0;
    memory->body = (struct jpeg_space){0};
    memory->arrays = NULL;
}

/* ---- For the decoder ---- */

void jpeg_memory_init(struct jpeg_memory *memory, struct jpeg_decompress_struct *library)
{
    memory->table = (struct jpeg_memory_mgr){.alloc_small = allocate,
                                             .alloc_large = allocate,
                                             .alloc_sarray = allocate_samples,
                                             .alloc_barray = allocate_blocks,
                                             .request_virt_sarray = request_samples,
                                             .request_virt_barray = request_blocks,
                                             .realize_virt_arrays = realise_blocks,
                                             .access_virt_sarray = access_samples,
                                             .access_virt_barray = access_blocks,
                                             .free_pool = free_pool};
    memory->permanent = (struct jpeg_space){memory->permanent_bytes, sizeof memory->permanent_bytes, 0};
    memory->header = (struct jpeg_space){memory->header_bytes, sizeof memory->header_bytes, 0};
    memory->own = library->mem;
    library->mem = &memory->table;
}

void jpeg_memory_finish(struct jpeg_memory *memory, struct jpeg_decompress_struct *library)
{
    library->mem = memory->own;
}

void jpeg_memory_use(struct jpeg_memory *memory, void *bytes, size_t size)
{
    memory->body = (struct jpeg_space){bytes, size, 0};
}

void *jpeg_memory_take(struct jpeg_memory *memory, size_t bytes) { return take(&memory->body, bytes); }

/* ---- How much ---- */

/* Tables of colours, codes, ranges and transforms, and the states that use them: 26 KiB with libjpeg-turbo 2.1. */
#define TABLE_BYTES (48u << 10)

static uint64_t up_to(uint64_t value, uint64_t step) { return (value + step - 1) / step * step; }

/* Rows of one colour as they leave the transform (jdmainct.c), with those above and below that smooth enlarging looks
 * at; and as they are enlarged (jdsample.c). */
static uint64_t row_bytes(const struct jpeg_decompress_struct *library, const jpeg_component_info *colour)
{
    uint64_t least = (uint64_t)jpeg_least_side(library), scaled = (uint64_t)jpeg_side(colour);
    uint64_t group = ((uint64_t)colour->v_samp_factor * scaled + least - 1) / least;
    uint64_t pointers = 2 * sizeof(JSAMPROW), rows = group * (least + 4);
    uint64_t transformed = up_to(colour->width_in_blocks * scaled, JPEG_MEMORY_ALIGN) + pointers;
    uint64_t across = up_to(library->output_width, (uint64_t)library->max_h_samp_factor);
    uint64_t enlarged = up_to(across, JPEG_MEMORY_ALIGN) + pointers;
    return rows * transformed + (uint64_t)library->max_v_samp_factor * enlarged;
}

static uint64_t coefficient_bytes(const struct jpeg_decompress_struct *library, const jpeg_component_info *colour)
{
    uint64_t across = up_to(colour->width_in_blocks, (uint64_t)colour->h_samp_factor);
    uint64_t down = up_to(colour->height_in_blocks, (uint64_t)colour->v_samp_factor);
    return down * (across * sizeof(JBLOCK) + sizeof(JBLOCKROW)) + 2 * JPEG_MEMORY_ALIGN +
           (uint64_t)library->num_components * JPEG_MEMORY_ALIGN;
}

uint64_t jpeg_memory_needs(const struct jpeg_decompress_struct *library, bool several_scans)
{
    uint64_t bytes = TABLE_BYTES;
    for (int i = 0; i < library->num_components; i++) {
        bytes += row_bytes(library, &library->comp_info[i]);
        if (several_scans) bytes += coefficient_bytes(library, &library->comp_info[i]);
    }
    return bytes;
}
