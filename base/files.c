#define _GNU_SOURCE
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem.h"
#include "partial.h"

/* ---- What may be opened ---- */

static const char *name_kind(mode_t mode)
{
    if (S_ISDIR(mode)) return "a folder";
    if (S_ISFIFO(mode)) return "a pipe";
    if (S_ISSOCK(mode)) return "a socket";
    return "a device";
}

static bool refuse_kind(const char *path, mode_t mode, struct error *err)
{
    return error_set(err, ERROR_INPUT, "%s: is %s; a file is wanted", path, name_kind(mode));
}

static bool refuse_empty(struct error *err)
{
    return error_set(err, ERROR_INPUT, "an empty name is given; a file's is wanted");
}

/* -1 for what is no number of one. */
static int descriptor_of(const char *digits)
{
    char *end;
    if (digits[0] < '0' || digits[0] > '9') return -1;
    long fd = strtol(digits, &end, 10);
    return *end == '\0' && fd <= INT_MAX ? (int)fd : -1;
}

/* A descriptor that this process was given, by name: what a shell writes for `<(command)`, and the standard streams. -1
 * for other paths. */
static int find_descriptor(const char *path)
{
    static const char *const streams[] = {"/dev/stdin", "/dev/stdout", "/dev/stderr"};
    static const char *const folders[] = {"/dev/fd/", "/proc/self/fd/"};
    for (int fd = 0; fd < 3; fd++)
        if (strcmp(path, streams[fd]) == 0) return fd;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        if (strncmp(path, folders[i], strlen(folders[i])) == 0) return descriptor_of(path + strlen(folders[i]));
    return -1;
}

/* Streams whose end comes: a device like /dev/zero has none. */
static bool is_given_stream(const char *path, mode_t mode, int fd)
{
    return find_descriptor(path) >= 0 && (S_ISFIFO(mode) || S_ISSOCK(mode) || (S_ISCHR(mode) && isatty(fd)));
}

/* Looked at before it is opened, as opening a device may do something, and afterwards, as it may have changed. */
static bool check_input(const char *path, enum files_streams streams, int fd, struct error *err)
{
    struct stat info;
    if (!*path) return refuse_empty(err);
    if ((fd < 0 ? stat(path, &info) : fstat(fd, &info)) != 0)
        return error_errno(err, ERROR_INPUT, errno, "%s: cannot be opened", path);
    if (S_ISREG(info.st_mode)) return true;
    if (streams == FILES_OR_STREAM && find_descriptor(path) >= 0 &&
        (fd < 0 ? !S_ISDIR(info.st_mode) : is_given_stream(path, info.st_mode, fd)))
        return true;
    return refuse_kind(path, info.st_mode, err);
}

/* It was opened without waiting; reading and writing wait as usual. */
static void wait_again(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0) (void)fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

bool files_open(const char *path, enum files_streams streams, int *fd, struct error *err)
{
    TRY(check_input(path, streams, -1, err));
    int opened = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (opened < 0) return error_errno(err, ERROR_INPUT, errno, "%s: cannot be opened", path);
    if (!check_input(path, streams, opened, err)) {
        close(opened);
        return false;
    }
    wait_again(opened);
    *fd = opened;
    return true;
}

/* *special: it is a device or a pipe, which are written to as they are. A disk is one too, but nobody means that. */
static bool check_output(const char *path, int fd, bool *special, struct error *err)
{
    struct stat info;
    *special = false;
    if (!*path) return refuse_empty(err);
    if ((fd < 0 ? stat(path, &info) : fstat(fd, &info)) != 0)
        return errno == ENOENT || error_errno(err, ERROR_INPUT, errno, "%s: cannot be written", path);
    if (S_ISDIR(info.st_mode) || S_ISSOCK(info.st_mode) || S_ISBLK(info.st_mode))
        return refuse_kind(path, info.st_mode, err);
    *special = !S_ISREG(info.st_mode);
    return true;
}

static bool refuse_output(const char *path, int cause, struct error *err)
{
    if (cause == ENXIO) return error_set(err, ERROR_INPUT, "%s: is a pipe from which nobody reads", path);
    return error_errno(err, ERROR_INPUT, cause, "%s: cannot be written", path);
}

