/* What a GPU's kernels say of its ops, so that it holds for deeper nets: each op's share of kernels that do the work of
 * several, the gaps after kernels, and what a step takes whatever the net. */
#ifndef FATHOM_COST_KERNELS_H
#define FATHOM_COST_KERNELS_H

#include "cost_table.h"

/* Of a run that tells kernels; the names in the samples stay the run's. */
struct cost_kernels {
    struct cost_sample *samples; /* as many as the run's, seconds with the gaps after their kernels */
    double step_seconds;         /* of a step, beside ops and gaps */
};

/* Ends with cost_kernels_finish. ERROR_MEMORY, then the object stays zeroed. */
bool cost_kernels_divide(const struct cost_run *run, struct cost_kernels *kernels, struct error *err);
void cost_kernels_finish(struct cost_kernels *kernels);

#endif
