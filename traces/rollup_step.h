/* What a roll-up keeps of a step and of a counter; also in files (past.h). */
#ifndef FATHOM_ROLLUP_STEP_H
#define FATHOM_ROLLUP_STEP_H

#include "sink.h"

struct rollup_step {
    uint64_t step;                   /* from 1 */
    uint64_t begin_ns, end_ns;       /* of device 0; end 0 = still running */
    float metric[TRACE_METRICS];     /* NAN = not reported */
};

struct rollup_value {       /* of a counter */
    uint64_t count;         /* 0 = never read, and the rest says nothing */
    uint64_t last_ns;
    double last, least, most, sum;
};

#endif
