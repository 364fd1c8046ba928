#define _GNU_SOURCE
#include "train_ranks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "plan_file.h"
#include "together.h"

static struct ranks *failed; /* for train_ranks_end */

const char *train_ranks_folder(const struct train_command *c)
{
    struct stat info;
    const char *resume = c->options.resume_folder;
    if (c->options.save_folder) return c->options.save_folder;
    return resume && stat(resume, &info) == 0 && S_ISDIR(info.st_mode) ? resume : NULL;
}

bool train_ranks_check(const struct train_command *c, struct error *err)
{
    if (c->processes && c->threads) return error_set(err, ERROR_INPUT, "--processes and --threads exclude each other");
    if (c->restarts == 0 || train_ranks_folder(c)) return true;
    return error_set(err, ERROR_INPUT,
                     "--restarts: no checkpoint is kept to go on from; --save DIR is wanted, or a --resume that is a "
                     "folder");
}

bool train_ranks_check_alone(const struct train_command *c, struct error *err)
{
    if (c->restarts == 0 || (c->ranks && strcmp(ranks_launcher(c->ranks), "fathom") == 0)) return true;
    return error_set(err, ERROR_INPUT,
                     "--restarts: it is the processes of one machine that are begun again; --processes is wanted with "
                     "it, and a plan for several devices (a job of mpirun's or srun's is begun again by its script, "
                     "with --resume)");
}

/* ---- Joining ---- */

/* The others run the same command; what they would say, rank 0 says. */
static bool be_quiet(struct train_command *c, struct error *err)
{
    c->quiet = true;
    c->top = false;
    c->options.log_path = NULL;
    if (freopen("/dev/null", "w", stdout)) return true;
    return error_set(err, ERROR_FAILED, "/dev/null cannot be opened");
}

bool train_ranks_open(struct train_command *c, struct error *err)
{
    struct ranks_options options = {.limit_ns = (uint64_t)(c->options.wait_seconds * 1e9)};
    TRY(ranks_open(&options, &c->ranks, err));
    if (!c->ranks) return true;
    const char *resume = getenv(TRAIN_RANKS_RESUME);
    c->options.ranks = c->ranks;
    if (resume) { /* which is a file: where checkpoints go, the command says */
        c->options.save_folder = train_ranks_folder(c);
        c->options.resume_folder = resume;
    }
    return ranks_place(c->ranks).rank == 0 || be_quiet(c, err);
}

/* ---- The plan ---- */

/* All ranks have the plan that rank 0 has made. */
static struct plan *share_plan(struct train_command *c, struct error *err)
{
    bool first = ranks_place(c->ranks).rank == 0;
    struct plan *plan = first ? train_command_plan(c, err) : NULL;
    return (!first || plan) && together_share_plan(c->ranks, &plan, err) ? plan : NULL;
}

struct plan *train_ranks_plan(struct train_command *c, struct error *err)
{
    const char *handed = getenv(TRAIN_RANKS_PLAN);
    if (c->ranks && handed) return plan_read(handed, err);
    return c->ranks && !train_command_names_file(c->word) ? share_plan(c, err) : train_command_plan(c, err);
}

/* ---- Ending ---- */

int train_ranks_finish(struct train_command *c, bool ok, struct error *err)
{
    int code;
    ok = ok && ranks_barrier(c->ranks, err);
    if (ok) {
        ranks_close(c->ranks);
        return 0;
    }
    failed = c->ranks;
    code = error_exit_code(err);
    if (!ranks_settle(c->ranks, err, &code)) err->kind = ERROR_NONE; /* another says it */
    return code;
}

void train_ranks_end(int code)
{
    fflush(NULL);
    ranks_end(failed, code);
}
