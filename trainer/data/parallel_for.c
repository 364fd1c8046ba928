#define _GNU_SOURCE
#include "parallel_for.h"

#include <pthread.h>
#include <time.h>

#include "mem.h"
#include "system_limits.h"
#include "thread.h"

#define CLAIM       16u /* indices taken at a time */
#define STACK_BYTES (512u * 1024u)
#define PROGRESS_NS 100000000L

struct work {
    uint64_t count;
    bool (*each)(void *context, uint32_t thread, uint64_t index, struct error *err);
    void *context;

    pthread_mutex_t lock; /* over what follows */
    pthread_cond_t ended;
    uint64_t next, done;
    uint32_t running;
    bool stop;
    uint64_t failed_at; /* UINT64_MAX when nothing has failed */
    struct error error;
};

struct worker {
    struct work *work;
    pthread_t thread;
    uint32_t number;
};

uint32_t parallel_for_threads(uint32_t threads, uint32_t most)
{
    if (threads == 0) threads = limits_processors();
    return threads < most ? threads : most;
}

static bool claim_indices(struct work *work, uint64_t *first, uint64_t *end)
{
    pthread_mutex_lock(&work->lock);
    *first = work->next;
    *end = work->count - *first < CLAIM ? work->count : *first + CLAIM;
    bool more = !work->stop && *first < work->count;
    if (more) work->next = *end;
    pthread_mutex_unlock(&work->lock);
    return more;
}

/* Indices are claimed in order and every claim before a failed one is worked to its end, so that the lowest failure is
 * always found. */
static void report(struct work *work, uint64_t done, uint64_t failed_at, const struct error *error)
{
    pthread_mutex_lock(&work->lock);
    work->done += done;
    if (failed_at < work->failed_at) {
        work->failed_at = failed_at;
        work->error = *error;
        work->stop = true;
    }
    pthread_mutex_unlock(&work->lock);
}

static void *run_worker(void *argument)
{
    const struct worker *worker = argument;
    struct work *work = worker->work;
    uint64_t first, end;
    while (claim_indices(work, &first, &end)) {
        struct error error = {0};
        uint64_t index = first;
        while (index < end && work->each(work->context, worker->number, index, &error)) index++;
        report(work, index - first, index < end ? index : UINT64_MAX, &error);
    }
    pthread_mutex_lock(&work->lock);
    work->running--;
    pthread_cond_signal(&work->ended);
    pthread_mutex_unlock(&work->lock);
    return NULL;
}

/* Starts threads until all run or one cannot be started, whose code is returned. */
static int start_workers(struct work *work, struct worker *workers, uint32_t threads, uint32_t *started)
{
    int code = 0;
    pthread_mutex_lock(&work->lock); /* none ends before all are counted */
    for (; code == 0 && *started < threads; *started += code == 0) {
        struct worker *worker = &workers[*started];
        *worker = (struct worker){.work = work, .number = *started};
        code = thread_start(&worker->thread, STACK_BYTES, "data", run_worker, worker);
    }
    work->running = *started;
    work->stop = code != 0;
    pthread_mutex_unlock(&work->lock);
    return code;
}

static struct timespec soon(void)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    time.tv_nsec += PROGRESS_NS;
    time.tv_sec += time.tv_nsec / 1000000000;
    time.tv_nsec %= 1000000000;
    return time;
}

/* Tells progress until all threads have ended, and then once more; false when progress asked to stop. */
static bool watch_work(struct work *work, data_progress *progress, void *context)
{
    bool going = true, more = true;
    while (more) {
        struct timespec until = soon();
        pthread_mutex_lock(&work->lock);
        work->stop = work->stop || !going;
        int code = 0;
        while (work->running > 0 && code == 0) code = pthread_cond_timedwait(&work->ended, &work->lock, &until);
        more = work->running > 0;
        uint64_t done = work->done;
        pthread_mutex_unlock(&work->lock);
        if (progress && going) going = progress(context, done, work->count);
    }
    return going;
}

static bool run_threads(struct work *work, struct worker *workers, uint32_t threads, data_progress *progress,
                        void *context, struct error *err)
{
    uint32_t started = 0;
    int code = start_workers(work, workers, threads, &started);
    bool going = watch_work(work, progress, context);
    for (uint32_t i = 0; i < started; i++) pthread_join(workers[i].thread, NULL);
    if (code != 0) return error_errno(err, ERROR_FAILED, code, "a thread cannot be started");
    if (work->failed_at != UINT64_MAX) return error_set(err, work->error.kind, "%s", work->error.text);
    return going ? true : error_set(err, ERROR_FAILED, "stopped");
}

bool parallel_for(uint64_t count, uint32_t threads,
                  bool (*each)(void *context, uint32_t thread, uint64_t index, struct error *err), void *context,
                  data_progress *progress, void *progress_context, struct error *err)
{
    struct work work = {.count = count, .each = each, .context = context, .failed_at = UINT64_MAX};
    struct worker *workers = mem_zalloc(MEM_INPUT, threads, sizeof *workers);
    if (!workers) return error_memory(err, threads * sizeof *workers, "threads");
    pthread_mutex_init(&work.lock, NULL);
    pthread_cond_init(&work.ended, NULL);
    bool ok = run_threads(&work, workers, threads, progress, progress_context, err);
    pthread_cond_destroy(&work.ended);
    pthread_mutex_destroy(&work.lock);
    mem_free(workers);
    return ok;
}
