/* Placement problems and answers as CSV: columns id, lower, upper and size in any order, optionally alignment,
 * offset (a required offset; empty or -1 = none), chunk (the chunk that the offset counts in) and alias (rows of one
 * number are names of one storage; empty, -1 or 0 = none). lower and upper may be clocks of several streams, 3:0:7. The
 * answer has the rows in their order with an offset for
 * each. */
#ifndef FATHOM_PLACE_CSV_H
#define FATHOM_PLACE_CSV_H

#include "place_clocks.h"

struct place_table {
    struct place_buffer *buffers;
    const char **ids; /* of each buffer; borrowed from text */
    size_t count;
    bool has_alignment, has_alias;
    uint64_t *chunk; /* of each buffer, PLACE_UNPLACED = none; NULL without such a column */
    struct place_clocks clocks; /* streams: 0 where lifetimes are numbers; else lower and upper are sums of components */
    char *text;
};

/* Reads a whole file; the caller ends it with place_table_finish. ERROR_INPUT names file, line, what was found and what
 * would be right; *table is then finished already. */
bool place_table_read(struct place_table *table, const char *path, struct error *err);
/* As above from text, NUL-terminated at text[length], which it takes over and changes; `path` is for messages. */
bool place_table_parse(struct place_table *table, const char *path, char *text, size_t length, struct error *err);
/* Writes id, lower, upper, size, alignment and alias where they were given, chunk where there is one, and offset;
 * atomically. */
bool place_table_write(const struct place_table *table, const char *path, struct error *err);
/* Takes a zeroed object. */
void place_table_finish(struct place_table *table);

#endif
