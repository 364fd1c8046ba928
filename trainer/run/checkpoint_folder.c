/* The folder of a run's checkpoints: which files are there, who may write, which is the newest and which the best. */
#define _GNU_SOURCE
#include "checkpoint_private.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "mem.h"
#include "partial.h"

#define STEM       "step-"
#define AVERAGE    "average-"
#define OLD_SUFFIX ".ckpt"
#define BEST       "best" CHECKPOINT_SUFFIX

/* ---- Names ---- */

bool checkpoint_path(char path[CHECKPOINT_PATH], const char *folder, uint64_t step, const char *suffix,
                     struct error *err)
{
    int length = snprintf(path, CHECKPOINT_PATH, "%s/" STEM "%012" PRIu64 "%s", folder, step, suffix);
    if (length < CHECKPOINT_PATH) return true;
    return error_set(err, ERROR_INPUT, "--save: the folder's path is longer than %d bytes", CHECKPOINT_PATH - 48);
}

bool checkpoint_of_step(const char *folder, uint64_t step, char path[CHECKPOINT_PATH])
{
    return checkpoint_path(path, folder, step, CHECKPOINT_SUFFIX, NULL);
}

bool checkpoint_average_path(char path[CHECKPOINT_PATH], const char *folder, uint64_t step, struct error *err)
{
    int length = snprintf(path, CHECKPOINT_PATH, "%s/" AVERAGE "%012" PRIu64 CHECKPOINT_SUFFIX, folder, step);
    if (length < CHECKPOINT_PATH) return true;
    return error_set(err, ERROR_INPUT, "--save: the folder's path is longer than %d bytes", CHECKPOINT_PATH - 48);
}

/* The suffix of <stem><digits><suffix>; NULL where a file's name is not like that. */
static const char *parse_stem(const char *name, const char *stem, uint64_t *step)
{
    size_t length = strlen(stem);
    if (strncmp(name, stem, length) != 0 || !isdigit((unsigned char)name[length])) return NULL;
    char *end;
    errno = 0;
    *step = strtoull(name + length, &end, 10);
    return errno == 0 ? end : NULL;
}

static const char *parse_name(const char *name, uint64_t *step) { return parse_stem(name, STEM, step); }

static bool is_average(const char *name, uint64_t *step)
{
    const char *suffix = parse_stem(name, AVERAGE, step);
    return suffix && strcmp(suffix, CHECKPOINT_SUFFIX) == 0;
}

static bool is_model(const char *name, uint64_t *step)
{
    const char *suffix = parse_name(name, step);
    return suffix && (strcmp(suffix, CHECKPOINT_SUFFIX) == 0 || strcmp(suffix, OLD_SUFFIX) == 0);
}

static bool is_state(const char *name, uint64_t *step)
{
    const char *suffix = parse_name(name, step);
    return suffix && strcmp(suffix, CHECKPOINT_STATE) == 0;
}

bool checkpoint_names_one(const char *name)
{
    uint64_t step;
    return is_model(name, &step) || is_average(name, &step) || is_state(name, &step) || strcmp(name, BEST) == 0;
}

/* ---- Writing there ---- */

bool checkpoint_try(const char *folder, struct error *err)
{
    char path[CHECKPOINT_PATH];
    struct files_writer writer;
    TRY(checkpoint_path(path, folder, 0, CHECKPOINT_SUFFIX, err));
    TRY(files_make_folder(folder, err) && files_begin(&writer, path, err));
    bool ok = fputs("FATHOM", writer.stream) >= 0 && fflush(writer.stream) == 0;
    if (!ok) error_errno(err, ERROR_FAILED, errno, "no file can be written in %s", folder);
    files_abandon(&writer);
    return ok;
}

bool checkpoint_claim(struct checkpoint_claim *claim, const char *folder, struct error *err)
{
    *claim = (struct checkpoint_claim){folder, files_folder_there(folder), {.fd = -1}};
    bool ok = files_make_folder(folder, err) && locks_enter_folder(&claim->lock, folder, err);
    if (ok) partial_sweep(folder, STEM);
    if (ok) partial_sweep(folder, AVERAGE);
    if (!ok) checkpoint_release(claim);
    return ok;
}