bool files_open_to_write(const char *path, int *fd, struct error *err)
{
    bool special, changed;
    TRY(check_output(path, -1, &special, err));
    int flags = special ? O_WRONLY | O_NONBLOCK | O_NOCTTY : O_RDWR | O_CREAT | O_NONBLOCK;
    int opened = open(path, flags | O_APPEND | O_CLOEXEC, 0666);
    if (opened < 0) return refuse_output(path, errno, err);
    if (!check_output(path, opened, &changed, err)) {
        close(opened);
        return false;
    }
    wait_again(opened);
    *fd = opened;
    return true;
}

/* ---- Reading ---- */

static bool check_readable(FILE *stream, const char *path, uint64_t most_bytes, size_t *length, struct error *err)
{
    struct stat info;
    if (fstat(fileno(stream), &info) != 0) return error_errno(err, ERROR_INPUT, errno, "%s: cannot be read", path);
    if ((uint64_t)info.st_size > most_bytes)
        return error_set(err, ERROR_INPUT, "%s: has %" PRIu64 " bytes; at most %" PRIu64 " are read", path,
                         (uint64_t)info.st_size, most_bytes);
    *length = (size_t)info.st_size;
    return true;
}

/* To the end, or to more than is read. */
static bool fill_block(FILE *stream, const char *path, uint64_t most_bytes, size_t capacity, char **block, size_t *used,
                       struct error *err)
{
    for (*used = 0;; capacity *= 2) {
        *used += fread(*block + *used, 1, capacity - *used - 1, stream);
        if (ferror(stream)) return error_errno(err, ERROR_INPUT, errno, "%s: cannot be read", path);
        if (*used > most_bytes)
            return error_set(err, ERROR_INPUT, "%s: has more than %" PRIu64 " bytes", path, most_bytes);
        if (*used < capacity - 1) return true;
        char *grown = mem_resize(MEM_GENERAL, *block, capacity * 2, 1);
        if (!grown) return error_memory(err, capacity * 2, path);
        *block = grown;
    }
}

/* Whatever stat said: pipes have no size. */
static bool read_all(FILE *stream, const char *path, uint64_t most_bytes, size_t expected, char **bytes, size_t *length,
                     struct error *err)
{
    size_t used, capacity = expected + 4096;
    char *block = mem_alloc(MEM_GENERAL, capacity, 1);
    if (!block) return error_memory(err, capacity, path);
    if (!fill_block(stream, path, most_bytes, capacity, &block, &used, err)) {
        mem_free(block);
        return false;
    }
    block[used] = '\0';
    *bytes = block;
    *length = used;
    return true;
}

bool files_read(const char *path, uint64_t most_bytes, char **bytes, size_t *length, struct error *err)
{
    int fd;
    TRY(files_open(path, FILES_OR_STREAM, &fd, err));
    FILE *stream = fdopen(fd, "rb");
    if (!stream) {
        error_errno(err, ERROR_INPUT, errno, "%s: cannot be opened", path);
        close(fd);
        return false;
    }
    size_t expected = 0;
    bool ok = check_readable(stream, path, most_bytes, &expected, err) &&
              read_all(stream, path, most_bytes, expected, bytes, length, err);
    fclose(stream);
    return ok;
}

/* ---- Paths ---- */

_Static_assert(FILES_PATH >= PATH_MAX, "realpath writes that much");

/* A link to what is not there leads to where it will be. */
static bool follow_link(const char *path, char target[FILES_PATH])
{
    char link[FILES_PATH];
    ssize_t length = readlink(path, link, sizeof link - 1);
    if (length < 0) return false;
    link[length] = '\0';
    const char *slash = strrchr(path, '/');
    int folder = link[0] == '/' || !slash ? 0 : (int)(slash - path) + 1;
    return snprintf(target, FILES_PATH, "%.*s%s", folder, path, link) < FILES_PATH;
}

/* The folder's real path, and the name behind it. */
static bool resolve_new(const char *path, char resolved[FILES_PATH])
{
    char folder[FILES_PATH], real[FILES_PATH];
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".") >= FILES_PATH)
        return false;
    if (!realpath(folder, real)) return false;
    return snprintf(resolved, FILES_PATH, "%s/%s", strcmp(real, "/") == 0 ? "" : real, name) < FILES_PATH;
}

bool files_resolve(const char *path, char resolved[FILES_PATH])
{
    char from[2][FILES_PATH];
    if (realpath(path, resolved)) return true;
    for (int links = 0; links < 40 && follow_link(path, from[links % 2]); links++) path = from[links % 2];
    return resolve_new(path, resolved);
}

static bool copy_path(const char *path, char copy[FILES_PATH])
{
    return snprintf(copy, FILES_PATH, "%s", path) < FILES_PATH;
}

