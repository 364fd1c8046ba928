#include "predict.h"

#include "cost.h"
#include "mem.h"
#include "split.h"

struct step_times {
    double body, rest; /* of ops [0, body_count) once, and of those after them */
    double recompute;  /* part of body */
    double update;     /* part of rest */
    double hidden_by;  /* when the last all-reduce ends, from the start of the step */
};

/* Walks the program as it runs: the last micro-batch's body, with its all-reduces on a stream of their own. */
static struct step_times program_times(const struct plan *plan, const struct plan_device *device,
                                       const struct machine *machine, const struct cost_speed *speed)
{
    const struct plan_variant *variant = &plan->variants[device->variant];
    const struct plan_program *program = &variant->train;
    struct step_times times = {0};
    double messages = 0;
    for (size_t i = 0; i < program->op_count; i++) {
        const struct op *op = &variant->graph->ops[program->ops[i].op];
        if (plan_op_copies(&program->ops[i])) continue;
        double seconds = cost_op_seconds(speed, variant->graph, op, false), now = times.body + times.rest;
        if (op->kind == OP_ALL_REDUCE) {
            uint64_t bytes = variant->graph->tensors[op->in[0]].bytes;
            messages = (messages > now ? messages : now) + cost_all_reduce_seconds(machine, plan->device_count, bytes);
        }
        *(i < program->body_count ? &times.body : &times.rest) += seconds;
        if (program->ops[i].pass == PASS_RECOMPUTE) times.recompute += seconds;
        if (program->ops[i].pass == PASS_UPDATE) times.update += seconds;
    }
    times.hidden_by = messages + times.body * (device->micro_batches - 1);
    return times;
}

static double later(double a, double b) { return a > b ? a : b; }

static bool same_times(const struct plan_device *a, const struct plan_device *b)
{
    return a->variant == b->variant && a->spec.flops_f32 == b->spec.flops_f32 &&
           a->spec.flops_f16 == b->spec.flops_f16 && a->spec.bandwidth == b->spec.bandwidth &&
           a->spec.launch_seconds == b->spec.launch_seconds;
}

/* A step as this device alone sees it, from its part's times. */
static double step_end(const struct step_times *times, double compute)
{
    return later(times->hidden_by, compute - times->update) + times->update;
}

double predict_device_seconds(const struct plan *plan, const struct plan_device *device, const struct machine *machine,
                              const struct cost_table *measured)
{
    struct cost_speed speed = cost_speed_of(&device->spec, plan->dtype, measured);
    struct step_times times = program_times(plan, device, machine, &speed);
    return step_end(&times, times.body * device->micro_batches + times.rest);
}

void predict_times(struct plan *plan, const struct machine *machine, const struct cost_table *measured)
{
    bool known = plan->device_count == 1 || machine->link_bandwidth > 0;
    for (size_t v = 0; v < plan->variant_count; v++) plan->variants[v].compute_seconds = 0;
    plan->step_seconds = 0;
    for (size_t d = 0; d < plan->device_count; d++) {
        const struct plan_device *device = &plan->devices[d];
        if (d > 0 && same_times(device, &plan->devices[d - 1])) continue;
        struct plan_variant *variant = &plan->variants[device->variant];
        struct cost_speed speed = cost_speed_of(&device->spec, plan->dtype, measured);
        struct step_times times = program_times(plan, device, machine, &speed);
        double compute = times.body * device->micro_batches + times.rest;
        variant->extra_time_fraction = times.recompute / (times.body - times.recompute);
        variant->compute_seconds = speed.known ? later(variant->compute_seconds, compute) : 0;
        plan->step_seconds = later(plan->step_seconds, step_end(&times, compute));
        known = known && speed.known;
    }
    if (!known) plan->step_seconds = 0;
}

double predict_efficiency(const struct plan *plan)
{
    double slowest = 0;
    for (size_t v = 0; v < plan->variant_count; v++) slowest = later(slowest, plan->variants[v].compute_seconds);
    return plan->step_seconds > 0 ? slowest / plan->step_seconds : 0;
}

/* What grows with the images of a device, and what does not. */
static struct split_device describe(const struct plan *plan, const struct plan_device *device)
{
    uint64_t growing = 0;
    for (int c = MEMORY_KEPT; c <= MEMORY_INPUT; c++) growing += device->classes[c];
    double seconds = plan->step_seconds > 0 ? plan->variants[device->variant].compute_seconds : 0;
    return (struct split_device){.memory_bytes = device->spec.memory_bytes,
                                 .fixed_bytes = device->peak_bytes - growing,
                                 .bytes_per_image = growing / device->images,
                                 .seconds_per_image = seconds / device->images};
}

bool predict_shares(const struct plan *plan, uint32_t unit, uint32_t *images, struct error *err)
{
    struct split_device *devices = mem_alloc(MEM_PLAN, plan->device_count, sizeof *devices);
    if (!devices) return error_memory(err, plan->device_count * sizeof *devices, "the shares of a batch");
    for (size_t d = 0; d < plan->device_count; d++) devices[d] = describe(plan, &plan->devices[d]);
    bool ok = split_batch(devices, plan->device_count, plan->batch / unit, images, err);
    for (size_t d = 0; ok && d < plan->device_count; d++) images[d] *= unit;
    mem_free(devices);
    return ok;
}
