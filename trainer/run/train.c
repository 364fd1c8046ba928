#define _GNU_SOURCE
#include "train.h"

#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "lower.h"
#include "mem.h"
#include "process.h"
#include "system_limits.h"
#include "train_private.h"
#include "units.h"
#include "verify.h"

/* ---- Reports ---- */

/* Of several ranks only what all know counts: they must do the same. */
bool run_is_stopped(const struct run *run)
{
    return run->ranks ? run->stop != 0 : run->options->stop && *run->options->stop;
}

static int32_t asked_to_stop(const struct run *run)
{
    int32_t here = run->options->stop ? (int32_t)*run->options->stop : 0;
    return here ? here : ranks_asked_to_stop(run->ranks);
}

bool run_hear(struct run *run, struct error *err)
{
    int32_t asked = asked_to_stop(run);
    for (uint32_t i = 0; i < run->device_count; i++) {
        struct told *own = &run->told[run->first_device + i];
        own->submitted = run->done + run->in_flight;
        own->stop = asked;
    }
    TRY(ranks_gather_devices(run->ranks, run->told, sizeof *run->told, err));
    run->stop = 0;
    run->until = 0;
    for (size_t i = 0; i < run->plan->device_count; i++) {
        if (run->told[i].stop) run->stop = run->told[i].stop;
        if (run->told[i].submitted > run->until) run->until = run->told[i].submitted;
    }
    return true;
}

void run_report_gap(const struct run *run, enum trace_gap kind, uint64_t begin_ns)
{
    if (!run->sink || !run->sink->gap) return;
    uint64_t end = clock_now_ns();
    for (uint32_t i = 0; i < run->device_count; i++) run->sink->gap(run->sink->context, i, kind, begin_ns, end);
}

void run_report_host(const struct run *run, uint32_t rank, enum trace_host what, uint64_t begin_ns)
{
    if (run->sink && run->sink->span) run->sink->span(run->sink->context, rank, what, begin_ns, clock_now_ns());
}

void run_report_host_of_all(const struct run *run, enum trace_host what, uint64_t begin_ns)
{
    for (uint32_t i = 0; i < run->device_count; i++) run_report_host(run, i, what, begin_ns);
}

/* Of the step that ended last, by the number that the executor gave it: the first is 0. */
void run_report_metric(const struct run *run, enum trace_metric metric, double value)
{
    uint64_t step = run->done > 0 ? run->done - 1 : 0;
    if (run->sink && run->sink->metric) run->sink->metric(run->sink->context, metric, step, value);
}

/* The command, and what it does not say of the model's form, which may be in the plan alone. */
static void describe_command(const struct plan *plan, const struct train_options *options, struct text *command)
{
    struct text form = {0};
    model_add_flags(&plan->spec, &form);
    text_add(command, "%s", options->command ? options->command : "");
    if (form.length > 0 && !form.failed && !strstr(command->failed ? "" : command->bytes, form.bytes))
        text_add(command, "  # %s%s", plan->spec.name, form.bytes);
    text_finish(&form);
}

static void report_run(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                       const struct train_part *part, struct trace_sink *sink)
{
    char host[256] = "";
    struct text command = {0};
    if (!sink || !sink->run) return;
    describe_command(plan, options, &command);
    gethostname(host, sizeof host - 1);
    struct trace_run report = {.model = plan->spec.name,
                               .dataset = dataset_kind_name(plan->spec.dataset),
                               .backend = backend->name,
                               .host = host,
                               .command = command.failed ? "" : command.bytes,
                               .batch = plan->batch,
                               .iterations = options->iterations,
                               .parameters = plan->variants[0].graph->parameter_elements,
                               .devices = part->count,
                               .pid = (uint64_t)getpid(),
                               .pid_space = process_space()};
    sink->run(sink->context, &report);
    text_finish(&command);
}

bool train_describe(const struct plan *plan, const struct backend *backend, const struct train_options *options,
                    struct trace_sink *sink, struct error *err)
{
    struct train_part part = train_part(plan, options->ranks);
    report_run(plan, backend, options, &part, sink);
    for (uint32_t i = 0; i < part.count; i++) TRY(executor_describe(plan, part.first + i, part.first, sink, err));
    return true;
}

/* Of GPUs as the plan has it from the catalogue, of this host as measured: before anything is in memory, since that
 * takes some itself, and over no more bytes than the arena has, so that no run takes more than its plan. */
