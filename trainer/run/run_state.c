/* Where a run's values come from and go to: initial values, checkpoints. */
#include "transfer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "init.h"
#include "mem.h"
#include "trained_on.h"

/* ---- The loss scale ---- */

static bool scale_to_device(void *context, uint32_t rank, struct error *err)
{
    const struct training *run = context;
    return executor_loss_scale_in(run->executors[rank], &run->loss_scale, err);
}

static bool scale_from_device(void *context, uint32_t rank, struct error *err)
{
    struct training *run = context;
    return executor_loss_scale_out(run->executors[rank], &run->loss_scale, err);
}

static bool has_loss_scale(const struct training *run) { return executor_has_loss_scale(run->executors[0]); }

static void show_loss_scale(struct training *run)
{
    run->status.loss_scale = (double)run->loss_scale.scale;
    run->status.skipped = (uint64_t)run->loss_scale.skipped;
}

static bool put_loss_scale(struct training *run, struct loss_scale scale, struct error *err)
{
    if (!has_loss_scale(run)) return true;
    run->loss_scale = scale;
    show_loss_scale(run);
    return team_run(run->team, scale_to_device, run, err);
}

static struct loss_scale first_loss_scale(const struct training *run)
{
    double given = run->options->loss_scale;
    return (struct loss_scale){.scale = given > 0 ? (float)given : LOSS_SCALE_FIRST};
}

void run_see_loss_scale(struct training *run, const struct loss_scale *scale)
{
    if (!has_loss_scale(run)) return;
    double before = run->status.loss_scale;
    run->loss_scale = *scale;
    show_loss_scale(run);
    if (scale->found == 0 || !run->sink || !run->sink->mark) return;
    char text[128];
    snprintf(text, sizeof text, "step %" PRIu64 " skipped: gradients overflow at loss scale %g, now %g", run->done + 1,
             before, run->status.loss_scale);
    run->sink->mark(run->sink->context, clock_now_ns(), text);
}

/* ---- Initial values ---- */

bool run_initialise(struct training *run, struct error *err)
{
    struct transfer k;
    TRY(transfer_begin(&k, run, (uint32_t)run->plan->device_count, err));
    bool ok = true;
    for (size_t i = 0; ok && i < k.entry_count; i++) {
        const struct state_entry *entry = &k.entries[i];
        if (entry->kind == STATE_PARAMETER || entry->kind == STATE_AVERAGE)
            init_parameter(k.graph, entry->parameter, run->options->init, run->seed, run->staging);
        else if (entry->kind == STATE_OPTIMIZER)
            memset(run->staging, 0, transfer_elements(&k, i) * sizeof *run->staging);
        else
            init_statistic(&k.graph->tensors[entry->tensor], run->staging);
        ok = transfer_put(&k, i, run->staging, err);
    }
    transfer_finish(&k);
    return ok && put_loss_scale(run, first_loss_scale(run), err);
}

/* ---- Checkpoints ---- */

/* Rank 0 writes; the others bring what it asks for, in the same order. Of an average what the net is comes first, and
 * nothing else is wanted. */
static bool write_checkpoint(struct transfer *k, const struct checkpoint *checkpoint, bool average, struct error *err)
{
    struct training *run = k->run;
    const char *folder = run->options->save_folder;
    struct checkpoint_tensors tensors = transfer_tensors(k);
    if (average) tensors.count = transfer_net_tensors(k);
    if (ranks_place(run->ranks).rank == 0)
        return average ? checkpoint_write_average(folder, checkpoint, &tensors, run->staging, err)
                       : checkpoint_write(folder, checkpoint, &tensors, run->staging, err);
    for (size_t i = 0; i < tensors.count; i++) TRY(transfer_get(k, i, run->staging, err));
    return true;
}

static bool bring_scale(struct training *run, struct error *err)
{
    uint32_t device = run->good_device;
    if (transfer_is_here(run, device))
        TRY(team_run_one(run->team, device - run->first_device, scale_from_device, run, err));
    return transfer_bring(run, device, &run->loss_scale, sizeof run->loss_scale, err);
}

