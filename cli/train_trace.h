/* `fathom train --trace`: the file that a run reports to. */
#ifndef FATHOM_TRAIN_TRACE_H
#define FATHOM_TRAIN_TRACE_H

#include "train_command.h"

/* Each rank has a trace of its own: rank 0 the file that is named, rank 1 run.rank1.trace for run.trace. */
bool train_trace_choose(struct train_command *c, struct error *err);
/* Runs train(context, sink, err) with the sink that its reports go to; NULL where no trace is asked for. What an earlier run
 * left in the file is replaced, or gone on with. */
bool train_trace_run(struct train_command *c, const struct plan *plan,
                     bool (*train)(void *context, struct trace_sink *sink, struct error *err), void *context,
                     struct error *err);

#endif
