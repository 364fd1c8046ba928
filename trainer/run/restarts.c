#include "restarts.h"

#include <string.h>

#include "checkpoint.h"
#include "launch.h"
#include "mem.h"
#include "train.h"

#define UNSAVED UINT64_MAX

struct restarts {
    const struct restarts_options *options;
    const struct restarts_calls *calls;
    const struct plan *plan; /* the run's, */
    struct plan *made;       /* which is this one, where devices are gone; owned */
    uint64_t left;
    struct timespec before; /* when what was in the folder at the run's beginning was last written */
    /* What is known of the last attempt: */
    uint32_t silent;             /* the rank by which it failed, where that could not say why; else LAUNCH_NONE */
    uint64_t saved;              /* the step of the run's last checkpoint; UNSAVED = it has written none */
    char checkpoint[TRAIN_PATH]; /* that one */
    bool *gone;                  /* room for the first plan's devices */
};

/* Of what the run has written: the folder may hold later steps of another. */
static uint64_t last_saved(struct restarts *r)
{
    char path[CHECKPOINT_PATH];
    uint64_t step;
    const char *folder = r->options->folder;
    bool found =
        folder && checkpoint_find_since(folder, r->before, path) && train_find_resume(path, r->checkpoint, &step, NULL);
    return found ? step : UNSAVED;
}

/* A rank that cannot say why it ends may meet with a fault that passes; one that ends again before a step was saved is
 * given up. */
static uint32_t find_given_up(const struct restarts *r, uint32_t silent, uint64_t saved)
{
    return silent == r->silent && saved == r->saved ? silent : LAUNCH_NONE;
}

static size_t find_gone(struct restarts *r, uint32_t given_up)
{
    size_t count = 0;
    memset(r->gone, 0, r->plan->device_count * sizeof *r->gone);
    r->calls->look(r->calls->context, r->plan, r->gone);
    if (given_up != LAUNCH_NONE) r->gone[given_up] = true;
    for (size_t i = 0; i < r->plan->device_count; i++) count += r->gone[i];
    return count;
}

/* The plan of the next attempt: this one, or another for those that are left; NULL where nothing is. */
static struct plan *plan_rest(struct restarts *r, size_t gone, struct error *err)
{
    if (gone == r->plan->device_count) {
        error_set(err, ERROR_FAILED, "all GPUs of the run are gone");
        return NULL;
    }
    struct plan *made = r->calls->replan(r->calls->context, r->plan, r->gone, err);
    if (!made) error_prefix(err, "the run cannot go on with fewer devices");
    return made;
}

static bool wants_end(const struct restarts *r) { return r->options->stop && *r->options->stop; }

/* Whether the run is to be begun once more; then from where, and with what. */
static bool goes_on(struct restarts *r, int code, uint32_t silent, struct error *err)
{
    if (code != 1 || r->left == 0 || wants_end(r)) return false;
    struct restart next = {.before = r->plan, .gone = r->gone, .left = --r->left};
    uint64_t saved = last_saved(r);
    next.given_up = find_given_up(r, silent, saved);
    size_t gone = find_gone(r, next.given_up);
    if (wants_end(r)) return false;
    r->calls->say_failed(r->calls->context, err);
    *err = (struct error){0};
    bool fewer = gone > 0 && r->plan->device_count > 1;
    struct plan *made = fewer ? plan_rest(r, gone, err) : NULL;
    if (fewer && !made) return false;
    if (made) r->plan = made;
    next.plan = r->plan;
    next.checkpoint = saved != UNSAVED ? r->checkpoint : NULL;
    r->calls->say_again(r->calls->context, &next);
    if (made) { /* the one before was still shown */
        plan_destroy(r->made);
        r->made = made;
    }
    r->silent = fewer ? LAUNCH_NONE : silent; /* ranks have other numbers */
    r->saved = saved;
    return true;
}

int restarts_run(const struct plan *plan, const struct restarts_options *options, const struct restarts_calls *calls,
                 struct error *err)
{
    struct restarts r = {.options = options,
                         .calls = calls,
                         .plan = plan,
                         .left = options->most,
                         .silent = LAUNCH_NONE,
                         .saved = UNSAVED};
    uint32_t silent;
    int code;
    if (options->folder) r.before = checkpoint_last_written(options->folder);
    r.gone = mem_zalloc(MEM_GENERAL, plan->device_count, sizeof *r.gone);
    if (!r.gone) return error_memory(err, plan->device_count, "which devices are gone"), 1;
    do {
        *err = (struct error){0};
        code = calls->attempt(calls->context, r.plan, r.saved != UNSAVED ? r.checkpoint : NULL, &silent, err);
    } while (goes_on(&r, code, silent, err));
    plan_destroy(r.made);
    mem_free(r.gone);
    return code;
}
