#include <criterion/criterion.h>

#include "execute.h"
#include "old_checkpoint.h"
#include "torch_names.h"
#include "train_help.h"

TestSuite(resume, .init = run_make_data, .fini = run_remove_data);

static char folders[4][128];

static const char *folder(int i, const char *name)
{
    snprintf(folders[i], sizeof folders[i], "%s/%s", run_data, name);
    return folders[i];
}

static void check_same_files(const char *a, const char *b, uint64_t step)
{
    cr_assert(run_same_checkpoints(a, b, step), "the resumed run's checkpoint is another");
}

/* 16 of 40 images a step: the third step crosses into the second epoch. */
static void check_resumed(const struct small_run *as, uint64_t stop_at)
{
    struct small_run whole = *as, first = *as, rest = *as;
    whole.options.iterations = rest.options.iterations = 7;
    first.options.iterations = stop_at;
    whole.options.seed = first.options.seed = 5;
    rest.options.seed = 99;
    whole.options.save_folder = folder(0, "whole");
    first.options.save_folder = rest.options.save_folder = rest.options.resume_folder = folder(1, "parts");
    run_go(&whole);
    run_go(&first);
    run_go(&rest);
    cr_assert(whole.ok && first.ok && rest.ok, "%s%s%s", whole.err.text, first.err.text, rest.err.text);
    cr_assert_eq(rest.steps, 7 - stop_at);
    for (uint64_t i = stop_at; i < 7; i++)
        cr_assert(memcmp(&whole.losses[i], &rest.losses[i - stop_at], sizeof(double)) == 0, "step %d: %.17g, %.17g",
                  (int)i, whole.losses[i], rest.losses[i - stop_at]);
    check_same_files(folders[0], folders[1], 7);
}

static void check_resume(const char *gpus, uint64_t stop_at)
{
    check_resumed(&(struct small_run){.gpus = gpus, .options.skip_evaluation = true}, stop_at);
}

Test(resume, is_bitwise_as_if_never_stopped) { check_resume("cpu", 4); }

Test(resume, is_bitwise_from_within_an_epoch) { check_resume("cpu", 2); }

Test(resume, is_bitwise_on_two_devices) { check_resume("2xcpu", 3); }

/* What each optimizer keeps is in checkpoints, with averages, in f16 with its skipped steps. */
Test(resume, is_bitwise_with_every_optimizer)
{
    for (int i = 0; i < OPTIMIZERS; i++) {
        struct small_run run = {.gpus = i % 2 ? "2xcpu" : "cpu",
                                .dtype = i == OPTIMIZER_ADAM ? DTYPE_F16 : DTYPE_F32,
                                .update = {(enum optimizer)i, true, i > OPTIMIZER_SGD},
                                .options = {.optimizer = (enum optimizer)i,
                                            .clip_norm = 0.5,
                                            .average_decay = i > OPTIMIZER_SGD ? 0.9 : 0,
                                            .spares_bn = true,
                                            .skip_evaluation = true}};
        check_resumed(&run, 3);
        run_remove_data();
        run_make_data();
    }
}

/* Trains two steps and two more from the checkpoint, under a plan with such room. */
static struct small_run go_in_parts(struct update_needs room, const char *save_folder)
{
    struct small_run first = {.gpus = "2xcpu", .update = room, .options = {.optimizer = OPTIMIZER_SGD}}, rest = first;
    first.options.iterations = 2;
    rest.options.iterations = 4;
    first.options.save_folder = rest.options.save_folder = rest.options.resume_folder = save_folder;
    run_go(&first);
    run_go(&rest);
    cr_assert(first.ok && rest.ok, "%s%s", first.err.text, rest.err.text);
    return rest;
}

/* What a plan has room for and the run does not keep changes neither what is learned, tested nor saved. */
Test(resume, is_the_same_where_a_plan_has_room_left_over)
{
    static const struct update_needs roomy[] = {
        {OPTIMIZER_ADAM, false, false}, {OPTIMIZER_SGD, false, true}, {OPTIMIZER_ADAM, false, true}};
    struct small_run exact = go_in_parts((struct update_needs){.optimizer = OPTIMIZER_SGD}, folder(0, "exact"));
    cr_assert(isfinite(exact.last.test_loss) && exact.last.test_loss > 0);
    for (int i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "roomy%d", i);
        struct small_run run = go_in_parts(roomy[i], folder(1, name));
        cr_expect_eq(run.last.test_loss, exact.last.test_loss, "%d: %g", i, run.last.test_loss);
        check_same_files(folders[0], folders[1], 2);
        check_same_files(folders[0], folders[1], 4);
    }
}

