#define _GNU_SOURCE
#include "run_record.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoint.h"
#include "clock.h"
#include "curves_draw.h"
#include "files.h"
#include "mem.h"
#include "plan_file.h"
#include "process.h"
#include "recipe_in_force.h"
#include "run_folder.h"

#define WRITE_NS UINT64_C(10000000000)

struct run_record {
    struct run_record_options told;
    struct run_facts facts;
    struct curves curves;
    uint64_t begin_ns, written_ns;
    double seconds_before; /* of earlier starts */
    struct error fault;    /* the first */
};

/* ---- Beginning ---- */

uint64_t run_record_planned_bytes(const struct plan *plan, const struct backend *backend, const struct train_part *part)
{
    uint64_t most = 0;
    if (backend->in_host_memory) return train_planned_bytes(plan, backend, part);
    for (size_t i = 0; i < plan->device_count; i++)
        if (plan->devices[i].peak_bytes > most) most = plan->devices[i].peak_bytes;
    return most;
}

static void copy_name(char *out, size_t size, const char *name) { snprintf(out, size, "%s", name); }

/* A checkpoint brings its own. */
static uint64_t find_seed(const struct run_record_options *o)
{
    struct checkpoint_file *file;
    struct checkpoint checkpoint = {0};
    if (!o->checkpoint || !checkpoint_open(o->checkpoint, &file, &checkpoint, NULL)) return o->options->seed;
    checkpoint_close(file);
    return checkpoint.seed;
}

static bool fill_facts(struct run_record *r, struct error *err)
{
    const struct run_record_options *o = &r->told;
    struct run_facts *f = &r->facts;
    if (o->goes_on) TRY(run_facts_read(o->folder, f, err));
    r->seconds_before = f->seconds;
    copy_name(f->model, sizeof f->model, o->plan->spec.name);
    copy_name(f->dataset, sizeof f->dataset, dataset_kind_name(o->plan->spec.dataset));
    copy_name(f->backend, sizeof f->backend, o->backend->name);
    copy_name(f->recipe, sizeof f->recipe, o->recipe->name);
    f->devices = o->plan->device_count;
    f->batch = o->plan->batch;
    f->iterations = o->options->iterations;
    f->seed = find_seed(o);
    f->planned_bytes = run_record_planned_bytes(o->plan, o->backend, o->part);
    f->state = RUN_RUNNING;
    f->step = o->resumed;
    f->reason[0] = '\0';
    f->diverged = false;
    return run_facts_add_start(f, o->options->command ? o->options->command : "fathom train", o->resumed, err);
}

static bool write_recipe(const struct run_record_options *o, struct error *err)
{
    char path[RUN_FOLDER_PATH];
    struct text text = {0};
    uint64_t images = dataset_info(o->options->dataset)->train_images;
    struct recipe recipe = recipe_in_force(o->recipe, o->options, o->plan->batch, images);
    TRY(run_folder_path(o->folder, RUN_FILE_RECIPE, path, err));
    recipe_write(&recipe, &text);
    bool ok =
        text.failed ? error_memory(err, text.capacity, "the recipe") : files_write(path, text.bytes, text.length, err);
    text_finish(&text);
    return ok;
}

/* After run.json, which says from then on that the run has begun: without them it ends. */
static bool write_files(struct run_record *r, struct error *err)
{
    char path[RUN_FOLDER_PATH];
    struct error fault = {0};
    const struct run_record_options *o = &r->told;
    if (run_folder_path(o->folder, RUN_FILE_PLAN, path, &fault) && plan_write(o->plan, path, &fault) &&
        write_recipe(o, &fault))
        return true;
    r->facts.state = RUN_FAILED;
    copy_name(r->facts.reason, sizeof r->facts.reason, fault.text);
    run_facts_write(o->folder, &r->facts, NULL);
    if (err) *err = fault;
    return false;
}

static bool read_past(struct run_record *r, struct error *err)
{
    char path[RUN_FOLDER_PATH];
    struct stat info;
    TRY(run_folder_path(r->told.folder, RUN_FILE_LOG, path, err));
    if (r->told.resumed == 0 || stat(path, &info) != 0) return true;
    return curves_read(path, r->told.resumed, &r->curves, err);
}

static void destroy(struct run_record *r)
{
    run_facts_finish(&r->facts);
    curves_finish(&r->curves);
    mem_free(r);
}

bool run_record_begin(const struct run_record_options *options, struct run_record **out, struct error *err)
{
    struct run_record *r = mem_zalloc(MEM_GENERAL, 1, sizeof *r);
    *out = NULL;
    if (!r) return error_memory(err, sizeof *r, "the record of a run");
    r->told = *options;
    r->begin_ns = r->written_ns = clock_now_ns();
    bool ok = fill_facts(r, err) && read_past(r, err) && run_facts_write(options->folder, &r->facts, err) &&
              write_files(r, err);
    if (ok)
        *out = r;
    else
        destroy(r);
    return ok;
}

/* ---- Meanwhile ---- */

static void keep_fault(struct run_record *r, const struct error *fault)
{
    if (r->fault.kind == ERROR_NONE) r->fault = *fault;
}

static void write_facts(struct run_record *r)
{
    struct error fault = {0};
    uint64_t now = clock_now_ns(), resident, peak;
    r->written_ns = now;
    r->facts.seconds = r->seconds_before + (double)(now - r->begin_ns) * 1e-9;
    if (r->told.backend->in_host_memory && process_memory_read(&resident, &peak)) r->facts.used_bytes = peak;
    if (!run_facts_write(r->told.folder, &r->facts, &fault)) keep_fault(r, &fault);
}

static void draw(struct run_record *r)
{
    struct error fault = {0};
    char path[RUN_FOLDER_PATH], title[256];
    const struct run_facts *f = &r->facts;
    snprintf(title, sizeof title, "%s, batch %" PRIu64 ", recipe %s, seed %" PRIu64, f->model, f->batch, f->recipe,
             f->seed);
    if (!run_folder_path(r->told.folder, RUN_FILE_CURVES, path, &fault) ||
        !curves_draw_run(&r->curves, title, path, &fault))
        keep_fault(r, &fault);
}

void run_record_see(struct run_record *r, const struct train_status *status)
{
    struct error fault = {0};
    if (!r) return;
    if (!curves_add(&r->curves, status, &fault)) keep_fault(r, &fault);
    r->facts.step = status->step;
    if (status->evaluated) draw(r);
    if (status->evaluated || clock_now_ns() - r->written_ns >= WRITE_NS) write_facts(r);
}

/* ---- Its end ---- */

static void see_result(struct run_record *r, const struct train_result *result, const struct error *failure)
{
    struct run_facts *f = &r->facts;
    f->state = failure ? RUN_FAILED : result->stopped ? RUN_STOPPED : RUN_FINISHED;
    if (failure) copy_name(f->reason, sizeof f->reason, failure->text);
    f->diverged = failure && result->diverged;
    if (result->steps > f->step) f->step = result->steps;
    if (result->device_known && result->device_memory.outside == DEVICE_OUTSIDE_KNOWN)
        f->used_bytes = result->device_memory.arena_bytes + result->device_memory.outside_bytes;
}

bool run_record_end(struct run_record *r, const struct train_result *result, const struct error *failure,
                    struct error *err)
{
    if (!r) return true;
    see_result(r, result, failure);
    draw(r);
    write_facts(r);
    bool ok = r->fault.kind == ERROR_NONE;
    if (!ok && err) *err = r->fault;
    if (!ok && err) err->kind = ERROR_FAILED;
    destroy(r);
    return ok || error_prefix(err, "--run");
}
