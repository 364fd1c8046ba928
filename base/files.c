#define _GNU_SOURCE
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem.h"
#include "process.h"

static bool check_readable(FILE *stream, const char *path, uint64_t most_bytes, size_t *length, struct error *err)
{
    struct stat info;
    if (fstat(fileno(stream), &info) != 0) return error_errno(err, ERROR_INPUT, errno, "%s: cannot be read", path);
    if (S_ISDIR(info.st_mode)) return error_set(err, ERROR_INPUT, "%s: is a directory; a file is wanted", path);
    if ((uint64_t)info.st_size > most_bytes)
        return error_set(err, ERROR_INPUT, "%s: has %" PRIu64 " bytes; at most %" PRIu64 " are read", path,
                         (uint64_t)info.st_size, most_bytes);
    *length = (size_t)info.st_size;
    return true;
}

/* Reads to the end, whatever stat said: pipes have no size. */
static bool read_all(FILE *stream, const char *path, uint64_t most_bytes, size_t expected, char **bytes, size_t *length,
                     struct error *err)
{
    size_t capacity = expected + 4096, used = 0;
    char *block = mem_alloc(MEM_GENERAL, capacity, 1);
    if (!block) return error_memory(err, capacity, path);
    for (;;) {
        used += fread(block + used, 1, capacity - used - 1, stream);
        if (used < capacity - 1) break;
        char *grown = used > most_bytes ? NULL : mem_resize(MEM_GENERAL, block, capacity * 2, 1);
        if (!grown) {
            mem_free(block);
            return used > most_bytes
                       ? error_set(err, ERROR_INPUT, "%s: has more than %" PRIu64 " bytes", path, most_bytes)
                       : error_memory(err, capacity * 2, path);
        }
        block = grown;
        capacity *= 2;
    }
    if (ferror(stream)) {
        mem_free(block);
        return error_errno(err, ERROR_INPUT, errno, "%s: cannot be read", path);
    }
    block[used] = '\0';
    *bytes = block;
    *length = used;
    return true;
}

bool files_read(const char *path, uint64_t most_bytes, char **bytes, size_t *length, struct error *err)
{
    FILE *stream = fopen(path, "rbe");
    if (!stream) return error_errno(err, ERROR_INPUT, errno, "%s: cannot be opened", path);
    size_t expected = 0;
    bool ok = check_readable(stream, path, most_bytes, &expected, err) &&
              read_all(stream, path, most_bytes, expected, bytes, length, err);
    fclose(stream);
    return ok;
}

/* Where a path's bytes go. Renaming over a device (/dev/null), a pipe or a link (/dev/stdout) would put a file in its
 * place: the first two are written to as they are, a link's target is. */
struct destination {
    char path[PATH_MAX];
    bool special;
};

static bool find_destination(const char *path, struct destination *found, struct error *err)
{
    struct stat info;
    found->special = false;
    bool link = lstat(path, &info) == 0 && S_ISLNK(info.st_mode);
    if (!link || !realpath(path, found->path)) {
        if (strlen(path) >= sizeof found->path)
            return error_errno(err, ERROR_INPUT, ENAMETOOLONG, "%s: cannot be written", path);
        strcpy(found->path, path);
    }
    if (stat(path, &info) != 0) return true;
    if (S_ISDIR(info.st_mode)) return error_set(err, ERROR_INPUT, "%s: is a folder; a file is wanted", path);
    found->special = !S_ISREG(info.st_mode);
    return true;
}

#define PARTIAL ".partial-"

/* "NAME.partial-PID" of a process that is gone. */
static bool is_leftover(const char *entry, const char *name)
{
    size_t length = strlen(name);
    if (strncmp(entry, name, length) != 0 || strncmp(entry + length, PARTIAL, strlen(PARTIAL)) != 0) return false;
    const char *digits = entry + length + strlen(PARTIAL);
    char *end;
    if (*digits < '1' || *digits > '9') return false;
    unsigned long long pid = strtoull(digits, &end, 10);
    return *end == '\0' && !process_is_alive(pid);
}

/* A writer in another container or on another host of a shared folder is not among this one's processes, but holds its
 * lock. */