Test(resume, is_bitwise_with_micro_batches)
{
    check_resumed(&(struct small_run){.gpus = "2xcpu", .micro_batches = 2, .options.skip_evaluation = true}, 3);
}

Test(resume, is_bitwise_with_synchronised_statistics)
{
    check_resumed(&(struct small_run){.gpus = "2xcpu", .sync_bn = true, .options.skip_evaluation = true}, 2);
}

Test(resume, is_bitwise_with_lowered_programs)
{
    check_resumed(&(struct small_run){.gpus = "2xcpu",
                                      .model = "resnet-11",
                                      .sync_bn = true,
                                      .lowering = LOWER_ALL,
                                      .options.skip_evaluation = true},
                  2);
}

static const struct small_run with_plateaus = {
    .options = {.schedule = {.kind = SCHEDULE_PLATEAU, .base = 1e-7, .factor = 0.1, .patience = 1},
                .evaluate_every = 2}};

/* The first part evaluates at its end, where the whole run does not. */
Test(resume, is_bitwise_with_plateaus) { check_resumed(&with_plateaus, 3); }

static volatile sig_atomic_t stop;

static void stop_at_three(struct small_run *run, uint64_t step)
{
    (void)run;
    if (step == 2) stop = 1; /* seen after the third step at the latest */
}

Test(resume, a_stop_saves_and_the_rest_continues)
{
    struct small_run whole = {.options.iterations = 6}, part = {.options.iterations = 6, .after_step = stop_at_three};
    struct small_run rest = {.options.iterations = 6};
    stop = 0;
    whole.options.save_folder = folder(0, "whole");
    part.options.stop = &stop;
    part.options.save_folder = rest.options.resume_folder = rest.options.save_folder = folder(1, "parts");
    run_go(&whole);
    run_go(&part);
    cr_assert(whole.ok && part.ok, "%s%s", whole.err.text, part.err.text);
    cr_assert(part.result.stopped);
    cr_assert_lt(part.result.steps, 6);
    run_go(&rest);
    cr_assert(rest.ok, "%s", rest.err.text);
    cr_assert_not(rest.result.stopped);
    check_same_files(folders[0], folders[1], 6);
    cr_assert(rest.result.top1_error == whole.result.top1_error);
}

/* The stop is seen after the third step, whose evaluation is due. */
Test(resume, an_evaluation_that_a_stop_put_off_is_made_up_for)
{
    struct small_run whole = with_plateaus, part = with_plateaus, rest = with_plateaus;
    whole.options.iterations = part.options.iterations = rest.options.iterations = 5;
    whole.options.evaluate_every = part.options.evaluate_every = rest.options.evaluate_every = 3;
    stop = 0;
    part.options.stop = &stop;
    part.after_step = stop_at_three;
    whole.options.save_folder = folder(0, "whole");
    part.options.save_folder = rest.options.resume_folder = rest.options.save_folder = folder(1, "parts");
    run_go(&whole);
    run_go(&part);
    run_go(&rest);
    cr_assert(whole.ok && part.ok && rest.ok, "%s%s%s", whole.err.text, part.err.text, rest.err.text);
    cr_assert_eq(part.result.steps, 3);
    check_same_files(folders[0], folders[1], 5);
}

Test(resume, goes_on_with_another_number_of_devices)
{
    struct small_run first = {.gpus = "2xcpu", .sync_bn = true, .options.iterations = 3};
    struct small_run rest = {.options.iterations = 6}, whole = {.options.iterations = 6};
    first.options.save_folder = rest.options.save_folder = rest.options.resume_folder = folder(1, "parts");
    run_go(&whole);
    run_go(&first);
    run_go(&rest);
    cr_assert(whole.ok && first.ok && rest.ok, "%s%s%s", whole.err.text, first.err.text, rest.err.text);
    for (int i = 3; i < 6; i++) cr_assert_float_eq(whole.losses[i], rest.losses[i - 3], 1e-2);
}

static void check_refused(struct small_run *run, const char *says)
{
    run_go(run);
    cr_assert_not(run->ok);
    cr_assert_eq(run->err.kind, ERROR_INPUT, "%s", run->err.text);
    cr_assert(strstr(run->err.text, says), "'%s' does not say '%s'", run->err.text, says);
}

