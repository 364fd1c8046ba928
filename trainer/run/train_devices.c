/* The devices of a run that this process drives: which they are, and how they are made, joined to the others and given
 * back. */
#define _GNU_SOURCE
#include "mem.h"
#include "train_private.h"

uint32_t run_choose_in_flight(const struct training *run)
{
    uint32_t asked = run->options->in_flight;
    if (asked == 0) return run->backend->in_host_memory ? 1 : 3;
    return asked < TRAIN_MOST_IN_FLIGHT ? asked : TRAIN_MOST_IN_FLIGHT;
}

/* A step on a processor may take as long as it takes; a GPU that does nothing for minutes has been lost. */
static uint64_t choose_wait_limit_ns(const struct training *run)
{
    double seconds = run->options->wait_seconds;
    if (seconds <= 0 && run->ranks) seconds = TRAIN_RANKS_SECONDS;
    if (seconds <= 0) seconds = run->backend->in_host_memory ? 0 : 600;
    return (uint64_t)(seconds * 1e9);
}

/* While devices are made ready. */
static uint64_t choose_meet_limit_ns(const struct training *run)
{
    if (run->options->wait_seconds > 0 || !run->ranks) return choose_wait_limit_ns(run);
    return (uint64_t)(TRAIN_MEET_SECONDS * 1e9);
}

static bool create_executor(void *context, uint32_t rank, struct error *err)
{
    struct training *run = context;
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
                                       .meet_limit_ns = choose_meet_limit_ns(run),
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
    struct training *run = context;
    executor_destroy(run->executors[rank]);
    return true;
}

static void abort_group(void *context)
{
    struct training *run = context;
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

static bool create_tables(struct training *run, struct error *err)
{
    run->executors = mem_zalloc(MEM_GENERAL, run->device_count, sizeof *run->executors);
    run->told = mem_zalloc(MEM_GENERAL, run->plan->device_count, sizeof *run->told);
    run->step_seconds = mem_zalloc(MEM_GENERAL, RUN_MEDIAN_STEPS, sizeof *run->step_seconds);
    run->staging = mem_alloc(MEM_GENERAL, largest_tensor(run->plan), sizeof *run->staging);
    if (run->executors && run->told && run->step_seconds && run->staging) return true;
    return error_memory(err, largest_tensor(run->plan) * sizeof *run->staging, "the run's tables");
}

/* Every device of this process becomes a member of the group of all; *run has them whole or not at all. */
static bool create_groups(struct training *run, struct error *err)
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
static void stay_near_devices(const struct training *run)
{
    uint32_t node;
    if (run->options->near && ranks_place(run->ranks).size > 1)
        host_stay_near_all(run->options->near, run->device_count, &node);
}

static bool create_devices(struct training *run, struct error *err)
{
    stay_near_devices(run);
    if (run->plan->device_count > 1) TRY(create_groups(run, err));
    ranks_on_failure(run->ranks, abort_group, run);
    TRY(team_create(run->device_count, abort_group, run, &run->team, err));
    return team_run(run->team, create_executor, run, err);
}

static bool is_asked_to_stop(const void *run) { return run_asked_to_stop(run) != 0; }

/* An end may be asked for while devices prepare their ops, which can take minutes. Of several ranks all end then, or
 * none. */
static bool prepare_devices(struct training *run, struct error *err)
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

bool run_make_devices(struct training *run, struct error *err)
{
    return create_tables(run, err) && prepare_devices(run, err);
}

bool run_take_devices(struct training *run, struct error *err)
{
    return run_check_room(run, err) && run_make_devices(run, err);
}

void run_give_devices(struct training *run)
{
    if (run->team && run->executors) team_run(run->team, destroy_executor, run, NULL);
    team_destroy(run->team);
    for (uint32_t i = 0; run->groups && i < run->device_count; i++) run->backend->group_destroy(run->groups[i]);
    mem_free(run->groups);
    mem_free(run->executors);
}
