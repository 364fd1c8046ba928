/* `fathom train --trace`: the file that a run reports to. */
#ifndef FATHOM_TRAIN_TRACE_H
#define FATHOM_TRAIN_TRACE_H

#include "train_command.h"

/* The file of a rank's trace, where that of rank 0 is named: run.rank1.trace for run.trace, into out. */
bool train_trace_name(const char *trace, uint32_t rank, char out[TRAIN_PATH], struct error *err);
/* Each rank has a trace of its own. */
bool train_trace_choose(struct train_command *c, struct error *err);
/* A trace is of as many devices as its run began with: those that are there, of a run of so many, get names of their own,
 * run.trace.of-4-ranks. */
void train_trace_put_aside(struct train_command *c, size_t devices);
/* Called once the trace that is there is known to be one that the run can go on in, before anything of it is changed. */
typedef bool train_trace_begin(struct train_command *c, const struct plan *plan, struct error *err);
/* Runs begin, then train(context, sink, err) with the sink that its reports go to; NULL where no trace is asked for. What an earlier run
 * left in the file is replaced, or gone on with. */
bool train_trace_run(struct train_command *c, const struct plan *plan, train_trace_begin *begin,
                     bool (*train)(void *context, struct trace_sink *sink, struct error *err), void *context,
                     struct error *err);

#endif
