/* Where a run's values come from and go to: initial values, checkpoints. */
#include "train_private.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "init.h"
#include "mem.h"
#include "trained_on.h"

/* Everything in a checkpoint: parameters and momenta, which are the same on all devices, then each device's running
 * statistics. When a run goes on with another number of devices, all of them get the mean of the saved statistics. */
struct transfer {
    struct run *run;
    const struct graph *graph;
    struct state_entry *entries; /* of the first device's plan */
    size_t entry_count;
    size_t shared;    /* entries before the statistics */
    uint32_t devices; /* whose statistics the checkpoint has */
    float *sums;      /* of statistics over devices, when their number changes; else NULL */
    float *values;    /* of the transfer going on */
    const float *source;
    size_t entry;
    bool must_be_finite;
};

static uint64_t elements_of(const struct transfer *k, size_t entry)
{
    return tensor_elements(&k->graph->tensors[k->entries[entry].tensor]);
}

static bool transfer_begin(struct transfer *k, struct run *run, uint32_t devices, struct error *err)
{
    const struct plan_variant *variant = &run->plan->variants[run->plan->devices[run->first_device].variant];
    *k = (struct transfer){.run = run, .graph = variant->graph, .devices = devices};
    TRY(state_entries_find(variant, &k->entries, &k->entry_count, err));
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
        if (entry->kind == STATE_PARAMETER)
            init_parameter(k.graph, entry->parameter, run->seed, run->staging);
        else if (entry->kind == STATE_MOMENTUM)
            memset(run->staging, 0, elements_of(&k, i) * sizeof *run->staging);
        else
            init_statistic(&k.graph->tensors[entry->tensor], run->staging);
        ok = put_everywhere(&k, i, run->staging, err);
    }
    transfer_finish(&k);
    return ok && put_loss_scale(run, first_loss_scale(run), err);
}

/* ---- Checkpoints ---- */

/* Tensor i of a checkpoint: which entry, of which device. */
static size_t entry_of(const struct transfer *k, size_t i, uint32_t *device)
{
    *device = k->run->good_device;
    if (i < k->shared) return i;
    size_t statistics = k->entry_count - k->shared;
    *device = (uint32_t)((i - k->shared) / statistics);
    return k->shared + (i - k->shared) % statistics;
}

static void describe_tensor(void *context, size_t i, struct checkpoint_tensor *tensor)
{
    const struct transfer *k = context;
    uint32_t device;
    const struct state_entry *entry = &k->entries[entry_of(k, i, &device)];
    const struct tensor *t = &k->graph->tensors[entry->tensor];
    char name[TENSOR_NAME];
    graph_tensor_name(k->graph, entry->tensor, name);
    *tensor = (struct checkpoint_tensor){.dims = {t->dims[0], t->dims[1], t->dims[2], t->dims[3]}};
    if (entry->kind == STATE_STATISTIC)
        snprintf(tensor->name, sizeof tensor->name, "%s@%u", name, device);
    else
        snprintf(tensor->name, sizeof tensor->name, "%s%s", name, entry->kind == STATE_MOMENTUM ? ".momentum" : "");
}

static bool is_here(const struct run *run, uint32_t device) { return device - run->first_device < run->device_count; }

/* From the rank that has the device to rank 0, which writes. */
static bool bring(struct run *run, uint32_t device, void *bytes, uint64_t count, struct error *err)
{
    return ranks_pass(run->ranks, ranks_of_device(run->ranks, device), 0, bytes, count, err);
}

static bool get_entry(struct transfer *k, size_t i, float *values, struct error *err)
{
    struct run *run = k->run;
    uint32_t device;
    k->entry = entry_of(k, i, &device);
    k->values = values;
    if (is_here(run, device)) TRY(team_run_one(run->team, device - run->first_device, get_from_device, k, err));
    return bring(run, device, values, elements_of(k, k->entry) * sizeof *values, err);
}

static bool get_tensor(void *context, size_t i, float *values, struct error *err)
{
    struct transfer *k = context;
    TRY(get_entry(k, i, values, err));
    for (uint64_t at = 0; k->must_be_finite && at < elements_of(k, k->entry); at++)
        if (!isfinite(values[at])) return error_set(err, ERROR_FAILED, "what was learned is not finite");
    return true;
}

/* Adds device d's statistics; the last one's turn puts the mean everywhere. */
static bool put_mean(struct transfer *k, size_t entry, uint32_t device, const float *values, struct error *err)
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

