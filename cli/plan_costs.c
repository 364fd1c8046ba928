#include "plan_costs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backends.h"
#include "mem.h"
#include "plan_request.h"
#include "printable.h"
#include "rollup.h"
#include "summary.h"

/* What kernels add to what is said of an op: the sums over those that it owns, on all streams. */
static void add_kernels(const struct rollup *rollup, const struct rollup_op *op, double timed_steps,
                        struct cost_sample *sample)
{
    uint64_t started = 0, longest = 0;
    for (size_t i = 0; i < rollup->kernel_count; i++) {
        const struct rollup_kernel *kernel = &rollup->kernels[i];
        if (kernel->times.device != op->device || kernel->op != op->id) continue;
        started += kernel->times.count;
        if (kernel->times.total_ns > longest) sample->engine = kernel->name;
        if (kernel->times.total_ns > longest) longest = kernel->times.total_ns;
    }
    if (op->count > 0) sample->kernels = (double)started / (double)op->count;
    if (timed_steps > 0) sample->runs = (double)op->count / timed_steps;
}

/* The ops of device 0: on others the same ops run. */
static size_t fill_samples(const struct rollup *rollup, double timed_steps, struct cost_sample *samples)
{
    size_t count = 0;
    for (size_t i = 0; i < rollup->op_count; i++) {
        const struct rollup_op *op = &rollup->ops[i];
        if (op->device != 0 || !op->layer || !op->kind || !op->pass) continue;
        samples[count] = (struct cost_sample){.layer = op->layer,
                                              .kind = op->kind,
                                              .pass = op->pass,
                                              .flops = op->flops,
                                              .bytes_moved = op->bytes_moved,
                                              .seconds = 1e-9 * (double)rollup_percentile_ns(op, 0.5)};
        if (timed_steps > 0) add_kernels(rollup, op, timed_steps, &samples[count]);
        count++;
    }
    return count;
}

/* Of a timed step of device 0: between kernels, and in those that nobody owns. */
static double find_gaps(const struct rollup *rollup, double timed_steps)
{
    double unowned = 0;
    for (size_t i = 0; i < rollup->kernel_count; i++) {
        const struct rollup_kernel *kernel = &rollup->kernels[i];
        if (kernel->times.device == 0 && kernel->op == TRACE_NO_OWNER) unowned += (double)kernel->times.total_ns;
    }
    return 1e-9 * (rollup->parts.part_ns[PART_DEPENDENCY] + unowned / timed_steps);
}

static bool learn(struct cost_table *table, const char *path, const struct rollup *rollup,
                  const struct plan_request *request, struct error *err)
{
    struct summary_steps steps;
    if (!rollup->has_run || rollup->op_count == 0)
        return error_set(err, ERROR_INPUT, "--costs: %s holds no run with ops; a trace of `fathom train` is wanted",
                         path);
    TRY(summary_time_steps(rollup, &steps, err));
    struct cost_sample *samples = mem_alloc(MEM_TRACE, rollup->op_count, sizeof *samples);
    if (!samples) return error_memory(err, rollup->op_count * sizeof *samples, "a trace's times");
    uint32_t ranks = rollup->has_origin && rollup->ranks > 1 ? rollup->ranks : 1; /* each has as many */
    uint64_t steps_of[ROLLUP_MOST_DEVICES];
    rollup_timed_steps(rollup, steps_of);
    double timed_steps = rollup->devices[0].ops_timed || rollup->kernel_count == 0 ? 0 : (double)steps_of[0];
    const struct cost_run run = {.name = path,
                                 .model = rollup->model,
                                 .dataset = rollup->dataset,
                                 .device = rollup->devices[0].name,
                                 .on_cpu = backends_on_host(rollup->backend),
                                 .devices = rollup->device_count * ranks,
                                 .images = rollup->devices[0].images,
                                 .samples = samples,
                                 .count = fill_samples(rollup, timed_steps, samples),
                                 .step_seconds = 1e-9 * steps.median_ns,
                                 .has_kernels = timed_steps > 0,
                                 .gap_seconds = timed_steps > 0 ? find_gaps(rollup, timed_steps) : 0};
    bool ok = cost_table_learn(table, &run, &request->spec, err) || error_prefix(err, "--costs");
    mem_free(samples);
    return ok;
}

static bool learn_file(struct cost_table *table, const char *path, const struct plan_request *request,
                       struct error *err)
{
    struct trace_follower *follower;
    uint64_t read;
    if (!trace_follow(path, &follower, err)) return error_prefix(err, "--costs");
    bool ok =
        trace_follow_more(follower, 0, &read, err) && learn(table, path, trace_follow_rollup(follower), request, err);
    trace_unfollow(follower);
    return ok;
}

/* Virtual devices share their host's cores: times hold for as many as ran. */
static bool check_devices(const struct cost_table *table, const struct machine *machine, struct error *err)
{
    uint32_t measured;
    const char *device = cost_table_device(table, &measured);
    size_t same = 0;
    for (size_t i = 0; i < machine->device_count; i++) same += cost_table_applies(table, &machine->devices[i]);
    if (same == 0)
        return error_set(err, ERROR_INPUT, "--costs: %s was measured on %s, and none of --gpus (%s) is one",
                         cost_table_name(table), device, machine->devices[0].name);
    if (machine->devices[0].kind != DEVICE_CPU || measured == machine->device_count) return true;
    return error_set(err, ERROR_INPUT,
                     "--costs: %s was measured on %" PRIu32 " virtual device%s, --gpus has %zu; they share the host's "
                     "cores, so as many are wanted",
                     cost_table_name(table), measured, measured == 1 ? "" : "s", machine->device_count);
}

bool plan_costs_read(const char *files, const struct plan_request *request, struct cost_table **table,
                     struct error *err)
{
    struct cost_table *made = cost_table_create(err);
    bool ok = made != NULL;
    for (const char *start = files; ok && start; start = *start ? start + 1 : NULL) {
        char path[1024];
        size_t length = strcspn(start, ",");
        ok = length > 0 && length < sizeof path;
        if (!ok)
            error_set(err, ERROR_INPUT, "--costs: '%s' names no trace; run.trace or a.trace,b.trace is wanted",
                      PRINTABLE_CUT(files, 200));
        snprintf(path, sizeof path, "%.*s", (int)length, start);
        ok = ok && learn_file(made, path, request, err);
        start += length;
    }
    ok = ok && check_devices(made, request->machine, err);
    if (!ok) {
        cost_table_destroy(made);
        return false;
    }
    *table = made;
    return true;
}
