/* `fathom top --batch`: the op table and the run's state for scripts. */
#ifndef FATHOM_TOP_BATCH_H
#define FATHOM_TOP_BATCH_H

#include "dashboard.h"

bool batch_print_json(const struct dashboard *dashboard, const struct rollup *rollup, struct error *err);
bool batch_print_csv(const struct dashboard *dashboard, const struct rollup *rollup);

#endif
