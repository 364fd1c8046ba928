/* A sink that passes every call on to another one: what stands between a run and its trace starts from it and replaces the
 * calls that it has something to say about. */
#ifndef FATHOM_SINK_FORWARD_H
#define FATHOM_SINK_FORWARD_H

#include "sink.h"

/* The first member of whatever is the context of such a sink. */
struct sink_forward {
    struct trace_sink *next; /* borrowed */
};

/* A sink whose context is `forward` and whose every call goes on to forward->next, as it came, where next has it. */
struct trace_sink sink_forward_to(struct sink_forward *forward);

#endif
