/* `fathom top --batch`: the op table, the kernel table and the run's state for scripts. */
#ifndef FATHOM_TOP_BATCH_H
#define FATHOM_TOP_BATCH_H

#include "dashboard.h"
#include "json.h"

/* COUNTER_GPU_THROTTLED in words. */
json_t *batch_held_back(double bits);
bool batch_print_json(struct dashboard *dashboard, const struct rollup *rollup, struct error *err);
/* The table that is shown: of kernels in their view, else of ops. */
bool batch_print_csv(struct dashboard *dashboard, const struct rollup *rollup, struct error *err);

#endif
