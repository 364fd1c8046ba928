/* Norms of units in chosen steps: they change no bit of a run, and do not depend on what a plan shares, computes again,
 * moves to the host or fuses. */
#include <criterion/criterion.h>

#include "offload_kit.h"
#include "safetensors.h"
#include "standin.h"
#include "train_help.h"

static void begin(void)
{
    run_make_data();
    alarm(120); /* a deadlock is a failure, not a hang */
}

TestSuite(gradient_flow, .init = begin, .fini = run_remove_data);

#define STEPS      4
#define EVERY      2
#define MOST_UNITS 16
#define DEVICES    2

/* What a sink hears. */
struct heard {
    size_t units;
    char layers[MOST_UNITS][40], outputs[MOST_UNITS][80], gradients[MOST_UNITS][80];
    uint64_t output_elements[MOST_UNITS], weight_elements[MOST_UNITS];
    uint64_t steps; /* bits: those that came, from 0 */
    float norms[DEVICES][STEPS][MOST_UNITS][TRACE_NORMS];
};

static void hear_units(void *context, uint32_t device, const struct trace_unit *units, size_t count)
{
    struct heard *heard = context;
    cr_assert(device < DEVICES && count <= MOST_UNITS);
    heard->units = count;
    for (size_t i = 0; i < count; i++) {
        snprintf(heard->layers[i], sizeof heard->layers[i], "%s", units[i].layer);
        snprintf(heard->outputs[i], sizeof heard->outputs[i], "%s", units[i].output);
        snprintf(heard->gradients[i], sizeof heard->gradients[i], "%s", units[i].gradient);
        heard->output_elements[i] = units[i].output_elements;
        heard->weight_elements[i] = units[i].weight_elements;
    }
}

static void hear_norms(void *context, uint32_t device, uint64_t step, const float *norms, size_t units, uint64_t ns)
{
    struct heard *heard = context;
    cr_assert(device < DEVICES && step < STEPS && units == heard->units && ns > 0);
    heard->steps |= UINT64_C(1) << step;
    memcpy(heard->norms[device][step], norms, units * TRACE_NORMS * sizeof *norms);
}

static void go(struct small_run *run, struct heard *heard, uint64_t every, const char *save)
{
    static char folders[2][128];
    static int next;
    char *folder = folders[next = !next];
    struct trace_sink sink = {.context = heard, .unit_table = hear_units, .norms = hear_norms};
    snprintf(folder, sizeof folders[0], "%s/%s", run_data, save);
    char command[256];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    cr_assert_eq(system(command), 0);
    *heard = (struct heard){0};
    run->options.iterations = STEPS;
    run->options.skip_evaluation = true;
    run->options.flow_every = every;
    run->options.save_folder = folder;
    run->sink = &sink;
    run_go(run);
    cr_assert(run->ok, "%s: %s", save, run->err.text);
}

/* Without norms and with them. */
static void compare_bits(struct small_run base, struct heard *heard)
{
    struct heard nothing;
    struct small_run plain = base, taken = base;
    char a[128], b[128];
    go(&plain, &nothing, 0, "plain");
    go(&taken, heard, EVERY, "taken");
    cr_assert(nothing.units == 0 && nothing.steps == 0);
    cr_assert_eq(heard->steps, 1 | 1 << 1 | 1 << 3, "the first, and each that %d divides: %llx", EVERY,
                 (unsigned long long)heard->steps);
    for (int i = 0; i < STEPS; i++)
        cr_assert(memcmp(&plain.losses[i], &taken.losses[i], sizeof(double)) == 0, "step %d", i + 1);
    snprintf(a, sizeof a, "%s/plain", run_data);
    snprintf(b, sizeof b, "%s/taken", run_data);
    cr_assert(run_same_checkpoints(a, b, STEPS));
}

static double norm_at(const struct heard *h, uint32_t device, uint64_t step, size_t unit, enum trace_norm norm)
{
    return (double)h->norms[device][step][unit][norm];
}

/* Of all but the head, whose output is probabilities, all norms are known and none is 0. */
static void check_known(const struct heard *h, uint32_t devices)
{
    for (uint32_t d = 0; d < devices; d++)
        for (size_t u = 0; u < h->units; u++)
            for (int n = 0; n < TRACE_NORMS; n++) {
                double value = norm_at(h, d, 3, u, (enum trace_norm)n);
                bool unknown = u + 1 == h->units && n != NORM_WEIGHT_GRADIENT;
                cr_assert(unknown ? isnan(value) : isfinite(value) && value > 0, "%s, norm %d: %g", h->layers[u], n,
                          value);
            }
}

