#include "predict.h"

#include <stdio.h>
#include <string.h>

#include "all_reduce.h"
#include "cost.h"
#include "cost_table.h"
#include "mem.h"
#include "split_estimate.h"
#include "timeline.h"

static double later(double a, double b) { return a > b ? a : b; }

static bool same_times(const struct plan_device *a, const struct plan_device *b)
{
    return a->variant == b->variant && device_same_speed(&a->spec, &b->spec);
}

/* One device's part in the step. */
struct part {
    struct timeline times;
    double compute; /* all micro-batches and the rest */
    double end;     /* the step's, as this device alone sees it */
    bool known;     /* its speed, and that of the link to its host if it offloads */
};

static bool time_part(const struct plan *plan, const struct plan_device *device, const struct machine *machine,
                      const struct cost_table *measured, struct part *part, struct error *err)
{
    const struct plan_variant *variant = &plan->variants[device->variant];
    struct cost_speed speed = cost_speed_of(&device->spec, plan->dtype, measured);
    struct timeline_request request = {.graph = variant->graph,
                                       .program = &variant->train,
                                       .speed = &speed,
                                       .host_bandwidth = device->spec.host_bandwidth,
                                       .machine = machine,
                                       .ranks = plan->device_count};
    TRY(timeline_make(&request, &part->times, err));
    double reduced = part->times.messages + part->times.body * (device->micro_batches - 1);
    part->compute = part->times.body * device->micro_batches + part->times.rest - part->times.summing;
    part->end = later(reduced, part->compute + part->times.summing - part->times.update) + part->times.update;
    if (speed.measured) part->end += cost_table_step_seconds(speed.measured);
    part->known = speed.known && (variant->host_bytes == 0 || device->spec.host_bandwidth > 0);
    return true;
}

bool predict_device_seconds(const struct plan *plan, const struct plan_device *device, const struct machine *machine,
                            const struct cost_table *measured, double *seconds, struct error *err)
{
    struct part part;
    TRY(time_part(plan, device, machine, measured, &part, err));
    *seconds = part.end;
    return true;
}

static const struct plan_device *first_of(const struct plan *plan, uint32_t variant)
{
    const struct plan_device *device = plan->devices;
    while (device->variant != variant) device++;
    return device;
}

/* What a variant's schedule may be faster by is known of the speed that it was made for: that of its first device, and
 * of its others if it is theirs, too. */
static void bound_variant(struct plan_variant *variant, const struct plan_device *first,
                          const struct plan_device *device, const struct part *part)
{
    double bound = part->compute - variant->spare_seconds * device->micro_batches;
    if (device == first)
        variant->bound_seconds = variant->spare_seconds < 0 || !part->known ? 0 : bound;
    else if (!device_same_speed(&device->spec, &first->spec))
        variant->bound_seconds = 0;
}

bool predict_times(struct plan *plan, const struct machine *machine, const struct cost_table *measured,
                   struct error *err)
{
    bool known = all_reduce_known(machine, plan->device_count);
    for (size_t v = 0; v < plan->variant_count; v++)
        plan->variants[v].compute_seconds = plan->variants[v].bound_seconds = 0;
    plan->step_seconds = 0;
    for (size_t d = 0; d < plan->device_count; d++) {
        const struct plan_device *device = &plan->devices[d];
        if (d > 0 && same_times(device, &plan->devices[d - 1])) continue;
        struct plan_variant *variant = &plan->variants[device->variant];
        struct part part;
        TRY(time_part(plan, device, machine, measured, &part, err));
        double extra = part.times.recompute + part.times.stalled;
        variant->extra_time_fraction = extra / (part.times.body - extra);
        bound_variant(variant, first_of(plan, device->variant), device, &part);
        variant->compute_seconds = part.known ? later(variant->compute_seconds, part.compute) : 0;
        plan->step_seconds = later(plan->step_seconds, part.end);
        known = known && part.known;
    }
    if (!known) plan->step_seconds = 0;
    return true;
}

bool predict_passes_seconds(const struct plan *plan, const struct cost_table *measured, double *seconds,
                            struct error *err)
{
    const struct plan_device *device = &plan->devices[0];
    struct part part;
    TRY(time_part(plan, device, NULL, measured, &part, err));
    *seconds = part.known ? part.times.body * device->micro_batches : 0;
    return true;
}

