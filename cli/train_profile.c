#include "train_profile.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "nvml_sampler.h"
#include "printable.h"
#include "record_signal.h"
#include "session.h"
#include "units.h"
#ifdef FATHOM_CUPTI
#include "cupti_profiler.h"
#endif

#define MOST_TRACE_COST 0.005 /* of the run, for timing ops, where it can be measured */

static bool parse_step(const char **text, uint64_t *step)
{
    char *end;
    if (**text < '0' || **text > '9') return false;
    *step = strtoull(*text, &end, 10);
    *text = end;
    return *step > 0 && *step < UINT64_MAX;
}

bool train_profile_steps(const char *text, uint64_t *first, uint64_t *count, struct error *err)
{
    const char *at = text;
    uint64_t last = 0;
    *first = *count = 0;
    if (!text) return true;
    bool ok = parse_step(&at, first);
    last = *first;
    if (ok && *at == ':') {
        at++;
        ok = parse_step(&at, &last);
    }
    if (!ok || *at || last < *first)
        return error_set(err, ERROR_INPUT, "--record-steps: '%s' is not FIRST:LAST, steps counted from 1", text);
    *count = last - *first + 1;
    *first -= 1; /* the run counts from 0 */
    return true;
}

/* ---- GPUs ---- */

#ifdef FATHOM_CUPTI
static void say_kernels(const struct cupti_profiler_report *r)
{
    char all[UNITS_TEXT], some[UNITS_TEXT];
    if (r->fault[0]) fprintf(stderr, "fathom train: kernels are not all in the trace: %s\n", PRINTABLE(r->fault));
    if (r->dropped)
        fprintf(stderr, "fathom train: CUPTI dropped %s of %s records of kernels\n",
                units_format_count(r->dropped, some), units_format_count(r->records + r->dropped, all));
    if (r->timeless)
        fprintf(stderr, "fathom train: %s of %s kernels came without times\n", units_format_count(r->timeless, some),
                units_format_count(r->records, all));
}

/* Where it cannot be had, ops are timed by the device's events, as they are without it. */
static bool run_on_gpu(struct trace_sink *sink, bool (*train)(void *, struct trace_sink *, struct error *),
                       void *context, struct error *err)
{
    struct cupti_profiler *profiler;
    struct error fault = {0};
    if (!cupti_profiler_open(sink, &profiler, &fault)) {
        fprintf(stderr, "fathom train: kernels are not recorded, ops are timed instead: %s\n", PRINTABLE(fault.text));
        return train(context, sink, err);
    }
    struct cupti_profiler_report report;
    bool ok = train(context, cupti_profiler_sink(profiler), err);
    cupti_profiler_close(profiler, &report);
    say_kernels(&report);
    return ok;
}
#else
static bool run_on_gpu(struct trace_sink *sink, bool (*train)(void *, struct trace_sink *, struct error *),
                       void *context, struct error *err)
{
    return train(context, sink, err);
}
#endif

static bool is_watched(void *context) { return trace_writer_views(context).watched; }

/* Their load, power and clocks beside it; while somebody looks at the trace, what in them works. */
static bool run_watched(const struct train_command *c, struct trace_writer *trace, struct trace_sink *sink,
                        bool (*train)(void *, struct trace_sink *, struct error *), void *context, struct error *err)
{
    struct nvml_sampler *sampler;
    const struct nvml_sampler_options options = {
        .first_device = c->part.first, .watched = is_watched, .watched_context = trace};
    TRY(nvml_sampler_open(sink, c->near, c->looked ? c->part.count : 0, &options, &sampler, err));
    bool ok = run_on_gpu(sink, train, context, err);
    nvml_sampler_close(sampler);
    return ok;
}

static struct trace_views find_views(void *context) { return trace_writer_views(context); }

bool train_profile_run(const struct train_command *c, struct trace_writer *trace,
                       bool (*train)(void *context, struct trace_sink *sink, struct error *err), void *context,
                       struct error *err)
{
    struct session *session;
    const struct session_options options = {.every = c->time_every,
                                            .most_cost = c->time_every ? 0 : MOST_TRACE_COST,
                                            .overlap = !c->runs_on->in_host_memory,
                                            .views = find_views,
                                            .views_context = trace};
    TRY(session_open(trace_writer_sink(trace), &options, &session, err));
    record_signal_catch(session);
    if (c->recorded_count > 0) session_ask(session, c->recorded_first, c->recorded_count);
    struct trace_sink *sink = session_sink(session);
    bool ok = c->runs_on->in_host_memory ? train(context, sink, err) : run_watched(c, trace, sink, train, context, err);
    record_signal_leave();
    session_close(session);
    return ok;
}
