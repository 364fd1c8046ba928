#include "sink_forward.h"

static const struct trace_sink *next_of(void *context) { return ((struct sink_forward *)context)->next; }

static void pass_run(void *context, const struct trace_run *run)
{
    const struct trace_sink *next = next_of(context);
    if (next->run) next->run(next->context, run);
}

static void pass_device(void *context, const struct trace_device *device)
{
    const struct trace_sink *next = next_of(context);
    if (next->device) next->device(next->context, device);
}

static void pass_op_table(void *context, const struct trace_op *ops, size_t count)
{
    const struct trace_sink *next = next_of(context);
    if (next->op_table) next->op_table(next->context, ops, count);
}

static void pass_origin(void *context, const struct trace_origin *origin)
{
    const struct trace_sink *next = next_of(context);
    if (next->origin) next->origin(next->context, origin);
}

static void pass_hardware(void *context, uint32_t device, const char *slot)
{
    const struct trace_sink *next = next_of(context);
    if (next->hardware) next->hardware(next->context, device, slot);
}

static void pass_peaks(void *context, uint32_t device, double flops, double bytes)
{
    const struct trace_sink *next = next_of(context);
    if (next->peaks) next->peaks(next->context, device, flops, bytes);
}

static void pass_tensor_table(void *context, uint32_t device, uint32_t like, const struct trace_tensor *tensors,
                              size_t count)
{
    const struct trace_sink *next = next_of(context);
    if (next->tensor_table) next->tensor_table(next->context, device, like, tensors, count);
}

static void pass_unit_table(void *context, uint32_t device, const struct trace_unit *units, size_t count)
{
    const struct trace_sink *next = next_of(context);
    if (next->unit_table) next->unit_table(next->context, device, units, count);
}

static void pass_norms(void *context, uint32_t device, uint64_t step, const float *norms, size_t units, uint64_t ns)
{
    const struct trace_sink *next = next_of(context);
    if (next->norms) next->norms(next->context, device, step, norms, units, ns);
}

static void pass_clock_pair(void *context, uint32_t device, uint64_t ns, uint64_t other_ns)
{
    const struct trace_sink *next = next_of(context);
    if (next->clock_pair) next->clock_pair(next->context, device, ns, other_ns);
}

static void pass_step_begin(void *context, uint32_t device, uint64_t step, uint64_t ns)
{
    const struct trace_sink *next = next_of(context);
    if (next->step_begin) next->step_begin(next->context, device, step, ns);
}

static void pass_step_end(void *context, uint32_t device, uint64_t step, uint64_t ns)
{
    const struct trace_sink *next = next_of(context);
    if (next->step_end) next->step_end(next->context, device, step, ns);
}

static bool pass_wants_ops(void *context, uint64_t step)
{
    const struct trace_sink *next = next_of(context);
    return !next->wants_ops || next->wants_ops(next->context, step);
}

static bool pass_records_step(void *context, uint64_t step)
{
    const struct trace_sink *next = next_of(context);
    return next->records_step && next->records_step(next->context, step);
}

static void pass_step_submit(void *context, uint64_t step)
{
    const struct trace_sink *next = next_of(context);
    if (next->step_submit) next->step_submit(next->context, step);
}

static void pass_launch_begin(void *context, uint32_t device, uint32_t id, const char *pass)
{
    const struct trace_sink *next = next_of(context);
    if (next->launch_begin) next->launch_begin(next->context, device, id, pass);
}

static void pass_launch_end(void *context, uint32_t device)
{
    const struct trace_sink *next = next_of(context);
    if (next->launch_end) next->launch_end(next->context, device);
}

static void pass_op_time(void *context, uint32_t device, uint32_t id, uint64_t begin_ns, uint64_t end_ns)
{
    const struct trace_sink *next = next_of(context);
    if (next->op_time) next->op_time(next->context, device, id, begin_ns, end_ns);
}

static void pass_metric(void *context, enum trace_metric metric, uint64_t step, double value)
{
    const struct trace_sink *next = next_of(context);
    if (next->metric) next->metric(next->context, metric, step, value);
}

static void pass_memory(void *context, uint32_t device, enum trace_sample kind, uint64_t bytes, uint64_t ns)
{
    const struct trace_sink *next = next_of(context);
    if (next->memory) next->memory(next->context, device, kind, bytes, ns);
}

static void pass_gap(void *context, uint32_t device, enum trace_gap gap, uint64_t begin_ns, uint64_t end_ns)
{
    const struct trace_sink *next = next_of(context);
    if (next->gap) next->gap(next->context, device, gap, begin_ns, end_ns);
}

static void pass_mark(void *context, uint64_t ns, const char *text)
{
    const struct trace_sink *next = next_of(context);
    if (next->mark) next->mark(next->context, ns, text);
}

static void pass_kernel_table(void *context, const struct trace_kernel *kernels, size_t count)
{
    const struct trace_sink *next = next_of(context);
    if (next->kernel_table) next->kernel_table(next->context, kernels, count);
}

static void pass_kernels(void *context, uint32_t device, const struct trace_kernel_time *times, size_t count)
{
    const struct trace_sink *next = next_of(context);
    if (next->kernels) next->kernels(next->context, device, times, count);
}

static void pass_counter_table(void *context, const struct trace_counter *counters, size_t count)
{
    const struct trace_sink *next = next_of(context);
    if (next->counter_table) next->counter_table(next->context, counters, count);
}

static void pass_counter(void *context, uint32_t device, uint32_t counter, double value, uint64_t ns)
{
    const struct trace_sink *next = next_of(context);
    if (next->counter) next->counter(next->context, device, counter, value, ns);
}

static void pass_span(void *context, uint32_t device, enum trace_host what, uint64_t begin_ns, uint64_t end_ns)
{
    const struct trace_sink *next = next_of(context);
    if (next->span) next->span(next->context, device, what, begin_ns, end_ns);
}

static void pass_lost(void *context, uint32_t device, enum trace_loss what, uint64_t count, uint64_t ns)
{
    const struct trace_sink *next = next_of(context);
    if (next->lost) next->lost(next->context, device, what, count, ns);
}

#define FORWARDED 28
_Static_assert(sizeof(struct trace_sink) == (1 + FORWARDED) * sizeof(void *), "a call of the sink is not passed on");

struct trace_sink sink_forward_to(struct sink_forward *forward)
{
    return (struct trace_sink){.context = forward,
                               .run = pass_run,
                               .device = pass_device,
                               .op_table = pass_op_table,
                               .origin = pass_origin,
                               .hardware = pass_hardware,
                               .peaks = pass_peaks,
                               .tensor_table = pass_tensor_table,
                               .unit_table = pass_unit_table,
                               .norms = pass_norms,
                               .clock_pair = pass_clock_pair,
                               .step_begin = pass_step_begin,
                               .step_end = pass_step_end,
                               .wants_ops = pass_wants_ops,
                               .records_step = pass_records_step,
                               .step_submit = pass_step_submit,
                               .launch_begin = pass_launch_begin,
                               .launch_end = pass_launch_end,
                               .op_time = pass_op_time,
                               .metric = pass_metric,
                               .memory = pass_memory,
                               .gap = pass_gap,
                               .mark = pass_mark,
                               .kernel_table = pass_kernel_table,
                               .kernels = pass_kernels,
                               .counter_table = pass_counter_table,
                               .counter = pass_counter,
                               .span = pass_span,
                               .lost = pass_lost};
}