Test(resume, what_does_not_belong_is_refused)
{
    struct small_run first = {.options.iterations = 1};
    first.options.save_folder = folder(0, "saved");
    first.options.skip_evaluation = true;
    run_go(&first);
    cr_assert(first.ok, "%s", first.err.text);
    struct small_run other_model = {.model = "resnet-14", .options.resume_folder = folders[0]};
    check_refused(&other_model, "is of resnet-8");
    struct small_run nothing = {.options.resume_folder = folder(1, "none")};
    check_refused(&nothing, "no checkpoint");
    struct small_run again = {.options.save_folder = folders[0]};
    check_refused(&again, "--resume");
    struct small_run no_folder = {.options.save_folder = "/dev/null/x"};
    check_refused(&no_folder, "/dev/null/x");
    struct error err = {0};
    cr_assert(data_synthesize(folder(2, "others"), 40, 24, 2, NULL, NULL, &err), "%s", err.text);
    struct small_run other_images = {.options.resume_folder = folders[0]};
    run_fill_defaults(&other_images);
    other_images.options.data_path = folders[2];
    struct plan *plan = run_plan(&other_images);
    cr_assert(plan);
    cr_assert_not(train_run(plan, &cpu_backend, &other_images.options, NULL, NULL, NULL, &other_images.result, &err));
    cr_assert(strstr(err.text, "other images"), "%s", err.text);
    plan_destroy(plan);
}

/* What an optimizer keeps belongs to it alone, also where the other one keeps nothing. */
Test(resume, another_optimizer_is_refused)
{
    struct small_run first = {.update = {OPTIMIZER_ADAM, false, true},
                              .options = {.optimizer = OPTIMIZER_ADAM, .iterations = 1, .skip_evaluation = true}};
    first.options.average_decay = 0.9;
    first.options.save_folder = folder(0, "saved");
    run_go(&first);
    cr_assert(first.ok, "%s", first.err.text);
    struct small_run plain = first, near = first, unaveraged = first;
    plain.options.resume_folder = near.options.resume_folder = unaveraged.options.resume_folder = folders[0];
    plain.options.optimizer = OPTIMIZER_SGD;
    near.options.optimizer = OPTIMIZER_ADAMW;
    plain.options.average_decay = unaveraged.options.average_decay = 0;
    check_refused(&plain, "optimizer is adam, with averages of weights; this one's is sgd, without");
    check_refused(&near, "this one's is adamw, with");
    check_refused(&unaveraged, "this one's is adam, without");
}

/* A run without momentum needs nothing of the state; it is no less one's own checkpoint that it goes on from. */
Test(resume, a_run_that_keeps_nothing_wants_its_state_too)
{
    struct small_run first = {.update = {.optimizer = OPTIMIZER_SGD},
                              .options = {.optimizer = OPTIMIZER_SGD, .iterations = 1, .skip_evaluation = true}};
    first.options.save_folder = folder(0, "saved");
    run_go(&first);
    cr_assert(first.ok, "%s", first.err.text);
    struct small_run rest = first;
    char command[512];
    snprintf(command, sizeof command, "rm '%s'/*.state.safetensors", folders[0]);
    cr_assert_eq(system(command), 0);
    rest.options.resume_folder = folders[0];
    check_refused(&rest, "its state beside it");
}

/* ---- Older versions ---- */

/* All tensors of a checkpoint of two devices: parameters, means of statistics, momenta, each device's statistics. */
struct kept {
    const struct graph *graph;
    struct state_entry *entries; /* parameters, momenta, statistics */
    size_t parameters, statistics;
    float *values[512]; /* of the tensors */
};

static void describe_kept(void *context, size_t i, struct checkpoint_tensor *t)
{
    const struct kept *kept = context;
    size_t p = kept->parameters, s = kept->statistics, device = i < 2 * p + s ? 0 : (i - 2 * p - s) / s;
    bool mean = i >= p && i < p + s, momentum = i >= p + s && i < 2 * p + s, own = i >= 2 * p + s;
    size_t entry = i < p ? i : mean ? p + i : momentum ? i - s : 2 * p + (i - 2 * p - s) % s;
    uint32_t tensor = kept->entries[entry].tensor;
    char name[TENSOR_NAME], theirs[TORCH_NAME], at[32] = "";
    *t = (struct checkpoint_tensor){.state = momentum || own};
    t->rank = torch_shape(kept->graph, tensor, t->shape, t->kernel);
    graph_tensor_name(kept->graph, tensor, name);
    torch_name(kept->graph, tensor, theirs);
    if (own) snprintf(at, sizeof at, "@%zu", device);
    snprintf(t->name, sizeof t->name, "%s%s", theirs, momentum ? ".momentum_buffer" : at);
    if (!mean) snprintf(t->old_name, sizeof t->old_name, "%s%s", name, momentum ? ".momentum" : at);
}

