/* Memory snapshots of any content: what is read is a problem whose parts hang together, what is not gets a sentence. */
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "place_import.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct error err = {0};
    struct place_table table;
    struct place_source source;
    if (place_snapshot_parse(&table, &source, "snapshot", bytes, length, &err)) {
        for (size_t i = 0; i < table.count; i++)
            if (table.buffers[i].lower >= table.buffers[i].upper || table.buffers[i].upper > source.events + 1 ||
                !table.ids[i][0])
                abort();
    } else if (err.kind != ERROR_INPUT || !err.text[0] || table.buffers) {
        abort();
    }
    place_table_finish(&table);
    if (mem_current_bytes(MEM_GENERAL) != 0) abort();
    return 0;
}
