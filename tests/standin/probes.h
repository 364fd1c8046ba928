/* Kernels of the stand-in's own tests. */
#ifndef FATHOM_STANDIN_PROBES_H
#define FATHOM_STANDIN_PROBES_H

#include "host_kernels.h"

/* "probe_add_one": to[i] = from[i] + 1, in order. */
struct probe_arguments {
    uint32_t *to;
    const uint32_t *from;
    uint32_t count;
};

#endif
