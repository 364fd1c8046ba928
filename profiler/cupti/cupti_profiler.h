/* Kernels of a GPU in a trace, each with the op that started it, under CUDA graphs too: stands between a run and its sink.
 *
 * While a step is timed (wants_ops of the sink behind it), CUPTI's records of kernels, copies and fills are switched on, and
 * the run is told not to time its ops itself: it goes on replaying its recordings. Records are read by a thread of their
 * own. Whatever fails switches the profiling off and leaves a mark; the run never notices. Needs no privilege.
 *
 * One at a time in a process. Nothing of CUPTI is loaded before. */
#ifndef FATHOM_CUPTI_PROFILER_H
#define FATHOM_CUPTI_PROFILER_H

#include <stdbool.h>
#include <stdint.h>

#include "errors.h"
#include "sink.h"

struct cupti_profiler;

/* Before the run makes its device: what is recorded before is nobody's. ERROR_FAILED when CUPTI cannot be loaded or another
 * profiler has it (one sentence); ERROR_MEMORY. The sink is borrowed until cupti_profiler_close. */
bool cupti_profiler_open(struct trace_sink *sink, struct cupti_profiler **profiler, struct error *err);
/* For the run. */
struct trace_sink *cupti_profiler_sink(struct cupti_profiler *profiler);

struct cupti_profiler_report {
    uint64_t records, unattributed, timeless; /* of kernels, copies and fills */
    uint64_t dropped;                         /* that CUPTI had no room for */
    char fault[256];                          /* why it was switched off; "" = it was not */
};
/* After the run's last report, while its device is there still: reads what is left and gives CUPTI back. Takes NULL. report
 * may be NULL. */
void cupti_profiler_close(struct cupti_profiler *profiler, struct cupti_profiler_report *report);

#endif
