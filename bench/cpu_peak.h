/* What a processor does at most, for rooflines. */
#ifndef FATHOM_CPU_PEAK_H
#define FATHOM_CPU_PEAK_H

#include <stdbool.h>
#include <stdint.h>

#include "errors.h"

struct cpu_peak {
    double macs;  /* multiplications and additions in f32, a second, as fused multiply-adds of the widest vectors */
    double bytes; /* of memory read, a second */
};

/* The best of several tries on `threads` threads (0 = all); with one by the time that it had a processor. */
bool cpu_peak_measure(uint32_t threads, struct cpu_peak *peak, struct error *err);

#endif
