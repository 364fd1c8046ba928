/* Problems as CSV of any content: what is read is placed, its answer checked afresh and read again; what is not gets a
 * sentence. */
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "place.h"
#include "place_check.h"
#include "place_csv.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void place(struct place_table *table)
{
    static const struct place_options options = {.seconds = 0.01, .nodes = 200, .threads = 1};
    struct place_result result;
    struct error err = {0};
    if (!place_solve(table->buffers, table->count, &options, &result, &err)) {
        if (err.kind != ERROR_INPUT || !err.text[0]) abort();
        return;
    }
    uint64_t live, instant;
    if (!place_check(table->buffers, table->count, result.arena_bytes, &err)) abort();
    if (!place_check_live(table->buffers, table->count, &live, &instant, &err)) abort();
    if (live > result.lower_bound_bytes || result.lower_bound_bytes > result.arena_bytes) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct error err = {0};
    struct place_table table;
    char *text = mem_alloc(MEM_GENERAL, length + 1, 1);
    if (!text) abort();
    memcpy(text, bytes, length);
    text[length] = '\0';
    if (place_table_parse(&table, "p.csv", text, length, &err))
        place(&table);
    else if (err.kind != ERROR_INPUT || !err.text[0] || table.buffers)
        abort();
    place_table_finish(&table);
    if (mem_current_bytes(MEM_GENERAL) != 0 || mem_current_bytes(MEM_SEARCH) != 0) abort();
    return 0;
}
