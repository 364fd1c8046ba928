/* A plan fits when it does with its models' error, too; near the limit it is close. */
#include "certainty.h"

#include "plan_words.h"
#include "planner_kit.h"

static void leave(struct plan *plan, size_t device, int64_t bytes)
{
    struct plan_device *d = &plan->devices[device];
    d->spec.memory_bytes = (uint64_t)((int64_t)(d->peak_bytes + d->spec.reserve_bytes) + bytes);
    plan->fits = true;
    for (size_t i = 0; i < plan->device_count; i++)
        plan->fits &= plan->devices[i].peak_bytes <= device_usable_bytes(&plan->devices[i].spec);
}

static const char *verdict(const struct plan *plan)
{
    static char words[WORDS_VERDICT];
    return words_verdict(plan, words, sizeof words);
}

Test(certainty, only_the_arena_is_exact)
{
    struct plan *plan = kit_make(.model = "resnet-20", .batch = 64, .gpus = "titan-x");
    struct certainty c = certainty_of(plan);
    cr_expect_eq(c.exact_bytes, plan->variants[0].arena_bytes);
    cr_expect_eq(c.exact_bytes + c.modelled_bytes, plan->devices[0].peak_bytes);
    cr_expect_eq(c.modelled_bytes, plan->devices[0].classes[MEMORY_CONTEXT], "one device has no communication");
    cr_expect_eq(c.error_bytes, plan->devices[0].classes[MEMORY_CONTEXT] / 3);
    cr_expect_not(c.measured);
    plan_destroy(plan);

    plan = kit_make(.model = "resnet-20", .batch = 64, .gpus = "2xtitan-x");
    struct certainty two = certainty_of(plan);
    cr_expect_geq(two.error_bytes, c.error_bytes + plan->devices[0].classes[MEMORY_COMMUNICATION]);
    plan_destroy(plan);

    plan = kit_make(.model = "resnet-20", .batch = 64, .gpus = "cpu");
    c = certainty_of(plan);
    cr_expect(c.measured);
    cr_expect_eq(c.error_bytes, (uint64_t)(0.03 * (double)plan->devices[0].peak_bytes));
    plan_destroy(plan);
}

Test(certainty, near_the_limit_is_close_on_either_side)
{
    struct plan *plan = kit_make(.model = "resnet-20", .batch = 64, .gpus = "titan-x");
    int64_t error = (int64_t)certainty_of(plan).error_bytes;
    const struct {
        int64_t left;
        enum certainty_verdict verdict;
        bool fits;
        const char *begins;
    } rows[] = {
        {error, CERTAINTY_FITS, true, "resnet-20 fits titan-x"},
        {error - 1, CERTAINTY_CLOSE, true, "resnet-20 is close to the limit of titan-x"},
        {0, CERTAINTY_CLOSE, true, "resnet-20 is close to the limit of titan-x"},
        {-1, CERTAINTY_CLOSE, false, "resnet-20 is close to the limit of titan-x"},
        {-error, CERTAINTY_CLOSE, false, "resnet-20 is close to the limit of titan-x"},
        {-error - 1, CERTAINTY_UNFIT, false, "resnet-20 does not fit titan-x"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        leave(plan, 0, rows[i].left);
        cr_expect_eq(certainty_of(plan).verdict, rows[i].verdict, "row %zu", i);
        cr_expect_eq(plan->fits, rows[i].fits, "row %zu", i);
        cr_expect_eq(strncmp(verdict(plan), rows[i].begins, strlen(rows[i].begins)), 0, "row %zu: %s", i,
                     verdict(plan));
    }
    plan_destroy(plan);
}

Test(certainty, of_several_devices_the_worst_counts)
{
    struct plan *plan = kit_make(.model = "resnet-20", .batch = 96, .gpus = "2xtitan-x,12GiB");
    cr_expect_eq(certainty_of(plan).verdict, CERTAINTY_FITS);
    leave(plan, 1, 0);
    cr_expect_eq(certainty_of(plan).verdict, CERTAINTY_CLOSE);
    leave(plan, 2, -2 * (int64_t)certainty_of_device(plan, 2).error_bytes);
    struct certainty c = certainty_of(plan), own = certainty_of_device(plan, 2);
    cr_expect_eq(c.verdict, CERTAINTY_UNFIT);
    cr_expect_eq(c.exact_bytes, own.exact_bytes);
    cr_expect_eq(certainty_of_device(plan, 0).verdict, CERTAINTY_FITS);
    plan_destroy(plan);
}
