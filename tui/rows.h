/* The op table's lines: filtered, grouped, sorted. */
#ifndef FATHOM_ROWS_H
#define FATHOM_ROWS_H

#include "dashboard.h"

bool rows_update(struct dashboard *dashboard, const struct rollup *rollup, struct error *err);

#endif
