/* The lines of the op table and of the kernel table: filtered, grouped, sorted. */
#ifndef FATHOM_ROWS_H
#define FATHOM_ROWS_H

#include "dashboard.h"

bool rows_update(struct dashboard *dashboard, const struct rollup *rollup, struct error *err);
bool rows_update_kernels(struct dashboard *dashboard, const struct rollup *rollup, struct error *err);
void rows_finish(struct row_list *list);

#endif