/* What the devices hold: the run's state, or the average that has changed places with the weights. */
static bool write_state(struct training *run, bool must_be_finite, bool average, struct error *err)
{
    struct transfer k;
    TRY(transfer_begin(&k, run, (uint32_t)run->plan->device_count, err));
    k.must_be_finite = must_be_finite;
    struct checkpoint checkpoint = {.spec = run->plan->spec,
                                    .step = run->done,
                                    .seed = run->seed,
                                    .position = run->position,
                                    .dataset_hash = dataset_hash(run->dataset),
                                    .batch = run->plan->batch,
                                    .devices = k.devices,
                                    .optimizer = run->options->optimizer,
                                    .averages = run->options->average_decay > 0,
                                    .schedule = run->schedule,
                                    .scaled = has_loss_scale(run),
                                    .top1_error = run->evaluated_step == run->done ? run->status.top1_error : NAN};
    bool ok = k.devices == 1 || transfer_make_sums(&k, err);
    if (checkpoint.scaled) ok = ok && bring_scale(run, err);
    checkpoint.loss_scale = run->loss_scale;
    ok = ok && write_checkpoint(&k, &checkpoint, average, err);
    transfer_finish(&k);
    return ok;
}

static void report_checkpoint(const struct training *run, uint64_t begin_ns)
{
    run_report_gap(run, GAP_CHECKPOINT, begin_ns);
    run_report_host_of_all(run, HOST_CHECKPOINT, begin_ns);
}

static bool save(struct training *run, bool must_be_finite, struct error *err)
{
    uint64_t begin = clock_now_ns();
    TRY(write_state(run, must_be_finite, false, err));
    run->saved = run->done;
    report_checkpoint(run, begin);
    if (!run->sink || !run->sink->mark) return true;
    char text[64];
    snprintf(text, sizeof text, "checkpoint step %" PRIu64, run->done);
    run->sink->mark(run->sink->context, clock_now_ns(), text);
    return true;
}

bool run_save_average(struct training *run, struct error *err)
{
    uint64_t begin = clock_now_ns();
    if (run->options->average_decay <= 0) return true;
    if (!write_state(run, false, true, err)) return error_prefix(err, "the checkpoint of step %" PRIu64, run->done);
    run->averaged = run->done;
    report_checkpoint(run, begin);
    return true;
}

/* As it is tested, with statistics of its own, unless a test has just taken them. They are taken over the images of the
 * next steps, which are then read again. */
static bool save_average(struct training *run, struct error *err)
{
    struct tested_state *tested;
    uint64_t begin = clock_now_ns();
    if (run->options->average_decay <= 0 || run->averaged == run->done) return true;
    TRY(tested_state_begin(run, &tested, err));
    bool ok = write_state(run, false, true, err);
    ok = tested_state_end(run, tested, ok ? err : NULL) && ok;
    if (ok && run->loader) {
        loader_destroy(run->loader);
        run->loader = NULL;
        ok = run_open_loader(run, err);
    }
    report_checkpoint(run, begin);
    return ok;
}

/* Beside the first checkpoint of this run, by rank 0. */
static bool say_images(struct training *run, struct error *err)
{
    if (run->said_images || ranks_place(run->ranks).rank > 0) return true;
    run->said_images = true;
    return trained_on_write(run->options->save_folder, run->dataset, err);
}

static bool mark_best(struct training *run, struct error *err)
{
    run->best_error = run->status.top1_error;
    bool average = run->options->average_decay > 0;
    return ranks_place(run->ranks).rank > 0 || checkpoint_mark_best(run->options->save_folder, run->done, average, err);
}

bool run_is_best(const struct training *run)
{
    const struct train_status *status = &run->status;
    bool known = status->evaluated && isfinite(status->top1_error);
    return run->options->save_folder && known && !(status->top1_error >= run->best_error);
}

bool run_save(struct training *run, struct error *err)
{
    TRY(save(run, false, err) && save_average(run, err) && say_images(run, err));
    if (run_is_best(run)) TRY(mark_best(run, err));
    if (run->options->keep > 0 && ranks_place(run->ranks).rank == 0)
        checkpoint_thin(run->options->save_folder, run->done, run->options->keep);
    return true;
}

/* ---- The last good step ---- */

static bool undo_statistics(void *context, uint32_t rank, struct error *err)
{
    const struct training *run = context;
    return executor_undo_statistics(run->executors[rank], run->done, err);
}

/* While steps are in flight a device's state is of none of them, unless the loss of the first was not finite: from that
 * on the device that found it has updated nothing. */
void run_save_last_good(struct training *run)
{
    if (!run->options->save_folder || run->saved == run->done || run->done == 0) return;
    if (run->in_flight > 0 && !run->diverged) return;
    if (run->ranks && !run->diverged) return; /* one rank alone has failed */
    if (run->diverged && !team_run(run->team, undo_statistics, run, NULL)) return;
    if (save(run, true, NULL)) say_images(run, NULL);
    ranks_barrier(run->ranks, NULL); /* nobody ends before it is written */
}

