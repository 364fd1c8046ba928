/* All plans that the ops will want, before the first op is prepared: from disk, as they were carried, or built. */
#include <inttypes.h>
#include <stdio.h>

#include "conv.h"
#include "cuda_slots.h"
#include "mem.h"
#include "units.h"

/* ---- What is missing ---- */

struct missing {
    struct conv_job *jobs;
    size_t count, capacity;
};

static bool add(struct missing *missing, struct conv_plan *plan, const struct op_call *call, struct error *err)
{
    for (size_t i = 0; i < missing->count; i++)
        if (missing->jobs[i].plan == plan) return true;
    if (!mem_grow(MEM_KERNEL, (void **)&missing->jobs, &missing->capacity, missing->count + 1, sizeof *missing->jobs))
        return error_memory(err, (missing->count + 1) * sizeof *missing->jobs, "plans to build");
    missing->jobs[missing->count++] = (struct conv_job){.plan = plan, .call = call, .claim = {.fd = -1}};
    return true;
}

/* Of the questions of a call the first that has an engine, or is not known to have none (*found); NULL: no question
 * has. */
static bool find_wanted(struct cuda_convolutions *all, const struct op_call *call, struct conv_plan **found,
                        struct error *err)
{
    struct engine_question question;
    *found = NULL;
    if (call->pass == PASS_OFFLOAD || call->pass == PASS_FETCH || call->pass == PASS_RECONSTRUCT) return true;
    if (!engine_question_of(call->graph, call->op, call->pass, &question)) return true;
    do {
        struct conv_plan *plan = conv_plan_entry(all, &question, conv_limit_bytes(call, &question), err);
        if (!plan) return false;
        if (!plan->tried) conv_cache_load(all, plan);
        *found = plan->tried && !plan->there ? NULL : plan;
    } while (!*found && conv_question_next(call, &question));
    return true;
}

static bool find_missing(struct cuda_convolutions *all, const struct op_call *const *calls, size_t count,
                         struct missing *missing, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        struct conv_plan *plan;
        TRY(find_wanted(all, calls[i], &plan, err));
        if (plan && !plan->tried) TRY(add(missing, plan, calls[i], err));
    }
    return true;
}

/* ---- Having it built ---- */

struct foreseen {
    struct cuda_convolutions *all;
    struct conv_timer timer;
    struct conv_candidate *room;
    bool tune;
    uint64_t built, kept, carried, carried_failed;
};

#define MOST_TRIES 8

static bool try_plan(struct foreseen *f, struct conv_job *job, bool *runs, struct error *err)
{
    struct conv_plan *plan = job->plan;
    *runs = false;
    if (!plan->there) return true;
    TRY(conv_try(&f->timer, job, runs, err));
    if (!*runs) cudnn_plan_finish(&plan->plan);
    plan->there = *runs;
    return true;
}

/* A plan that was built elsewhere is tried; what does not run is built here, and tried too, as the engine may be at
 * fault. */
static bool take_carried(struct foreseen *f, struct conv_job *job, struct error *err)
{
    struct cuda_convolutions *all = f->all;
    struct conv_plan *plan = job->plan;
    bool runs;
    plan->there = conv_load(all, plan, &job->built[0].engine, job->built[0].carried);
    TRY(try_plan(f, job, &runs, err));
    f->carried += runs;
    f->carried_failed += !runs;
    for (int i = 0; !runs && i < MOST_TRIES; i++) {
        plan->there = conv_build_first(all, all->handle, plan, f->room);
        if (!plan->there) break;
        TRY(try_plan(f, job, &runs, err));
        if (!runs) conv_cache_avoid(all, plan);
    }
    job->hopeless = !runs;
    return true;
}

static bool take_first(struct foreseen *f, struct conv_job *job, struct error *err)
{
    if (job->built[0].carried) return take_carried(f, job, err);
    job->plan->there = conv_load(f->all, job->plan, &job->built[0].engine, job->built[0].text);
    return true;
}