static void check_same(const struct heard *a, const struct heard *b, uint32_t devices, double tolerance,
                       const char *what)
{
    cr_assert_eq(a->units, b->units);
    for (uint32_t d = 0; d < devices; d++)
        for (size_t u = 0; u < a->units; u++)
            for (int n = 0; n < TRACE_NORMS; n++) {
                double x = norm_at(a, d, 0, u, (enum trace_norm)n), y = norm_at(b, d, 0, u, (enum trace_norm)n);
                cr_assert(isnan(x) ? isnan(y) : fabs(x - y) <= tolerance * x, "%s: %s, norm %d: %.9g, not %.9g", what,
                          a->layers[u], n, y, x);
            }
}

/* ---- Plans ---- */

static void offload_all(struct small_run *run, struct plan *plan, const struct plan_request *request)
{
    (void)run;
    offload_everything(plan, request);
}

Test(gradient_flow, is_the_same_whatever_shares_bytes_runs_again_or_waits_in_host_memory)
{
    struct heard kept, other;
    const struct small_run plans[] = {
        {.options.fill_dead = true},
        {.recompute = RECOMPUTE_ELEMENTWISE, .options.fill_dead = true},
        {.change_plan = offload_all, .options.fill_dead = true},
    };
    compare_bits((struct small_run){.sharing = SHARING_NONE}, &kept);
    check_known(&kept, 1);
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        compare_bits(plans[i], &other);
        check_same(&kept, &other, 1, 0, "another plan");
    }
}

Test(gradient_flow, is_the_same_where_blocks_run_twice)
{
    struct heard kept, budget;
    struct small_run base = {.model = "resnet-20", .batch = 8};
    compare_bits(base, &kept);
    base.recompute = RECOMPUTE_BUDGET;
    base.budget = 6144u << 10;
    base.options.fill_dead = true;
    compare_bits(base, &budget);
    check_same(&kept, &budget, 1, 0, "a budget");
}

Test(gradient_flow, over_micro_batches_and_devices)
{
    struct heard heard;
    compare_bits((struct small_run){.gpus = "2xcpu", .micro_batches = 2, .bucket_bytes = 64 << 10}, &heard);
    check_known(&heard, 2);
    cr_expect_eq(heard.output_elements[0], 8 * 32 * 32 * 16, "a device's share, all micro-batches");
    for (size_t u = 0; u < heard.units; u++)
        cr_expect_eq(norm_at(&heard, 0, 3, u, NORM_WEIGHT_GRADIENT), norm_at(&heard, 1, 3, u, NORM_WEIGHT_GRADIENT),
                     "gradients of weights are summed over devices");
    cr_expect_neq(norm_at(&heard, 0, 3, 0, NORM_OUTPUT), norm_at(&heard, 1, 3, 0, NORM_OUTPUT));
}

/* In f16 gradients are divided by the scale again; 11 bits of a number are kept. */
Test(gradient_flow, in_16_bits)
{
    struct heard f32, f16;
    compare_bits((struct small_run){.model = "resnet-11", .batch = 8}, &f32);
    compare_bits((struct small_run){.model = "resnet-11", .batch = 8, .dtype = DTYPE_F16}, &f16);
    check_known(&f16, 1);
    check_same(&f32, &f16, 1, 0.05, "f16");
}

/* Of a pre-activation net, where a unit's output is its sum: what ops one by one, read as their definitions, say. */
Test(gradient_flow, of_fused_ops_is_that_of_single_ones)
{
    struct heard single, fused, all;
    compare_bits(
        (struct small_run){.model = "resnet-11", .batch = 1, .logical = true, .backend = &cpu_reference_backend},
        &single);
    compare_bits((struct small_run){.model = "resnet-11", .batch = 1}, &fused);
    compare_bits((struct small_run){.model = "resnet-11", .batch = 1, .lowering = LOWER_ALL}, &all);
    check_known(&single, 1);
    check_same(&single, &fused, 1, 1e-4, "fused");
    check_same(&single, &all, 1, 1e-4, "all fused");
    cr_expect_str_eq(single.layers[2], "stage2/unit1");
    cr_expect_str_eq(single.outputs[2], "stage2/unit1/add.output");
    cr_expect_str_eq(fused.gradients[2], "stage2/unit1/add.output.gradient");
}

