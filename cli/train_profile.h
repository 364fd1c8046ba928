/* What stands between a run and its trace: the session, and on GPUs their profiler. */
#ifndef FATHOM_TRAIN_PROFILE_H
#define FATHOM_TRAIN_PROFILE_H

#include "train_command.h"
#include "writer.h"

/* Steps counted from 1 that are timed whatever it costs: "100:120" or "100". True for NULL: none. */
bool train_profile_steps(const char *text, uint64_t *first, uint64_t *count, struct error *err);

/* Runs train(context, sink, err) with the sink that its reports go to, on their way to the trace. Meanwhile SIGUSR2 and who
 * looks at the trace may ask for steps to be recorded. */
bool train_profile_run(const struct train_command *c, struct trace_writer *trace,
                       bool (*train)(void *context, struct trace_sink *sink, struct error *err), void *context,
                       struct error *err);

#endif
