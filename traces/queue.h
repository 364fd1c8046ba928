/* Reports on their way from the run's threads to the writer's: a ring each for as many threads as a run has, so that a
 * report takes an uncontended lock and a copy. Nothing here waits: a thread that finds its ring taken tries another, a
 * full ring drops. */
#ifndef FATHOM_QUEUE_H
#define FATHOM_QUEUE_H

#include <stdatomic.h>

#include "codec.h"

/* More than devices and the threads beside them. With fewer, threads that lose the processor while they hold a ring can
 * hold them all. A ring takes memory when a thread first reports. */
#define QUEUE_RINGS (2 * TRACE_MOST_DEVICES)
#define QUEUE_BYTES (768u << 10) /* per ring: 0.3 s of the busiest device seen (100,000 ops a second) */

struct queue_ring {
    atomic_flag taken;          /* by the reporting thread */
    struct trace_event *events; /* allocated by its first report */
    _Atomic uint64_t head;      /* reports ever put in: by reporting threads, under `taken` */
    uint64_t calls, cost_ns;    /* of a sample of the calls; under `taken` */
    char apart[64];             /* the two sides write to lines of their own */
    _Atomic uint64_t tail;      /* taken out: by the writer's thread */
    char apart_too[64];
};

struct queue {
    struct queue_ring rings[QUEUE_RINGS];
    uint64_t capacity; /* events in a ring, a power of two */
    _Atomic uint64_t dropped;
    _Atomic uint64_t cost_ns; /* estimate of the time reporting threads spent here */
};

/* `bytes` of each ring, made a number of events that is a power of two; 0 = QUEUE_BYTES. */
void queue_init(struct queue *queue, uint64_t bytes);
void queue_finish(struct queue *queue);

enum queue_result {
    QUEUE_TAKEN,
    QUEUE_HALF_FULL /* taken; time to wake the reader */,
    QUEUE_DROPPED /* and counted */
};
enum queue_result queue_put(struct queue *queue, const struct trace_event *event);

/* What each ring held when it was asked: everything that a thread did before those reports is then visible. */
struct queue_view {
    uint64_t head[QUEUE_RINGS];
};
void queue_look(struct queue *queue, struct queue_view *view);
/* Hands each event of the view to take(), ring by ring in order, and frees its place. */
void queue_drain(struct queue *queue, const struct queue_view *view,
                 void (*take)(void *context, const struct trace_event *event), void *context);

#endif
