#define _GNU_SOURCE
#include "run_folder.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoint.h"
#include "files.h"
#include "locks.h"
#include "partial.h"

static const char *const names[] = {"plan.json", "recipe.json", "log.jsonl", "run.trace", "curves.svg"};

bool run_folder_path(const char *folder, enum run_file file, char path[RUN_FOLDER_PATH], struct error *err)
{
    if (snprintf(path, RUN_FOLDER_PATH, "%s/%s", folder, names[file]) < RUN_FOLDER_PATH) return true;
    return error_set(err, ERROR_INPUT, "--run: the path is longer than %d bytes", RUN_FOLDER_PATH - 32);
}

bool run_folder_check_new(const char *folder, struct error *err)
{
    char path[RUN_FOLDER_PATH];
    struct stat info;
    if (run_facts_exist(folder) || checkpoint_exists(folder))
        return error_set(err, ERROR_INPUT,
                         "--run: %s has a run already: go on with --resume %s, or name another folder", folder, folder);
    for (enum run_file file = RUN_FILE_PLAN; file <= RUN_FILE_CURVES; file++) {
        TRY(run_folder_path(folder, file, path, err));
        if (lstat(path, &info) == 0)
            return error_set(err, ERROR_INPUT,
                             "--run: %s is there already, and the run would write it; name another folder", path);
    }
    return true;
}

void run_folder_sweep(const char *folder)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) partial_sweep(folder, names[i]);
    partial_sweep(folder, "run."); /* its facts, and traces of all ranks */
    partial_sweep(folder, "data.json");
}

bool run_folder_holds(const char *folder, const char *path)
{
    char outer[FILES_PATH], inner[FILES_PATH];
    if (!files_resolve_unmade(folder, outer) || !files_resolve_unmade(path, inner)) return false;
    size_t length = strlen(outer);
    return strncmp(outer, inner, length) == 0 && (inner[length] == '\0' || inner[length] == '/');
}

bool run_folder_view(const char *folder, struct run_view *view, struct error *err)
{
    char log[RUN_FOLDER_PATH];
    struct stat info;
    *view = (struct run_view){0};
    bool held = locks_folder_is_held(folder); /* before: a run that ends now has written how */
    bool ok = run_folder_path(folder, RUN_FILE_LOG, log, err) && run_facts_read(folder, &view->facts, err);
    if (ok && stat(log, &info) == 0) ok = curves_read(log, UINT64_MAX, &view->curves, err);
    if (!ok) run_view_finish(view);
    if (!ok || view->facts.state != RUN_RUNNING) return ok;
    if (view->curves.last_step > view->facts.step) view->facts.step = view->curves.last_step;
    view->killed = !held;
    if (view->killed) view->facts.state = RUN_STOPPED;
    return true;
}

void run_view_finish(struct run_view *view)
{
    run_facts_finish(&view->facts);
    curves_finish(&view->curves);
}
