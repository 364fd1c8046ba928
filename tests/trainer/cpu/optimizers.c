/* Optimizers step by step against torch.optim (torch_optimizers.py), and what holds for all of them. */
#include <criterion/criterion.h>

#include "cpu_backend.h"
#include "ops_world.h"
#include "torch_optimizers.h"

static const struct backend *const backends[] = {&cpu_backend, &cpu_reference_backend};

static void begin(struct world *w, const struct backend *backend, size_t c)
{
    const struct ops_case ops_case = {.name = torch_cases[c].name,
                                      .kind = OP_UPDATE,
                                      .x = {1, 1, 1, TORCH_WEIGHTS},
                                      .channels = (uint32_t)torch_cases[c].optimizer,
                                      .bias = torch_cases[c].clip > 0,
                                      .relu = strcmp(torch_cases[c].name, "nesterov") == 0};
    world_init(w, backend, &ops_case);
    w->threads = 1;
    w->step.learning_rate = torch_cases[c].rate;
    w->step.weight_decay = strcmp(torch_cases[c].name, "clipped") == 0 ? 0 : 0.01f;
    w->step.momentum = 0.9f;
    w->step.clip_norm = torch_cases[c].clip;
    memcpy(w->values[W], torch_first, sizeof torch_first);
}

static void run(struct world *w, enum op_kind kind)
{
    struct error err = {0};
    cr_assert(world_run(w, kind, PASS_UPDATE, &err), "%s: %s", w->c.name, err.text);
}

Test(optimizers, move_weights_as_torch_does)
{
    for (size_t i = 0; i < 2 * sizeof torch_cases / sizeof torch_cases[0]; i++) {
        size_t c = i / 2;
        struct world w;
        begin(&w, backends[i % 2], c);
        for (size_t step = 0; step < TORCH_STEPS; step++) {
            w.step.number = step;
            memcpy(w.values[DW], torch_gradients[step], sizeof torch_gradients[step]);
            if (w.c.bias) run(&w, OP_GRADIENT_NORM);
            run(&w, OP_UPDATE);
            for (size_t k = 0; k < TORCH_WEIGHTS; k++) {
                float found = world_f32(&w, W)[k], wanted = torch_cases[c].weights[step][k];
                cr_assert_float_eq(found, wanted, 2e-6 * fmax(1, fabs((double)wanted)),
                                   "%s on %s, step %zu, weight %zu: %.9g, and torch has %.9g", w.c.name,
                                   backends[i % 2]->name, step, k, (double)found, (double)wanted);
            }
        }
        world_finish(&w);
    }
}

/* A step that overflows changes neither weights nor state, and does not count: the next one has the bits that it would
 * have had without it. */
Test(optimizers, a_skipped_step_leaves_no_trace)
{
    for (size_t i = 0; i < 2 * sizeof torch_cases / sizeof torch_cases[0]; i++) {
        struct world plain, skips;
        begin(&plain, backends[i % 2], i / 2);
        begin(&skips, backends[i % 2], i / 2);
        plain.scaled = skips.scaled = true;
        struct loss_scale *scale = plain.values[LOSS_SCALE], *skipping = skips.values[LOSS_SCALE];
        *scale = *skipping = (struct loss_scale){.scale = 4};
        for (size_t step = 0; step < 4; step++) {
            plain.step.number = step;
            skips.step.number = step + (step > 1);
            memcpy(plain.values[DW], torch_gradients[step], sizeof torch_gradients[step]);
            memcpy(skips.values[DW], torch_gradients[step], sizeof torch_gradients[step]);
            if (step == 2) {
                *skipping = (struct loss_scale){.scale = 4, .found = 1};
                run(&skips, OP_UPDATE);
                *skipping = (struct loss_scale){.scale = 4, .skipped = 1};
            }
            run(&plain, OP_UPDATE);
            run(&skips, OP_UPDATE);
        }
        cr_expect_arr_eq(plain.values[W], skips.values[W], sizeof torch_first, "%s", plain.c.name);
        cr_expect_arr_eq(plain.values[MOMENTUM], skips.values[MOMENTUM], sizeof torch_first, "%s", plain.c.name);
        cr_expect_arr_eq(plain.values[STATE2], skips.values[STATE2], sizeof torch_first, "%s", plain.c.name);
        world_finish(&plain);
        world_finish(&skips);
    }
}

/* Weights decay, gamma does not: with gradients of 0 only weights move, by every optimizer that decays. */
Test(optimizers, spare_gamma)
{
    for (size_t i = 0; i < 2 * sizeof torch_cases / sizeof torch_cases[0]; i++) {
        struct ops_case c = {"spared", OP_UPDATE, {1, 1, 1, 333}, (uint32_t)torch_cases[i / 2].optimizer, 0, 0, 1,
                             0,        0};
        struct world w;
        world_init(&w, backends[i % 2], &c);
        w.step.weight_decay = 0.1f;
        for (int k = 0; k < 333; k++) world_f32(&w, W)[k] = 2;
        run(&w, OP_UPDATE);
        uint32_t weights = w.tensors[WEIGHTS_PART].dims[3];
        for (uint32_t k = 0; k < 333; k++)
            cr_assert_eq(world_f32(&w, W)[k] < 2, k < weights, "%s, element %u", torch_cases[i / 2].name, k);
        world_finish(&w);
    }
}

/* The norm has the same bits on any number of threads, and is that of all buckets. */
Test(optimizers, the_norm_is_exact)
{
    const struct ops_case c = {"norm", OP_GRADIENT_NORM, {1, 1, 1, 30001}, 0, 0, 0, 0, false, false};
    double found[3], sum = 0;
    for (uint32_t threads = 1; threads <= 3; threads++) {
        struct world w;
        world_init(&w, &cpu_backend, &c);
        world_randomize(&w, 5);
        w.threads = threads;
        w.sync = true; /* not the first: what is there stays */
        sum = ((struct gradient_norm *)w.values[NORM])->squares;
        for (int k = 0; k < 30001; k++) sum += (double)world_f32(&w, DW)[k] * (double)world_f32(&w, DW)[k];
        run(&w, OP_GRADIENT_NORM);
        found[threads - 1] = ((struct gradient_norm *)w.values[NORM])->squares;
        w.sync = false;
        run(&w, OP_GRADIENT_NORM);
        cr_expect_float_eq(((struct gradient_norm *)w.values[NORM])->squares, found[0] - 30, 1e-8);
        world_finish(&w);
    }
    cr_expect_eq(found[0], found[1]);
    cr_expect_eq(found[0], found[2]);
    cr_expect_float_eq(found[0], sum, 1e-9 * sum);
}
