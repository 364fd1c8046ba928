/* Whole runs of the CUDA backend's readable kernels over the stand-in for CUDA, and what comes of a GPU that fails. */
#include "gpu_help.h"

#include "clock.h"
#include "train_help.h"

#include "nvml_fake.h"

static void begin(void)
{
    run_make_data();
    alarm(240); /* a deadlock is a failure, not a hang */
}

TestSuite(cuda_run, .init = begin, .fini = run_remove_data);

static struct small_run small(const char *options, uint64_t iterations)
{
    gpu_choose(options);
    struct small_run run = {.gpus = "12GiB", .batch = 1, .options.iterations = iterations};
#ifdef FATHOM_CUDA
    run.backend = &cuda_reference_backend;
#endif
    run.options.skip_evaluation = true;
    return run;
}

struct heard {
    uint64_t samples, device_bytes, but_context_bytes, others;
};

static void hear(void *context, uint32_t device, enum trace_sample kind, uint64_t bytes, uint64_t ns)
{
    struct heard *heard = context;
    (void)ns;
    if (kind == SAMPLE_DEVICE && device == 0)
        heard->samples++, heard->device_bytes = bytes;
    else if (kind == SAMPLE_BUT_CONTEXT)
        heard->but_context_bytes = bytes;
    else
        heard->others++;
}

/* Also in the second step and the third, which are replayed, and for which no memory can be had any more. */
Test(cuda_run, losses_are_those_of_processors_and_memory_is_told)
{
    struct heard heard = {0};
    struct trace_sink sink = {.context = &heard, .memory = hear};
    const char *path = getenv("FATHOM_TEST_NVML");
    void *nvml = path ? dlopen(path, RTLD_NOW) : NULL;
    struct small_run gpu = small("memory=8GiB,refuse=graph", 3), cpu = gpu;
    struct nvml_fake *fake = dlsym(nvml, "nvml_fake");
    fake->total_bytes = fake->free_bytes = 8192 * MIB;
    gpu.sink = &sink;
    cpu.backend = &cpu_reference_backend;
    run_go(&gpu);
    cr_assert(gpu.ok, "%s", gpu.err.text);
    run_go(&cpu);
    cr_assert(cpu.ok, "%s", cpu.err.text);
    for (int i = 0; i < 3; i++)
        cr_expect_float_eq(gpu.losses[i], cpu.losses[i], 2e-4 * (1 + i * i), "step %d: %f, not %f", i + 1,
                           gpu.losses[i], cpu.losses[i]);
    const struct device_memory *memory = &gpu.result.device_memory;
    cr_assert(gpu.result.device_known && memory->outside == DEVICE_OUTSIDE_KNOWN);
    cr_expect_geq(memory->outside_bytes, 512 * MIB); /* the stand-in's context */
    cr_expect_eq(heard.device_bytes, memory->arena_bytes + memory->outside_bytes);
    cr_expect_geq(heard.samples, 3);
    cr_expect_not(cpu.result.device_known);
    cr_expect_gt(gpu_report().graph_launches, 0);
    gpu_expect_clean();
}

/* Each group by launches of its own, recorded and replayed. */
Test(cuda_run, groups_of_images_are_normalised_as_by_processors)
{
    struct small_run gpu = small("memory=8GiB", 2);
    gpu.batch = 2;
    gpu.bn_group = 1;
    struct small_run cpu = gpu;
    struct heard heard = {0};
    struct trace_sink sink = {.context = &heard, .memory = hear};
    cpu.backend = &cpu_reference_backend;
    gpu.sink = &sink;
    run_go(&gpu);
    cr_assert(gpu.ok, "%s", gpu.err.text);
    const struct device_memory *memory = &gpu.result.device_memory; /* nobody says what was free before its context */
    cr_expect_eq(memory->outside, DEVICE_OUTSIDE_BUT_CONTEXT);
    cr_expect_eq(heard.but_context_bytes, memory->arena_bytes + memory->outside_bytes);
    cr_expect_eq(heard.samples, 0);
    run_go(&cpu);
    cr_assert(cpu.ok, "%s", cpu.err.text);
    for (int i = 0; i < 2; i++)
        cr_expect_float_eq(gpu.losses[i], cpu.losses[i], 2e-4 * (1 + i * i), "step %d: %f, not %f", i + 1,
                           gpu.losses[i], cpu.losses[i]);
    cr_expect_gt(gpu_report().graph_launches, 0);
    gpu_expect_clean();
}

