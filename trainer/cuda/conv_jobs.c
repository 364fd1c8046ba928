/* Plans that are missing, built by several threads, each with a handle of cuDNN's of its own. What they build leaves
 * them as text, of which the device's thread makes plans of its own handle. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "conv.h"
#include "machine.h"
#include "mem.h"
#include "thread.h"

#define LOOK_AGAIN_NS UINT64_C(5000000)
#define MOST_THREADS  64
#define PATIENCE_NS   UINT64_C(60000000000) /* with another process that has a plan and does not come to its end */

struct conv_jobs {
    struct cuda_convolutions *all;
    struct conv_job *jobs;
    size_t count;
    bool every;
    pthread_mutex_t lock; /* of the jobs' states, and of what follows */
    pthread_cond_t changed;
    bool stop;
    size_t thread_count, running; /* that were started, that have not ended */
    pthread_t threads[];
};

/* ---- Building one ---- */

struct builder {
    struct conv_jobs *jobs;
    cudnnHandle_t handle; /* NULL before the first plan, and where there can be none */
    struct conv_candidate *room;
};

/* Into `built`: with its text, which may be carried. */
static bool build_one(const struct builder *b, const struct conv_job *job, const struct conv_candidate *wanted,
                      struct conv_candidate *built)
{
    struct conv_plan plan = {.question = job->plan->question, .limit_bytes = job->plan->limit_bytes};
    *built = *wanted;
    if (wanted->carried) return true;
    if (!conv_build(b->jobs->all, b->handle, &plan, &wanted->engine)) return false;
    built->text = cudnn_plan_text(&plan.plan);
    cudnn_plan_finish(&plan.plan);
    return built->text != NULL;
}

static bool is_among(const struct conv_candidate *all, size_t count, const struct found_engine *engine)
{
    for (size_t i = 0; i < count; i++)
        if (all[i].engine.id == engine->id && strcmp(all[i].engine.knobs, engine->knobs) == 0) return true;
    return false;
}

/* Of every source: the first that can be built, or all. */
static void build(const struct builder *b, struct conv_job *job)
{
    job->none = true;
    for (enum conv_source source = CONV_PLANNED; source < CONV_SOURCES; source++) {
        size_t count = conv_candidates(b->jobs->all, b->handle, job->plan, source, b->room, &job->none);
        for (size_t i = 0; i < count && job->count < CONV_MOST_CANDIDATES; i++) {
            if (device_is_stopped(b->jobs->all->device)) return; /* nobody takes it any more */
            if (is_among(job->built, job->count, &b->room[i].engine)) continue;
            if (build_one(b, job, &b->room[i], &job->built[job->count])) job->count++;
            if (job->count > 0 && !b->jobs->every) return;
        }
    }
    job->hopeless = job->count == 0;
}

/* Without a handle the device's thread builds it. */
static void work_on(struct builder *b, struct conv_job *job)
{
    const struct cuda_convolutions *all = b->jobs->all;
    job->kept = conv_cache_has(all, job->plan);
    if (job->kept) return;
    job->built = mem_zalloc(MEM_KERNEL, b->jobs->every ? CONV_MOST_CANDIDATES : 1, sizeof *job->built);
    if (!b->handle && all->cudnn->handle_create(&b->handle) != CUDNN_STATUS_SUCCESS) b->handle = NULL;
    if (b->handle && b->room && job->built) build(b, job);
}

/* ---- Threads ---- */

static bool is_claimed(const struct conv_jobs *jobs, struct conv_job *job)
{
    uint64_t now = clock_now_ns();
    if (conv_cache_claim(jobs->all, job->plan, &job->claim)) return true;
    if (job->refused_ns == 0) job->refused_ns = now;
    job->again_ns = now + LOOK_AGAIN_NS;
    return now - job->refused_ns > PATIENCE_NS;
}

/* One that waits, the lock held; *later: there are some, and all are another's for now. */
static struct conv_job *find_waiting(const struct conv_jobs *jobs, bool *later)
{
    uint64_t now = clock_now_ns();
    *later = false;
    for (size_t i = 0; i < jobs->count; i++) {
        if (jobs->jobs[i].state != CONV_JOB_WAITS) continue;
        if (jobs->jobs[i].again_ns <= now) return &jobs->jobs[i];
        *later = true;
    }
    return NULL;
}

/* The lock held. */
static bool is_over(const struct conv_jobs *jobs) { return jobs->stop || device_is_stopped(jobs->all->device); }

/* Waits for a change, or a little while; the lock held. */
static void look_again(struct conv_jobs *jobs)
{
    struct timespec until = thread_deadline(LOOK_AGAIN_NS);
    pthread_cond_timedwait(&jobs->changed, &jobs->lock, &until);
}

