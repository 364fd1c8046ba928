/* What a trace holds already, for a run that is resumed and goes on in it. */
#ifndef FATHOM_HISTORY_H
#define FATHOM_HISTORY_H

#include "errors.h"
#include "sink.h"

struct trace_history;

/* Reads the whole file. ERROR_INPUT when it is missing or not a trace. Closed by trace_history_close, which takes NULL. */
bool trace_history_read(const char *path, struct trace_history **history, struct error *err);
void trace_history_close(struct trace_history *history);

/* A sink to which the resumed run is described: its run, devices and op tables are compared with the file's. */
struct trace_sink *trace_history_sink(struct trace_history *history);
/* After that: false (ERROR_INPUT) with what differs when the file is of another run. A file that says nothing of its run
 * agrees with any. Host, process, command and number of steps may differ. */
bool trace_history_agrees(const struct trace_history *history, struct error *err);

/* The number of the last step that the file tells of, from 1; 0 = none. */
uint64_t trace_history_steps(const struct trace_history *history);

#endif
