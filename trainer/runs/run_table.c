#define _GNU_SOURCE
#include "run_table.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mem.h"

#define DEEPEST 3

static bool add_run(struct run_table *t, const char *folder, struct error *err)
{
    if (!mem_grow(MEM_GENERAL, (void **)&t->rows, &t->capacity, t->count + 1, sizeof *t->rows))
        return error_memory(err, (t->count + 1) * sizeof *t->rows, "a table of runs");
    struct run_row *row = &t->rows[t->count];
    TRY(run_folder_view(folder, &row->view, err));
    row->folder = mem_strdup(MEM_GENERAL, folder);
    if (row->folder) {
        t->count++;
        return true;
    }
    run_view_finish(&row->view);
    return error_memory(err, strlen(folder), "a table of runs");
}

static bool add_below(struct run_table *t, const char *folder, int depth, struct error *err);

static bool add_entry(struct run_table *t, const char *folder, const char *name, int depth, struct error *err)
{
    char path[RUN_FOLDER_PATH];
    struct stat info;
    if (name[0] == '.' || snprintf(path, sizeof path, "%s/%s", folder, name) >= RUN_FOLDER_PATH) return true;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) return true;
    return add_below(t, path, depth, err);
}

static bool add_below(struct run_table *t, const char *folder, int depth, struct error *err)
{
    if (run_facts_exist(folder)) return add_run(t, folder, err);
    if (depth == DEEPEST) return true;
    DIR *entries = opendir(folder);
    if (!entries) return error_errno(err, ERROR_INPUT, errno, "%s: the folder cannot be read", folder);
    bool ok = true;
    for (const struct dirent *entry; ok && (entry = readdir(entries));)
        ok = add_entry(t, folder, entry->d_name, depth + 1, err);
    closedir(entries);
    return ok;
}

bool run_table_add(struct run_table *t, const char *folder, struct error *err)
{
    size_t before = t->count;
    TRY(add_below(t, folder, 0, err));
    if (t->count > before) return true;
    return error_set(err, ERROR_INPUT,
                     "%s: no run is there: no run.json, as `fathom train --run DIR` writes, in it or below", folder);
}

static double best_error(const struct run_row *row)
{
    const struct curve_test *best = curves_best_test(&row->view.curves);
    return best ? best->top1_error : INFINITY;
}

static double last_loss(const struct run_row *row)
{
    const struct curves *c = &row->view.curves;
    return c->last_step > 0 && isfinite(c->last_loss) ? c->last_loss : INFINITY;
}

static int compare(const void *a, const void *b)
{
    const struct run_row *x = a, *y = b;
    double by_error = best_error(x) - best_error(y), by_loss = last_loss(x) - last_loss(y);
    if (by_error < 0 || by_error > 0) return by_error < 0 ? -1 : 1;
    if (by_loss < 0 || by_loss > 0) return by_loss < 0 ? -1 : 1;
    return strcmp(x->folder, y->folder);
}

void run_table_sort(struct run_table *t)
{
    if (t->count > 0) qsort(t->rows, t->count, sizeof *t->rows, compare);
}

void run_table_finish(struct run_table *t)
{
    for (size_t i = 0; i < t->count; i++) {
        run_view_finish(&t->rows[i].view);
        mem_free(t->rows[i].folder);
    }
    mem_free(t->rows);
    *t = (struct run_table){0};
}
