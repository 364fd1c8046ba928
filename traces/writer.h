/* Writes a trace file (traces/format.h) from a run's reports. */
#ifndef FATHOM_WRITER_H
#define FATHOM_WRITER_H

#include "errors.h"
#include "history.h"
#include "sink.h"
#include "viewer.h"

struct trace_writer;

struct trace_writer_options {
    uint64_t most_bytes;      /* of op detail on disk, as a ring of segments; 0 = 256 MiB */
    uint32_t seal_ms;         /* a block is on disk at most this long after its first event; 0 = 100 */
    struct trace_history *history; /* of this file, to go on in it: used up, but its owner's to close. NULL = a new file */
    uint64_t done;            /* with a history: steps before this part; what the file tells of later ones holds no longer */
    uint64_t queue_bytes;     /* of the reports of each thread that wait for the writer; 0 = 768 KiB. What does not fit
                               * while the writer's thread waits for a processor is dropped */
};

struct trace_writer_stats {
    uint64_t events, dropped, bytes, blocks;
    uint64_t queue_dropped;   /* of `dropped`, what a longer queue would have held */
    uint64_t queue_bytes;     /* what one thread's queue holds */
    uint64_t cpu_ns;          /* of the writer's own thread and of the calls into the sink */
    bool failed;              /* the disk is full or gone: the trace ends here, the run goes on */
    char failure[256];
};

/* Creates the file at once (ERROR_INPUT when it cannot), or goes on after the last whole block of the file whose history
 * is given. Times are told on: what lies between the two parts of a run takes none. The sink is valid until
 * trace_writer_close. */
bool trace_writer_open(const char *path, const struct trace_writer_options *options, struct trace_writer **writer,
                       struct error *err);
struct trace_sink *trace_writer_sink(struct trace_writer *writer);
void trace_writer_stats(const struct trace_writer *writer, struct trace_writer_stats *stats);
/* Who looks at the file now. Any thread, until the writer is closed. */
struct trace_views trace_writer_views(const struct trace_writer *writer);
/* Flushes and ends the trace; the statistics are final then. What is reported later is lost. */
void trace_writer_stop(struct trace_writer *writer);
/* trace_writer_stop if that was not called, and closes; takes NULL. */
void trace_writer_close(struct trace_writer *writer);

#endif
