/* One use of a device: whether it can be had, what the sink knows of it, and its end. */
#include <inttypes.h>

#include "execute_private.h"

bool executor_usable(const struct executor *ex, struct error *err)
{
    if (ex->lost && err) *err = ex->first;
    return !ex->lost;
}

/* The end of each use of the device, whose error went to ex->first. */
bool executor_settle(struct executor *ex, bool ok, struct error *err)
{
    ex->lost = !ok;
    if (!ok && err) *err = ex->first;
    return ok;
}

bool executor_wait(struct executor *ex, struct event *event, uint64_t number, struct error *err)
{
    /* In the first step devices load what the others have loaded already. */
    uint64_t each = ex->collected > 0 ? ex->options.wait_limit_ns : ex->options.meet_limit_ns;
    uint64_t limit = each ? each : UINT64_MAX;
    bool done = false;
    TRY(ex->backend->event_synchronize(event, limit, &done, err));
    if (done) return true;
    return error_set(err, ERROR_LATE, "device %u has not finished step %" PRIu64 " within %g s", ex->options.device,
                     number + 1, (double)limit * 1e-9);
}

void executor_launch_begin(const struct executor *ex, uint32_t id, const char *pass)
{
    const struct trace_sink *sink = ex->options.sink;
    if (sink && sink->launch_begin) sink->launch_begin(sink->context, ex->options.member, id, pass);
}

void executor_launch_end(const struct executor *ex)
{
    const struct trace_sink *sink = ex->options.sink;
    if (sink && sink->launch_end) sink->launch_end(sink->context, ex->options.member);
}

void executor_own_begin(const struct executor *ex, const char *pass) { executor_launch_begin(ex, TRACE_OF_RUN, pass); }

void executor_own_end(const struct executor *ex) { executor_launch_end(ex); }
