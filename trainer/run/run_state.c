/* Where a run's values come from and go to: initial values, checkpoints. */
#include "train_private.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "init.h"
#include "mem.h"
#include "torch_names.h"
#include "trained_on.h"

/* Everything in a checkpoint: parameters, what batch normalisations count with, the optimizer's state and averages of
 * weights, which are the same on all devices, and each device's own running statistics. When a run goes on with another
 * number of devices, all of them get the mean of the saved statistics. */
struct transfer {
    struct run *run;
    const struct graph *graph;
    struct state_entry *entries; /* of the first device's plan: parameters, the optimiser's, statistics */
    size_t entry_count;
    size_t parameters, shared; /* entries before the optimiser's, before the statistics */
    uint32_t devices;          /* whose statistics the checkpoint has */
    bool old;                  /* of version 1 or 2, which has no means of statistics */
    bool weights_alone;        /* nothing else is wanted */
    float *sums;               /* of statistics over devices, or of one of them; NULL where nothing is summed */
    float *values;             /* of the transfer going on */
    const float *source;
    size_t entry;
    bool must_be_finite;
};

static uint64_t elements_of(const struct transfer *k, size_t entry)
{
    return tensor_elements(&k->graph->tensors[k->entries[entry].tensor]);
}

/* A plan may have room for more than this run keeps. */
static void leave_out_unused(struct transfer *k)
{
    const struct train_options *o = k->run->options;
    size_t kept = 0;
    for (size_t i = 0; i < k->entry_count; i++) {
        const struct state_entry *entry = &k->entries[i];
        bool unused = (entry->kind == STATE_OPTIMIZER && entry->buffer >= optimizer_buffers(o->optimizer)) ||
                      (entry->kind == STATE_AVERAGE && o->average_decay <= 0);
        if (!unused) k->entries[kept++] = *entry;
    }
    k->entry_count = kept;
}

static bool transfer_begin(struct transfer *k, struct run *run, uint32_t devices, struct error *err)
{
    const struct plan_variant *variant = &run->plan->variants[run->plan->devices[run->first_device].variant];
    *k = (struct transfer){.run = run, .graph = variant->graph, .devices = devices};
    TRY(state_entries_find(variant, &k->entries, &k->entry_count, err));
    leave_out_unused(k);
    while (k->parameters < k->entry_count && k->entries[k->parameters].kind == STATE_PARAMETER) k->parameters++;
    k->shared = k->parameters;
    while (k->shared < k->entry_count && k->entries[k->shared].kind != STATE_STATISTIC) k->shared++;
    return true;
}

static void transfer_finish(struct transfer *k)
{
    mem_free(k->entries);
    mem_free(k->sums);
}

static bool put_on_device(void *context, uint32_t rank, struct error *err)
{
    struct transfer *k = context;
    return executor_state_in(k->run->executors[rank], k->entry, k->source, err);
}

static bool get_from_device(void *context, uint32_t rank, struct error *err)
{
    struct transfer *k = context;
    return executor_state_out(k->run->executors[rank], k->entry, k->values, err);
}

static bool put_everywhere(struct transfer *k, size_t entry, const float *values, struct error *err)
{
    k->entry = entry;
    k->source = values;
    return team_run(k->run->team, put_on_device, k, err);
}

/* ---- The loss scale ---- */

static bool scale_to_device(void *context, uint32_t rank, struct error *err)
{
    const struct run *run = context;
    return executor_loss_scale_in(run->executors[rank], &run->loss_scale, err);
}

static bool scale_from_device(void *context, uint32_t rank, struct error *err)
{
    struct run *run = context;
    return executor_loss_scale_out(run->executors[rank], &run->loss_scale, err);
}

static bool has_loss_scale(const struct run *run) { return executor_has_loss_scale(run->executors[0]); }

static void show_loss_scale(struct run *run)
{
    run->status.loss_scale = (double)run->loss_scale.scale;
    run->status.skipped = (uint64_t)run->loss_scale.skipped;
}

static bool put_loss_scale(struct run *run, struct loss_scale scale, struct error *err)
{
    if (!has_loss_scale(run)) return true;
    run->loss_scale = scale;
    show_loss_scale(run);
    return team_run(run->team, scale_to_device, run, err);
}

