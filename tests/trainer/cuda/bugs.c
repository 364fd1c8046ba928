/* A hundred mistakes, seeded into what the executor asks of CUDA: whatever record or wait of an event is left out,
 * either the stand-in tells, or another edge makes up for it and the losses are the same bits. Bytes of which two
 * tensors make use at once show in the losses, or in an order that nobody keeps. */
#define _GNU_SOURCE
#include "gpu_help.h"

#include "execute.h"
#include "offload_kit.h"
#include "train_help.h"
#include "verify.h"

static void begin(void)
{
    run_make_data();
    alarm(280); /* a deadlock is a failure, not a hang */
}

TestSuite(cuda_bugs, .init = begin, .fini = run_remove_data);

#define STEPS 2
#define BUGS  100

/* Copies in both directions beside the computation: as many streams as there are. */
static void offload_all(struct small_run *run, struct plan *plan, const struct plan_request *request)
{
    (void)run;
    offload_everything(plan, request);
}

static struct small_run small(bool recordings)
{
    struct small_run run = {.gpus = "12GiB", .batch = 1, .backend = CUDA_BACKEND, .change_plan = offload_all};
    run.options.iterations = STEPS;
    run.options.skip_evaluation = true;
    run.options.no_recordings = !recordings;
    run.options.in_flight = 2;
    return run;
}

struct outcome {
    struct small_run run;
    struct standin_vendor_report report;
};

static struct outcome go(const char *options, bool recordings)
{
    struct outcome o = {.run = small(recordings)};
    gpu_restart(options);
    run_go(&o.run);
    o.report = gpu_report();
    return o;
}

/* Sound: nothing is told, nothing is left. */
static struct outcome go_soundly(bool recordings)
{
    struct outcome o = go("seed=1", recordings);
    cr_assert(o.run.ok, "%s", o.run.err.text);
    gpu_expect_clean();
    return o;
}

static bool same_losses(const struct outcome *a, const struct outcome *b)
{
    return a->run.ok && memcmp(a->run.losses, b->run.losses, STEPS * sizeof(double)) == 0;
}

/* Every so many, over the whole run; with recordings those of the first step, and those of what is recorded. */
static unsigned drop(const char *what, uint64_t calls, unsigned bugs, bool recordings, const struct outcome *sound)
{
    unsigned noticed = 0;
    char options[64];
    for (unsigned i = 0; i < bugs; i++) {
        uint64_t n = 1 + i * calls / bugs;
        snprintf(options, sizeof options, "seed=%u,%s=%llu", i + 1, what, (unsigned long long)n);
        struct outcome o = go(options, recordings);
        bool told = o.report.violations > 0 || !o.run.ok;
        noticed += told;
        cr_assert(told || same_losses(&o, sound), "%s: other losses, and nothing was told", options);
    }
    return noticed;
}

static void drop_all(bool recordings)
{
    gpu_choose("seed=1");
    struct outcome sound = go_soundly(recordings);
    cr_assert(sound.report.records > 40 && sound.report.waits > 40, "%llu records, %llu waits",
              (unsigned long long)sound.report.records, (unsigned long long)sound.report.waits);
    unsigned noticed = drop("drop_record", sound.report.records, BUGS / 4, recordings, &sound);
    cr_expect_gt(noticed, BUGS / 16, "%u of %u records", noticed, BUGS / 4);
    noticed = drop("drop_wait", sound.report.waits, BUGS / 4, recordings, &sound);
    cr_expect_gt(noticed, BUGS / 8, "%u of %u waits", noticed, BUGS / 4);
}

Test(cuda_bugs, an_edge_that_is_missing_is_noticed) { drop_all(false); }
Test(cuda_bugs, or_in_what_is_recorded) { drop_all(true); }

/* ---- Bytes that two tensors use at once ---- */

/* Two steps of a plan that need not be proved; false: it failed. */
static bool run_plan_steps(const struct plan *plan, float losses[STEPS])
{
    struct error err = {0};
    struct executor *executor = NULL;
    struct executor_options o = {.plan = plan, .backend = CUDA_BACKEND, .in_flight = 1};
    struct metrics metrics;
    float images[32 * 32 * 3];
    const int32_t labels[1] = {3}, placements[4] = {0};
    const struct step_input input = {.images = images, .labels = labels, .placements = placements};
    for (size_t i = 0; i < 32 * 32 * 3; i++) images[i] = (float)(i % 29) / 29 - 0.5f;
    bool ok = executor_create(&o, &executor, &err);
    for (size_t i = 0; ok && i < executor_state_count(executor); i++) {
        uint64_t count = executor_state_elements(executor, i);
        float *values = calloc(count, sizeof *values);
        for (uint64_t k = 0; k < count; k++) values[k] = (float)((k * 7 + i) % 13) / 26 - 0.2f;
        ok = executor_state_in(executor, i, values, &err);
        free(values);
    }
    for (unsigned i = 0; ok && i < STEPS; i++) {
        const struct step step = {.number = i, .learning_rate = 0.01f, .momentum = 0.9f, .bn_momentum = 0.1f};
        ok = executor_submit(executor, &step, &input, &err) && executor_collect(executor, &metrics, &err);
        losses[i] = metrics.loss;
    }
    executor_destroy(executor);
    return ok;
}

static bool is_activation(const struct plan_tensor *t)
{
    return !t->host && t->origin != NO_TENSOR && (t->class == MEMORY_KEPT || t->class == MEMORY_TRANSIENT);
}

/* Both hold what is read later, at places of their own. */
static bool live_together(const struct plan_tensor *a, const struct plan_tensor *b)
{
    bool apart = a->offset + a->bytes <= b->offset || b->offset + b->bytes <= a->offset;
    return a != b && is_activation(a) && is_activation(b) && a->first < b->last && b->first < a->last && apart;
}

/* The tensor goes to where another one is. */
static bool overlap(struct plan *plan, uint64_t seed)
{
    struct plan_variant *variant = &plan->variants[0];
    struct plan_program *program = &variant->train;
    for (unsigned tries = 0; tries < 1000; tries++) {
        struct plan_tensor *a = &program->tensors[offload_random(&seed, (uint32_t)program->tensor_count)],
                           *b = &program->tensors[offload_random(&seed, (uint32_t)program->tensor_count)];
        uint64_t was = b->offset;
        struct error err = {0};
        if (!live_together(a, b) || a->offset + b->bytes > variant->arena_bytes) continue;
        b->offset = a->offset;
        if (!plan_verify(plan, NULL, &err)) return true;
        b->offset = was;
    }
    return false;
}

Test(cuda_bugs, bytes_that_two_tensors_use_at_once_show)
{
    float sound[STEPS], losses[STEPS];
    gpu_choose("seed=1");
    for (uint64_t seed = 0; seed <= 12; seed++) {
        struct small_run run = small(true);
        run.change_plan = NULL;
        run_fill_defaults(&run);
        struct plan *plan = run_plan(&run);
        cr_assert(seed == 0 || overlap(plan, seed));
        gpu_restart("seed=1");
        bool ok = run_plan_steps(plan, seed == 0 ? sound : losses);
        struct standin_vendor_report report = gpu_report();
        cr_assert(seed > 0 || (ok && report.violations == 0 && isfinite(sound[STEPS - 1])));
        cr_assert(seed == 0 || !ok || report.violations > 0 || memcmp(sound, losses, sizeof losses) != 0,
                  "bug %llu changed nothing", (unsigned long long)seed);
        plan_destroy(plan);
    }
}
