/* A recipe that was written for a run gives that run's rates again. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "files.h"
#include "recipe_in_force.h"

static struct recipe read_back(const struct recipe *recipe)
{
    struct recipe read;
    struct error err = {0};
    struct text text = {0};
    char path[64];
    snprintf(path, sizeof path, "/tmp/fathom-in-force-%d.json", (int)getpid());
    recipe_write(recipe, &text);
    cr_assert(files_write(path, text.bytes, text.length, &err), "%s", err.text);
    cr_assert(recipe_read(path, "--recipe", &read, &err), "%s\n%s", err.text, text.bytes);
    unlink(path);
    text_finish(&text);
    return read;
}

static void expect_same_rates(const struct schedule *a, const struct schedule *b, uint64_t steps)
{
    struct schedule_state state = schedule_begin();
    for (uint64_t i = 0; i < steps; i += 1 + steps / 500)
        cr_expect_eq((float)schedule_rate_at(a, &state, i), (float)schedule_rate_at(b, &state, i), "step %zu of %zu",
                     (size_t)i, (size_t)steps);
}

Test(recipe_in_force, gives_the_same_rates_and_length)
{
    const uint64_t images = 12345;
    for (size_t i = 0; recipe_at(i); i++)
        for (uint64_t steps = 5; steps < 40000; steps = steps * 7 + 3) {
            const struct recipe *base = recipe_at(i);
            uint32_t batch = (uint32_t)(16 << i % 4);
            struct train_options o = {.iterations = steps,
                                      .schedule = schedule_for(base, steps, batch),
                                      .bn_momentum = 0.25,
                                      .label_smoothing = 0.125,
                                      .init = INIT_LECUN,
                                      .augment = false,
                                      .area_crops = true,
                                      .colour = {.jitter = 0.25, .lighting = 0.5}};
            struct recipe recipe = recipe_in_force(base, &o, batch, images), read = read_back(&recipe);
            cr_expect_eq(recipe_steps_over(&read, images, batch), steps);
            cr_expect_eq(read.init, INIT_LECUN);
            cr_expect_not(read.augment);
            cr_expect(read.area_crops);
            cr_expect_float_eq(read.color_jitter, 0.25, 0);
            cr_expect_float_eq(read.lighting, 0.5, 0);
            cr_expect_float_eq(read.bn_momentum, 0.25, 0);
            cr_expect_float_eq(read.label_smoothing, 0.125, 0);
            cr_expect_float_eq(read.weight_decay, base->weight_decay, 0);
            struct schedule again = schedule_for(&read, steps, batch);
            expect_same_rates(&o.schedule, &again, steps);
        }
}

Test(recipe_in_force, of_drops_beyond_the_end_none_is_written)
{
    struct train_options o = {
        .iterations = 100,
        .bn_momentum = 0.1,
        .schedule = {.kind = SCHEDULE_STEPS, .base = 1, .factor = 0.5, .drops = {200}, .drop_count = 1}};
    struct recipe recipe = recipe_in_force(recipe_at(0), &o, 8, 100), read = read_back(&recipe);
    cr_expect_eq(read.drop_count, 0);
    cr_expect_eq(read.schedule, SCHEDULE_CONSTANT);
}