static struct loss_scale first_loss_scale(const struct run *run)
{
    double given = run->options->loss_scale;
    return (struct loss_scale){.scale = given > 0 ? (float)given : LOSS_SCALE_FIRST};
}

void run_see_loss_scale(struct run *run, const struct loss_scale *scale)
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

bool run_initialise(struct run *run, struct error *err)
{
    struct transfer k;
    TRY(transfer_begin(&k, run, (uint32_t)run->plan->device_count, err));
    bool ok = true;
    for (size_t i = 0; ok && i < k.entry_count; i++) {
        const struct state_entry *entry = &k.entries[i];
        if (entry->kind == STATE_PARAMETER || entry->kind == STATE_AVERAGE)
            init_parameter(k.graph, entry->parameter, run->seed, run->staging);
        else if (entry->kind == STATE_OPTIMIZER)
            memset(run->staging, 0, elements_of(&k, i) * sizeof *run->staging);
        else
            init_statistic(&k.graph->tensors[entry->tensor], run->staging);
        ok = put_everywhere(&k, i, run->staging, err);
    }
    transfer_finish(&k);
    return ok && put_loss_scale(run, first_loss_scale(run), err);
}

/* ---- Checkpoints ---- */

/* A tensor of a checkpoint. */
struct place {
    size_t entry;
    uint32_t device;
    bool mean;  /* over all devices, of a statistic */
    bool state; /* in the second file */
};

static size_t statistics_of(const struct transfer *k) { return k->entry_count - k->shared; }

/* First what the net is: parameters and statistics. Then the optimiser's state, and statistics where devices have their
 * own. */
static struct place place_of(const struct transfer *k, size_t i)
{
    size_t statistics = statistics_of(k);
    uint32_t good = k->run->good_device;
    if (i < k->parameters) return (struct place){i, good, false, false};
    i -= k->parameters;
    if (i < statistics) return (struct place){k->shared + i, 0, k->devices > 1, false};
    i -= statistics;
    if (i < k->shared - k->parameters) return (struct place){k->parameters + i, good, false, true};
    i -= k->shared - k->parameters;
    return (struct place){k->shared + i % statistics, (uint32_t)(i / statistics), false, true};
}

static void name_tensor(const struct transfer *k, const struct place *place, struct checkpoint_tensor *tensor)
{
    const struct state_entry *entry = &k->entries[place->entry];
    char own[TENSOR_NAME], name[TORCH_NAME];
    graph_tensor_name(k->graph, entry->tensor, own);
    torch_name(k->graph, entry->tensor, name);
    const enum optimizer optimizer = k->run->options->optimizer;
    char more[32] = "", device[16] = "";
    if (entry->kind == STATE_OPTIMIZER)
        snprintf(more, sizeof more, ".%s", optimizer_buffer_name(optimizer, entry->buffer));
    if (entry->kind == STATE_AVERAGE) snprintf(more, sizeof more, ".average");
    if (entry->kind == STATE_STATISTIC) snprintf(device, sizeof device, "@%u", place->device);
    snprintf(tensor->name, sizeof tensor->name, "%s%s%s", name, more, place->state ? device : "");
    bool momentum = entry->kind == STATE_OPTIMIZER && optimizer == OPTIMIZER_MOMENTUM;
    if (!place->mean)
        snprintf(tensor->old_name, sizeof tensor->old_name, "%s%s%s", own, momentum ? ".momentum" : more, device);
}

/* Where as many devices go on each has its own statistics again; else, and for weights alone, all have the mean. */
static bool is_unused(const struct transfer *k, const struct place *place)
{
    if (k->entries[place->entry].kind != STATE_STATISTIC) return place->state && k->weights_alone;
    bool own = k->devices == k->run->plan->device_count && !k->weights_alone;
    return place->mean ? own || k->old : place->state && !own && !k->old;
}

static void describe_tensor(void *context, size_t i, struct checkpoint_tensor *tensor)
{
    const struct transfer *k = context;
    struct place place = place_of(k, i);
    *tensor = (struct checkpoint_tensor){.state = place.state, .unused = is_unused(k, &place)};
    tensor->rank = torch_shape(k->graph, k->entries[place.entry].tensor, tensor->shape, tensor->kernel);
    name_tensor(k, &place, tensor);
}

