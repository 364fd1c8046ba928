/* What is planned does not hang on the clock: a busy machine makes the plan that an idle one makes. */
#include "clock.h"

#include "planner_kit.h"

/* The clock of this program, in place of base/clock.c's: it goes on by so much at each look. */
static uint64_t now_ns, step_ns;

uint64_t clock_now_ns(void) { return now_ns += step_ns; }
uint64_t clock_wall_ns(void) { return clock_now_ns(); }
uint64_t clock_thread_cpu_ns(void) { return clock_now_ns(); }
uint64_t clock_process_cpu_ns(void) { return clock_now_ns(); }

static struct plan *make_at(uint64_t step, const struct kit_options *options)
{
    step_ns = step;
    return kit_make_from(options);
}

static void compare(const struct plan_program *a, const struct plan_program *b)
{
    cr_assert_eq(a->op_count, b->op_count);
    cr_assert_eq(a->tensor_count, b->tensor_count);
    for (size_t t = 0; t < a->tensor_count; t++)
        cr_assert_eq(a->tensors[t].offset, b->tensors[t].offset, "tensor %zu", t);
}

static void same_on_both(struct kit_options options)
{
    struct plan *frozen = make_at(0, &options), *racing = make_at(UINT64_C(1) << 40, &options);
    cr_assert_eq(frozen->variants[0].arena_bytes, racing->variants[0].arena_bytes);
    cr_assert_eq(frozen->variants[0].extra_time_fraction, racing->variants[0].extra_time_fraction);
    compare(&frozen->variants[0].train, &racing->variants[0].train);
    compare(&frozen->variants[0].evaluate, &racing->variants[0].evaluate);
    plan_destroy(frozen);
    plan_destroy(racing);
}

/* Arenas that the fast placers leave above their bound, so that they are searched. */
Test(clock, plans_do_not_depend_on_it)
{
    for (uint64_t i = 4; i < 7; i++)
        same_on_both((struct kit_options){.model = "resnet-110",
                                          .batch = 64,
                                          .gpus = "8GiB",
                                          .recompute = RECOMPUTE_BUDGET,
                                          .budget = (90u << 20) + i * (100u << 10)});
    same_on_both((struct kit_options){.model = "resnet-56", .batch = 256, .gpus = "700MiB", .dtype = DTYPE_BF16});
}
