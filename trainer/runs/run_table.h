/* Runs beside each other: found, read and put in order. */
#ifndef FATHOM_RUN_TABLE_H
#define FATHOM_RUN_TABLE_H

#include "run_folder.h"

struct run_row {
    char *folder;
    struct run_view view;
};

struct run_table {
    struct run_row *rows;
    size_t count, capacity;
};

/* Adds the run in the folder, or where it has none all runs below it, three folders deep: a folder of runs, or a
 * sweep's. ERROR_INPUT when there is none. */
bool run_table_add(struct run_table *table, const char *folder, struct error *err);
/* Fewest errors in a test first, then the lowest loss; what is not known comes last. */
void run_table_sort(struct run_table *table);
/* Takes a zeroed object. */
void run_table_finish(struct run_table *table);

#endif