void checkpoint_release(struct checkpoint_claim *claim)
{
    locks_leave_folder(&claim->lock);
    if (claim->folder) files_unmake_folder(claim->folder, claim->there);
    claim->folder = NULL;
}

/* ---- Finding ---- */

static bool is_later(struct timespec a, struct timespec b)
{
    return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

/* after: only those written since then; NULL = all. */
static bool find_newest(DIR *folder, const struct timespec *after, char name[NAME_MAX + 1])
{
    bool found = false;
    uint64_t newest = 0, step;
    struct stat info;
    for (const struct dirent *entry; (entry = readdir(folder));) {
        if (!is_model(entry->d_name, &step) || (found && step <= newest)) continue;
        if (after && (fstatat(dirfd(folder), entry->d_name, &info, 0) != 0 || !is_later(info.st_mtim, *after)))
            continue;
        found = true;
        newest = step;
        snprintf(name, NAME_MAX + 1, "%s", entry->d_name);
    }
    return found;
}

bool checkpoint_exists(const char *path)
{
    char name[NAME_MAX + 1];
    DIR *folder = opendir(path);
    bool found = folder && find_newest(folder, NULL, name);
    if (folder) closedir(folder);
    return found;
}

struct timespec checkpoint_last_written(const char *path)
{
    struct timespec last = {0};
    uint64_t step;
    struct stat info;
    DIR *folder = opendir(path);
    for (const struct dirent *entry; folder && (entry = readdir(folder));)
        if (is_model(entry->d_name, &step) && fstatat(dirfd(folder), entry->d_name, &info, 0) == 0 &&
            is_later(info.st_mtim, last))
            last = info.st_mtim;
    if (folder) closedir(folder);
    return last;
}

bool checkpoint_find_since(const char *path, struct timespec written, char found_path[CHECKPOINT_PATH])
{
    char name[NAME_MAX + 1];
    DIR *folder = opendir(path);
    bool found = folder && find_newest(folder, &written, name);
    if (folder) closedir(folder);
    return found && snprintf(found_path, CHECKPOINT_PATH, "%s/%s", path, name) < CHECKPOINT_PATH;
}

bool checkpoint_find(const char *folder_or_file, char path[CHECKPOINT_PATH], struct error *err)
{
    char name[NAME_MAX + 1];
    struct stat info;
    if (stat(folder_or_file, &info) != 0)
        return error_errno(err, ERROR_INPUT, errno, "%s: no checkpoint can be read there", folder_or_file);
    if (!S_ISDIR(info.st_mode)) {
        snprintf(path, CHECKPOINT_PATH, "%s", folder_or_file);
        return true;
    }
    DIR *folder = opendir(folder_or_file);
    if (!folder) return error_errno(err, ERROR_INPUT, errno, "%s: the folder cannot be read", folder_or_file);
    bool found = find_newest(folder, NULL, name);
    closedir(folder);
    if (!found)
        return error_set(err, ERROR_INPUT, "%s: has no checkpoint (a file " STEM "NUMBER" CHECKPOINT_SUFFIX ")",
                         folder_or_file);
    if (snprintf(path, CHECKPOINT_PATH, "%s/%s", folder_or_file, name) >= CHECKPOINT_PATH)
        return error_set(err, ERROR_INPUT, "--resume: the path is longer than %d bytes", CHECKPOINT_PATH);
    return true;
}

/* ---- The best ---- */

/* A link that is there is replaced as a whole. */
bool checkpoint_mark_best(const char *folder, uint64_t step, bool average, struct error *err)
{
    char target[64], link[CHECKPOINT_PATH], fresh[CHECKPOINT_PATH];
    snprintf(target, sizeof target, "%s%012" PRIu64 CHECKPOINT_SUFFIX, average ? AVERAGE : STEM, step);
    if (snprintf(link, sizeof link, "%s/" BEST, folder) >= CHECKPOINT_PATH ||
        snprintf(fresh, sizeof fresh, "%s/." BEST, folder) >= CHECKPOINT_PATH)
        return error_set(err, ERROR_INPUT, "--save: the folder's path is longer than %d bytes", CHECKPOINT_PATH - 48);
    unlink(fresh);
    if (symlink(target, fresh) == 0 && rename(fresh, link) == 0) return true;
    error_errno(err, ERROR_FAILED, errno, "%s: cannot be made", link);
    unlink(fresh);
    return false;
}

static bool find_best(const char *folder, char path[CHECKPOINT_PATH])
{
    return snprintf(path, CHECKPOINT_PATH, "%s/" BEST, folder) < CHECKPOINT_PATH && access(path, R_OK) == 0;
}

double checkpoint_best_error(const char *folder)
{
    char path[CHECKPOINT_PATH];
    struct checkpoint_file *file;
    struct checkpoint checkpoint;
    if (!find_best(folder, path) || !checkpoint_open(path, &file, &checkpoint, NULL)) return NAN;
    checkpoint_close(file);
    return checkpoint.known ? checkpoint.top1_error : NAN;
}

/* ---- Fewer of them ---- */

static int newest_first(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

/* Steps that are saved there, newest first; the caller frees them. */
static uint64_t *list_steps(const char *path, uint64_t last, size_t *count)
{
    DIR *folder = opendir(path);
    uint64_t *steps = NULL, step;
    size_t capacity = 0;
    *count = 0;
    for (const struct dirent *entry; folder && (entry = readdir(folder));) {
        const char *suffix = parse_name(entry->d_name, &step);
        if (!suffix || strcmp(suffix, CHECKPOINT_SUFFIX) != 0 || step > last) continue;
        if (!mem_grow(MEM_GENERAL, (void **)&steps, &capacity, *count + 1, sizeof *steps)) break;
        steps[(*count)++] = step;
    }
    if (folder) closedir(folder);
    if (*count > 0) qsort(steps, *count, sizeof *steps, newest_first);
    return steps;
}

uint64_t checkpoint_count(const char *folder)
{
    size_t count;
    mem_free(list_steps(folder, UINT64_MAX, &count));
    return count;
}

static void remove_step(const char *folder, uint64_t step)
{
    char path[CHECKPOINT_PATH]; /* the model first: a state alone is nothing */
    if (checkpoint_path(path, folder, step, CHECKPOINT_SUFFIX, NULL)) unlink(path);
    if (checkpoint_path(path, folder, step, CHECKPOINT_STATE, NULL)) unlink(path);
    if (checkpoint_average_path(path, folder, step, NULL)) unlink(path);
}

/* What a killed run leaves: a state or an average whose model was never written. */
static void remove_orphans(const char *path, uint64_t newest, uint64_t best)
{
    char model[CHECKPOINT_PATH];
    uint64_t step;
    DIR *folder = opendir(path);
    for (const struct dirent *entry; folder && (entry = readdir(folder));) {
        if (!is_average(entry->d_name, &step) && !is_state(entry->d_name, &step)) continue;
        if (step > newest || step == best) continue;
        if (checkpoint_path(model, path, step, CHECKPOINT_SUFFIX, NULL) && access(model, F_OK) != 0 && errno == ENOENT)
            remove_step(path, step);
    }
    if (folder) closedir(folder);
}

void checkpoint_thin(const char *folder, uint64_t newest, uint64_t keep)
{
    char path[CHECKPOINT_PATH], target[NAME_MAX + 1];
    uint64_t best = UINT64_MAX;
    size_t count;
    ssize_t length = find_best(folder, path) ? readlink(path, target, NAME_MAX) : -1;
    if (length > 0) {
        target[length] = '\0';
        if (!parse_name(target, &best) && !is_average(target, &best)) best = UINT64_MAX;
    }
    uint64_t *steps = list_steps(folder, newest, &count);
    for (size_t i = keep; i < count; i++)
        if (steps[i] != best) remove_step(folder, steps[i]);
    mem_free(steps);
    remove_orphans(folder, newest, best);
}
