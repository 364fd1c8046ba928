/* What a run reports to its sink. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "process.h"
#include "train_private.h"

void run_report_gap(const struct training *run, enum trace_gap kind, uint64_t begin_ns)
{
    if (!run->sink || !run->sink->gap) return;
    uint64_t end = clock_now_ns();
    for (uint32_t i = 0; i < run->device_count; i++) run->sink->gap(run->sink->context, i, kind, begin_ns, end);
}

void run_report_host(const struct training *run, uint32_t rank, enum trace_host what, uint64_t begin_ns)
{
    if (run->sink && run->sink->span) run->sink->span(run->sink->context, rank, what, begin_ns, clock_now_ns());
}

void run_report_host_of_all(const struct training *run, enum trace_host what, uint64_t begin_ns)
{
    for (uint32_t i = 0; i < run->device_count; i++) run_report_host(run, i, what, begin_ns);
}

/* Of the step that ended last, by the number that the executor gave it: the first is 0. */
void run_report_metric(const struct training *run, enum trace_metric metric, double value)
{
    uint64_t step = run->done > 0 ? run->done - 1 : 0;
    if (run->sink && run->sink->metric) run->sink->metric(run->sink->context, metric, step, value);
}

/* The command, and what it does not say of the model's form, which may be in the plan alone. */
static void describe_command(const struct plan *plan, const struct train_options *options, struct text *command)
{
    struct text form = {0};
    model_add_flags(&plan->spec, &form);
    text_add(command, "%s", options->command ? options->command : "");
    if (form.length > 0 && !form.failed && !strstr(command->failed ? "" : command->bytes, form.bytes))
        text_add(command, "  # %s%s", plan->spec.name, form.bytes);
    text_finish(&form);
}

static void report_run(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                       const struct train_part *part, struct trace_sink *sink)
{
    char host[256] = "";
    struct text command = {0};
    if (!sink || !sink->run) return;
    describe_command(plan, options, &command);
    gethostname(host, sizeof host - 1);
    struct trace_run report = {.model = plan->spec.name,
                               .dataset = dataset_kind_name(plan->spec.dataset),
                               .backend = backend->name,
                               .host = host,
                               .command = command.failed ? "" : command.bytes,
                               .batch = plan->batch,
                               .iterations = options->iterations,
                               .parameters = plan->variants[0].graph->parameter_elements,
                               .devices = part->count,
                               .pid = (uint64_t)getpid(),
                               .pid_space = process_space()};
    sink->run(sink->context, &report);
    text_finish(&command);
}

bool train_describe(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                    struct trace_sink *sink, struct error *err)
{
    struct train_part part = train_part(plan, options->ranks);
    report_run(plan, backend, options, &part, sink);
    for (uint32_t i = 0; i < part.count; i++) TRY(executor_describe(plan, part.first + i, part.first, sink, err));
    return true;
}

/* Of GPUs as the plan has it from the catalogue, of this host as measured: before anything is in memory, since that
 * takes some itself, and over no more bytes than the arena has, so that no run takes more than its plan. */
static void report_peaks(const struct training *run, const struct train_part *part)
{
    struct device_peaks here = {0};
    if (!run->sink || !run->sink->peaks) return;
    uint64_t arena = run->plan->variants[run->plan->devices[part->first].variant].arena_bytes;
    bool measured =
        run->backend->measure_peaks && run->backend->measure_peaks(train_device_threads(part), arena, &here);
    for (uint32_t i = 0; i < part->count; i++) {
        const struct device_spec *spec = &run->plan->devices[part->first + i].spec;
        double flops = run->plan->dtype == DTYPE_F32 ? spec->flops_f32 : spec->flops_f16;
        if (measured)
            run->sink->peaks(run->sink->context, i, here.flops, here.bytes);
        else
            run->sink->peaks(run->sink->context, i, flops, spec->bandwidth);
    }
}

/* Which process of the run this one is, and which devices it drives. */
static void report_origin(const struct training *run)
{
    struct ranks_place place = ranks_place(run->options->ranks);
    struct trace_origin origin = {.rank = place.rank,
                                  .ranks = place.size,
                                  .host = place.host,
                                  .first_device = run->first_device,
                                  .devices = run->device_count};
    if (run->sink && run->sink->origin) run->sink->origin(run->sink->context, &origin);
}

void run_report_mark(const struct training *run, const char *text)
{
    if (run->sink && run->sink->mark) run->sink->mark(run->sink->context, clock_now_ns(), text);
}

void run_report_resumed(const struct training *run)
{
    char text[64];
    snprintf(text, sizeof text, "resumed after step %" PRIu64, run->done);
    run_report_mark(run, text);
}

void run_report_begin(const struct training *run, const struct train_part *part)
{
    report_run(run->plan, run->backend, run->options, part, run->sink);
    report_origin(run);
    report_peaks(run, part);
}
