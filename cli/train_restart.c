/* Starting the processes of one machine, and starting them again. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends.h"
#include "launch.h"
#include "mem.h"
#include "plan_file.h"
#include "printable.h"
#include "stop.h"
#include "text.h"
#include "train_gone.h"
#include "train_ranks.h"
#include "train_trace.h"

#define LOOK_NS UINT64_C(60000000000) /* for GPUs that may be gone */
#define END_NS  UINT64_C(3000000000)  /* that ranks have to end once one of them has failed */
#define UNSAVED UINT64_MAX

struct restarts {
    struct train_command *command;
    const struct plan *plan;                 /* the run's, */
    struct plan *made;                       /* which is this one, where devices are gone; owned */
    char path[sizeof TRAIN_RANKS_TEMPORARY]; /* of the plan that ranks are handed; empty = the command names its file */
    uint64_t left;
    uint32_t silent; /* the rank by which the last attempt failed, where it could not say why; else LAUNCH_NONE */
    uint64_t saved;  /* the step of the run's last checkpoint then; UNSAVED = it has written none */
    struct timespec before;      /* when what was in the run's folder at its beginning was last written */
    char checkpoint[TRAIN_PATH]; /* of `saved` */
};

/* Of several GPUs each has a process: recorded steps with sums over them may wait for each other for ever within
 * one. */
bool train_ranks_starts(const struct train_command *c, const struct plan *plan)
{
    bool on_host = c->backend ? backends_on_host(c->backend) : plan->devices[0].spec.kind == DEVICE_CPU;
    if (c->ranks || c->threads || plan->device_count < 2) return false;
    return c->processes || (!on_host && plan->device_count <= HOST_MOST_GPUS);
}

static bool hand_plan(struct restarts *r, struct error *err)
{
    if (!*r->path) {
        strcpy(r->path, TRAIN_RANKS_TEMPORARY);
        if (!train_ranks_temporary(r->path, err)) {
            *r->path = '\0';
            return false;
        }
    }
    TRY(plan_write(r->plan, r->path, err));
    setenv(TRAIN_RANKS_PLAN, r->path, 1);
    return true;
}

/* ---- Without a rank that is gone ---- */

static bool has_gpus(const struct restarts *r)
{
    return r->command->looked && !backends_on_host(r->command->runs_on->name);
}

/* A trace is of as many devices as its run began with: those that are there make room. */
static void put_traces_aside(const struct restarts *r)
{
    char path[TRAIN_PATH], aside[TRAIN_PATH + 32];
    for (uint32_t i = 0; r->command->trace && i < r->plan->device_count; i++) {
        if (!train_trace_name(r->command->trace, i, path, NULL)) continue;
        snprintf(aside, sizeof aside, "%s.of-%zu-ranks", path, r->plan->device_count);
        rename(path, aside);
    }
}

/* Those that are no more, and the rank that is given up, if one is: who is left is told. */
struct losses {
    bool gone[HOST_MOST_GPUS];
    size_t count;
    uint32_t given_up; /* LAUNCH_NONE = none */
};

static void say_losses(const struct restarts *r, const struct losses *lost, size_t left)
{
    struct text text = {0};
    if (lost->given_up != LAUNCH_NONE)
        text_add(&text,
                 "rank %" PRIu32
                 " of %zu has failed twice without a word before the run came any further, and is given up",
                 lost->given_up, r->plan->device_count);
    for (size_t i = 0; i < r->plan->device_count; i++)
        if (lost->gone[i] && i != lost->given_up)
            text_add(&text, "%sthe GPU of rank %zu (%s) is no more", text.length > 0 ? ", " : "", i,
                     r->command->gpus.gpus[i].bus_id);
    if (!text.failed)
        fprintf(stderr, "fathom train: %s: the run goes on with %zu device%s, for which it is planned anew\n",
                text.bytes, left, left == 1 ? "" : "s");
    text_finish(&text);
}

/* The command's GPUs are those of the plan, in its order. */
static void forget_gpus(struct host_gpus *gpus, const struct losses *lost)
{
    size_t left = 0;
    for (size_t i = 0; i < gpus->count; i++)
        if (!lost->gone[i]) gpus->gpus[left++] = gpus->gpus[i];
    gpus->count = left;
}

static bool go_without(struct restarts *r, const struct losses *lost, struct error *err)
{
    struct plan *made = train_command_replan(r->command, r->plan, lost->gone, err);
    if (!made) return false;
    put_traces_aside(r);
    say_losses(r, lost, made->device_count);
    if (has_gpus(r)) {
        forget_gpus(&r->command->gpus, lost);
        train_gone_show(&r->command->gpus);
    }
    plan_destroy(r->made);
    r->plan = r->made = made;
    return hand_plan(r, err);
}