struct norms {
    size_t units, steps;
    float values[8][16 * TRACE_NORMS];
};

static void hear_norms(void *context, uint32_t device, uint64_t step, const float *norms, size_t units, uint64_t ns)
{
    struct norms *heard = context;
    (void)ns;
    cr_assert(device == 0 && step < 8 && units <= 16);
    heard->units = units;
    heard->steps++;
    memcpy(heard->values[step], norms, units * TRACE_NORMS * sizeof *norms);
}

/* In the first step and the third, each op by itself; the second is replayed, and no loss changes by a bit. */
Test(cuda_run, norms_of_units_are_those_of_processors)
{
    struct norms on_gpu = {0}, on_cpu = {0};
    struct trace_sink gpu_sink = {.context = &on_gpu, .norms = hear_norms},
                      cpu_sink = {.context = &on_cpu, .norms = hear_norms};
    struct small_run plain = small("memory=8GiB", 3), gpu = plain, cpu = plain;
    run_go(&plain);
    cr_assert(plain.ok, "%s", plain.err.text);
    gpu.options.flow_every = cpu.options.flow_every = 3;
    gpu.sink = &gpu_sink;
    cpu.sink = &cpu_sink;
    cpu.backend = &cpu_reference_backend;
    run_go(&gpu);
    cr_assert(gpu.ok, "%s", gpu.err.text);
    run_go(&cpu);
    cr_assert(cpu.ok, "%s", cpu.err.text);
    cr_expect_gt(gpu_report().graph_launches, 0);
    for (int i = 0; i < 3; i++) cr_expect_eq(gpu.losses[i], plain.losses[i], "step %d", i + 1);
    cr_assert(on_gpu.steps == 2 && on_cpu.steps == 2 && on_gpu.units == on_cpu.units && on_gpu.units > 3);
    for (size_t i = 0; i < on_gpu.units * TRACE_NORMS; i++) {
        double found = (double)on_gpu.values[0][i], wanted = (double)on_cpu.values[0][i];
        cr_expect(isnan(wanted) ? isnan(found) : fabs(found - wanted) < 1e-3 * wanted, "unit %zu, norm %zu: %g, not %g",
                  i / TRACE_NORMS, i % TRACE_NORMS, found, wanted);
    }
    gpu_expect_clean();
}

Test(cuda_run, a_gpu_that_hangs_ends_the_run_in_time)
{
    struct small_run run = small("hang=20", 4);
    run.options.wait_seconds = 0.3;
    run_go(&run);
    cr_assert_not(run.ok);
    cr_expect(strstr(run.err.text, "device 0 has not finished step 1 within 0.3 s"), "%s", run.err.text);
    cr_expect_eq(run.err.kind, ERROR_LATE);
    cr_expect_eq(gpu_report().violations, 0, "%s", gpu_report().first);
}

Test(cuda_run, a_gpu_that_fails_is_told_of_once)
{
    struct small_run run = small("illegal=20", 4);
    run_go(&run);
    cr_assert_not(run.ok);
    cr_expect(strstr(run.err.text, "cudaErrorIllegalAddress"), "%s", run.err.text);
    cr_expect_null(strchr(run.err.text, '\n'), "%s", run.err.text);
}

Test(cuda_run, a_gpu_with_too_little_memory_is_refused)
{
    struct small_run run = small("memory=9MiB", 1);
    run_go(&run);
    cr_assert_not(run.ok);
    cr_expect(strstr(run.err.text, "too little memory: the plan wants"), "%s", run.err.text);
    gpu_expect_clean();
}
