/* How near ops come to what their device does at most: S. Williams, A. Waterman, D. Patterson, "Roofline", CACM 52(4), 2009. */
#ifndef FATHOM_OP_BOUNDS_H
#define FATHOM_OP_BOUNDS_H

#include "summary.h"

enum roofline_bound { ROOFLINE_UNKNOWN, ROOFLINE_FLOPS, ROOFLINE_BYTES };

struct roofline {
    double flops_per_second, bytes_per_second; /* NAN = unknown, or none */
    enum roofline_bound bound;                 /* which of the two takes longer at the device's peaks */
    double share;                              /* that time over the measured one; NAN = unknown. Above 1: from caches */
};

/* Of a row whose ops take `step_ns` in a step of one device, against that of device 0. Unknown where a peak that may count
 * is. */
struct roofline roofline_of(const struct rollup *rollup, const struct summary_row *row, double step_ns);

#endif