static bool take_built(struct foreseen *f, struct conv_job *job, struct error *err)
{
    struct cuda_convolutions *all = f->all;
    struct conv_plan *plan = job->plan;
    bool tuned = false;
    if (job->kept) {
        conv_cache_load(all, plan);
        f->kept += plan->there;
    } else if (job->count > 0) {
        if (f->tune) TRY(conv_tune(&f->timer, job, &tuned, err));
        if (tuned) return true;
        TRY(take_first(f, job, err));
    }
    job->untimed = f->tune && !job->kept;
    if (!plan->tried && !plan->there && !job->hopeless) plan->there = conv_build_first(all, all->handle, plan, f->room);
    return true;
}

static bool take_next(struct foreseen *f, struct conv_job *job, struct error *err)
{
    TRY(take_built(f, job, err));
    job->plan->tried = true;
    f->built += job->plan->there && !job->kept;
    if (((job->plan->there && !job->untimed) || job->none) && !job->kept) conv_cache_save(f->all, job->plan);
    conv_job_finish(job);
    return true;
}

static bool give_up(const struct foreseen *f, struct error *err)
{
    if (device_is_stopped(f->all->device))
        return error_set(err, ERROR_STOPPED, "stopped while plans of cuDNN were built");
    return error_set(err, ERROR_FAILED, "the threads that build the plans of cuDNN ended");
}

/* What the ops of all take beside the arena, before the first of them is tried; too little is told of each. */
static void reserve_for_trials(struct cuda_convolutions *all, const struct missing *missing)
{
    struct error unsaid = {0};
    uint64_t most = 0;
    void *at;
    for (size_t i = 0; i < missing->count; i++) {
        const struct conv_job *job = &missing->jobs[i];
        const uint64_t bytes = conv_apart_bytes(job->call, &job->plan->question);
        if (bytes > most) most = bytes;
    }
    conv_apart_reserve(all, most, &at, &unsaid);
}

static bool build_missing(struct foreseen *f, const struct missing *missing, struct error *err)
{
    struct conv_jobs *jobs;
    struct conv_job *job;
    bool ok = true;
    if (f->tune || f->all->carried) reserve_for_trials(f->all, missing);
    TRY(conv_jobs_start(f->all, missing->jobs, missing->count, f->tune, &jobs, err));
    const char *what =
        f->tune ? "timing the engines of %zu of %zu convolutions" : "building %zu of %zu convolution plans";
    for (size_t done = 0; ok && done < missing->count; done++) {
        device_tell(f->all->device, true, what, done + 1, missing->count);
        job = conv_jobs_next(jobs);
        ok = job ? take_next(f, job, err) : give_up(f, err);
    }
    conv_jobs_stop(jobs);
    return ok;
}

/* ---- In words ---- */

/* Of a micro-batch: what its convolutions take, and would by the first of cuDNN's engines. */
static bool add_times(struct cuda_convolutions *all, const struct op_call *const *calls, size_t count, double *best_ms,
                      double *first_ms, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        struct conv_plan *plan = NULL;
        if (calls[i]->pass != PASS_EVALUATE) TRY(find_wanted(all, calls[i], &plan, err));
        if (!plan || !plan->there || plan->best_ns == 0) continue;
        *best_ms += (double)plan->best_ns * 1e-6;
        *first_ms += (double)plan->first_ns * 1e-6;
    }
    return true;
}

static bool tell_tuned(const struct foreseen *f, const struct op_call *const *calls, size_t count, struct error *err)
{
    struct cuda_convolutions *all = f->all;
    double best = 0, first = 0;
    char failed[256] = "", warm[96] = "";
    uint64_t plans = 0;
    TRY(add_times(all, calls, count, &best, &first, err));
    for (size_t i = 0; i < all->count; i++) plans += all->plans[i]->there && all->plans[i]->best_ns > 0;
    if (f->timer.failed)
        snprintf(failed, sizeof failed, "; %" PRIu64 " engine%s did not run and %s passed over, the first: %s",
                 f->timer.failed, f->timer.failed == 1 ? "" : "s", f->timer.failed == 1 ? "is" : "are",
                 f->timer.first_failed);
    if (f->timer.warm)
        snprintf(warm, sizeof warm, "; %" PRIu64 " timed with their operands in the L2 cache", f->timer.warm);
    device_tell(all->device, false,
                "tuned %" PRIu64 " convolutions (%" PRIu64 " now): %.3f ms a micro-batch, %.3f ms less than "
                "by the first engines of cuDNN's heuristics%s%s",
                plans, f->built, best, first - best, warm, failed);
    return true;
}

