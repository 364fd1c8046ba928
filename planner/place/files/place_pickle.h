/* Python pickles as a tree of plain values, without executing anything.
 *
 * The format is Python's own (Lib/pickletools.py), protocols 0 to 5; only what dictionaries, lists, tuples, strings,
 * numbers, booleans and None need. Opcodes that name or call Python objects are refused by name. */
#ifndef FATHOM_PLACE_PICKLE_H
#define FATHOM_PLACE_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

enum pickle_kind { PICKLE_NONE, PICKLE_INTEGER, PICKLE_REAL, PICKLE_TEXT, PICKLE_LIST, PICKLE_DICT };

/* Values refer to each other by index, so that lists may be shared (and even hold themselves). */
struct pickle_value {
    enum pickle_kind kind;
    uint32_t head, tail; /* first and last cell of a list (tuples too) or a dict (key, value, key, ...), as index + 1 */
    uint64_t number;     /* of PICKLE_INTEGER from -2^63 to 2^64 - 1, two's complement; length of PICKLE_TEXT */
    bool negative;       /* of PICKLE_INTEGER */
    const char *text;    /* into the pickle's bytes, no NUL */
};

struct pickle_cell {
    uint32_t value, next; /* next as index + 1 */
};

struct pickle {
    struct pickle_value *values;
    struct pickle_cell *cells;
    size_t value_count, value_capacity, cell_count, cell_capacity;
    uint32_t root;
};

/* Reads one pickle; its bytes must outlive it. Ended by pickle_finish, which takes a zeroed object. ERROR_INPUT names
 * byte and opcode; *pickle is then finished already. */
bool pickle_read(struct pickle *pickle, const char *path, const void *bytes, size_t length, struct error *err);
void pickle_finish(struct pickle *pickle);

#define PICKLE_KEYS 256 /* a dict's first so many keys are looked at: sharing one large dict must not cost squares */

/* The value under a key of a dict, or NULL when it is absent or this is no dict; takes NULL. */
const struct pickle_value *pickle_get(const struct pickle *pickle, const struct pickle_value *dict, const char *key);
/* Walks a list: *cell is 0 at first; NULL at the end, or where this is no list; takes NULL. */
const struct pickle_value *pickle_next(const struct pickle *pickle, const struct pickle_value *list, uint32_t *cell);
/* Whether it is a text of exactly these letters; takes NULL. */
bool pickle_is(const struct pickle_value *value, const char *text);
/* A whole number from 0 below 2^64; false for anything else; takes NULL. */
bool pickle_count(const struct pickle_value *value, uint64_t *count);
/* The 64 bits of a whole number, signed or not: addresses above 2^63 are written either way. Takes NULL. */
bool pickle_word(const struct pickle_value *value, uint64_t *word);

#endif