static bool is_being_written(int folder, const char *entry)
{
    int file = openat(folder, entry, O_RDWR | O_CLOEXEC);
    if (file < 0) return true;
    bool locked = flock(file, LOCK_EX | LOCK_NB) != 0;
    close(file);
    return locked;
}

/* What processes left that were killed while they wrote this file. It is no error when that cannot be done. */
static void remove_leftovers(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    DIR *entries = opendir(folder);
    if (!entries) return;
    for (struct dirent *entry; (entry = readdir(entries));)
        if (is_leftover(entry->d_name, name) && !is_being_written(dirfd(entries), entry->d_name))
            unlinkat(dirfd(entries), entry->d_name, 0);
    closedir(entries);
}

bool files_begin(struct files_writer *writer, const char *path, struct error *err)
{
    struct destination to;
    *writer = (struct files_writer){0};
    TRY(find_destination(path, &to, err));
    size_t length = strlen(to.path) + 32;
    char *partial = mem_alloc(MEM_GENERAL, length, 1);
    char *copy = mem_strdup(MEM_GENERAL, to.path);
    if (!partial || !copy) {
        mem_free(partial);
        mem_free(copy);
        return error_memory(err, length, path);
    }
    snprintf(partial, length, "%s" PARTIAL "%ld", to.path, (long)getpid());
    if (!to.special) remove_leftovers(to.path);
    FILE *stream = fopen(to.special ? to.path : partial, "wbe");
    if (!stream) {
        error_errno(err, ERROR_INPUT, errno, "%s: cannot be written", path);
        mem_free(partial);
        mem_free(copy);
        return false;
    }
    if (to.special)
        mem_free(partial);
    else
        (void)flock(fileno(stream), LOCK_EX | LOCK_NB); /* for is_being_written; some file systems have no locks */
    *writer = (struct files_writer){.stream = stream, .path = copy, .partial = to.special ? NULL : partial};
    return true;
}

bool files_commit(struct files_writer *writer, struct error *err)
{
    bool ok = !ferror(writer->stream) && fflush(writer->stream) == 0;
    if (ok && writer->partial) ok = fsync(fileno(writer->stream)) == 0;
    int cause = errno;
    ok = fclose(writer->stream) == 0 && ok;
    writer->stream = NULL;
    if (ok && writer->partial && rename(writer->partial, writer->path) != 0) {
        ok = false;
        cause = errno;
    }
    if (!ok) error_errno(err, ERROR_FAILED, cause, "%s: cannot be written", writer->path);
    if (ok) {
        mem_free(writer->partial);
        writer->partial = NULL;
    }
    files_abandon(writer);
    return ok;
}

void files_abandon(struct files_writer *writer)
{
    if (writer->stream) fclose(writer->stream);
    if (writer->partial) unlink(writer->partial);
    mem_free(writer->partial);
    mem_free(writer->path);
    *writer = (struct files_writer){0};
}

bool files_write(const char *path, const void *bytes, size_t length, struct error *err)
{
    struct files_writer writer;
    TRY(files_begin(&writer, path, err));
    fwrite(bytes, 1, length, writer.stream);
    return files_commit(&writer, err);
}

bool files_make_folder(const char *path, struct error *err)
{
    char *copy = mem_strdup(MEM_GENERAL, path);
    if (!copy) return error_memory(err, strlen(path), path);
    bool ok = true;
    for (char *slash = copy + 1; ok && *slash; slash++) {
        if (*slash != '/') continue;
        *slash = '\0';
        ok = mkdir(copy, 0777) == 0 || errno == EEXIST;
        *slash = '/';
    }
    struct stat info;
    ok = ok && (mkdir(copy, 0777) == 0 || errno == EEXIST);
    if (!ok)
        error_errno(err, ERROR_INPUT, errno, "%s: the folder cannot be made", path);
    else if (stat(copy, &info) != 0 || !S_ISDIR(info.st_mode))
        ok = error_set(err, ERROR_INPUT, "%s: is a file; a folder is wanted", path);
    mem_free(copy);
    return ok;
}