static bool is_here(const struct run *run, uint32_t device) { return device - run->first_device < run->device_count; }

/* From the rank that has the device to rank 0, which writes. */
static bool bring(struct run *run, uint32_t device, void *bytes, uint64_t count, struct error *err)
{
    return ranks_pass(run->ranks, ranks_of_device(run->ranks, device), 0, bytes, count, err);
}

static bool get_entry(struct transfer *k, const struct place *place, float *values, struct error *err)
{
    struct run *run = k->run;
    k->entry = place->entry;
    k->values = values;
    if (is_here(run, place->device))
        TRY(team_run_one(run->team, place->device - run->first_device, get_from_device, k, err));
    return bring(run, place->device, values, elements_of(k, k->entry) * sizeof *values, err);
}

static bool get_mean(struct transfer *k, struct place place, float *values, struct error *err)
{
    uint64_t count = elements_of(k, place.entry);
    memset(k->sums, 0, count * sizeof *k->sums);
    for (; place.device < k->devices; place.device++) {
        TRY(get_entry(k, &place, values, err));
        for (uint64_t i = 0; i < count; i++) k->sums[i] += values[i];
    }
    for (uint64_t i = 0; i < count; i++) values[i] = k->sums[i] / (float)k->devices;
    return true;
}

static bool get_any(struct transfer *k, size_t i, float *values, struct error *err)
{
    struct place place = place_of(k, i);
    return place.mean ? get_mean(k, place, values, err) : get_entry(k, &place, values, err);
}

static bool get_tensor(void *context, size_t i, float *values, struct error *err)
{
    struct transfer *k = context;
    TRY(get_any(k, i, values, err));
    for (uint64_t at = 0; k->must_be_finite && at < elements_of(k, k->entry); at++)
        if (!isfinite(values[at])) return error_set(err, ERROR_FAILED, "what was learned is not finite");
    return true;
}

/* Old checkpoints: adds device d's statistics; the last one's turn puts the mean everywhere. */
static bool put_sum(struct transfer *k, size_t entry, uint32_t device, const float *values, struct error *err)
{
    size_t first = 0;
    for (size_t i = k->shared; i < entry; i++) first += elements_of(k, i);
    float *sums = k->sums + first;
    uint64_t count = elements_of(k, entry);
    for (uint64_t i = 0; i < count; i++) sums[i] += values[i];
    if (device + 1 < k->devices) return true;
    for (uint64_t i = 0; i < count; i++) sums[i] /= (float)k->devices;
    return put_everywhere(k, entry, sums, err);
}

/* The average of a parameter begins as the parameter does, where it is averaged. */
static bool begin_average(struct transfer *k, size_t parameter, const float *values, struct error *err)
{
    for (size_t i = k->parameters; i < k->shared && parameter < k->parameters; i++)
        if (k->entries[i].kind == STATE_AVERAGE && k->entries[i].parameter == k->entries[parameter].parameter)
            return put_everywhere(k, i, values, err);
    return true;
}

static bool put_tensor(void *context, size_t i, const float *values, struct error *err)
{
    struct transfer *k = context;
    struct place place = place_of(k, i);
    bool own = k->entries[place.entry].kind == STATE_STATISTIC && k->devices == k->run->plan->device_count;
    if (k->old && place.state && k->sums && k->entries[place.entry].kind == STATE_STATISTIC)
        return put_sum(k, place.entry, place.device, values, err);
    if (k->weights_alone) TRY(begin_average(k, place.entry, values, err));
    if (!own || place.mean) return put_everywhere(k, place.entry, values, err);
    k->entry = place.entry;
    k->source = values;
    if (!is_here(k->run, place.device)) return true;
    return team_run_one(k->run->team, place.device - k->run->first_device, put_on_device, k, err);
}

static struct checkpoint_tensors tensors_of(struct transfer *k)
{
    size_t count = k->entry_count + (k->devices > 1 ? k->devices * statistics_of(k) : 0);
    return (struct checkpoint_tensors){k, count, describe_tensor, get_tensor, put_tensor};
}

