/* The shim that runs kernels on the host: its rounding, and that it shows a barrier that is missing. */
#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <string.h>

#include "half.h"
#include "host_kernels.h"
#include "host_kernels_broken.h"
#include "kernels.h"
#include "random.h"

static const struct host_kernel *find(const char *name)
{
    for (size_t i = 0; i < host_kernel_count; i++)
        if (strcmp(host_kernels[i].name, name) == 0) return &host_kernels[i];
    cr_assert_fail("no kernel %s", name);
    return NULL;
}

/* ---- The scheduler ---- */

/* Of 30 seeds, under how many the shift by one is wrong. */
static int wrong_shifts(const struct host_kernel *kernel)
{
    float in[256], out[256];
    int wrong = 0;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        bool right = true;
        for (int i = 0; i < 256; i++) in[i] = (float)(1000 * seed) + (float)i; /* other than what is left there */
        kernel->run(&(struct shift_arguments){in, out}, 1, 1, 256, 0, false, seed);
        for (int i = 0; i < 256; i++) right &= out[i] == in[(i + 255) % 256];
        wrong += !right;
    }
    return wrong;
}

Test(kernels_shim, a_missing_barrier_shows)
{
    cr_expect_eq(wrong_shifts(&host_kernels_broken[0]), 0);
    cr_expect_gt(wrong_shifts(&host_kernels_broken[1]), 20);
}

/* A kernel whose blocks wait for each other, launched so that they need not run at the same time. */
static void run_whole(bool together)
{
    static float x[16], y[16], small[4][2];
    static struct step_block step;
    static double partial[4];
    const struct kernel_columns columns = {.rows = 8, .channels = 2, .width = 1, .tile = 2, .lanes = 128, .chunk = 128};
    struct bn_whole_arguments a = {.sums = {.columns = columns,
                                            .x = x,
                                            .mean = small[0],
                                            .variance = small[1],
                                            .running_mean = small[2],
                                            .running_variance = small[3],
                                            .partial = partial,
                                            .step = &step},
                                   .apply = {.columns = columns, .x = x, .y = y}};
    static const float gamma[2] = {1, 1}, beta[2] = {0, 0.5f};
    for (int i = 0; i < 16; i++) x[i] = (float)(i / 2 % 2);
    a.apply.normal = (struct kernel_normal){.mean = small[0], .variance = small[1], .gamma = gamma, .beta = beta};
    find("bn_whole_f32")->run(&a, 1, 1, KERNEL_THREADS, KERNEL_THREADS * 16, together, 1);
    for (int i = 0; i < 16; i++)
        cr_expect_float_eq(y[i], (float)(i / 2 % 2 ? 1 : -1) + beta[i % 2], 1e-6, "%d: %g", i, (double)y[i]);
}

Test(kernels_shim, blocks_that_wait_all_arrive_first) { run_whole(true); }
Test(kernels_shim, a_wait_for_blocks_that_need_not_run_shows, .signal = SIGABRT) { run_whole(false); }

/* ---- 16 bits ---- */

static void run_f16(const char *name, const uint16_t *a, const uint16_t *b, uint16_t *out, uint64_t count)
{
    const struct elementwise_arguments arguments = {a, b, out, count, 0, 1, 0};
    find(name)->run(&arguments, 3, 1, KERNEL_THREADS, 0, false, 0);
}

static bool is_nan_of(float value) { return value != value; }

/* Each value there is comes back as it is. */
Test(kernels_shim, halves_are_read_and_written_exactly)
{
    static uint16_t in[65536], out[65536];
    static const char *const names[] = {"scale_f16", "scale_bf16"};
    for (uint32_t i = 0; i < 65536; i++) in[i] = (uint16_t)i;
    for (int k = 0; k < 2; k++) {
        run_f16(names[k], in, NULL, out, 65536);
        for (uint32_t i = 0; i < 65536; i++) {
            float value = k ? float_from_bf16(in[i]) : float_from_f16(in[i]);
            bool zero = value == 0; /* -0 + 0 is 0 */
            cr_assert(is_nan_of(value) ? out[i] == 0x7fff
                      : zero           ? out[i] == 0
                                       : out[i] == in[i],
                      "%s: %x became %x", names[k], (unsigned)in[i], (unsigned)out[i]);
        }
    }
}

/* Products and sums of halves, rounded to halves: ties, denormals and what overflows among them. */
Test(kernels_shim, halves_are_rounded_as_the_hardware_rounds)
{
    enum { COUNT = 100000 };
    static uint16_t a[COUNT], b[COUNT], out[COUNT];
    struct random r = random_begin(1, RANDOM_SYNTHETIC, 0, 0);
    for (int i = 0; i < COUNT; i++) a[i] = (uint16_t)random_next(&r), b[i] = (uint16_t)random_next(&r);
    for (int k = 0; k < 4; k++) {
        static const char *const names[] = {"mul_f16", "add_f16", "mul_bf16", "add_bf16"};
        run_f16(names[k], a, b, out, COUNT);
        for (int i = 0; i < COUNT; i++) {
            float x = k < 2 ? float_from_f16(a[i]) : float_from_bf16(a[i]);
            float y = k < 2 ? float_from_f16(b[i]) : float_from_bf16(b[i]);
            float value = k % 2 ? x + y : x * y;
            uint16_t wanted = k < 2 ? f16_from_float(value) : bf16_from_float(value);
            cr_assert(is_nan_of(value) ? out[i] == 0x7fff : out[i] == wanted, "%s of %g and %g: %x, not %x", names[k],
                      (double)x, (double)y, (unsigned)out[i], (unsigned)wanted);
        }
    }
}