/* ---- Going on ---- */

/* A gate's bias is a weight, which may begin anywhere. */
static bool same_numbers(const struct model_spec *a, const struct model_spec *b)
{
    for (size_t i = 0; i < MODEL_NUMBERS; i++)
        if (i != NUMBER_GATE_BIAS && a->number[i] != b->number[i]) return false;
    return true;
}

/* Whether both are the same net but for its classes. The image size may differ: weights do not depend on it. */
static bool same_model(const struct model_spec *saved, const struct model_spec *wanted)
{
    return strcmp(saved->name, wanted->name) == 0 && saved->family == wanted->family &&
           (saved->dataset == DATASET_IMAGENET) == (wanted->dataset == DATASET_IMAGENET) &&
           saved->unit == wanted->unit && saved->shortcut == wanted->shortcut &&
           saved->bottleneck == wanted->bottleneck && saved->depth == wanted->depth &&
           saved->stride_in == wanted->stride_in && same_numbers(saved, wanted) &&
           memcmp(saved->units, wanted->units, sizeof saved->units) == 0;
}

#define FORM_WORDS 240
static const char *tell_form(const struct model_spec *spec, char out[FORM_WORDS])
{
    struct text flags = {0};
    model_add_flags(spec, &flags);
    snprintf(out, FORM_WORDS, "%s%s", spec->name, flags.length > 0 && !flags.failed ? flags.bytes : "");
    text_finish(&flags);
    return out;
}

static bool check_spec(const struct transfer *k, struct checkpoint_file *file, const char *path,
                       const struct checkpoint *c, struct error *err)
{
    const struct model_spec *saved = &c->spec, *wanted = &k->run->plan->spec;
    char words[640], saved_form[FORM_WORDS], wanted_form[FORM_WORDS];
    bool same = same_model(saved, wanted) && (saved->classes == wanted->classes || k->fresh_classifier);
    if (!c->known || same) return true;
    struct checkpoint_tensors tensors = transfer_tensors((struct transfer *)(uintptr_t)k);
    checkpoint_compare(file, &tensors, words, sizeof words);
    if (saved->unit == wanted->unit && saved->shortcut == wanted->shortcut && saved->classes == wanted->classes)
        return error_set(err, ERROR_INPUT, "%s: is of %s; the plan is of %s: %s", path, tell_form(saved, saved_form),
                         tell_form(wanted, wanted_form), words);
    return error_set(err, ERROR_INPUT, "%s: is of %s (%s, shortcut %s, %u classes); the plan is of %s (%s, %s, %u): %s",
                     path, saved->name, saved->unit < UNIT_KINDS ? unit_kind_name(saved->unit) : "unknown units",
                     saved->shortcut <= SHORTCUT_DROPOUT ? shortcut_kind_name(saved->shortcut) : "unknown",
                     saved->classes, wanted->name, unit_kind_name(wanted->unit), shortcut_kind_name(wanted->shortcut),
                     wanted->classes, words);
}

/* What an optimizer keeps is of no use to another. */
static bool check_update(const struct train_options *o, const char *path, const struct checkpoint *c, struct error *err)
{
    bool averages = o->average_decay > 0;
    if (!c->says_update || (c->optimizer == o->optimizer && c->averages == averages)) return true;
    return error_set(
        err, ERROR_INPUT,
        "%s: its run's optimizer is %s, %s averages of weights; this one's is %s, %s: go on with the same, "
        "or begin a run with its weights (--weights)",
        path, optimizer_name(c->optimizer), c->averages ? "with" : "without", optimizer_name(o->optimizer),
        averages ? "with" : "without");
}

static bool check_checkpoint(const struct train_options *o, const struct dataset *dataset, const char *path,
                             const struct checkpoint *c, struct error *err)
{
    if (c->known && !dataset_has_hash(dataset, c->dataset_hash))
        return error_set(err, ERROR_INPUT, "%s: its run trained on other images than %s", path, o->data_path);
    return check_update(o, path, c, err);
}