/* Room for sums of statistics: of one after the other as a checkpoint is written, of all as an old one is read. */
static bool make_sums(struct transfer *k, struct error *err)
{
    uint64_t count = 0;
    for (size_t i = k->shared; i < k->entry_count; i++) count += elements_of(k, i);
    k->sums = mem_zalloc(MEM_GENERAL, count, sizeof *k->sums);
    return k->sums || error_memory(err, count * sizeof *k->sums, "running statistics");
}

/* Rank 0 writes; the others bring what it asks for, in the same order. */
static bool write_checkpoint(struct transfer *k, const struct checkpoint *checkpoint, struct error *err)
{
    struct run *run = k->run;
    struct checkpoint_tensors tensors = tensors_of(k);
    if (ranks_place(run->ranks).rank == 0)
        return checkpoint_write(run->options->save_folder, checkpoint, &tensors, run->staging, err);
    for (size_t i = 0; i < tensors.count; i++) TRY(get_any(k, i, run->staging, err));
    return true;
}

static bool bring_scale(struct run *run, struct error *err)
{
    uint32_t device = run->good_device;
    if (is_here(run, device)) TRY(team_run_one(run->team, device - run->first_device, scale_from_device, run, err));
    return bring(run, device, &run->loss_scale, sizeof run->loss_scale, err);
}

static bool save(struct run *run, bool must_be_finite, struct error *err)
{
    struct transfer k;
    uint64_t begin = clock_now_ns();
    TRY(transfer_begin(&k, run, (uint32_t)run->plan->device_count, err));
    k.must_be_finite = must_be_finite;
    struct checkpoint checkpoint = {.spec = run->plan->spec,
                                    .step = run->done,
                                    .seed = run->seed,
                                    .position = run->position,
                                    .dataset_hash = dataset_hash(run->dataset),
                                    .batch = run->plan->batch,
                                    .devices = k.devices,
                                    .schedule = run->schedule,
                                    .scaled = has_loss_scale(run),
                                    .top1_error = run->evaluated_step == run->done ? run->status.top1_error : NAN};
    bool ok = k.devices == 1 || make_sums(&k, err);
    if (checkpoint.scaled) ok = ok && bring_scale(run, err);
    checkpoint.loss_scale = run->loss_scale;
    ok = ok && write_checkpoint(&k, &checkpoint, err);
    transfer_finish(&k);
    if (!ok) return false;
    run->saved = run->done;
    run_report_gap(run, GAP_CHECKPOINT, begin);
    run_report_host_of_all(run, HOST_CHECKPOINT, begin);
    if (!run->sink || !run->sink->mark) return true;
    char text[64];
    snprintf(text, sizeof text, "checkpoint step %" PRIu64, run->done);
    run->sink->mark(run->sink->context, clock_now_ns(), text);
    return true;
}

/* Beside the first checkpoint of this run, by rank 0. */
static bool say_images(struct run *run, struct error *err)
{
    if (run->said_images || ranks_place(run->ranks).rank > 0) return true;
    run->said_images = true;
    return trained_on_write(run->options->save_folder, run->dataset, err);
}

static bool mark_best(struct run *run, struct error *err)
{
    run->best_error = run->status.top1_error;
    return ranks_place(run->ranks).rank > 0 || checkpoint_mark_best(run->options->save_folder, run->done, err);
}

bool run_is_best(const struct run *run)
{
    return run->options->save_folder && run->status.evaluated && !(run->status.top1_error >= run->best_error);
}

bool run_save(struct run *run, struct error *err)
{
    TRY(save(run, false, err) && say_images(run, err));
    if (run_is_best(run)) TRY(mark_best(run, err));
    if (run->options->keep > 0 && ranks_place(run->ranks).rank == 0)
        checkpoint_thin(run->options->save_folder, run->options->keep);
    return true;
}

/* ---- The last good step ---- */

static bool undo_statistics(void *context, uint32_t rank, struct error *err)
{
    const struct run *run = context;
    return executor_undo_statistics(run->executors[rank], run->done, err);
}

/* While steps are in flight a device's state is of none of them, unless the loss of the first was not finite: from that
 * on the device that found it has updated nothing. */