static bool put_tensor(void *context, size_t i, const float *values, struct error *err)
{
    struct transfer *k = context;
    uint32_t device;
    size_t entry = entry_of(k, i, &device);
    if (i < k->shared) return put_everywhere(k, entry, values, err);
    if (k->sums) return put_mean(k, entry, device, values, err);
    k->entry = entry;
    k->source = values;
    if (!is_here(k->run, device)) return true;
    return team_run_one(k->run->team, device - k->run->first_device, put_on_device, k, err);
}

static struct checkpoint_tensors tensors_of(struct transfer *k)
{
    size_t count = k->shared + k->devices * (k->entry_count - k->shared);
    return (struct checkpoint_tensors){k, count, describe_tensor, get_tensor, put_tensor};
}

/* Rank 0 writes; the others bring what it asks for, in the same order. */
static bool write_checkpoint(struct transfer *k, const struct checkpoint *checkpoint, struct error *err)
{
    struct run *run = k->run;
    struct checkpoint_tensors tensors = tensors_of(k);
    if (ranks_place(run->ranks).rank == 0)
        return checkpoint_write(run->options->save_folder, checkpoint, &tensors, run->staging, err);
    for (size_t i = 0; i < tensors.count; i++) TRY(get_entry(k, i, run->staging, err));
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
                                    .scaled = has_loss_scale(run)};
    bool ok = true;
    if (checkpoint.scaled) ok = bring_scale(run, err);
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

bool run_save(struct run *run, struct error *err) { return save(run, false, err) && say_images(run, err); }

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

/* The first difference between two models in words, or NULL. The image size may differ: weights do not depend on it. */
static bool check_spec(const char *path, const struct model_spec *saved, const struct model_spec *wanted,
                       struct error *err)
{
    bool same = strcmp(saved->name, wanted->name) == 0 && saved->family == wanted->family &&
                saved->dataset == wanted->dataset && saved->unit == wanted->unit &&
                saved->shortcut == wanted->shortcut && saved->bottleneck == wanted->bottleneck &&
                saved->depth == wanted->depth && memcmp(saved->units, wanted->units, sizeof saved->units) == 0 &&
                saved->classes == wanted->classes;
    if (same) return true;
    return error_set(err, ERROR_INPUT, "%s: is of %s (%s, shortcut %s, %u classes); the plan is of %s (%s, %s, %u)",
                     path, saved->name, saved->unit <= UNIT_PLAIN ? unit_kind_name(saved->unit) : "unknown units",
                     saved->shortcut <= SHORTCUT_DROPOUT ? shortcut_kind_name(saved->shortcut) : "unknown",
                     saved->classes, wanted->name, unit_kind_name(wanted->unit), shortcut_kind_name(wanted->shortcut),
                     wanted->classes);
}

static bool check_checkpoint(const struct run *run, const char *path, const struct checkpoint *c, struct error *err)
{
    TRY(check_spec(path, &c->spec, &run->plan->spec, err));
    if (!run->options->other_images && !dataset_has_hash(run->dataset, c->dataset_hash))
        return error_set(err, ERROR_INPUT, "%s: its run trained on other images than %s", path,
                         run->options->data_path);
    if (c->devices == 0 || c->devices > MACHINE_MOST_DEVICES)
        return error_set(err, ERROR_INPUT, "%s: has statistics of %u devices; 1 to %u are possible", path, c->devices,
                         MACHINE_MOST_DEVICES);
    return true;
}

static bool load_tensors(struct run *run, struct checkpoint_file *file, const struct checkpoint *c, struct error *err)
{
    struct transfer k;
    TRY(transfer_begin(&k, run, c->devices, err));
    bool ok = true;
    if (c->devices != run->plan->device_count) {
        uint64_t count = 0;
        for (size_t i = k.shared; i < k.entry_count; i++) count += elements_of(&k, i);
        k.sums = mem_zalloc(MEM_GENERAL, count, sizeof *k.sums);
        ok = k.sums || error_memory(err, count * sizeof *k.sums, "running statistics");
    }
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

bool run_resume(struct run *run, struct error *err)
{
    char path[CHECKPOINT_PATH];
    struct checkpoint_file *file;
    struct checkpoint c;
    TRY(checkpoint_find(run->options->resume_folder, path, err));
    TRY(checkpoint_open(path, &file, &c, err));
    bool ok = check_checkpoint(run, path, &c, err) && load_tensors(run, file, &c, err) &&
              put_loss_scale(run, c.scaled ? c.loss_scale : first_loss_scale(run), err);
    checkpoint_close(file);
    if (!ok || !ranks_agree(run->ranks, "the checkpoint", c.step, err)) return false;
    run->done = run->saved = c.step;
    run->position = c.position;
    run->seed = c.seed;
    run->schedule = c.schedule;
    return true;
}
