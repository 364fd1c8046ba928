/* Chunks of different sizes, as fragmented memory has them. */
#ifndef FATHOM_PLACE_FRAGMENTS_H
#define FATHOM_PLACE_FRAGMENTS_H

#include "place_chunks.h"

#define FRAGMENTS_MOST 1000000

/* Reads "4x256MiB", "2x256MiB,1GiB": sizes in the order given, into a fresh block that the caller frees with mem_free.
 * ERROR_INPUT names `what`. */
bool fragments_parse(const char *text, const char *what, uint64_t **sizes, size_t *count, struct error *err);

/* As place_chunks_solve into the chunks sizes[chunks], none of them 0. Where they are not all alike, result->chunks is
 * how many are in use, or more than there are when no placement was found, and result->least_chunks is `chunks` + 1
 * when there is provably none. */
bool fragments_solve(struct place_buffer *buffers, uint64_t *chunk, size_t count, const uint64_t *sizes, size_t chunks,
                     const struct place_options *options, struct place_chunks_result *result, struct error *err);

#endif