/* What is not there has no links: ".." leads back. */
static bool append_name(char path[FILES_PATH], const char *name, size_t length)
{
    size_t used = strlen(path);
    if (length == 0 || (length == 1 && name[0] == '.')) return true;
    if (length == 2 && name[0] == '.' && name[1] == '.') {
        char *slash = strrchr(path, '/');
        if (slash) slash[slash == path] = '\0';
        return true;
    }
    int added = snprintf(path + used, FILES_PATH - used, "%s%.*s", used == 1 ? "" : "/", (int)length, name);
    return added > 0 && (size_t)added < FILES_PATH - used;
}

bool files_resolve_unmade(const char *path, char resolved[FILES_PATH])
{
    char there[FILES_PATH];
    if (!copy_path(path, there)) return false;
    size_t end = strlen(path);
    while (!files_resolve(there, resolved)) {
        while (end > 0 && path[end - 1] == '/') end--;
        while (end > 0 && path[end - 1] != '/') end--;
        if (strcmp(there, ".") == 0) return false;
        snprintf(there, sizeof there, "%.*s", end > 0 ? (int)end : 1, end > 0 ? path : ".");
    }
    for (const char *name = path + end; *name;) {
        size_t length = strcspn(name, "/");
        if (!append_name(resolved, name, length)) return false;
        name += length + (name[length] == '/');
    }
    return true;
}

/* ---- Writing ---- */

/* Where a path's bytes go. Renaming over a device (/dev/null), a pipe or a link would put a file in its place: the
 * first two are written to as they are, a link's target is. A descriptor that was given is written to from where it
 * stands, as `>> file` wants. */
struct destination {
    char path[PATH_MAX];
    bool special;
    int descriptor; /* -1 = none */
};

static bool find_destination(const char *path, struct destination *found, struct error *err)
{
    struct stat info;
    found->descriptor = find_descriptor(path);
    bool link = found->descriptor < 0 && lstat(path, &info) == 0 && S_ISLNK(info.st_mode);
    if (!link || !realpath(path, found->path)) {
        if (strlen(path) >= sizeof found->path)
            return error_errno(err, ERROR_INPUT, ENAMETOOLONG, "%s: cannot be written", path);
        strcpy(found->path, path);
    }
    return check_output(path, -1, &found->special, err);
}

static int open_destination(const struct destination *to, char **partial, struct error *err)
{
    int fd = -1;
    if (to->descriptor >= 0) {
        fd = fcntl(to->descriptor, F_DUPFD_CLOEXEC, 0);
        if (fd < 0) error_errno(err, ERROR_INPUT, errno, "%s: cannot be written", to->path);
        return fd;
    }
    if (to->special) return files_open_to_write(to->path, &fd, err) ? fd : -1;
    fd = partial_create_file(to->path, partial);
    if (fd < 0)
        error_errno(err, errno == ENOMEM ? ERROR_MEMORY : ERROR_INPUT, errno, "%s: cannot be written", to->path);
    return fd;
}

/* /dev/fd/N: what this process was given is written to where it stands, neither opened anew nor replaced. */
static int given_descriptor(const char *path)
{
    return strncmp(path, "/dev/fd/", 8) == 0 ? descriptor_of(path + 8) : -1;
}

static bool begin_given(struct files_writer *writer, const char *path, int given, struct error *err)
{
    int fd = fcntl(given, F_DUPFD_CLOEXEC, 3);
    writer->path = mem_strdup(MEM_GENERAL, path);
    writer->stream = fd < 0 || !writer->path ? NULL : fdopen(fd, "wb");
    if (writer->stream) return true;
    error_errno(err, ERROR_INPUT, errno, "%s: cannot be written", path);
    if (fd >= 0) close(fd);
    mem_free(writer->path);
    *writer = (struct files_writer){0};
    return false;
}

bool files_begin(struct files_writer *writer, const char *path, struct error *err)
{
    struct destination to;
    int given = given_descriptor(path);
    *writer = (struct files_writer){0};
    if (given >= 0) return begin_given(writer, path, given, err);
    TRY(find_destination(path, &to, err));
    writer->path = mem_strdup(MEM_GENERAL, to.path);
    if (!writer->path) return error_memory(err, strlen(path), path);
    int fd = open_destination(&to, &writer->partial, err);
    writer->stream = fd < 0 ? NULL : fdopen(fd, "wb");
    if (writer->stream) return true;
    if (fd >= 0) {
        error_errno(err, ERROR_INPUT, errno, "%s: cannot be written", path);
        close(fd);
    }
    files_abandon(writer);
    return false;
}