static void report_peaks(const struct run *run, const struct train_part *part)
{
    struct device_peaks here = {0};
    if (!run->sink || !run->sink->peaks) return;
    uint64_t arena = run->plan->variants[run->plan->devices[part->first].variant].arena_bytes;
    bool measured =
        run->backend->measure_peaks && run->backend->measure_peaks(train_device_threads(part), arena, &here);
    for (uint32_t i = 0; i < part->count; i++) {
        const struct device_spec *spec = &run->plan->devices[part->first + i].spec;
        double flops = run->plan->dtype == DTYPE_F32 ? spec->flops_f32 : spec->flops_f16;
        if (measured)
            run->sink->peaks(run->sink->context, i, here.flops, here.bytes);
        else
            run->sink->peaks(run->sink->context, i, flops, spec->bandwidth);
    }
}

/* Which process of the run this one is, and which devices it drives. */
static void report_origin(const struct run *run)
{
    struct ranks_place place = ranks_place(run->options->ranks);
    struct trace_origin origin = {.rank = place.rank,
                                  .ranks = place.size,
                                  .host = place.host,
                                  .first_device = run->first_device,
                                  .devices = run->device_count};
    if (run->sink && run->sink->origin) run->sink->origin(run->sink->context, &origin);
}

static void report_mark(const struct run *run, const char *text)
{
    if (run->sink && run->sink->mark) run->sink->mark(run->sink->context, clock_now_ns(), text);
}

static void report_resumed(const struct run *run)
{
    char text[64];
    snprintf(text, sizeof text, "resumed after step %" PRIu64, run->done);
    report_mark(run, text);
}

/* ---- Checks ---- */

bool train_check_dataset(const struct plan *plan, const struct train_options *o, const struct dataset *dataset,
                         struct error *err)
{
    const struct dataset_info *info = dataset_info(dataset);
    const struct model_spec *spec = &plan->spec;
    if (info->classes != spec->classes)
        return error_set(err, ERROR_INPUT, "--data: %s has %u classes; %s in this plan has %u", o->data_path,
                         info->classes, spec->name, spec->classes);
    if (o->schedule.kind == SCHEDULE_PLATEAU && info->test_images == 0)
        return error_set(err, ERROR_INPUT,
                         "--data: %s has no test images, whose error says when the rate falls (--schedule plateau, as "
                         "in the paper of ImageNet's nets); --schedule cosine does without",
                         o->data_path);
    if (spec->image_width)
        return error_set(err, ERROR_INPUT, "the plan is for images of %u x %u; a run has square ones",
                         spec->image_width, spec->image_size);
    if (info->height && (info->height != spec->image_size || info->width != spec->image_size))
        return error_set(err, ERROR_INPUT, "--data: %s has images of %ux%u; the plan is for %ux%u", o->data_path,
                         info->width, info->height, spec->image_size, spec->image_size);
    return true;
}

bool train_check_decoding(const struct plan *plan, const struct train_options *options,
                          const struct dataset_decoding *decoding, const struct dataset *dataset, struct error *err)
{
    uint32_t threads = loader_threads(dataset, options->loader_threads);
    uint64_t most = dataset_decoding_room(run_decode_bytes(plan), threads, plan->spec.image_size);
    char needed[UNITS_TEXT], given[UNITS_TEXT], wanted[UNITS_TEXT];
    if (decoding->largest_bytes <= most) return true;
    return error_set(err, ERROR_INPUT,
                     "--data: %s takes %s to decode; the plan leaves %s for it: plan again with --decode-memory %s",
                     decoding->largest, units_format_bytes(decoding->largest_bytes, needed),
                     units_format_bytes(most, given),
                     units_format_bytes(dataset_decoding_bytes(decoding, threads), wanted));
}

static bool open_dataset(struct run *run, struct error *err)
{
    const struct train_options *o = run->options;
    run->dataset = o->dataset;
    if (!run->dataset) TRY(dataset_open(o->data_path, &run->dataset, err));
    return train_check_dataset(run->plan, o, run->dataset, err);
}

