/* A device that computes while its host does other things, without one: wraps a backend of virtual devices.
 *
 * What goes to a stream is queued, and a worker of each device runs the queues in a seeded random order, as late as events
 * allow; recordings are replayed in a random order that their events allow. Vector clocks say for every access whether it
 * has an ordering edge from the accesses before it that it conflicts with, whatever order it happened to be run in. What a
 * recording forbids fails. Failures and hangs come on demand. One stand-in at a time. */
#ifndef FATHOM_STANDIN_H
#define FATHOM_STANDIN_H

#include "backend.h"

struct standin_options {
    const struct backend *real;
    uint64_t seed;
    bool recordings, pinned; /* whether it has these slots */
    uint64_t fail_call;      /* the n-th call that can fail, of all devices, does; 0 = none */
    uint64_t fail_command;   /* the n-th command that is run fails */
    uint64_t hang_command;   /* the n-th command that is run never ends */
    uint64_t drop_wait;      /* the n-th event_wait does nothing */
    uint64_t spoil;          /* so many recordings are spoilt by a launch, one here, one there */
};

struct standin_report {
    char violation[512]; /* the first rule that was broken; "" = none */
    uint64_t calls, commands, waits, replays, recordings, spoilt;
    uint64_t most_ahead; /* steps whose set_step was queued while that of an earlier one had not been run */
    uint64_t live;       /* objects that were not given back */
};

const struct backend *standin_begin(const struct standin_options *options);
struct standin_report standin_end(void);

#endif