static bool refuse_write(const struct files_writer *writer, int cause, struct error *err)
{
    return error_errno(err, ERROR_FAILED, cause, "%s: cannot be written", writer->path);
}

bool files_flush(struct files_writer *writer, struct error *err)
{
    bool ok = !ferror(writer->stream) && fflush(writer->stream) == 0;
    if (ok && writer->partial) ok = fsync(fileno(writer->stream)) == 0;
    return ok || refuse_write(writer, errno, err);
}

static bool give_name(struct files_writer *writer, unsigned flags, struct error *err)
{
    int code = renameat2(AT_FDCWD, writer->partial, AT_FDCWD, writer->path, flags);
    if (code != 0 && flags && errno == EINVAL) /* a file system that does not know the flag */
        code = rename(writer->partial, writer->path);
    if (code != 0) return refuse_write(writer, errno, err);
    mem_free(writer->partial);
    writer->partial = NULL;
    return true;
}

bool files_publish(struct files_writer *writer, bool replace, int *fd, struct error *err)
{
    int kept = -1;
    bool ok = !ferror(writer->stream) && fflush(writer->stream) == 0;
    if (ok) kept = fcntl(fileno(writer->stream), F_DUPFD_CLOEXEC, 0);
    ok = ok && kept >= 0 && fcntl(kept, F_SETFL, O_APPEND) == 0;
    if (!ok) refuse_write(writer, errno, err);
    if (ok && writer->partial) ok = give_name(writer, replace ? 0 : RENAME_NOREPLACE, err);
    if (ok) *fd = kept;
    if (!ok && kept >= 0) close(kept);
    files_abandon(writer);
    return ok;
}

bool files_commit(struct files_writer *writer, struct error *err)
{
    bool ok = files_flush(writer, err);
    if (fclose(writer->stream) != 0 && ok) ok = refuse_write(writer, errno, err);
    writer->stream = NULL;
    if (ok && writer->partial) ok = give_name(writer, 0, err);
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

/* ---- Scratch ---- */

static int make_unnamed(const char *folder, int length)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%.*s/.fathom-XXXXXX", length, folder) >= (int)sizeof path) return -1;
    char *slash = strrchr(path, '/');
    *slash = '\0';
    int fd = open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) return fd;
    *slash = '/'; /* a file system without them */
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0) unlink(path);
    return fd;
}

bool files_scratch(const char *beside, int *fd, struct error *err)
{
    const char *slash = strrchr(beside, '/'), *temporary = getenv("TMPDIR");
    *fd = -1;
    if (strncmp(beside, "/dev/", 5) != 0)
        *fd = slash ? make_unnamed(beside, slash == beside ? 1 : (int)(slash - beside)) : make_unnamed(".", 1);
    if (*fd < 0 && temporary && temporary[0]) *fd = make_unnamed(temporary, (int)strlen(temporary));
    if (*fd < 0) *fd = make_unnamed("/tmp", 4);
    return *fd >= 0 || error_errno(err, ERROR_FAILED, errno, "%s: no scratch file can be made beside it", beside);
}

/* ---- Folders ---- */

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

size_t files_folder_there(const char *path)
{
    char copy[FILES_PATH];
    struct stat info;
    size_t there = 0, length = strlen(path);
    if (!copy_path(path, copy)) return length;
    for (size_t end = 1; end <= length; end++) {
        if (copy[end] != '/' && copy[end] != '\0') continue;
        copy[end] = '\0';
        if (stat(copy, &info) == 0) there = end;
        copy[end] = path[end];
    }
    return there;
}

void files_unmake_folder(const char *path, size_t there)
{
    char copy[FILES_PATH];
    if (!copy_path(path, copy)) return;
    for (size_t end = strlen(path); end > there; end--) {
        if (path[end] != '/' && path[end] != '\0') continue;
        copy[end] = '\0';
        if (rmdir(copy) != 0 && errno != ENOENT) break;
    }
}

const char *files_cache(const char *kind, char path[FILES_PATH])
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int used = -1;
    if (cache && cache[0] == '/')
        used = snprintf(path, FILES_PATH, "%s/fathom/%s", cache, kind);
    else if (home && home[0] == '/')
        used = snprintf(path, FILES_PATH, "%s/.cache/fathom/%s", home, kind);
    return used > 0 && used < FILES_PATH ? path : NULL;
}