static bool get_kept(void *context, size_t i, float *values, struct error *err)
{
    (void)err;
    struct checkpoint_tensor t;
    describe_kept(context, i, &t);
    memcpy(values, ((struct kept *)context)->values[i], old_elements(&t) * sizeof *values);
    return true;
}

static bool put_kept(void *context, size_t i, const float *values, struct error *err)
{
    (void)err;
    struct checkpoint_tensor t;
    describe_kept(context, i, &t);
    float **kept = &((struct kept *)context)->values[i];
    *kept = mem_alloc(MEM_GENERAL, old_elements(&t), sizeof *values);
    cr_assert(*kept);
    memcpy(*kept, values, old_elements(&t) * sizeof *values);
    return true;
}

/* Writes a folder's newest checkpoint into another as older programs did. */
static void write_as_older(struct small_run *run, const char *from, const char *to)
{
    static float staging[1 << 18];
    static struct kept kept;
    struct plan *plan = run_plan(run);
    struct checkpoint c;
    struct checkpoint_file *file;
    struct error err = {0};
    char path[CHECKPOINT_PATH];
    size_t order[512], count, n = 0;
    kept.graph = plan->variants[0].graph;
    cr_assert(state_entries_find(&plan->variants[0], &kept.entries, &count, &err), "%s", err.text);
    kept.parameters = kept.graph->parameter_count;
    kept.statistics = count - 2 * kept.parameters;
    struct checkpoint_tensors tensors = {&kept, count + 2 * kept.statistics, describe_kept, get_kept, put_kept};
    cr_assert(checkpoint_find(from, path, &err) && checkpoint_open(path, &file, &c, &err), "%s", err.text);
    cr_assert(checkpoint_load(file, &tensors, staging, &err), "%s", err.text);
    checkpoint_close(file);
    for (size_t i = 0; i < tensors.count; i++)
        if (i < kept.parameters || i >= kept.parameters + kept.statistics) order[n++] = i;
    cr_assert(files_make_folder(to, &err));
    snprintf(path, sizeof path, "%s/step-%012llu.ckpt", to, (unsigned long long)c.step);
    old_write(path, &c, &tensors, order, n, staging);
    for (size_t i = 0; i < tensors.count; i++) mem_free(kept.values[i]);
    mem_free(kept.entries);
    plan_destroy(plan);
}

Test(resume, goes_on_bitwise_from_a_checkpoint_of_an_older_version)
{
    struct small_run whole = {.gpus = "2xcpu", .options = {.iterations = 6, .skip_evaluation = true}}, first = whole,
                     rest = whole, one = whole, other = whole;
    first.options.iterations = 3;
    whole.options.save_folder = folder(0, "whole");
    first.options.save_folder = folder(1, "first");
    run_go(&whole);
    run_go(&first);
    cr_assert(whole.ok && first.ok, "%s%s", whole.err.text, first.err.text);
    write_as_older(&first, folders[1], folder(2, "older"));
    rest.options.save_folder = rest.options.resume_folder = folders[2];
    run_go(&rest);
    cr_assert(rest.ok, "%s", rest.err.text);
    cr_assert(run_same_checkpoints(folders[0], folders[2], 6));
    /* On one device: with the mean of the statistics, which the newer format has and the older one makes. */
    write_as_older(&first, folders[1], folder(3, "one"));
    one.gpus = other.gpus = "cpu";
    one.options.iterations = other.options.iterations = 4;
    one.options.resume_folder = one.options.save_folder = folders[3];
    run_go(&one);
    other.options.resume_folder = other.options.save_folder = folders[1];
    run_go(&other);
    cr_assert(one.ok && other.ok, "%s%s", one.err.text, other.err.text);
    cr_assert(run_same_checkpoints(folders[1], folders[3], 4));
}

/* With the weights of a run, and nothing else of it: its first loss is that of the next step of that run. */
Test(resume, weights_alone_begin_another_run)
{
    struct small_run first = {.options = {.iterations = 2, .skip_evaluation = true}}, fine = first;
    first.options.save_folder = folder(0, "first");
    run_go(&first);
    cr_assert(first.ok, "%s", first.err.text);
    fine.options.weights = folders[0];
    fine.options.augment = false;
    run_go(&fine);
    cr_assert(fine.ok, "%s", fine.err.text);
    cr_assert_eq(fine.steps, 2);
    cr_assert_neq(fine.losses[0], first.losses[0]);
    struct small_run other = {.model = "resnet-14", .options.weights = folders[0]};
    check_refused(&other, "conv1, bn1, fc match by name and shape, not layer1, layer2, layer3: it has no "
                          "layer1.1.conv1.weight of 16 x 16 x 3 x 3");
}