static bool check_plan(const struct plan *plan, const struct backend *backend, struct error *err)
{
    TRY(plan_verify(plan, NULL, err));
    if (!plan->fits) return error_set(err, ERROR_UNFIT, "the plan says that it does not fit its devices");
    uint32_t dtypes = backend->activation_dtypes ? backend->activation_dtypes() : 1u << DTYPE_F32;
    if (dtypes & (1u << plan->dtype)) return true;
    return error_set(err, ERROR_INPUT,
                     "the plan keeps activations in %s, which the %s backend does not know: plan again with "
                     "--dtype f32",
                     dtype_name(plan->dtype), backend->name);
}

static bool check_options(const struct train_options *o, struct error *err)
{
    if (o->iterations == 0) return error_set(err, ERROR_INPUT, "--iterations: is 0; at least 1 is wanted");
    if (o->schedule.kind != SCHEDULE_PLATEAU || !o->skip_evaluation) return true;
    return error_set(err, ERROR_INPUT,
                     "--no-evaluate: the rate falls when the test error does no longer (--schedule plateau, as in the "
                     "paper of ImageNet's nets), so evaluations or another --schedule are wanted");
}

/* A rate that falls with the test error looks at it once a pass over the images, where nothing else was said. */
static uint64_t choose_evaluate_every(const struct run *run)
{
    const struct train_options *o = run->options;
    if (o->evaluate_every > 0 || o->schedule.kind != SCHEDULE_PLATEAU) return o->evaluate_every;
    uint64_t batch = run->plan->batch;
    return (dataset_info(run->dataset)->train_images + batch - 1) / batch;
}

/* ---- Beginning and end ---- */

struct train_part train_part(const struct plan *plan, const struct ranks *ranks)
{
    struct train_part part = {
        .count = (uint32_t)plan->device_count, .here = (uint32_t)plan->device_count, .processes = 1};
    if (!ranks) return part;
    struct ranks_place place = ranks_place(ranks);
    ranks_devices_of(ranks, place.rank, &part.first, &part.count);
    part.here = ranks_devices_here(ranks);
    part.processes = place.host_size;
    part.ranks = ranks;
    return part;
}

/* Whether each process of the host was given processors of its own (mpirun --bind-to). */
static bool has_own_processors(const struct train_part *part)
{
    cpu_set_t set;
    long all = sysconf(_SC_NPROCESSORS_ONLN);
    if (part->processes == 1 || sched_getaffinity(0, sizeof set, &set) != 0) return part->processes == 1;
    return (long)part->processes * CPU_COUNT(&set) <= all;
}

uint32_t train_device_threads(const struct train_part *part)
{
    uint32_t each = limits_processors() / (has_own_processors(part) ? part->count : part->here);
    return each > 1 ? each : 1;
}

static uint32_t choose_in_flight(const struct run *run)
{
    uint32_t asked = run->options->in_flight;
    if (asked == 0) return run->backend->in_host_memory ? 1 : 3;
    return asked < TRAIN_MOST_IN_FLIGHT ? asked : TRAIN_MOST_IN_FLIGHT;
}

/* A step on a processor may take as long as it takes; a GPU that does nothing for minutes has been lost. */
static uint64_t choose_wait_limit_ns(const struct run *run)
{
    double seconds = run->options->wait_seconds;
    if (seconds <= 0 && run->ranks) seconds = TRAIN_RANKS_SECONDS;
    if (seconds <= 0) seconds = run->backend->in_host_memory ? 0 : 600;
    return (uint64_t)(seconds * 1e9);
}

static bool create_executor(void *context, uint32_t rank, struct error *err)
{
    struct run *run = context;
    uint32_t node, device = run->first_device + rank;
    if (run->options->near) host_stay_near(run->options->near[rank], &node); /* nothing depends on it but time */
    struct train_part part = train_part(run->plan, run->ranks);
    struct executor_options options = {.plan = run->plan,
                                       .device = device,
                                       .member = rank,
                                       .ordinal = run->options->first_ordinal + rank,
                                       .backend = run->backend,
                                       .group = run->groups ? run->groups[rank] : NULL,
                                       .threads = train_device_threads(&part),
                                       .in_flight = run->most_in_flight,
                                       .wait_limit_ns = choose_wait_limit_ns(run),
                                       .keep_statistics = run->options->save_folder != NULL,
                                       .deterministic = run->options->deterministic,
                                       .tf32 = run->options->tf32,
                                       .tune = run->options->tune,
                                       .carried = run->options->carried,
                                       .teller = run->options->teller,
                                       .stopping = &run->stopping,
                                       .no_recordings = run->options->no_recordings,
                                       .fill_dead = run->options->fill_dead,
                                       .flow_every = run->options->flow_every,
                                       .time_ops = run->options->time_ops,
                                       .sink = run->sink};
    return executor_create(&options, &run->executors[rank], err);
}

