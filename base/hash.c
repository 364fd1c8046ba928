#include "hash.h"

#include <inttypes.h>
#include <stdio.h>

#include <xxhash.h>

uint64_t hash_bytes(const void *bytes, size_t length, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, length, seed);
}

char *hash_format(uint64_t hash, char out[HASH_TEXT])
{
    snprintf(out, HASH_TEXT, "%016" PRIx64, hash);
    return out;
}