/* A rank that cannot say why it ends may meet with a fault that passes; one that ends again before a step was saved is
 * given up. */
static void find_losses(const struct restarts *r, uint32_t silent, uint64_t saved, struct losses *lost)
{
    size_t count = r->plan->device_count;
    bool again = silent != LAUNCH_NONE && silent == r->silent && saved == r->saved;
    *lost = (struct losses){.given_up = again ? silent : LAUNCH_NONE};
    const struct train_gone_look look = {.limit_ns = LOOK_NS, .stop = stop_flag()};
    if (has_gpus(r) && r->command->gpus.count >= count) train_gone_gpus(&r->command->gpus, &look, lost->gone);
    if (again) lost->gone[silent] = true;
    for (size_t i = 0; i < count; i++) lost->count += lost->gone[i];
}

/* ---- Again ---- */

/* Of what the run has written: the folder may hold later steps of another. */
static uint64_t last_saved(struct restarts *r)
{
    char path[CHECKPOINT_PATH];
    uint64_t step;
    struct error err = {0};
    const char *folder = train_ranks_folder(r->command);
    bool found =
        folder && checkpoint_find_since(folder, r->before, path) && train_find_resume(path, r->checkpoint, &step, &err);
    return found ? step : UNSAVED;
}

static void say_again(const struct restarts *r, uint64_t saved)
{
    const char *given = r->command->options.resume_folder;
    const char *from = saved != UNSAVED ? r->checkpoint : given;
    fprintf(stderr, "fathom train: the run begins again from %s%s%s; --restarts leaves %" PRIu64 " more\n",
            saved != UNSAVED ? "its last checkpoint"
            : given          ? "where it began"
                             : "its first step",
            from ? ", " : "", from ? PRINTABLE(from) : "", r->left);
}

/* Whether the run is to be begun once more, and from where. */
static bool goes_on(struct restarts *r, int code, uint32_t silent, struct error *err)
{
    if (code != 1 || r->left == 0 || *stop_flag()) return false;
    r->left--;
    uint64_t saved = last_saved(r);
    struct losses lost;
    find_losses(r, silent, saved, &lost);
    if (*stop_flag()) return false;
    bool gone = lost.count > 0 && r->plan->device_count > 1;
    if (err->kind != ERROR_NONE) fprintf(stderr, "fathom train: %s\n", PRINTABLE(err->text));
    *err = (struct error){0};
    if (gone && lost.count == r->plan->device_count)
        return error_set(err, ERROR_FAILED, "all GPUs of the run are gone");
    if (gone && !go_without(r, &lost, err)) return error_prefix(err, "the run cannot go on with fewer devices");
    say_again(r, saved);
    if (saved != UNSAVED) setenv(TRAIN_RANKS_RESUME, r->checkpoint, 1);
    r->silent = gone ? LAUNCH_NONE : silent;
    r->saved = saved;
    return true;
}

static int start_all(struct restarts *r, const char *const *arguments, struct error *err)
{
    uint32_t silent;
    int code;
    do {
        const struct launch_options options = {
            .ranks = (uint32_t)r->plan->device_count, .arguments = arguments, .stop = stop_flag(), .end_ns = END_NS};
        *err = (struct error){0};
        code = launch_run(&options, &silent, err);
    } while (goes_on(r, code, silent, err));
    return code;
}

int train_ranks_start(struct train_command *c, const struct plan *plan, int argc, char **argv, struct error *err)
{
    struct restarts r = {.command = c, .plan = plan, .left = c->restarts, .silent = LAUNCH_NONE};
    const char **arguments = mem_zalloc(MEM_GENERAL, (size_t)argc + 2, sizeof *arguments);
    int code = 1;
    const char *folder = train_ranks_folder(c);
    if (folder) r.before = checkpoint_last_written(folder);
    c->part = train_part(plan, NULL);
    bool ok = (arguments || error_memory(err, ((size_t)argc + 2) * sizeof *arguments, "the arguments of ranks")) &&
              train_command_backend(c, plan, err) && (train_command_names_file(c->word) || hand_plan(&r, err));
    if (ok) {
        arguments[0] = "fathom";
        for (int i = 0; i < argc; i++) arguments[i + 1] = argv[i];
        stop_catch();
        fflush(NULL);
        code = start_all(&r, arguments, err);
    }
    if (*r.path) unlink(r.path);
    plan_destroy(r.made);
    mem_free(arguments);
    return code;
}
