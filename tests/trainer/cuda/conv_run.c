/* Whole runs with convolutions by cuDNN, over the stand-in for CUDA, steps replayed from recordings. */
#include "gpu_help.h"
#include "lower.h"
#include "train_help.h"

static void begin(void)
{
    run_make_data();
    setenv("XDG_CACHE_HOME", run_data, 1);
    alarm(240); /* a deadlock is a failure, not a hang */
}

TestSuite(conv_run, .init = begin, .fini = run_remove_data);

static struct small_run small(const char *options, enum dtype dtype, uint32_t lowering)
{
    gpu_choose(options);
    struct small_run run = {.gpus = "12GiB", .batch = 1, .dtype = dtype, .lowering = lowering, .options.iterations = 3};
    run.backend = CUDA_BACKEND;
    run.options.skip_evaluation = true;
    return run;
}

/* The GPU's run, for what it says besides. */
static struct small_run run_beside_processors(const char *options, enum dtype dtype, uint32_t lowering,
                                              double tolerance)
{
    struct small_run gpu = small(options, dtype, lowering), cpu = gpu;
    cpu.backend = &cpu_reference_backend;
    run_go(&gpu);
    cr_assert(gpu.ok, "%s", gpu.err.text);
    run_go(&cpu);
    cr_assert(cpu.ok, "%s", cpu.err.text);
    for (int i = 0; i < 3; i++)
        cr_expect_float_eq(gpu.losses[i], cpu.losses[i], tolerance * (1 + i * i), "step %d: %f, not %f", i + 1,
                           gpu.losses[i], cpu.losses[i]);
    gpu_expect_clean();
    return gpu;
}

/* No memory can be had any more once a step was replayed. */
static void expect_losses_of_processors(enum dtype dtype, uint32_t lowering, double tolerance)
{
    struct small_run gpu = run_beside_processors("memory=8GiB,refuse=graph", dtype, lowering, tolerance);
    cr_expect_str_empty(gpu.result.remark, "%s", gpu.result.remark);
    cr_expect_gt(gpu_report().executes, 0);
    cr_expect_gt(gpu_report().graph_launches, 0);
}

Test(conv_run, losses_are_those_of_processors) { expect_losses_of_processors(DTYPE_F32, 0, 2e-4); }

Test(conv_run, losses_are_those_of_processors_fused_in_bf16)
{
    expect_losses_of_processors(DTYPE_BF16, LOWER_SUMS | LOWER_NORMALIZE | LOWER_ADD | LOWER_WEIGHTS, 2e-2);
}

/* Plans and failures of other cuDNNs are not known there. */
static void use_cache(const char *name)
{
    char cache[300];
    snprintf(cache, sizeof cache, "%s/cache-%s", run_data, name);
    setenv("XDG_CACHE_HOME", cache, 1);
}

#define ALL_FUSED                                                                                                      \
    (LOWER_BN | LOWER_BN_ADD | LOWER_SUMS | LOWER_NORMALIZE | LOWER_NORMALIZE_WEIGHTS | LOWER_ADD |                    \
     LOWER_GRADIENT_SUMS | LOWER_WEIGHTS | LOWER_HALF_GRADIENTS)

/* A cuDNN that has only what cannot be less, where more was planned, and one whose fused plans cannot be built or do
 * not run: what is fused is taken apart over the same bytes, also while steps are recorded, and the accesses of both
 * are watched. */
Test(conv_run, fusions_that_are_refused_leave_losses_and_bytes_as_they_are)
{
    static const char *const ways[] = {"memory=8GiB,refuse=graph,engines=plain",
                                       "memory=8GiB,refuse=graph,engines=fusions_unbuilt",
                                       "memory=8GiB,refuse=graph,engines=fusions_stop"};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        use_cache(strrchr(ways[i], '='));
        if (i > 0) gpu_restart(ways[i]);
        struct small_run gpu = run_beside_processors(ways[i], DTYPE_F16, ALL_FUSED, 2e-2);
        cr_expect(strstr(gpu.result.remark, "taken apart, as cuDNN refuses what the plan fuses with them"), "%s",
                  gpu.result.remark);
        cr_expect_not(strstr(gpu.result.remark, "plain loops"), "%s", gpu.result.remark);
        cr_expect_gt(gpu_report().executes, 0);
        cr_expect_gt(gpu_report().graph_launches, 0);
    }
}

/* The only engine fails, nothing is kept, and ops share plans: what is taken apart is done anew as a whole, and
 * recorded so. */
Test(conv_run, engines_that_fail_apart_leave_losses_as_they_are)
{
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    struct small_run gpu = run_beside_processors("memory=8GiB,engines=plain+run_fails", DTYPE_F16, ALL_FUSED, 2e-2);
    cr_expect(strstr(gpu.result.remark, "plain loops"), "%s", gpu.result.remark);
    cr_expect_gt(gpu_report().graph_launches, 0);
}

/* Cuts a capture short: the step is launched op by op, another engine takes its place, which nothing on disk has to
 * tell, and in the end there is a recording. */
Test(conv_run, engines_that_cannot_be_recorded_give_way)
{
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    struct small_run gpu = small("memory=8GiB,engines=capture_fails", DTYPE_F16, 0), sound = gpu;
    gpu.options.iterations = sound.options.iterations = 40;
    run_go(&gpu);
    cr_assert(gpu.ok, "%s", gpu.err.text);
    cr_expect_gt(gpu_report().graph_launches, 5);
    cr_expect_str_empty(gpu.result.remark, "%s", gpu.result.remark);
    gpu_restart("memory=8GiB");
    run_go(&sound);
    for (int i = 0; i < 40; i++) cr_expect_eq(gpu.losses[i], sound.losses[i], "step %d", i + 1);
    gpu_expect_clean();
}

/* Beside the arena there is too little for what a convolution reads: then it is done by loops, and it is told. */
Test(conv_run, what_cannot_be_taken_apart_for_want_of_memory_is_told)
{
    struct small_run whole = small("memory=8GiB", DTYPE_F16, ALL_FUSED), run = whole;
    char options[64];
    whole.options.iterations = run.options.iterations = 1;
    run_go(&whole);
    cr_assert(whole.ok, "%s", whole.err.text);
    snprintf(options, sizeof options, "memory=%llu,engines=plain",
             (unsigned long long)gpu_report().device_peak_bytes); /* as little is without a context */
    use_cache("apart");
    gpu_restart(options);
    run_go(&run);
    cr_assert(run.ok, "%s", run.err.text);
    cr_expect(strstr(run.result.remark, "plain loops") && strstr(run.result.remark, "out of memory") &&
                  strstr(run.result.remark, "--fuse none"),
              "%s", run.result.remark);
    gpu_expect_clean();
}

Test(conv_run, a_run_says_once_that_there_is_no_engine)
{
    struct small_run run = small("memory=8GiB,engines=none", DTYPE_F32, LOWER_SUMS);
    run.options.iterations = 1;
    run_go(&run);
    cr_assert(run.ok, "%s", run.err.text);
    cr_expect(strstr(run.result.remark, "convolutions are run by plain loops") &&
                  strstr(run.result.remark, "stem/conv (f32, sums)"),
              "%s", run.result.remark);
    gpu_expect_clean();
}