static struct conv_job *take(struct conv_jobs *jobs)
{
    struct conv_job *job = NULL;
    bool later = true;
    pthread_mutex_lock(&jobs->lock);
    while (!is_over(jobs) && !(job = find_waiting(jobs, &later)) && later) look_again(jobs);
    if (is_over(jobs)) job = NULL;
    if (job) job->state = CONV_JOB_TAKEN;
    pthread_mutex_unlock(&jobs->lock);
    return job;
}

static void put_back(struct conv_jobs *jobs, struct conv_job *job, bool built)
{
    pthread_mutex_lock(&jobs->lock);
    job->state = built ? CONV_JOB_BUILT : CONV_JOB_WAITS;
    pthread_cond_broadcast(&jobs->changed);
    pthread_mutex_unlock(&jobs->lock);
}

static void *builder_main(void *context)
{
    struct conv_jobs *jobs = context;
    const struct device *device = jobs->all->device;
    struct builder b = {.jobs = jobs};
    struct conv_job *job;
    b.room = mem_alloc(MEM_KERNEL, CONV_MOST_CANDIDATES, sizeof *b.room);
    device->vendor->cuda.SetDevice((int)device->options.ordinal);
    while ((job = take(jobs))) {
        bool claimed = is_claimed(jobs, job);
        if (claimed) work_on(&b, job);
        put_back(jobs, job, claimed);
    }
    if (b.handle) jobs->all->cudnn->handle_destroy(b.handle);
    mem_free(b.room);
    pthread_mutex_lock(&jobs->lock);
    jobs->running--;
    pthread_cond_broadcast(&jobs->changed);
    pthread_mutex_unlock(&jobs->lock);
    return NULL;
}

/* ---- From the device's thread ---- */

/* As many threads as this device's share of the processors, and no more than there are cores. */
static size_t choose_threads(const struct device *device, size_t jobs)
{
    struct host host;
    struct error unsaid = {0};
    size_t most = device->options.threads ? device->options.threads : MOST_THREADS;
    if (host_read(&host, &unsaid) && host.cores < most) most = host.cores;
    if (most > MOST_THREADS) most = MOST_THREADS;
    if (most > jobs) most = jobs;
    return most ? most : 1;
}

bool conv_jobs_start(struct cuda_convolutions *all, struct conv_job *jobs, size_t count, bool every,
                     struct conv_jobs **started, struct error *err)
{
    size_t threads = choose_threads(all->device, count);
    struct conv_jobs *made = mem_zalloc(MEM_KERNEL, 1, sizeof *made + threads * sizeof made->threads[0]);
    if (!made) return error_memory(err, sizeof *made, "threads that build");
    made->all = all;
    made->jobs = jobs;
    made->count = count;
    made->every = every;
    pthread_mutex_init(&made->lock, NULL);
    thread_cond_init(&made->changed);
    pthread_mutex_lock(&made->lock);
    for (size_t i = 0; i < threads; i++) {
        if (thread_start(&made->threads[made->thread_count], 0, "plans", builder_main, made) != 0) break;
        made->thread_count++;
        made->running++;
    }
    pthread_mutex_unlock(&made->lock);
    *started = made;
    if (made->thread_count > 0) return true;
    conv_jobs_stop(made);
    return error_set(err, ERROR_FAILED, "no thread can be started that builds the plans of cuDNN");
}

struct conv_job *conv_jobs_next(struct conv_jobs *jobs)
{
    struct conv_job *found = NULL;
    pthread_mutex_lock(&jobs->lock);
    while (!device_is_stopped(jobs->all->device)) {
        size_t left = 0;
        for (size_t i = 0; i < jobs->count && !found; i++) {
            if (jobs->jobs[i].state == CONV_JOB_BUILT) found = &jobs->jobs[i];
            left += jobs->jobs[i].state != CONV_JOB_DONE;
        }
        if (found || left == 0 || jobs->running == 0) break;
        look_again(jobs);
    }
    if (found) found->state = CONV_JOB_DONE;
    pthread_mutex_unlock(&jobs->lock);
    return found;
}

void conv_job_finish(struct conv_job *job)
{
    for (size_t i = 0; i < job->count; i++) mem_free(job->built[i].text);
    mem_free(job->built);
    job->built = NULL;
    job->count = 0;
    locks_leave_folder(&job->claim);
}

void conv_jobs_stop(struct conv_jobs *jobs)
{
    if (!jobs) return;
    pthread_mutex_lock(&jobs->lock);
    jobs->stop = true;
    pthread_cond_broadcast(&jobs->changed);
    pthread_mutex_unlock(&jobs->lock);
    for (size_t i = 0; i < jobs->thread_count; i++) pthread_join(jobs->threads[i], NULL);
    for (size_t i = 0; i < jobs->count; i++) conv_job_finish(&jobs->jobs[i]);
    pthread_cond_destroy(&jobs->changed);
    pthread_mutex_destroy(&jobs->lock);
    mem_free(jobs);
}
