/* Forms of the papers' tables, planned and trained: all learn, and their files say which they are. */
#include <criterion/criterion.h>

#include "forms_kit.h"
#include "plan_file.h"
#include "train_help.h"

TestSuite(forms, .init = run_make_data, .fini = run_remove_data);

static struct small_run begin(const struct form *form)
{
    struct small_run run = {.model = form->model, .form = &form->options, .batch = 8};
    run.options.iterations = 8;
    run.options.repeat_batch = true;
    run.options.skip_evaluation = true;
    run.options.schedule = (struct schedule){.kind = SCHEDULE_CONSTANT, .base = 0.02};
    return run;
}

Test(forms, the_loss_of_each_falls)
{
    for (size_t i = 0; i < FORMS; i++) {
        struct form form = form_at(i, 0);
        struct small_run run = begin(&form);
        run_go(&run);
        cr_assert(run.ok, "form %zu: %s", i, run.err.text);
        cr_expect_lt(run.losses[7], 0.9 * run.losses[0], "form %zu: %g to %g", i, run.losses[0], run.losses[7]);
    }
}

static void save(struct small_run *run, const char *folder)
{
    run->options.save_folder = run_path(folder);
    run->options.iterations = 1;
    run_go(run);
}

Test(forms, a_checkpoint_of_another_unit_is_refused_by_its_name)
{
    struct model_options unit = MODEL_OPTIONS_DEFAULT;
    unit.unit = UNIT_BN_AFTER_ADD_NO_RELU;
    struct form form = {"resnet-8", unit}, usual = {"resnet-8", MODEL_OPTIONS_DEFAULT};
    struct small_run run = begin(&form), again = begin(&usual);
    save(&run, "saved");
    cr_assert(run.ok, "%s", run.err.text);
    again.options.resume_folder = run_path("saved");
    run_go(&again);
    cr_expect_not(again.ok);
    cr_expect(strstr(again.err.text, "is of resnet-8 (bn-after-add-no-relu, shortcut"), "%s", again.err.text);
}

/* What a gate begins with is no part of what it computes; the rest is. */
Test(forms, a_checkpoint_of_another_form_is_refused)
{
    struct form scaled = form_at(1, 0), gated = form_at(6, 0), other;
    struct small_run run = begin(&scaled), again;
    save(&run, "scaled");
    cr_assert(run.ok, "%s", run.err.text);
    other = form_at(2, 0);
    again = begin(&other);
    again.options.resume_folder = run_path("scaled");
    run_go(&again);
    cr_expect_not(again.ok);
    cr_expect(strstr(again.err.text, "is of resnet-8 --shortcut scaling --branch-scale 1"), "%s", again.err.text);
    run = begin(&gated);
    save(&run, "gated");
    cr_assert(run.ok, "%s", run.err.text);
    other = form_at(5, 0);
    again = begin(&other);
    again.options.resume_folder = run_path("gated");
    run_go(&again);
    cr_expect(again.ok, "%s", again.err.text);
}