static bool destroy_executor(void *context, uint32_t rank, struct error *err)
{
    (void)err;
    struct run *run = context;
    executor_destroy(run->executors[rank]);
    return true;
}

static void abort_group(void *context)
{
    struct run *run = context;
    for (uint32_t i = 0; run->groups && i < run->device_count; i++) run->backend->group_abort(run->groups[i]);
}

static uint64_t largest_tensor(const struct plan *plan)
{
    uint64_t most = 0;
    const struct graph *graph = plan->variants[plan->devices[0].variant].graph;
    for (size_t i = 0; i < graph->tensor_count; i++) {
        const struct tensor *t = &graph->tensors[i];
        bool kept = t->role == ROLE_RUNNING_MEAN || t->role == ROLE_RUNNING_VARIANCE ||
                    (t->class == CLASS_WEIGHT && t->persistent && t->role != ROLE_BUCKET);
        if (kept && tensor_elements(t) > most) most = tensor_elements(t);
    }
    return most;
}

static bool create_tables(struct run *run, struct error *err)
{
    run->executors = mem_zalloc(MEM_GENERAL, run->device_count, sizeof *run->executors);
    run->told = mem_zalloc(MEM_GENERAL, run->plan->device_count, sizeof *run->told);
    run->step_seconds = mem_zalloc(MEM_GENERAL, RUN_MEDIAN_STEPS, sizeof *run->step_seconds);
    run->staging = mem_alloc(MEM_GENERAL, largest_tensor(run->plan), sizeof *run->staging);
    if (run->executors && run->told && run->step_seconds && run->staging) return true;
    return error_memory(err, largest_tensor(run->plan) * sizeof *run->staging, "the run's tables");
}

/* Every device of this process becomes a member of the group of all; *run has them whole or not at all. */
static bool create_groups(struct run *run, struct error *err)
{
    struct group_id id;
    struct ranks *ranks = run->ranks;
    if (ranks_place(ranks).rank == 0) TRY(run->backend->group_name(&id, err));
    TRY(ranks_broadcast(ranks, &id, sizeof id, err));
    struct group **groups = mem_zalloc(MEM_GENERAL, run->device_count, sizeof(struct group *));
    if (!groups) return error_memory(err, run->device_count * sizeof(struct group *), "the devices' groups");
    uint32_t all = (uint32_t)run->plan->device_count, made = 0;
    while (made < run->device_count &&
           run->backend->group_create(&id, run->first_device + made, all, ranks, &groups[made], err))
        made++;
    if (made == run->device_count) {
        run->groups = groups;
        return true;
    }
    while (made > 0) run->backend->group_destroy(groups[--made]);
    mem_free(groups);
    return false;
}

/* A rank's other threads, which read and decode, and what they have in memory are near its GPUs as well: of several
 * ranks on a host each then has its part of the processors. A process by itself decodes with all of them. */
static void stay_near_devices(const struct run *run)
{
    uint32_t node;
    if (run->options->near && ranks_place(run->ranks).size > 1)
        host_stay_near_all(run->options->near, run->device_count, &node);
}

static bool create_devices(struct run *run, struct error *err)
{
    stay_near_devices(run);
    if (run->plan->device_count > 1) TRY(create_groups(run, err));
    ranks_on_failure(run->ranks, abort_group, run);
    TRY(team_create(run->device_count, abort_group, run, &run->team, err));
    return team_run(run->team, create_executor, run, err);
}

static bool is_asked_to_stop(const void *run) { return asked_to_stop(run) != 0; }

/* An end may be asked for while devices prepare their ops, which can take minutes. Of several ranks all end then, or
 * none. */
static bool prepare_devices(struct run *run, struct error *err)
{
    struct error why = {0};
    run->stopping = (struct stopping){is_asked_to_stop, run};
    if (!create_devices(run, &why) && why.kind != ERROR_STOPPED) {
        if (err) *err = why;
        return false;
    }
    TRY(run_hear(run, err));
    return !run_is_stopped(run) || error_set(err, ERROR_STOPPED, "stopped while the devices were made ready");
}

