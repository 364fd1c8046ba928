#define _GNU_SOURCE
#include "parallel_for.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

#include "mem.h"

#define CLAIM       16u /* indices taken at a time */
#define STACK_BYTES (512u * 1024u)
#define PROGRESS_NS 100000000L

struct sweep {
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

struct sweeper {
    struct sweep *sweep;
    pthread_t thread;
    uint32_t number;
};

uint32_t parallel_for_threads(uint32_t threads, uint32_t most)
{
    cpu_set_t set;
    if (threads == 0) threads = sched_getaffinity(0, sizeof set, &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1;
    return threads < most ? threads : most;
}

static bool claim_indices(struct sweep *sweep, uint64_t *first, uint64_t *end)
{
    pthread_mutex_lock(&sweep->lock);
    *first = sweep->next;
    *end = sweep->count - *first < CLAIM ? sweep->count : *first + CLAIM;
    bool more = !sweep->stop && *first < sweep->count;
    if (more) sweep->next = *end;
    pthread_mutex_unlock(&sweep->lock);
    return more;
}

/* Indices are claimed in order and every claim before a failed one is worked to its end, so that the lowest failure is
 * always found. */
static void report(struct sweep *sweep, uint64_t done, uint64_t failed_at, const struct error *error)
{
    pthread_mutex_lock(&sweep->lock);
    sweep->done += done;
    if (failed_at < sweep->failed_at) {
        sweep->failed_at = failed_at;
        sweep->error = *error;
        sweep->stop = true;
    }
    pthread_mutex_unlock(&sweep->lock);
}

static void *run_sweeper(void *argument)
{
    const struct sweeper *sweeper = argument;
    struct sweep *sweep = sweeper->sweep;
    uint64_t first, end;
    while (claim_indices(sweep, &first, &end)) {
        struct error error = {0};
        uint64_t index = first;
        while (index < end && sweep->each(sweep->context, sweeper->number, index, &error)) index++;
        report(sweep, index - first, index < end ? index : UINT64_MAX, &error);
    }
    pthread_mutex_lock(&sweep->lock);
    sweep->running--;
    pthread_cond_signal(&sweep->ended);
    pthread_mutex_unlock(&sweep->lock);
    return NULL;
}

/* Starts threads until all run or one cannot be started, whose code is returned. Signals stay with the calling
 * thread. */
static int start_sweepers(struct sweep *sweep, struct sweeper *sweepers, uint32_t threads, uint32_t *started)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    int code = pthread_attr_init(&attributes);
    if (code != 0) return code;
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_mutex_lock(&sweep->lock); /* none ends before all are counted */
    for (; code == 0 && *started < threads; *started += code == 0) {
        struct sweeper *sweeper = &sweepers[*started];
        *sweeper = (struct sweeper){.sweep = sweep, .number = *started};
        code = pthread_create(&sweeper->thread, &attributes, run_sweeper, sweeper);
    }
    sweep->running = *started;
    sweep->stop = code != 0;
    pthread_mutex_unlock(&sweep->lock);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
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
static bool watch_sweep(struct sweep *sweep, data_progress *progress, void *context)
{
    bool going = true, more = true;
    while (more) {
        struct timespec until = soon();
        pthread_mutex_lock(&sweep->lock);
        sweep->stop = sweep->stop || !going;
        int code = 0;
        while (sweep->running > 0 && code == 0) code = pthread_cond_timedwait(&sweep->ended, &sweep->lock, &until);
        more = sweep->running > 0;
        uint64_t done = sweep->done;
        pthread_mutex_unlock(&sweep->lock);
        if (progress && going) going = progress(context, done, sweep->count);
    }
    return going;
}

static bool run_threads(struct sweep *sweep, struct sweeper *sweepers, uint32_t threads, data_progress *progress,
                        void *context, struct error *err)
{
    uint32_t started = 0;
    int code = start_sweepers(sweep, sweepers, threads, &started);
    bool going = watch_sweep(sweep, progress, context);
    for (uint32_t i = 0; i < started; i++) pthread_join(sweepers[i].thread, NULL);
    if (code != 0) return error_errno(err, ERROR_FAILED, code, "a thread cannot be started");
    if (sweep->failed_at != UINT64_MAX) return error_set(err, sweep->error.kind, "%s", sweep->error.text);
    return going ? true : error_set(err, ERROR_FAILED, "stopped");
}

bool parallel_for(uint64_t count, uint32_t threads,
                  bool (*each)(void *context, uint32_t thread, uint64_t index, struct error *err), void *context,
                  data_progress *progress, void *progress_context, struct error *err)
{
    struct sweep sweep = {.count = count, .each = each, .context = context, .failed_at = UINT64_MAX};
    struct sweeper *sweepers = mem_zalloc(MEM_INPUT, threads, sizeof *sweepers);
    if (!sweepers) return error_memory(err, threads * sizeof *sweepers, "threads");
    pthread_mutex_init(&sweep.lock, NULL);
    pthread_cond_init(&sweep.ended, NULL);
    bool ok = run_threads(&sweep, sweepers, threads, progress, progress_context, err);
    pthread_cond_destroy(&sweep.ended);
    pthread_mutex_destroy(&sweep.lock);
    mem_free(sweepers);
    return ok;
}