static bool tell(const struct foreseen *f, const struct op_call *const *calls, size_t count, struct error *err)
{
    if (f->tune) TRY(tell_tuned(f, calls, count, err));
    if (f->carried_failed)
        device_tell(f->all->device, false,
                    "%" PRIu64 " of %" PRIu64 " plans that were carried here do not run: they are built here",
                    f->carried_failed, f->carried + f->carried_failed);
    else if (f->carried)
        device_tell(f->all->device, false,
                    "%" PRIu64 " convolution plans that were carried here are used, %" PRIu64 " built here", f->carried,
                    f->built - f->carried);
    return true;
}

/* ---- What is taken apart ---- */

struct beside {
    uint64_t apart, copied, most_bytes;
};

static bool count_beside(struct cuda_convolutions *all, const struct op_call *const *calls, size_t count,
                         struct beside *beside, struct error *err)
{
    *beside = (struct beside){0};
    for (size_t i = 0; i < count; i++) {
        struct conv_plan *plan;
        TRY(find_wanted(all, calls[i], &plan, err));
        if (!plan || !plan->there) continue;
        const uint64_t bytes = conv_apart_bytes(calls[i], &plan->question);
        beside->apart += conv_apart_bits(calls[i], &plan->question) != 0;
        beside->copied += conv_copies_beside(calls[i], &plan->question);
        if (bytes > beside->most_bytes) beside->most_bytes = bytes;
    }
    return true;
}

/* Memory for it once, as much as the largest wants; where there is too little each op says so when it is prepared. */
static bool reserve(struct cuda_convolutions *all, const struct op_call *const *calls, size_t count, struct error *err)
{
    struct error unsaid = {0};
    struct beside beside;
    char bytes[UNITS_TEXT], with[UNITS_TEXT + 32] = "";
    void *at;
    TRY(count_beside(all, calls, count, &beside, err));
    if (!conv_apart_reserve(all, beside.most_bytes, &at, &unsaid)) return true;
    if (beside.most_bytes > 0)
        snprintf(with, sizeof with, ", with %s beside the arena", units_format_bytes(beside.most_bytes, bytes));
    if (beside.apart > 0)
        device_tell(all->device, false,
                    "cuDNN refuses what the plan fuses with %" PRIu64 " of its convolutions: they are taken apart%s",
                    beside.apart, with);
    if (beside.copied > 0)
        device_tell(all->device, false,
                    "%" PRIu64 " convolutions have no room for a copy of their 16-bit weights in their workspace: it "
                    "lies outside it%s",
                    beside.copied, with);
    return true;
}

/* ---- The slot ---- */

/* A question without engines is followed by the op's next, where it has one. */
static bool foresee(struct foreseen *f, const struct op_call *const *calls, size_t count, struct error *err)
{
    bool ok = true;
    for (size_t missing_count = 1; ok && missing_count > 0;) {
        struct missing missing = {0};
        ok = find_missing(f->all, calls, count, &missing, err);
        missing_count = missing.count;
        if (ok && missing_count > 0) conv_book_open(f->all, &missing.jobs[0].plan->question);
        ok = ok && (missing_count == 0 || build_missing(f, &missing, err));
        mem_free(missing.jobs);
    }
    return ok;
}

static bool begin(struct device *device, const struct op_call *const *calls, size_t count, struct error *err)
{
    struct foreseen f = {.tune = device->options.tune};
    if (device->table->naive) return true;
    TRY(conv_begin(device, err));
    f.all = device->convolutions;
    if (!f.all->cudnn) return true;
    f.room = mem_alloc(MEM_KERNEL, CONV_MOST_CANDIDATES, sizeof *f.room);
    if (!f.room) return error_memory(err, CONV_MOST_CANDIDATES * sizeof *f.room, "engines");
    bool ok = conv_timer_init(&f.timer, f.all, err) && foresee(&f, calls, count, err);
    ok = conv_timer_finish(&f.timer, ok, err) && reserve(f.all, calls, count, err);
    mem_free(f.room);
    return ok && tell(&f, calls, count, err);
}

bool cuda_foresee(struct device *device, const struct op_call *const *calls, size_t count, struct error *err)
{
    TRY(device_usable(device, err));
    return device_settle(device, begin(device, calls, count, &device->first), err);
}
