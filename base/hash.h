/* XXH3 checksums (github.com/Cyan4973/xxHash) of blocks, files and graphs. */
#ifndef FATHOM_HASH_H
#define FATHOM_HASH_H

#include <stddef.h>
#include <stdint.h>

/* 64 bits over one block; chain blocks by passing the last result as seed (0 for the first). */
uint64_t hash_bytes(const void *bytes, size_t length, uint64_t seed);

#define HASH_TEXT 17
/* 16 hexadecimal digits into out. */
char *hash_format(uint64_t hash, char out[HASH_TEXT]);

#endif
