/* What a roll-up keeps of a step and of a counter; also in files (past.h). */
#ifndef FATHOM_ROLLUP_STEP_H
#define FATHOM_ROLLUP_STEP_H

#include <string.h>

#include "sink.h"

/* A step's wall time, each nanosecond once: the first that holds. */
enum step_part {
    PART_KERNELS,    /* a kernel runs (where none are known: an op) */
    PART_COPY,       /* a copy runs */
    PART_DATA,       /* the host loads images */
    PART_LAUNCH,     /* the host launches, or nothing of the step has begun on the device */
    PART_SYNC,       /* all of the step has ended on the device, and the host has not seen it */
    PART_DEPENDENCY, /* between two kernels: what comes next waits for another stream, device or node */
    STEP_PARTS
};
const char *step_part_name(enum step_part part);
/* Whether an op of this pass moves bytes between a device and its host. */
static inline bool step_part_is_copy(const char *pass)
{
    return strcmp(pass, "offload") == 0 || strcmp(pass, "fetch") == 0;
}

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