void run_save_last_good(struct run *run)
{
    if (!run->options->save_folder || run->saved == run->done || run->done == 0) return;
    if (run->in_flight > 0 && !run->diverged) return;
    if (run->ranks && !run->diverged) return; /* one rank alone has failed */
    if (run->diverged && !team_run(run->team, undo_statistics, run, NULL)) return;
    if (save(run, true, NULL)) say_images(run, NULL);
    ranks_barrier(run->ranks, NULL); /* nobody ends before it is written */
}

/* ---- Going on ---- */

/* Whether both are the same net. The image size may differ: weights do not depend on it. */
static bool same_model(const struct model_spec *saved, const struct model_spec *wanted)
{
    return strcmp(saved->name, wanted->name) == 0 && saved->family == wanted->family &&
           saved->dataset == wanted->dataset && saved->unit == wanted->unit && saved->shortcut == wanted->shortcut &&
           saved->bottleneck == wanted->bottleneck && saved->depth == wanted->depth &&
           memcmp(saved->units, wanted->units, sizeof saved->units) == 0 && saved->classes == wanted->classes;
}

static bool check_spec(const struct transfer *k, struct checkpoint_file *file, const char *path,
                       const struct checkpoint *c, struct error *err)
{
    const struct model_spec *saved = &c->spec, *wanted = &k->run->plan->spec;
    char words[640];
    if (!c->known || same_model(saved, wanted)) return true;
    struct checkpoint_tensors tensors = tensors_of((struct transfer *)(uintptr_t)k);
    checkpoint_compare(file, &tensors, words, sizeof words);
    return error_set(err, ERROR_INPUT, "%s: is of %s (%s, shortcut %s, %u classes); the plan is of %s (%s, %s, %u): %s",
                     path, saved->name, saved->unit <= UNIT_PLAIN ? unit_kind_name(saved->unit) : "unknown units",
                     saved->shortcut <= SHORTCUT_DROPOUT ? shortcut_kind_name(saved->shortcut) : "unknown",
                     saved->classes, wanted->name, unit_kind_name(wanted->unit), shortcut_kind_name(wanted->shortcut),
                     wanted->classes, words);
}

static bool check_checkpoint(const struct run *run, const char *path, const struct checkpoint *c, struct error *err)
{
    if (c->known && !dataset_has_hash(run->dataset, c->dataset_hash))
        return error_set(err, ERROR_INPUT, "%s: its run trained on other images than %s", path,
                         run->options->data_path);
    if (c->known && (c->devices == 0 || c->devices > MACHINE_MOST_DEVICES))
        return error_set(err, ERROR_INPUT, "%s: has statistics of %u devices; 1 to %u are possible", path, c->devices,
                         MACHINE_MOST_DEVICES);
    return true;
}

static bool load_tensors(struct run *run, struct checkpoint_file *file, const char *path, const struct checkpoint *c,
                         bool weights_alone, struct error *err)
{
    struct transfer k;
    TRY(transfer_begin(&k, run, c->known ? c->devices : 1, err));
    k.weights_alone = weights_alone;
    k.old = c->known && c->version < CHECKPOINT_VERSION;
    bool ok = check_spec(&k, file, path, c, err);
    if (k.old && (weights_alone || k.devices != run->plan->device_count)) ok = ok && make_sums(&k, err);
    struct checkpoint_tensors tensors = tensors_of(&k);
    ok = ok && checkpoint_load(file, &tensors, run->staging, err);
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

/* A checkpoint, or the newest one of a folder, onto the devices. */
static bool load(struct run *run, const char *from, bool weights_alone, struct checkpoint *c, struct error *err)
{
    char path[CHECKPOINT_PATH];
    struct checkpoint_file *file;
    TRY(checkpoint_find(from, path, err));
    TRY(checkpoint_open(path, &file, c, err));
    bool ok =
        (weights_alone || check_checkpoint(run, path, c, err)) && load_tensors(run, file, path, c, weights_alone, err);
    checkpoint_close(file);
    return ok && ranks_agree(run->ranks, "the checkpoint", c->step, err);
}

bool run_resume(struct run *run, struct error *err)
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

bool run_take_weights(struct run *run, const char *from, struct error *err)
{
    struct checkpoint c;
    return load(run, from, true, &c, err);
}