bool predict_evaluation_seconds(const struct plan *plan, const struct cost_table *measured, uint64_t images,
                                double *seconds, struct error *err)
{
    uint64_t at_once = 0;
    *seconds = 0;
    for (size_t d = 0; d < plan->device_count; d++) at_once += plan->devices[d].images / plan->devices[d].micro_batches;
    for (size_t d = 0; d < plan->device_count; d++) {
        const struct plan_device *device = &plan->devices[d];
        if (d > 0 && same_times(device, &plan->devices[d - 1])) continue;
        const struct plan_variant *variant = &plan->variants[device->variant];
        struct cost_speed speed = cost_speed_of(&device->spec, plan->dtype, measured);
        struct timeline_request request = {.graph = variant->graph,
                                           .program = &variant->evaluate,
                                           .speed = &speed,
                                           .host_bandwidth = device->spec.host_bandwidth};
        struct timeline times;
        TRY(timeline_make(&request, &times, err));
        *seconds = later(*seconds, (times.body + times.rest) * (double)((images + at_once - 1) / at_once));
    }
    return true;
}

double predict_efficiency(const struct plan *plan)
{
    double slowest = 0;
    for (size_t v = 0; v < plan->variant_count; v++) slowest = later(slowest, plan->variants[v].compute_seconds);
    return plan->step_seconds > 0 ? slowest / plan->step_seconds : 0;
}

/* Whether device d is the first of its name whose speed is unknown. */
static bool is_unknown(const struct plan *plan, size_t d, const struct cost_table *measured)
{
    const struct device_spec *spec = &plan->devices[d].spec;
    if (cost_speed_of(spec, plan->dtype, measured).known) return false;
    for (size_t i = 0; i < d; i++)
        if (strcmp(plan->devices[i].spec.name, spec->name) == 0) return false;
    return true;
}

char *predict_unknown_speeds(const struct plan *plan, const struct cost_table *measured, char *out, size_t size)
{
    size_t used = 0, last = 0;
    out[0] = '\0';
    for (size_t d = 0; d < plan->device_count; d++)
        if (is_unknown(plan, d, measured)) last = d;
    for (size_t d = 0; d <= last && used < size; d++) {
        if (!is_unknown(plan, d, measured)) continue;
        const char *before = used == 0 ? "" : d == last ? " and " : ", ";
        used += (size_t)snprintf(out + used, size - used, "%s%s", before, plan->devices[d].spec.name);
    }
    return out;
}

uint64_t predict_largest_bucket(const struct plan *plan)
{
    const struct graph *graph = plan->variants[0].graph;
    uint64_t largest = 0;
    for (size_t i = 0; i < graph->op_count; i++) {
        const struct op *op = &graph->ops[i];
        if (op->kind == OP_ALL_REDUCE && graph->tensors[ALL_REDUCE_MESSAGE(op)].bytes > largest)
            largest = graph->tensors[ALL_REDUCE_MESSAGE(op)].bytes;
    }
    return largest;
}

/* What grows with the images of a device, and what does not. */
static struct split_device describe(const struct plan *plan, const struct plan_device *device)
{
    uint64_t growing = 0;
    for (int c = MEMORY_KEPT; c <= MEMORY_INPUT; c++) growing += device->classes[c];
    double seconds = plan->step_seconds > 0 ? plan->variants[device->variant].compute_seconds : 0;
    return (struct split_device){.memory_bytes = device_usable_bytes(&device->spec),
                                 .fixed_bytes = device->peak_bytes - growing,
                                 .bytes_per_image = growing / device->images,
                                 .seconds_per_image = seconds / device->images};
}

bool predict_shares(const struct plan *plan, uint32_t unit, uint32_t *images, struct error *err)
{
    struct split_device *devices = mem_alloc(MEM_PLAN, plan->device_count, sizeof *devices);
    if (!devices) return error_memory(err, plan->device_count * sizeof *devices, "the shares of a batch");
    for (size_t d = 0; d < plan->device_count; d++) devices[d] = describe(plan, &plan->devices[d]);
    bool ok = split_estimate(devices, plan->device_count, plan->batch / unit, images, err);
    for (size_t d = 0; ok && d < plan->device_count; d++) images[d] *= unit;
    mem_free(devices);
    return ok;
}
