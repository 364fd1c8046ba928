/* Inside the trace room: what the writer takes over from a file that it goes on in. */
#ifndef FATHOM_HISTORY_PRIVATE_H
#define FATHOM_HISTORY_PRIVATE_H

#include "history.h"
#include "output.h"
#include "rollup_private.h"
#include "stream.h"
#include "tables.h"

struct history_ops {
    struct trace_op *ops; /* names are the stream's */
    size_t count, capacity;
};

struct trace_history {
    char *path;
    struct trace_stream *stream;
    struct trace_output_end end;
    struct tables tables; /* names with the file's numbers, and the run */
    struct history_ops devices[TRACE_MOST_DEVICES];
    struct trace_follower past; /* all but ops and kernels, rolled up */
    struct norm_store norms;
    uint64_t begun_ns; /* of the last part that was read */
    struct trace_sink sink;
    struct error difference; /* kind ERROR_NONE: none found yet */
};

#endif
