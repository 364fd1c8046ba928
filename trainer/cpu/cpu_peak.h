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

#define CPU_PEAK_LEAST (1ull << 20)
#define CPU_PEAK_QUICK (64ull << 20)  /* some tens of milliseconds */
#define CPU_PEAK_LONG  (256ull << 20)

/* The best of several tries on `threads` threads (0 = all), over `memory` bytes, whole MiB, which it takes meanwhile; by the time
 * that they had processors, so that it may be called while others want them, but not beside other threads of this process
 * that compute. They are a crew of their own, which has ended when it returns. ERROR_MEMORY,
 * also where no thread can be started. */
bool cpu_peak_measure(uint32_t threads, uint64_t memory, struct cpu_peak *peak, struct error *err);

#endif
