/* Storages: buffers with one alias number are names of one storage, every other buffer is a storage of its own.
 *
 * A storage's height at an instant is that of its largest live name, so over time it is a row of pieces: rectangles of
 * one offset that follow each other, with steps and perhaps gaps between them. Most have one piece and are plain
 * buffers. One of several can be replaced by its hull, which may waste memory, or by its pieces without the tie between
 * their offsets, which may promise too much: the first gives placements, the second bounds. */
#ifndef FATHOM_PLACE_GROUPS_H
#define FATHOM_PLACE_GROUPS_H

#include "errors.h"
#include "place_buffer.h"

struct groups {
    size_t count;               /* storages, by their first names */
    uint32_t *storage;          /* of each buffer */
    struct place_buffer *hulls; /* of each storage: all its pieces in one; size 0 where all names are empty */
    size_t *piece_start;        /* count + 1 */
    struct place_buffer *pieces;
    size_t piece_count;
    bool stepped; /* some storage has several pieces and no fixed offset */
    /* What plain placers are given: a hull for each storage, but the pieces of those that are fixed and need no tie.
     * Block b is pieces block_start[b] … block_start[b + 1]. */
    struct place_buffer *blocks;
    size_t *block_start;
    uint32_t *block_storage;
    size_t block_count;
};

bool groups_any(const struct place_buffer *buffers, size_t count);

/* Checks the buffers as problem_init does, and that the names of one storage agree: ERROR_INPUT names the offending one
 * by its index. Ended by groups_finish, which takes a zeroed object. On failure *groups is finished already. */
bool groups_init(struct groups *groups, const struct place_buffer *buffers, size_t count, struct error *err);
void groups_finish(struct groups *groups);

/* ERROR_INPUT when two fixed storages overlap in space and time. chunk, of each storage, and chunk_bytes say which
 * chunk an offset counts in; NULL and 0 for one arena. */
bool groups_check_fixed(const struct groups *groups, const struct place_buffer *buffers, size_t count,
                        const uint64_t *chunk, uint64_t chunk_bytes, struct error *err);

/* The offsets of blocks to their storages' hulls. */
void groups_take_blocks(struct groups *groups);
/* The offsets of hulls to the buffers whose storages they are. */
void groups_write(const struct groups *groups, struct place_buffer *buffers, size_t count);

/* place_solve for buffers with names: exact where every storage is one piece; otherwise hulls, first fit of the steps
 * and a search over them, against the bound of the pieces. */
bool groups_solve(struct place_buffer *buffers, size_t count, const struct place_options *options,
                  struct place_result *result, struct error *err);

#endif
