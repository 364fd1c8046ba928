#define _GNU_SOURCE
#include "outputs.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "files.h"
#include "hash.h"

/* False for what may be written by many: devices, pipes. */
static bool identify(const struct stat *info, struct output_use *use)
{
    use->exists = true;
    use->device = info->st_dev;
    use->inode = info->st_ino;
    return S_ISREG(info->st_mode) || S_ISDIR(info->st_mode);
}

static bool find_use(const char *path, struct output_use *use)
{
    struct stat info;
    char resolved[FILES_PATH];
    if (stat(path, &info) == 0) return identify(&info, use);
    if (!files_resolve(path, resolved)) return false; /* whoever writes it says why not */
    use->exists = false;
    use->path_hash = hash_bytes(resolved, strlen(resolved), 0);
    return true;
}

static bool is_same(const struct output_use *a, const struct output_use *b)
{
    if (a->exists != b->exists) return false;
    if (a->exists) return a->device == b->device && a->inode == b->inode;
    return a->path_hash == b->path_hash;
}

/* As the user has named it: "-" has become a descriptor. */
static const char *name_path(const char *path)
{
    char taken[32];
    snprintf(taken, sizeof taken, "/dev/fd/%d", options_output());
    return options_output() != STDOUT_FILENO && strcmp(path, taken) == 0 ? "-" : path;
}

static bool check_streams(const struct output_use *use, const char *path, bool written, struct error *err)
{
    static const char *const names[] = {[STDOUT_FILENO] = "standard output", [STDERR_FILENO] = "standard error"};
    struct stat info;
    struct output_use stream;
    const char *name = name_path(path);
    bool taken = name != path; /* then both streams are what standard error was */
    const char *what = written ? "written" : "read";
    if (taken) what = names[STDOUT_FILENO];
    for (int fd = taken ? STDERR_FILENO : STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
        if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && identify(&info, &stream) && is_same(&stream, use))
            return error_set(err, ERROR_INPUT, "%s: %s is %s, and %s goes there too; name another file", use->label,
                             name, what, names[fd]);
    return true;
}

static bool add(struct outputs *outputs, const struct output_use *use, struct error *err)
{
    if (outputs->count == OUTPUTS_MOST)
        return error_set(err, ERROR_INPUT, "%s: more than %d files in one command", use->label, OUTPUTS_MOST);
    outputs->uses[outputs->count++] = *use;
    return true;
}

bool outputs_reads(struct outputs *outputs, const char *label, const char *path, struct error *err)
{
    struct output_use use = {.label = label};
    if (!path || !find_use(path, &use) || !use.exists) return true;
    TRY(check_streams(&use, path, false, err));
    return add(outputs, &use, err);
}

bool outputs_reads_list(struct outputs *outputs, const char *label, const char *paths, struct error *err)
{
    char path[FILES_PATH];
    for (const char *start = paths; start; start = *start ? start + 1 : NULL) {
        size_t length = strcspn(start, ",");
        snprintf(path, sizeof path, "%.*s", length < sizeof path ? (int)length : 0, start);
        TRY(outputs_reads(outputs, label, path, err));
        start += length;
    }
    return true;
}

bool outputs_writes(struct outputs *outputs, const char *label, const char *path, struct error *err)
{
    struct output_use use = {.label = label, .written = true};
    if (!path || !find_use(path, &use)) return true;
    for (size_t i = 0; i < outputs->count; i++) {
        const struct output_use *other = &outputs->uses[i];
        if (is_same(&use, other))
            return error_set(err, ERROR_INPUT, "%s: %s is what %s %s; name another file", label, name_path(path),
                             other->label, other->written ? "writes" : "reads");
    }
    TRY(check_streams(&use, path, true, err));
    return add(outputs, &use, err);
}