static bool load_tensors(struct training *run, struct checkpoint_file *file, const char *path,
                         const struct checkpoint *c, bool weights_alone, struct error *err)
{
    struct transfer k;
    TRY(transfer_begin(&k, run, c->known ? c->devices : 1, err));
    k.weights_alone = weights_alone;
    k.fresh_classifier = weights_alone && !run->options->evaluates_only;
    k.old = c->known && c->version < CHECKPOINT_VERSION;
    bool ok = check_spec(&k, file, path, c, err);
    if (k.old && (weights_alone || k.devices != run->plan->device_count)) ok = ok && transfer_make_sums(&k, err);
    struct checkpoint_tensors tensors = transfer_tensors(&k);
    ok = ok && (weights_alone || checkpoint_check_state(file, &tensors, !c->says_update, err)) &&
         checkpoint_load(file, &tensors, run->staging, err);
    transfer_finish(&k);
    return ok;
}

bool train_find_resume(const char *resume_folder, char path[TRAIN_PATH], uint64_t *step, struct error *err)
{
    struct checkpoint_file *file;
    struct checkpoint c;
    TRY(checkpoint_find(resume_folder, path, err));
    TRY(checkpoint_open(path, &file, &c, err));
    checkpoint_close(file);
    *step = c.step;
    return true;
}

bool train_check_resume(const struct plan *plan, const struct train_options *o, const struct dataset *dataset,
                        const char *path, struct error *err)
{
    struct training run = {.plan = plan, .options = o}; /* as much as describing its tensors takes */
    struct transfer k = {0};
    struct checkpoint_file *file;
    struct checkpoint c;
    TRY(checkpoint_open(path, &file, &c, err));
    bool ok = check_checkpoint(o, dataset, path, &c, err) && transfer_begin(&k, &run, c.known ? c.devices : 1, err) &&
              check_spec(&k, file, path, &c, err);
    if (ok) {
        struct checkpoint_tensors tensors = transfer_tensors(&k);
        ok = checkpoint_check_state(file, &tensors, !c.says_update, err);
    }
    transfer_finish(&k);
    checkpoint_close(file);
    return ok;
}

bool train_find_weights(const char *weights, char path[TRAIN_PATH], uint32_t *classes, struct error *err)
{
    struct checkpoint_file *file;
    struct checkpoint c;
    TRY(checkpoint_find(weights, path, err));
    TRY(checkpoint_open(path, &file, &c, err) || error_prefix(err, "--weights"));
    bool known = c.known || checkpoint_guess(file, &c.spec, NULL);
    checkpoint_close(file);
    *classes = known ? c.spec.classes : 0;
    return true;
}

bool train_check_weights(const struct plan *plan, const struct train_options *o, const char *path, struct error *err)
{
    struct training run = {.plan = plan, .options = o}; /* as above */
    struct transfer k = {0};
    struct checkpoint_file *file;
    struct checkpoint c;
    TRY(checkpoint_open(path, &file, &c, err));
    bool ok = transfer_begin(&k, &run, c.known ? c.devices : 1, err);
    k.weights_alone = k.fresh_classifier = true;
    struct checkpoint_tensors tensors = transfer_tensors(&k);
    ok = ok && check_spec(&k, file, path, &c, err) && checkpoint_check_tensors(file, &tensors, err);
    transfer_finish(&k);
    checkpoint_close(file);
    return ok;
}

/* A checkpoint, or the newest one of a folder, onto the devices. */
static bool load(struct training *run, const char *from, bool weights_alone, struct checkpoint *c, struct error *err)
{
    char path[CHECKPOINT_PATH];
    struct checkpoint_file *file;
    TRY(checkpoint_find(from, path, err));
    TRY(checkpoint_open(path, &file, c, err));
    bool ok = (weights_alone || check_checkpoint(run->options, run->dataset, path, c, err)) &&
              load_tensors(run, file, path, c, weights_alone, err);
    checkpoint_close(file);
    return ok && ranks_agree(run->ranks, "the checkpoint", c->step, err);
}

bool run_resume(struct training *run, struct error *err)
{
    struct checkpoint c;
    TRY(load(run, run->options->resume_folder, false, &c, err));
    TRY(put_loss_scale(run, c.scaled ? c.loss_scale : first_loss_scale(run), err));
    run->done = run->saved = c.step;
    run->position = c.position;
    run->seed = c.seed;
    run->schedule = c.schedule;
    if (run->options->save_folder) run->best_error = checkpoint_best_error(run->options->save_folder);
    return ranks_broadcast(run->ranks, &run->best_error, sizeof run->best_error, err); /* all save at the same steps */
}

bool run_take_weights(struct training *run, const char *from, struct error *err)
{
    struct checkpoint c;
    return load(run, from, true, &c, err);
}
