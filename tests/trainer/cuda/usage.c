/* What is free and in use on a GPU, with the driver's management library and without. Both are stand-ins here. */
#include "gpu_help.h"

#include "nvml_fake.h"
#ifdef FATHOM_CUDA
#include "cuda_probe.h"
#endif

#define CONTEXT (512 * MIB) /* the stand-in's */

/* By its own name: whoever asks the loader for that one gets it. */
static struct nvml_fake *load_nvml(void)
{
    const char *path = getenv("FATHOM_TEST_NVML");
    if (!CUDA_BUILT || !path) cr_skip_test("this build has no CUDA");
    void *handle = dlopen(path, RTLD_NOW);
    cr_assert(handle, "%s", dlerror());
    struct nvml_fake *fake = dlsym(handle, "nvml_fake");
    fake->total_bytes = 8230 * MIB;
    fake->free_bytes = 8000 * MIB;
    return fake;
}

static struct device_memory use(struct gpu *g)
{
    struct device_memory memory;
    GPU_OK(g, g->backend->memory_used(g->device, &memory, &g->err));
    return memory;
}

Test(cuda_usage, the_context_counts_where_nvml_says_what_was_free_before)
{
    struct nvml_fake *nvml = load_nvml();
    nvml->free_bytes = 8192 * MIB;
    struct gpu g = gpu_begin("memory=8GiB", 100 * MIB);
    struct device_memory memory = use(&g);
    cr_expect_eq(memory.outside, DEVICE_OUTSIDE_KNOWN);
    cr_expect_eq(memory.arena_bytes, 100 * MIB);
    cr_expect_geq(memory.outside_bytes, CONTEXT);
    cr_expect_lt(memory.outside_bytes, CONTEXT + 64 * MIB);
    cr_expect_eq(nvml->open, 0);
    gpu_end(&g);
}

static void expect_no_context(void)
{
    struct gpu g = gpu_begin("memory=8GiB", 100 * MIB);
    struct device_memory memory = use(&g);
    cr_expect_eq(memory.outside, DEVICE_OUTSIDE_BUT_CONTEXT);
    cr_expect_lt(memory.outside_bytes, 64 * MIB);
    gpu_end(&g);
}

Test(cuda_usage, a_gpu_that_nvml_does_not_know_is_asked_of_cuda)
{
    load_nvml()->uuid = "GPU-00000000-0000-0000-0000-000000000000";
    expect_no_context();
}

Test(cuda_usage, a_part_of_a_gpu_is_not_taken_for_the_whole)
{
    load_nvml()->total_bytes = 80000 * MIB;
    expect_no_context();
}

Test(cuda_usage, an_nvml_that_does_not_begin_is_left)
{
    load_nvml()->fails = 999;
    expect_no_context();
}

#ifdef FATHOM_CUDA
Test(cuda_usage, a_probe_makes_no_context_where_nvml_answers)
{
    struct cuda_probe_device found;
    struct error err;
    size_t count;
    struct nvml_fake *nvml = load_nvml();
    gpu_choose("memory=8GiB,fail=SetDevice:1:2,fail=MemGetInfo:1:2");
    cr_assert(cuda_probe(&found, 1, &count, &err), "%s", err.text);
    cr_expect(found.has_free && !found.beside_context);
    cr_expect_eq(found.free_bytes, 8000 * MIB);
    cr_expect_eq(found.holders, 0);
    nvml->process_count = 3;
    nvml->processes[0] = (struct nvml_fake_process){.pid = 5, .bytes = 10 * MIB};
    nvml->processes[1] = (struct nvml_fake_process){.pid = 6, .bytes = 4000 * MIB};
    nvml->processes[2] = (struct nvml_fake_process){.pid = 7, .bytes = ~0ull}; /* not known */
    cr_assert(cuda_probe(&found, 1, &count, &err), "%s", err.text);
    cr_expect(found.holders == 3 && found.holder == 6 && found.holder_bytes == 4000 * MIB);
    nvml->processes[1].bytes = nvml->processes[0].bytes = ~0ull;
    cr_assert(cuda_probe(&found, 1, &count, &err), "%s", err.text);
    cr_expect(found.holders == 3 && found.holder_bytes == UINT64_MAX);
    nvml->fails = 999;
    gpu_restart("memory=8GiB");
    cr_assert(cuda_probe(&found, 1, &count, &err), "%s", err.text);
    cr_expect(found.has_free && found.beside_context);
    cr_expect_eq(found.free_bytes, 8192 * MIB - CONTEXT);
    nvml->uuid = "MIG-41000000-0000-0000-0000-000000000000", nvml->fails = 0;
    cr_assert(cuda_probe(&found, 1, &count, &err), "%s", err.text);
    cr_expect_eq(found.free_bytes, 8000 * MIB);
}
#endif
