/* A profiling session stands between a run and its trace: it times some steps op by op and leaves the others alone,
 * samples the process's memory and processors, and measures what the timing itself costs. A failure switches that part off and leaves
 * a mark; the run never notices. */
#ifndef FATHOM_SESSION_H
#define FATHOM_SESSION_H

#include "errors.h"
#include "sink.h"
#include "viewer.h"

struct session;

#define SESSION_EVERY 8 /* where timing is dear, a step in eight is timed op by op, if not told otherwise */

struct session_options {
    uint64_t every; /* time 1 step of so many. 1 still leaves one in 32 alone, to compare. 0 = every step where a guess
                     * from the number of ops and the first steps' times says that it costs under half of most_cost, up
                     * to SESSION_EVERY elsewhere */
    double most_cost; /* a fraction of the run: half as many steps are timed when the measured cost is surely above it, or
                       * the noise of steps hides that it is below; 0 = never mind the cost */
    bool overlap;     /* steps may be in flight together where none is timed */
    uint64_t memory_ms;     /* between two looks at the process's memory; 0 = 250, at least 200 */
    uint32_t memory_device; /* whose SAMPLE_PROCESS they are reported as */
    struct trace_views (*views)(void *context); /* who looks at the trace: asked at each look at memory; NULL = nobody */
    void *views_context;
};

/* Reports go on to `sink`, which must stay valid until session_close. ERROR_MEMORY. */
bool session_open(struct trace_sink *sink, const struct session_options *options, struct session **session,
                  struct error *err);
/* For the run; valid until session_close. */
struct trace_sink *session_sink(struct session *session);
/* Times the steps [first, first + count) whatever the window says; the latest call holds. Any thread. When the run comes
 * to them there is a mark, and COUNTER_RECORDED_UNTIL is the last one's number. */
void session_ask(struct session *session, uint64_t first, uint64_t count);
/* Times the next `count` steps that are not submitted yet, as soon as the run submits one more. Any thread, and signal
 * handlers. */
void session_ask_next(struct session *session, uint64_t count);
#define SESSION_ASKED 64 /* steps, where nobody says how many */
/* The cost of timing, as a fraction of the run (timing_cost.h), or NAN while too few steps were compared. With it goes
 * COUNTER_COST_MOST: what it is at most. */
double session_cost(const struct session *session);
/* After the run's last report. Takes NULL. */
void session_close(struct session *session);

#endif
