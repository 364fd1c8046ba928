/* What nvidia-smi would show of PyTorch, against what it showed (when the data are at hand: FATHOM_SHARED or
 * ../shared). */
#include "torch_forecast.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "torch_workspace.h"

#define MIB 1048576.0

static struct torch_forecast forecast(const char *model, uint32_t batch, enum dtype dtype,
                                      const struct device_spec *device)
{
    struct model_options overrides = MODEL_OPTIONS_DEFAULT;
    struct model_spec spec;
    struct torch_forecast made;
    struct error err = {0};
    cr_assert(model_parse(model, &overrides, &spec, &err), "%s", err.text);
    cr_assert(torch_forecast_make(&spec, batch, dtype, device, torch_workspace_estimate, (void *)(uintptr_t)device,
                                  &made, &err),
              "%s", err.text);
    return made;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static FILE *open_peaks(void)
{
    const char *shared = getenv("FATHOM_SHARED"), *source = getenv("FATHOM_SOURCE");
    char path[512];
    snprintf(path, sizeof path, "%s%s/data/peaks-a100-timm.csv",
             shared   ? shared
             : source ? source
                      : ".",
             shared ? "" : "/../shared");
    return fopen(path, "r");
}

/* Trainings in f32 of timm's models on an A100 of 40 GB, MiB as nvidia-smi told. */
Test(torch_forecast, measured_peaks_are_met)
{
    FILE *file = open_peaks();
    char line[128];
    double errors[256];
    size_t count = 0;
    if (!file) cr_skip_test("no measured peaks at hand");
    while (fgets(line, sizeof line, file) && count < 256) {
        char model[32];
        unsigned depth, batch, peak;
        if (sscanf(line, "resnet%u,%u,%u", &depth, &batch, &peak) != 3) continue;
        snprintf(model, sizeof model, "resnet-%u", depth);
        const struct device_spec *device = catalogue_find("a100-40gb");
        struct torch_forecast made = forecast(model, batch, DTYPE_F32, device);
        double error = (double)made.shown_bytes / MIB / peak - 1;
        cr_expect_lt(fabs(error), TORCH_ERROR, "%s %u: %.1f %%", model, batch, 100 * error);
        cr_expect_eq(made.verdict, TORCH_FITS);
        printf("%s, batch %u: %.0f MiB, measured %u (%+.1f %%); allocated %.0f, reserved %.0f\n", model, batch,
               (double)made.shown_bytes / MIB, peak, 100 * error, (double)made.memory.peak_allocated_bytes / MIB,
               (double)made.memory.peak_reserved_bytes / MIB);
        errors[count++] = fabs(error);
    }
    fclose(file);
    cr_assert_gt(count, 0);
    qsort(errors, count, sizeof *errors, ascending);
    printf("%zu peaks: median error %.1f %%, largest %.1f %%\n", count, 100 * errors[count / 2],
           100 * errors[count - 1]);
    cr_expect_lt(errors[count / 2], 0.02);
    cr_expect_lt(2 * errors[count - 1], TORCH_ERROR + 0.001, "the margin is twice the largest");
}

static struct device_spec sized(uint64_t bytes)
{
    struct device_spec device = *catalogue_find("a100-40gb");
    device.memory_bytes = bytes + device.reserve_bytes;
    return device;
}

/* From unfit over close to fits, and never back, as memory grows. */
Test(torch_forecast, what_fits_is_said_with_its_error)
{
    struct torch_forecast made = forecast("resnet-50", 32, DTYPE_F32, catalogue_find("a100-40gb"));
    cr_expect_eq(made.shown_bytes, made.memory.peak_reserved_bytes + TORCH_CONTEXT_BYTES);
    cr_expect_eq(made.lazy_shown_bytes, made.memory.peak_reserved_bytes + TORCH_LAZY_CONTEXT_BYTES);
    uint64_t sure = (uint64_t)((double)made.shown_bytes * (1 + TORCH_ERROR)) + 1;
    const struct {
        uint64_t bytes;
        enum torch_verdict verdict;
        bool fits;
    } rows[] = {
        {sure, TORCH_FITS, true},
        {sure - 2, TORCH_CLOSE, true},
        {made.shown_bytes, TORCH_CLOSE, true},
        {made.shown_bytes - 1, TORCH_CLOSE, false},
        {made.lazy_shown_bytes, TORCH_CLOSE, false},
        {made.memory.peak_allocated_bytes + TORCH_LAZY_CONTEXT_BYTES - 1, TORCH_UNFIT, false},
        {1, TORCH_UNFIT, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct device_spec device = sized(rows[i].bytes);
        struct torch_forecast there = forecast("resnet-50", 32, DTYPE_F32, &device);
        cr_expect_eq(there.verdict, rows[i].verdict, "row %zu: %d", i, (int)there.verdict);
        cr_expect_eq(there.fits, rows[i].fits, "row %zu", i);
        cr_expect_eq(there.shown_bytes, made.shown_bytes, "what it asks for does not depend on what there is");
    }
}

Test(torch_forecast, sixteen_bits_and_older_chips_take_less)
{
    const struct device_spec *ampere = catalogue_find("a100-40gb"), *volta = catalogue_find("v100-32gb");
    struct torch_forecast wide = forecast("resnet-50", 64, DTYPE_F32, ampere);
    struct torch_forecast half = forecast("resnet-50", 64, DTYPE_F16, ampere);
    struct torch_forecast old = forecast("resnet-50", 64, DTYPE_F32, volta);
    cr_expect_lt(half.memory.saved_bytes, 6 * wide.memory.saved_bytes / 10);
    cr_expect_lt(half.shown_bytes, wide.shown_bytes);
    cr_expect_eq(old.memory.saved_bytes, wide.memory.saved_bytes);
    cr_expect_eq(old.memory.workspace_bytes, 0, "no tensor cores for f32, nothing to copy");
    cr_expect_lt(old.memory.peak_reserved_bytes, wide.memory.peak_reserved_bytes);
}

Test(torch_forecast, a_cpu_is_refused)
{
    const struct device_spec cpu = {.kind = DEVICE_CPU, .name = "cpu"};
    struct model_options overrides = MODEL_OPTIONS_DEFAULT;
    struct model_spec spec;
    struct torch_forecast made;
    struct error err = {0};
    cr_assert(model_parse("resnet-20", &overrides, &spec, &err));
    cr_expect_not(torch_forecast_make(&spec, 1, DTYPE_F32, &cpu, NULL, NULL, &made, &err));
    cr_expect_eq(err.kind, ERROR_INPUT);
}
