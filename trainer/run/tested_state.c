/* What is evaluated where it is not the run's own state. Averages change places with the weights on each device, and
 * running statistics are taken anew over training images, as torch.optim.swa_utils.update_bn does. */
#include <stdlib.h>

#include "mem.h"
#include "train_private.h"

struct tested_state {
    struct training *run;
    bool averages;
    uint64_t batches;  /* that statistics are taken anew over; 0 = they stay */
    uint64_t batch;    /* which is seen */
    struct batch seen; /* its images */
    float **kept;      /* of each device of this process, statistics as they were; NULL = they need not come back */
};

/* ---- Averages ---- */

static uint64_t largest_entry(const struct executor *executor)
{
    uint64_t most = 0;
    for (size_t i = 0; i < executor_state_count(executor); i++)
        if (executor_state_elements(executor, i) > most) most = executor_state_elements(executor, i);
    return most;
}

static bool swap_entries(struct executor *executor, size_t a, size_t b, float *values, uint64_t most, struct error *err)
{
    return executor_state_out(executor, a, values, err) && executor_state_out(executor, b, values + most, err) &&
           executor_state_in(executor, a, values + most, err) && executor_state_in(executor, b, values, err);
}

/* Parameters are a device's first entries. */
static bool swap_averages(void *context, uint32_t rank, struct error *err)
{
    const struct tested_state *t = context;
    struct executor *executor = t->run->executors[rank];
    uint64_t most = largest_entry(executor);
    float *values = mem_alloc(MEM_GENERAL, 2 * most, sizeof *values);
    bool ok = values || error_memory(err, 2 * most * sizeof *values, "averages of weights");
    for (size_t i = 0; ok && i < executor_state_count(executor); i++) {
        const struct state_entry *entry = executor_state_entry(executor, i);
        if (entry->kind == STATE_AVERAGE) ok = swap_entries(executor, entry->parameter, i, values, most, err);
    }
    mem_free(values);
    return ok;
}

/* ---- Statistics ---- */

static bool move_statistics(struct executor *executor, float *values, bool in, struct error *err)
{
    for (size_t i = 0; i < executor_state_count(executor); i++) {
        if (executor_state_entry(executor, i)->kind != STATE_STATISTIC) continue;
        TRY((in ? executor_state_in(executor, i, values, err) : executor_state_out(executor, i, values, err)));
        values += executor_state_elements(executor, i);
    }
    return true;
}

static bool keep_statistics(void *context, uint32_t rank, struct error *err)
{
    struct tested_state *t = context;
    struct executor *executor = t->run->executors[rank];
    uint64_t count = 0;
    for (size_t i = 0; i < executor_state_count(executor); i++)
        if (executor_state_entry(executor, i)->kind == STATE_STATISTIC) count += executor_state_elements(executor, i);
    t->kept[rank] = mem_alloc(MEM_GENERAL, count, sizeof(float));
    if (!t->kept[rank]) return error_memory(err, count * sizeof(float), "running statistics");
    return move_statistics(executor, t->kept[rank], false, err);
}

static bool restore_statistics(void *context, uint32_t rank, struct error *err)
{
    const struct tested_state *t = context;
    return !t->kept[rank] || move_statistics(t->run->executors[rank], t->kept[rank], true, err);
}

static bool see_share(void *context, uint32_t rank, struct error *err)
{
    struct tested_state *t = context;
    struct training *run = t->run;
    uint32_t device = run->first_device + rank;
    size_t first = run_images_before(run, device) - run_images_before(run, run->first_device);
    struct step_input share = run_share(run, &t->seen, first);
    return executor_see(run->executors[rank], &run->step, &share, t->batch, err);
}

/* The images that the run would train on next; its loader is made anew after the evaluation. */
static bool see_images(struct tested_state *t, struct error *err)
{
    struct training *run = t->run;
    run_set_normalisation(run);
    for (t->batch = 0; t->batch < t->batches; t->batch++) {
        TRY(loader_next(run->loader, &t->seen, err));
        TRY(team_run(run->team, see_share, t, err));
    }
    return true;
}

/* ---- Around an evaluation ---- */

static bool run_normalizes(const struct training *run)
{
    return graph_normalizes(run->plan->variants[run->plan->devices[run->first_device].variant].graph);
}

static uint64_t batches_to_see(const struct training *run)
{
    const struct train_options *o = run->options;
    if (!run_normalizes(run) || !run->loader) return 0;
    if (o->bn_recompute > 0) return (o->bn_recompute + run->plan->batch - 1) / run->plan->batch;
    return o->average_decay > 0 ? TRAIN_AVERAGE_BATCHES : 0;
}

bool tested_state_begin(struct training *run, struct tested_state **out, struct error *err)
{
    struct tested_state *t = mem_zalloc(MEM_GENERAL, 1, sizeof *t);
    if (t) t->kept = mem_zalloc(MEM_GENERAL, run->device_count, sizeof *t->kept);
    if (!t || !t->kept) {
        mem_free(t);
        return error_memory(err, sizeof *t, "an evaluation");
    }
    t->run = run;
    t->batches = batches_to_see(run);
    bool averages = run->options->average_decay > 0;
    bool ok = !averages || team_run(run->team, keep_statistics, t, err);
    t->averages = ok && averages;
    ok = ok && (!averages || team_run(run->team, swap_averages, t, err)) && see_images(t, err);
    *out = t;
    return ok || (tested_state_end(run, t, NULL), false);
}

bool tested_state_end(struct training *run, struct tested_state *t, struct error *err)
{
    bool ok =
        !t->averages || (team_run(run->team, swap_averages, t, err) && team_run(run->team, restore_statistics, t, err));
    for (uint32_t i = 0; i < run->device_count; i++) mem_free(t->kept[i]);
    mem_free(t->kept);
    mem_free(t);
    return ok;
}
