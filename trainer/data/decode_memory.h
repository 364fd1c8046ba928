/* Memory for pictures while they are decoded: whole blocks straight from the kernel, at no time more bytes of them than a
 * limit. Threads share it; who finds too little left waits for what others give back, in the order in which they came. */
#ifndef FATHOM_DECODE_MEMORY_H
#define FATHOM_DECODE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

struct decode_memory;

struct decode_block { /* zeroed = none */
    void *bytes; /* page-aligned; what is in it is undefined */
    size_t size;
};

/* Blocks are of a multiple of this. */
#define DECODE_BLOCK (UINT64_C(1) << 16)
/* A limit where no plan sets one. */
#define DECODE_MOST_BYTES (UINT64_C(1) << 28)

/* Of which a sentence is told. */
struct decode_picture {
    const char *name, *what, *advice;
    uint32_t width, height;
};

struct decode_memory *decode_memory_create(uint64_t limit, struct error *err);
/* Takes NULL; all blocks have been given back. */
void decode_memory_destroy(struct decode_memory *memory);
uint64_t decode_memory_limit(const struct decode_memory *memory);

/* A block of at least so many bytes. Waits; a thread holds one block at most while it waits for nothing else, so none
 * waits for ever. ERROR_MEMORY, also where more than the limit is wanted. */
bool decode_memory_take(struct decode_memory *memory, uint64_t bytes, struct decode_block *block, struct error *err);
/* The same for a picture: ERROR_FAILED where it takes more than the limit, with its name, what it is ("a baseline JPEG"), how
 * many pixels it has, and `advice` where no plan sets the limit. */
bool decode_memory_take_picture(struct decode_memory *memory, uint64_t bytes, const struct decode_picture *picture,
                                struct decode_block *block, struct error *err);
/* Zeroes the block; takes a zeroed one. */
void decode_memory_give(struct decode_memory *memory, struct decode_block *block);

#endif