/* Of an original net the gradient is of the sum where the ReLU's backward pass is part of another op, and says so. */
Test(gradient_flow, of_a_units_end_with_relu)
{
    struct heard single, fused;
    compare_bits((struct small_run){.logical = true}, &single);
    compare_bits((struct small_run){0}, &fused);
    check_known(&fused, 1);
    cr_expect_str_eq(single.gradients[1], "stage1/unit1/relu.output.gradient");
    cr_expect_str_eq(fused.gradients[1], "stage1/unit1/add.output.gradient");
    for (size_t u = 0; u < single.units; u++) {
        double x = norm_at(&single, 0, 0, u, NORM_WEIGHT_GRADIENT), y = norm_at(&fused, 0, 0, u, NORM_WEIGHT_GRADIENT);
        cr_expect_float_eq(x, y, 1e-4 * x, "%s: %g, not %g", single.layers[u], y, x);
        if (u + 1 == single.units) break;
        x = norm_at(&single, 0, 0, u, NORM_GRADIENT), y = norm_at(&fused, 0, 0, u, NORM_GRADIENT);
        cr_expect(y <= x * 1.0001 && y > 0.1 * x, "%s: ReLU lets a part of %g through: %g", single.layers[u], x, y);
    }
}

/* ---- What they are ---- */

/* After one step momentum is the gradient, and a ten-thousandth of the weight. */
static double momentum_norm(const char *path, const char *unit)
{
    struct error err = {0};
    struct safetensors *file;
    struct safetensors_tensor t;
    double squares = 0;
    const char *name;
    cr_assert(safetensors_open(path, &file, &err), "%s", err.text);
    for (size_t i = 0; (name = safetensors_name(file, i)) != NULL; i++) {
        if (strncmp(name, unit, strlen(unit)) != 0 || !strstr(name, "conv") || !strstr(name, "weight.momentum"))
            continue;
        cr_assert(safetensors_find(file, name, &t));
        uint64_t count = (t.end - t.begin) / sizeof(float);
        float *values = malloc(t.end - t.begin);
        cr_assert(safetensors_read(file, name, &t, values, &err), "%s", err.text);
        for (uint64_t k = 0; k < count; k++) squares += (double)values[k] * (double)values[k];
        free(values);
    }
    safetensors_close(file);
    return sqrt(squares);
}

Test(gradient_flow, gradients_of_weights_are_what_the_update_reads)
{
    struct heard heard;
    struct small_run run = {.micro_batches = 2, .options.save_every = 1};
    char path[256];
    go(&run, &heard, 4, "kept");
    snprintf(path, sizeof path, "%s/kept/step-000000000001.state.safetensors", run_data);
    static const char *const units[] = {"layer1.0.", "layer2.0.", "layer3.0."};
    for (size_t u = 0; u < 3; u++) {
        double wanted = momentum_norm(path, units[u]), found = norm_at(&heard, 0, 0, u + 1, NORM_WEIGHT_GRADIENT);
        cr_expect(wanted > 0 && fabs(found - wanted) < 0.01 * wanted, "%s: %g, not %g", units[u], found, wanted);
    }
    cr_expect_eq(heard.weight_elements[1], 2 * 9 * 16 * 16);
}

/* Frozen layers have no gradients and are no units that say 0. */
Test(gradient_flow, of_a_frozen_net_is_of_what_is_trained)
{
    struct heard heard;
    struct small_run run = {.frozen = 2};
    go(&run, &heard, EVERY, "frozen");
    cr_assert_gt(heard.units, 0);
    for (size_t u = 0; u < heard.units; u++) {
        double value = norm_at(&heard, 0, 3, u, NORM_GRADIENT);
        cr_expect(isnan(value) || value > 0, "%s: %g", heard.layers[u], value);
    }
}

/* ---- A device that computes by itself ---- */

/* Its commands run in any order that streams allow; norms are taken where nothing else touches the bytes, and steps
 * between are replayed. */
Test(gradient_flow, on_a_device_with_streams_and_recordings)
{
    struct heard plain, heard;
    struct small_run base = {.gpus = "2xcpu", .micro_batches = 2, .change_plan = offload_all};
    compare_bits(base, &plain);
    for (uint64_t seed = 1; seed < 3; seed++) {
        const struct standin_options options = {.real = &cpu_backend, .seed = seed, .pinned = true, .recordings = true};
        struct small_run run = base;
        char a[128], b[128];
        run.backend = standin_begin(&options);
        run.options.in_flight = 3;
        go(&run, &heard, EVERY, "streams");
        struct standin_report report = standin_end();
        cr_assert_str_empty(report.violation, "%s", report.violation);
        cr_assert_eq(report.live, 0);
        check_same(&plain, &heard, 2, 0, "streams");
        cr_expect_eq(heard.steps, plain.steps);
        snprintf(a, sizeof a, "%s/plain", run_data);
        snprintf(b, sizeof b, "%s/streams", run_data);
        cr_assert(run_same_checkpoints(a, b, STEPS));
    }
}
