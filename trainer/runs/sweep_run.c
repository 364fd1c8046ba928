#define _GNU_SOURCE
#include "sweep_run.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "locks.h"
#include "mem.h"
#include "process.h"

#define LOOK_US 50000
#define HELD_NS                                                                                                        \
    UINT64_C(30000000000) /* how long a run that was told to end by a sweep that was killed may take for it */

static const char *const states[] = {"new", "begun", "finished", "diverged", "failed"}; /* as enum sweep_state */

const char *sweep_state_name(enum sweep_state state) { return states[state]; }

/* ---- What there is to do ---- */

static bool fill_job(const struct sweep *sweep, const char *folder, const char *const *more, size_t more_count,
                     struct sweep_job *job, struct error *err)
{
    const char *row = sweep->rows[job->row].folder;
    if (snprintf(job->folder, sizeof job->folder, "%s/%s/seed-%" PRIu64, folder, row, job->seed) >= RUN_FOLDER_PATH)
        return error_set(err, ERROR_INPUT, "%s: the path is too long", folder);
    return sweep_add_command(sweep, job->row, job->seed, more, more_count, &job->words, err);
}

bool sweep_jobs_make(const struct sweep *sweep, const char *folder, const char *const *more, size_t more_count,
                     struct sweep_jobs *jobs, struct error *err)
{
    size_t count = sweep->row_count * sweep->seed_count;
    jobs->jobs = mem_zalloc(MEM_GENERAL, count, sizeof *jobs->jobs);
    if (!jobs->jobs) return error_memory(err, count * sizeof *jobs->jobs, "the runs of a sweep");
    jobs->count = count;
    for (size_t i = 0; i < count; i++) {
        jobs->jobs[i].row = i % sweep->row_count;
        jobs->jobs[i].seed = sweep->seeds[i / sweep->row_count];
        TRY(fill_job(sweep, folder, more, more_count, &jobs->jobs[i], err));
    }
    return true;
}

void sweep_jobs_finish(struct sweep_jobs *jobs)
{
    for (size_t i = 0; i < jobs->count; i++) {
        sweep_words_finish(&jobs->jobs[i].words);
        mem_free(jobs->jobs[i].command);
        run_view_finish(&jobs->jobs[i].view);
    }
    mem_free(jobs->jobs);
    *jobs = (struct sweep_jobs){0};
}

static enum sweep_state state_of(const struct run_facts *facts)
{
    if (facts->state == RUN_FINISHED) return SWEEP_FINISHED;
    if (facts->state == RUN_FAILED) return facts->diverged ? SWEEP_DIVERGED : SWEEP_FAILED;
    return SWEEP_BEGUN;
}

/* Up to where the images and the folder are, which may be called otherwise now. */
static bool is_command(const struct sweep_job *job, const char *command)
{
    size_t length = strlen(job->command);
    return command && strncmp(command, job->command, length) == 0 && command[length] == ' ';
}

bool sweep_job_look(struct sweep_job *job, struct error *err)
{
    run_view_finish(&job->view);
    job->state = SWEEP_NEW;
    if (!run_facts_exist(job->folder)) return true;
    TRY(run_folder_view(job->folder, &job->view, err));
    job->state = state_of(&job->view.facts);
    const char *first = run_facts_command(&job->view.facts, 0);
    if (is_command(job, first)) return true;
    return error_set(err, ERROR_INPUT,
                     "%s has a run by other options, `%.300s`; it would be `%.300s` now: name another folder with -o",
                     job->folder, first ? first : "", job->command);
}

/* ---- Running ---- */

static bool add_end(struct sweep_job *job, const struct sweep_running *how, struct sweep_words *all, struct error *err)
{
    TRY(sweep_add_word(all, "fathom", err));
    for (size_t i = 0; i < job->words.count; i++) TRY(sweep_add_word(all, job->words.words[i], err));
    if (how->data) TRY(sweep_add_word(all, "--data", err) && sweep_add_word(all, how->data, err));
    return sweep_add_word(all, job->state == SWEEP_NEW ? "--run" : "--resume", err) &&
           sweep_add_word(all, job->folder, err);
}

/* The run ends with the sweep, and writes a checkpoint then, however the sweep ends. Ctrl-C on a terminal reaches the
 * sweep alone, which tells the run once: a second word would end it without a checkpoint. */
static bool start(const struct sweep_words *words, bool quiet, pid_t *child, struct error *err)
{
    pid_t parent = getpid();
    *child = fork();
    if (*child < 0) return error_errno(err, ERROR_FAILED, errno, "a run cannot be started");
    if (*child > 0) return true;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    setpgid(0, 0);
    signal(SIGTTOU, SIG_IGN); /* it may write to the terminal */
    if (getppid() != parent) _exit(1);
    if (quiet) dup2(STDERR_FILENO, STDOUT_FILENO);
    process_execute_self((const char *const *)words->words);
    _exit(127);
}

static bool wait_for(pid_t child, const volatile sig_atomic_t *stop, int *status, struct error *err)
{
    bool told = false;
    for (;;) {
        pid_t ended = waitpid(child, status, WNOHANG);
        if (ended == child) return true;
        if (ended < 0 && errno != EINTR) return error_errno(err, ERROR_FAILED, errno, "a run cannot be waited for");
        if (*stop && !told) kill(child, SIGTERM);
        told = told || *stop;
        usleep(LOOK_US);
    }
}

/* A run of a sweep that was killed is about to end. */
static void wait_for_folder(const struct sweep_job *job, const volatile sig_atomic_t *stop)
{
    uint64_t begin = clock_now_ns();
    while (locks_folder_is_held(job->folder) && !*stop && clock_now_ns() - begin < HELD_NS) usleep(LOOK_US);
}

/* Where the run could not say itself how it ended. */
static void see_status(struct sweep_job *job, int status)
{
    bool failed = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    if (!failed || (job->state != SWEEP_NEW && job->state != SWEEP_BEGUN)) return;
    char *reason = job->view.facts.reason, end[64];
    const char *name = WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : NULL;
    if (name)
        snprintf(end, sizeof end, "was killed by SIG%s", name);
    else if (WIFSIGNALED(status))
        snprintf(end, sizeof end, "was killed by signal %d", WTERMSIG(status));
    else
        snprintf(end, sizeof end, "ended with exit code %d", WEXITSTATUS(status));
    if (job->state == SWEEP_NEW)
        snprintf(reason, RUN_FACTS_REASON, "it did not begin: it %s", end);
    else
        snprintf(reason, RUN_FACTS_REASON, "it %s after step %" PRIu64, end, job->view.facts.step);
    job->state = SWEEP_FAILED;
}

bool sweep_job_run(struct sweep_job *job, const struct sweep_running *how, struct error *err)
{
    struct sweep_words words = {0};
    pid_t child;
    int status = 0;
    wait_for_folder(job, how->stop);
    if (*how->stop) return true;
    bool ok = add_end(job, how, &words, err) && start(&words, how->quiet, &child, err) &&
              wait_for(child, how->stop, &status, err);
    sweep_words_finish(&words);
    ok = ok && sweep_job_look(job, err);
    if (ok && !*how->stop) see_status(job, status);
    return ok;
}
