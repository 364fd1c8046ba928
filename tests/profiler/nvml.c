/* What GPUs tell of themselves, over a library that stands in for the driver's. No GPU has confirmed it. */
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "nvml_fake.h"
#include "nvml_sampler.h"

#define MOST_COUNTERS 64

/* The latest value of each counter of GPU 0; NAN = none came. */
static struct seen {
    double value[MOST_COUNTERS];
    const char *unit[MOST_COUNTERS];
    int looks, others;
} seen;

static void see_table(void *c, const struct trace_counter *counters, size_t count)
{
    struct seen *s = c;
    for (size_t i = 0; i < count; i++) s->unit[counters[i].id] = counters[i].unit;
}

static void see(void *c, uint32_t device, uint32_t counter, double value, uint64_t ns)
{
    struct seen *s = c;
    cr_expect(ns > 0);
    cr_assert(s->unit[counter], "a counter that is in no table");
    s->others += device != 1;
    s->value[counter] = value;
    s->looks += counter == COUNTER_GPU_BUSY;
}

static struct trace_sink sink = {.context = &seen, .counter_table = see_table, .counter = see};

static struct nvml_fake *fake_begin(void)
{
    void *handle = dlopen(getenv("FATHOM_TEST_NVML"), RTLD_NOW);
    cr_assert(handle, "%s", dlerror());
    struct nvml_fake *fake = dlsym(handle, "nvml_fake");
    seen = (struct seen){0};
    for (size_t i = 0; i < MOST_COUNTERS; i++) seen.value[i] = (double)NAN;
    fake->bus_id = "0000:17:00.0";
    fake->busy = 98;
    fake->milliwatts = 512500, fake->limit = 700000;
    fake->celsius = 61;
    fake->megahertz = 990;
    fake->kilobytes = 1200;
    fake->reasons = 0x1 | 0x4 | 0x40;
    fake->total_bytes = 1000, fake->free_bytes = 300;
    return fake;
}

static _Atomic bool watched;
static bool is_watched(void *context)
{
    cr_expect_eq(context, &watched);
    return watched;
}

static struct nvml_sampler *open_sampler(const char *bus_id, uint64_t every_ns)
{
    const char *const ids[] = {"0000:01:00.0", bus_id};
    struct nvml_sampler *sampler;
    struct error err = {0};
    const struct nvml_sampler_options options = {
        .every_ns = every_ns, .watched = is_watched, .watched_context = &watched};
    cr_assert(nvml_sampler_open(&sink, ids, 2, &options, &sampler, &err), "%s", err.text);
    return sampler;
}

Test(nvml, what_a_gpu_tells_is_reported_in_its_units)
{
    struct nvml_fake *fake = fake_begin();
    nvml_sampler_close(open_sampler("0000:17:00.0", 0));
    cr_expect_float_eq(seen.value[COUNTER_GPU_BUSY], 98, 1e-9);
    cr_expect_float_eq(seen.value[COUNTER_GPU_MEMORY_BUSY], 49, 1e-9);
    cr_expect_float_eq(seen.value[COUNTER_GPU_MEMORY_USED], 700, 1e-9);
    cr_expect_float_eq(seen.value[COUNTER_GPU_POWER], 512.5, 1e-9);
    cr_expect_float_eq(seen.value[COUNTER_GPU_POWER_LIMIT], 700, 1e-9);
    cr_expect_float_eq(seen.value[COUNTER_GPU_TEMPERATURE], 61, 1e-9);
    cr_expect_float_eq(seen.value[COUNTER_GPU_CLOCK], 990e6, 1);
    cr_expect_float_eq(seen.value[COUNTER_GPU_MEMORY_CLOCK], 1980e6, 1);
    cr_expect_float_eq(seen.value[COUNTER_GPU_THROTTLED], 0x44, 1e-9, "that it idles holds nothing back");
    cr_expect_float_eq(seen.value[COUNTER_GPU_SENT], 1200e3, 1);
    cr_expect_float_eq(seen.value[COUNTER_GPU_RECEIVED], 1201e3, 1);
    cr_expect_str_eq(seen.unit[COUNTER_GPU_POWER], "W");
    cr_expect_eq(seen.others, 0, "of the run's other GPU nothing is known");
    cr_expect_eq(fake->open, 0);
}

Test(nvml, what_cannot_be_read_is_not_reported_as_zero)
{
    struct nvml_fake *fake = fake_begin();
    fake->no_power = 3; /* not supported */
    fake->milliwatts = fake->limit = 0;
    nvml_sampler_close(open_sampler("0000:17:00.0", 0));
    cr_expect(isnan(seen.value[COUNTER_GPU_POWER]) && isnan(seen.value[COUNTER_GPU_POWER_LIMIT]));
    cr_expect_float_eq(seen.value[COUNTER_GPU_TEMPERATURE], 61, 1e-9);
}

Test(nvml, it_is_read_again_and_again_and_at_the_end)
{
    struct nvml_fake *fake = fake_begin();
    struct nvml_sampler *sampler = open_sampler("0000:17:00.0", 1000000);
    for (int i = 0; i < 60000 && __atomic_load_n(&fake->asked, __ATOMIC_RELAXED) < 5; i++) usleep(1000);
    fake->busy = 7;
    nvml_sampler_close(sampler);
    cr_expect_geq(seen.looks, 6);
    cr_expect_float_eq(seen.value[COUNTER_GPU_BUSY], 7, 1e-9);
}

