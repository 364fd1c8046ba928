#define _GNU_SOURCE
#include "train_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run_folder.h"
#include "train_ranks.h"
#include "train_trace.h"

static bool refuse_flag(const char *flag, const char *file, const char *given, struct error *err)
{
    if (!given) return true;
    return error_set(err, ERROR_INPUT, "--%s: a run's folder has %s; leave it out, or run without --run", flag, file);
}

bool train_run_choose(struct train_command *c, struct error *err)
{
    struct train_options *o = &c->options;
    const char *resume = o->resume_folder;
    if (!c->run_folder && resume && run_facts_exist(resume) && !o->save_folder) c->run_folder = resume;
    if (!c->run_folder) return true;
    TRY(refuse_flag("save", "its checkpoints", o->save_folder, err));
    TRY(refuse_flag("log", "its log", o->log_path, err));
    TRY(refuse_flag("trace", "its trace", c->trace, err));
    TRY(run_folder_path(c->run_folder, RUN_FILE_LOG, c->run_log, err));
    TRY(run_folder_path(c->run_folder, RUN_FILE_TRACE, c->run_trace, err));
    o->save_folder = c->run_folder;
    o->save_flag = "--run";
    o->log_path = c->run_log;
    c->trace = c->run_trace;
    return true;
}

/* Another attempt of --restarts, whose first one may have ended before it wrote anything. */
static bool is_again(void) { return getenv(TRAIN_RANKS_AGAIN) != NULL; }

void train_run_settle(struct train_command *c)
{
    const char *resume = c->options.resume_folder;
    if (!c->run_folder) return;
    bool own = resume && run_facts_exist(c->run_folder) && run_folder_holds(c->run_folder, resume);
    c->run_goes_on = own || (is_again() && run_facts_exist(c->run_folder));
    if (own && run_facts_exist(resume) && !checkpoint_exists(resume)) {
        c->options.resume_folder = NULL;
        c->run_begins_again = true;
    }
}

bool train_run_claimed(struct train_command *c, const struct plan *plan, struct error *err)
{
    struct run_facts facts;
    if (!c->run_folder || c->quiet) return true;
    if (!c->run_goes_on && !is_again()) TRY(run_folder_check_new(c->run_folder, err));
    run_folder_sweep(c->run_folder);
    if (!c->run_goes_on) return true;
    TRY(run_facts_read(c->run_folder, &facts, err));
    uint64_t devices = facts.devices;
    c->run_iterations = facts.iterations;
    run_facts_finish(&facts);
    if (devices != plan->device_count) train_trace_put_aside(c, (size_t)devices);
    return true;
}

bool train_run_begin(struct train_command *c, const struct plan *plan, struct error *err)
{
    if (!c->run_folder || c->quiet) return true;
    const struct run_record_options options = {.folder = c->run_folder,
                                               .plan = plan,
                                               .backend = c->runs_on,
                                               .part = &c->part,
                                               .recipe = &c->recipe,
                                               .options = &c->options,
                                               .checkpoint = c->options.resume_folder ? c->checkpoint : NULL,
                                               .resumed = c->resumed,
                                               .goes_on = c->run_goes_on};
    return run_record_begin(&options, &c->record, err) || error_prefix(err, "--run");
}

bool train_run_end(struct train_command *c, const struct train_result *result, bool ok, struct error *err)
{
    struct run_record *record = c->record;
    c->record = NULL;
    return run_record_end(record, result, ok ? NULL : err, ok ? err : NULL) && ok;
}