uint32_t run_images_before(const struct run *run, uint32_t device)
{
    uint32_t images = 0;
    for (uint32_t i = 0; i < device; i++) images += run->plan->devices[i].images;
    return images;
}

bool run_loads_bytes(const struct run *run)
{
    return run->plan->variants[run->plan->devices[run->first_device].variant].graph->pixels != NO_TENSOR;
}

struct input run_share(const struct run *run, const struct batch *batch, size_t first)
{
    size_t numbers = first * run->plan->spec.image_size * run->plan->spec.image_size * 3;
    bool bytes = batch->pixels != NULL;
    return (struct input){.images = bytes ? (const void *)(batch->pixels + numbers) : batch->images + numbers,
                          .placements = bytes ? batch->placements + first * INPUT_PLACEMENT : NULL,
                          .labels = batch->labels + first};
}

void run_set_normalisation(struct run *run)
{
    const struct dataset_info *info = dataset_info(run->dataset);
    memcpy(run->step.mean, info->mean, sizeof run->step.mean);
    memcpy(run->step.deviation, info->deviation, sizeof run->step.deviation);
}

uint64_t run_decode_bytes(const struct plan *plan)
{
    return plan->devices[0].spec.kind == DEVICE_CPU ? plan->decode_bytes : DATA_DECODE_UNPLANNED;
}

bool run_open_loader(struct run *run, struct error *err)
{
    bool repeat = run->options->repeat_batch;
    uint32_t before = run_images_before(run, run->first_device);
    uint32_t after = run_images_before(run, run->first_device + run->device_count);
    struct loader_options options = {.batch = after - before,
                                     .every = run->plan->batch,
                                     .image_size = run->plan->spec.image_size,
                                     .seed = run->seed,
                                     .train = true,
                                     .augment = run->options->augment,
                                     .area_crops = run->options->area_crops,
                                     .colour = run->options->colour,
                                     .as_bytes = run_loads_bytes(run),
                                     .threads = run->options->loader_threads,
                                     .broken = run->options->broken,
                                     .decode_bytes = run_decode_bytes(run->plan),
                                     .first = (repeat ? 0 : run->position) + before};
    TRY(loader_create(run->dataset, &options, &run->loader, err));
    return !repeat || loader_next(run->loader, &run->batch, err);
}

bool train_try_outputs(const struct train_options *o, struct error *err)
{
    if (ranks_place(o->ranks).rank > 0) return true; /* rank 0 writes */
    if (o->save_folder && !o->resume_folder && checkpoint_exists(o->save_folder))
        return error_set(
            err, ERROR_INPUT,
            "--save: %s has checkpoints of another run: go on from them with --resume %s, or name another folder",
            o->save_folder, o->save_folder);
    const char *flag = o->save_flag ? o->save_flag : "--save";
    if (o->save_folder && !checkpoint_try(o->save_folder, err)) return error_prefix(err, "%s", flag);
    return log_try(o->log_path, err);
}

static bool check_room(const struct run *run, struct error *err)
{
    TRY(check_plan(run->plan, run->backend, err));
    struct train_part part = train_part(run->plan, run->ranks);
    return train_check_memory(run->plan, run->backend, &part, err);
}

bool run_take_devices(struct run *run, struct error *err)
{
    return check_room(run, err) && create_tables(run, err) && prepare_devices(run, err);
}

static bool begin_run(struct run *run, struct error *err)
{
    const struct train_options *o = run->options;
    struct train_part part = train_part(run->plan, run->ranks);
    TRY(check_options(o, err));
    TRY(check_room(run, err));
    TRY(open_dataset(run, err));
    run->evaluate_every = choose_evaluate_every(run);
    run->most_in_flight = choose_in_flight(run);
    TRY(train_try_outputs(o, err));
    report_run(run->plan, run->backend, o, &part, run->sink);
    report_origin(run);
    report_peaks(run, &part);
    TRY(create_tables(run, err));
    TRY(prepare_devices(run, err));
    TRY(o->resume_folder ? run_resume(run, err) : run_initialise(run, err));
    if (o->weights && !o->resume_folder) TRY(run_take_weights(run, o->weights, err));
    TRY(log_open(o->log_path, run->done, &run->log, err));
    for (uint32_t i = 0; i < run->device_count; i++)
        TRY(executor_describe(run->plan, run->first_device + i, run->first_device, run->sink, err));
    if (o->resume_folder) report_resumed(run);
    return run_open_loader(run, err) && ranks_begin(run->ranks, err);
}