/* ---- What in it works, while somebody looks ---- */

static void wait_for_samples(const struct nvml_fake *fake, int count)
{
    for (int i = 0; i < 60000 && __atomic_load_n(&fake->gpm_samples, __ATOMIC_RELAXED) < count; i++) usleep(1000);
    cr_assert_geq(__atomic_load_n(&fake->gpm_samples, __ATOMIC_RELAXED), count);
}

static void wait_for_looks(const struct nvml_fake *fake, int count)
{
    int from = __atomic_load_n(&fake->asked, __ATOMIC_RELAXED);
    for (int i = 0; i < 60000 && __atomic_load_n(&fake->asked, __ATOMIC_RELAXED) < from + count; i++) usleep(1000);
}

Test(nvml, counters_are_read_only_while_somebody_looks)
{
    struct nvml_fake *fake = fake_begin();
    fake->gpm = 1;
    struct nvml_sampler *sampler = open_sampler("0000:17:00.0", 1000000);
    wait_for_looks(fake, 5);
    cr_expect_eq(fake->gpm_samples, 0);
    cr_expect_eq(fake->gpm_open, 0);
    cr_expect(isnan(seen.value[COUNTER_GPU_SM_ACTIVE]), "unknown is not zero");
    watched = true;
    wait_for_samples(fake, 4);
    watched = false;
    wait_for_looks(fake, 3);
    int samples = fake->gpm_samples;
    wait_for_looks(fake, 5);
    cr_expect_eq(fake->gpm_samples, samples, "nobody looks any more");
    cr_expect_eq(fake->gpm_open, 0, "and nothing is held");
    nvml_sampler_close(sampler);
    cr_expect_float_eq(seen.value[COUNTER_GPU_SM_ACTIVE], 80, 1e-9);
    cr_expect_float_eq(seen.value[COUNTER_GPU_TENSOR_ACTIVE], 50, 1e-9);
    cr_expect_float_eq(seen.value[COUNTER_GPU_DRAM_ACTIVE], 0, 1e-9, "a zero that was read");
    cr_expect(isnan(seen.value[COUNTER_GPU_OCCUPANCY]), "that one it did not tell");
    cr_expect_str_eq(seen.unit[COUNTER_GPU_TENSOR_ACTIVE], "%");
    cr_expect_float_eq(seen.value[COUNTER_GPU_LINKS_SENT], 300.0 * (1 << 20), 1);
    cr_expect_float_eq(seen.value[COUNTER_GPU_LINKS_RECEIVED], 200.0 * (1 << 20), 1);
    cr_expect_str_eq(seen.unit[COUNTER_GPU_LINKS_SENT], "bytes/s");
}

Test(nvml, one_sample_tells_nothing)
{
    struct nvml_fake *fake = fake_begin();
    fake->gpm = 1;
    watched = true;
    struct nvml_sampler *sampler = open_sampler("0000:17:00.0", UINT64_C(3600000000000));
    wait_for_samples(fake, 1);
    cr_expect(isnan(seen.value[COUNTER_GPU_SM_ACTIVE]));
    nvml_sampler_close(sampler); /* takes the second */
    cr_expect_float_eq(seen.value[COUNTER_GPU_SM_ACTIVE], 80, 1e-9);
    cr_expect_eq(fake->gpm_open, 0);
}

Test(nvml, a_gpu_without_such_counters_is_asked_once)
{
    struct nvml_fake *fake = fake_begin();
    watched = true;
    struct nvml_sampler *sampler = open_sampler("0000:17:00.0", 1000000);
    wait_for_looks(fake, 10);
    nvml_sampler_close(sampler);
    cr_expect_eq(fake->gpm_asked, 1);
    cr_expect_eq(fake->gpm_samples + fake->gpm_open, 0);
    cr_expect(isnan(seen.value[COUNTER_GPU_SM_ACTIVE]));
    cr_expect_float_eq(seen.value[COUNTER_GPU_BUSY], 98, 1e-9, "all else goes on");
}

Test(nvml, counters_that_fail_are_left_alone)
{
    struct nvml_fake *fake = fake_begin();
    fake->gpm = 1;
    fake->gpm_fails_after = 2;
    watched = true;
    struct nvml_sampler *sampler = open_sampler("0000:17:00.0", 1000000);
    wait_for_samples(fake, 2);
    wait_for_looks(fake, 10);
    nvml_sampler_close(sampler);
    cr_expect_eq(fake->gpm_samples, 3, "the third failed");
    cr_expect_eq(fake->gpm_open, 0);
}

Test(nvml, a_gpu_that_it_does_not_know_is_no_failure)
{
    struct nvml_fake *fake = fake_begin();
    cr_expect_null(open_sampler("0000:99:00.0", 0));
    fake->fails = 1;
    cr_expect_null(open_sampler("0000:17:00.0", 0));
    cr_expect_eq(seen.looks, 0);
}
