#define _GNU_SOURCE
#include "run_facts.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "choice.h"
#include "files.h"
#include "mem.h"

#define VERSION    1
#define MOST_BYTES (4u << 20)
#define MOST       (UINT64_MAX / 4)

static const char *const states[] = {"running", "stopped", "finished", "failed"}; /* as enum run_state */

const char *run_state_name(enum run_state state) { return states[state]; }

static bool join(char path[FILES_PATH], const char *folder, struct error *err)
{
    if (snprintf(path, FILES_PATH, "%s/run.json", folder) < FILES_PATH) return true;
    return error_set(err, ERROR_INPUT, "%s: the path is too long", folder);
}

bool run_facts_exist(const char *folder)
{
    char path[FILES_PATH];
    return join(path, folder, NULL) && access(path, F_OK) == 0;
}

/* ---- Reading ---- */

static bool read_text(const json_t *json, const char *field, const char *path, char *out, size_t size,
                      struct error *err)
{
    const char *text;
    TRY(json_get_string(json, field, path, &text, err));
    snprintf(out, size, "%s", text);
    return true;
}

/* null = unknown. */
static bool read_bytes(const json_t *json, const char *field, const char *path, uint64_t *bytes, struct error *err)
{
    *bytes = 0;
    return json_is_null(json_object_get(json, field)) || json_get_u64(json, field, path, MOST, bytes, err);
}

static bool read_state(const json_t *json, const char *path, struct run_facts *f, struct error *err)
{
    const char *text;
    char what[FILES_PATH + 32];
    size_t choice;
    TRY(json_get_string(json, "state", path, &text, err));
    snprintf(what, sizeof what, "%s: field 'state'", path);
    TRY(choice_parse(text, what, states, sizeof states / sizeof states[0], NULL, 0, &choice, err));
    f->state = (enum run_state)choice;
    return true;
}

static bool read_starts(json_t *json, const char *path, struct run_facts *f, struct error *err)
{
    json_t *starts = json_get_array(json, "starts", path, err), *start;
    size_t i;
    if (!starts) return false;
    json_array_foreach(starts, i, start)
    {
        const char *command;
        if (!json_is_object(start)) return error_set(err, ERROR_INPUT, "%s: starts[%zu] is no object", path, i);
        TRY(json_get_string(start, "command", path, &command, err));
    }
    f->starts = json_incref(starts);
    return true;
}

static bool read_object(json_t *json, const char *path, struct run_facts *f, struct error *err)
{
    uint64_t version;
    if (!json_is_object(json)) return error_set(err, ERROR_INPUT, "%s: is no object; a run's facts are one", path);
    TRY(json_get_u64(json, "fathom_run", path, MOST, &version, err));
    if (version != VERSION)
        return error_set(err, ERROR_INPUT, "%s: field 'fathom_run' is %llu; this version reads %d", path,
                         (unsigned long long)version, VERSION);
    TRY(read_text(json, "model", path, f->model, sizeof f->model, err));
    TRY(read_text(json, "dataset", path, f->dataset, sizeof f->dataset, err));
    TRY(read_text(json, "backend", path, f->backend, sizeof f->backend, err));
    TRY(read_text(json, "recipe", path, f->recipe, sizeof f->recipe, err));
    TRY(read_text(json, "reason", path, f->reason, sizeof f->reason, err));
    TRY(json_get_u64(json, "devices", path, MOST, &f->devices, err));
    TRY(json_get_u64(json, "batch", path, MOST, &f->batch, err));
    TRY(json_get_u64(json, "iterations", path, MOST, &f->iterations, err));
    TRY(json_get_u64(json, "seed", path, MOST * 2, &f->seed, err));
    TRY(json_get_u64(json, "step", path, MOST, &f->step, err));
    TRY(read_bytes(json, "planned_bytes", path, &f->planned_bytes, err));
    TRY(read_bytes(json, "used_bytes", path, &f->used_bytes, err));
    TRY(json_get_real(json, "seconds", path, &f->seconds, err));
    TRY(json_get_bool(json, "diverged", path, &f->diverged, err));
    return read_state(json, path, f, err) && read_starts(json, path, f, err);
}

bool run_facts_read(const char *folder, struct run_facts *facts, struct error *err)
{
    char path[FILES_PATH], *bytes;
    size_t length;
    *facts = (struct run_facts){0};
    TRY(join(path, folder, err) && files_read(path, MOST_BYTES, &bytes, &length, err));
    json_t *json = json_parse(bytes, length, path, err);
    bool ok = json && read_object(json, path, facts, err);
    json_decref(json);
    mem_free(bytes);
    if (!ok) run_facts_finish(facts);
    return ok;
}

/* ---- Writing ---- */

static json_t *bytes_or_null(uint64_t bytes) { return bytes ? json_integer((json_int_t)bytes) : json_null(); }

static json_t *to_json(const struct run_facts *f)
{
    return json_pack("{s:i, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:o, s:s, s:I, s:f, s:o, s:b, s:O}",
                     "fathom_run", VERSION, "model", json_text(f->model), "dataset", json_text(f->dataset), "recipe",
                     json_text(f->recipe), "backend", json_text(f->backend), "devices", (json_int_t)f->devices, "batch",
                     (json_int_t)f->batch, "iterations", (json_int_t)f->iterations, "seed", (json_int_t)f->seed,
                     "planned_bytes", bytes_or_null(f->planned_bytes), "used_bytes", bytes_or_null(f->used_bytes),
                     "state", states[f->state], "step", (json_int_t)f->step, "seconds", f->seconds, "reason",
                     json_text(f->reason), "diverged", f->diverged, "starts", f->starts);
}

bool run_facts_write(const char *folder, const struct run_facts *facts, struct error *err)
{
    char path[FILES_PATH];
    struct files_writer writer;
    TRY(join(path, folder, err));
    json_t *json = to_json(facts);
    if (!json) return error_memory(err, 0, "the facts of a run");
    bool ok = files_begin(&writer, path, err);
    if (ok && (!json_write(json, writer.stream, JSON_INDENT(2)) || fputc('\n', writer.stream) == EOF))
        ok = error_set(err, ERROR_FAILED, "%s: cannot be written", path);
    if (ok)
        ok = files_commit(&writer, err);
    else
        files_abandon(&writer);
    json_decref(json);
    return ok;
}

bool run_facts_add_start(struct run_facts *f, const char *command, uint64_t after_step, struct error *err)
{
    if (!f->starts) f->starts = json_array();
    json_t *start = json_pack("{s:o, s:s, s:I}", "command", json_text(command), "version", FATHOM_VERSION, "after_step",
                              (json_int_t)after_step);
    if (f->starts && start && json_array_append_new(f->starts, start) == 0) return true;
    return error_memory(err, strlen(command), "the command of a run");
}

const char *run_facts_command(const struct run_facts *f, size_t start)
{
    return json_string_value(json_object_get(json_array_get(f->starts, start), "command"));
}

void run_facts_finish(struct run_facts *facts)
{
    json_decref(facts->starts);
    *facts = (struct run_facts){0};
}