bool run_end(struct run *run, bool ok, struct error *err)
{
    loader_destroy(run->loader);
    ranks_on_failure(run->ranks, NULL, NULL);
    if (run->team && run->executors) team_run(run->team, destroy_executor, run, NULL);
    team_destroy(run->team);
    for (uint32_t i = 0; run->groups && i < run->device_count; i++) run->backend->group_destroy(run->groups[i]);
    mem_free(run->groups);
    ok = log_close(run->log, ok ? err : NULL) && ok;
    if (run->dataset && !run->options->dataset) dataset_close(run->dataset);
    mem_free(run->executors);
    mem_free(run->told);
    mem_free(run->step_seconds);
    mem_free(run->staging);
    return ok;
}

/* ---- Results ---- */

static int compare_reals(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_speed(struct run *run, uint64_t steps)
{
    size_t count = steps < RUN_MEDIAN_STEPS ? (size_t)steps : RUN_MEDIAN_STEPS;
    if (count == 0) return 0;
    qsort(run->step_seconds, count, sizeof *run->step_seconds, compare_reals);
    return run->plan->batch / run->step_seconds[count / 2];
}

static void find_remark(const struct run *run, struct train_result *result)
{
    for (uint32_t i = 0; run->executors && i < run->device_count && !*result->remark; i++)
        if (run->executors[i]) executor_remark(run->executors[i], result->remark);
}

static void find_device_memory(const struct run *run, struct train_result *result)
{
    for (uint32_t i = 0; run->executors && i < run->device_count; i++) {
        struct device_memory most;
        if (!run->executors[i] || !executor_memory(run->executors[i], &most)) continue;
        const struct device_memory *before = &result->device_memory;
        if (result->device_known &&
            most.arena_bytes + most.outside_bytes <= before->arena_bytes + before->outside_bytes)
            continue;
        result->device_known = true;
        result->device_memory = most;
        result->device = run->first_device + i;
    }
}

/* What went wrong once the run was under way is a failed run, whatever it was. */
static void fail_run(struct run *run, struct error *err)
{
    run_save_last_good(run);
    if (run->diverged) run_name_layer(run, err);
    report_mark(run, "failed");
    if (err && err->kind == ERROR_INPUT) err->kind = ERROR_FAILED;
}

bool train_run(const struct plan *plan, const struct backend *backend, const struct train_options *options,
               struct trace_sink *sink, void (*progress)(void *context, const struct train_status *status),
               void *context, struct train_result *result, struct error *err)
{
    struct train_part part = train_part(plan, options->ranks);
    struct run run = {.plan = plan,
                      .ranks = options->ranks,
                      .first_device = part.first,
                      .device_count = part.count,
                      .backend = backend,
                      .options = options,
                      .sink = sink,
                      .seed = options->seed,
                      .saved = UINT64_MAX,
                      .evaluated_step = UINT64_MAX,
                      .best_error = NAN,
                      .schedule = schedule_begin()};
    struct train_result found = {.loss = NAN, .top1_error = NAN, .top5_error = NAN};
    uint64_t begin = clock_now_ns();
    struct error why = {0};
    bool begun = begin_run(&run, &why);
    run.first = run.done;
    found.stopped = !begun && why.kind == ERROR_STOPPED;
    if (!begun && !found.stopped && err) *err = why;
    bool ok = begun ? run_steps(&run, progress, context, &found, err) : found.stopped;
    if (begun && !ok) fail_run(&run, err);
    if (ok && found.stopped) report_mark(&run, "stopped");
    found.images_per_second = run.step_seconds ? median_speed(&run, run.done - run.first) : 0;
    found.steps = run.done;
    found.loss_scale = run.status.loss_scale;
    found.skipped = run.status.skipped;
    found.first = run.first;
    found.diverged = run.diverged;
    found.saved = run.saved;
    found.seconds = (double)(clock_now_ns() - begin) * 1e-9;
    found.planned_bytes = train_planned_bytes(plan, backend, &part);
    found.stop = run.ranks ? run.stop : options->stop ? *options->stop : 0;
    find_device_memory(&run, &found);
    find_remark(&run, &found);
    ok = run_end(&run, ok, err);
    uint64_t resident;
    if (!process_memory_read(&resident, &found.peak_bytes)) found.peak_bytes = 0;
    *result = found;
    return ok;
}
