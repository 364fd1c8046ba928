/* Inside the trace room: a writer, between the threads that report (writer_reports.c) and its own (writer.c). */
#ifndef FATHOM_WRITER_PRIVATE_H
#define FATHOM_WRITER_PRIVATE_H

#include <pthread.h>
#include <semaphore.h>

#include "encoder.h"
#include "queue.h"
#include "writer.h"

enum { CHANGED = 1, KERNELS_CHANGED = 2 };

struct trace_writer {
    struct trace_sink sink;
    struct queue queue;
    uint64_t most_wait_ns; /* between two drains */
    pthread_t thread;
    sem_t wake;
    _Atomic bool stop;
    bool stopped;
    _Atomic uint64_t bad_reports; /* of devices and ops that the format has no place for */
    _Atomic uint64_t batch_bytes; /* of kernels on their way */

    pthread_mutex_t tables_lock; /* taken by the few reports with names, and while they are written out */
    struct tables tables;
    _Atomic unsigned tables_changed; /* CHANGED, KERNELS_CHANGED */

    pthread_mutex_t stats_lock;
    struct trace_writer_stats stats;

    struct trace_output output; /* the rest is the writer's thread's */
    struct encoder encoder;
    uint64_t queue_dropped;
};

/* Fills the sink. */
void trace_writer_take_reports(struct trace_writer *writer);

#endif
