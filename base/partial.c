#define _GNU_SOURCE
#include "partial.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem.h"
#include "process.h"

#define PARTIAL       ".partial-"
#define RANDOM_DIGITS 16
#define SUFFIX_MOST   (sizeof PARTIAL + 20 + 1 + RANDOM_DIGITS) /* with a process number of 64 bits */
#define MOST_TRIES    100

/* ---- Names ---- */

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* A long name is cut so that the suffix finds room. */
static size_t stem_length(const char *name)
{
    size_t length = strlen(name), most = NAME_MAX - SUFFIX_MOST;
    return length < most ? length : most;
}

static bool format_partial(const char *path, char *partial, size_t size)
{
    uint64_t random;
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random) return false;
    const char *name = name_of(path);
    snprintf(partial, size, "%.*s%.*s" PARTIAL "%ld-%016" PRIx64, (int)(name - path), path, (int)stem_length(name),
             name, (long)getpid(), random);
    return true;
}

/* The process of "STEM.partial-PID-RANDOM" or, as it was once, "STEM.partial-PID"; 0 when the name is another. */
static unsigned long long find_writer(const char *suffix)
{
    size_t length = strlen(PARTIAL);
    if (strncmp(suffix, PARTIAL, length) != 0 || suffix[length] < '1' || suffix[length] > '9') return 0;
    char *end;
    unsigned long long pid = strtoull(suffix + length, &end, 10);
    if (*end == '\0') return pid;
    if (*end != '-' || strlen(end + 1) != RANDOM_DIGITS) return 0;
    for (const char *digit = end + 1; *digit; digit++)
        if (!isxdigit((unsigned char)*digit)) return 0;
    return pid;
}

/* ---- What the dead left ---- */

/* A writer in another container or on another host of a shared folder is not among this one's processes, but holds its
 * lock. */
static bool is_being_written(int folder, const char *entry, bool *is_folder)
{
    struct stat info;
    if (fstatat(folder, entry, &info, AT_SYMLINK_NOFOLLOW) != 0) return true;
    *is_folder = S_ISDIR(info.st_mode);
    if (!*is_folder && !S_ISREG(info.st_mode)) return true;
    int flags = *is_folder ? O_RDONLY | O_DIRECTORY : O_RDWR;
    int fd = openat(folder, entry, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return true;
    bool locked = flock(fd, LOCK_EX | LOCK_NB) != 0;
    close(fd);
    return locked;
}

static bool remove_folder_at(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (!entries) {
        if (fd >= 0) close(fd);
        return false;
    }
    for (const struct dirent *entry; (entry = readdir(entries));) unlinkat(fd, entry->d_name, 0);
    closedir(entries);
    return unlinkat(parent, name, AT_REMOVEDIR) == 0;
}

static void remove_if_left(int folder, const char *entry, const char *suffix)
{
    bool is_folder;
    unsigned long long pid = find_writer(suffix);
    if (pid == 0 || process_is_alive(pid) || is_being_written(folder, entry, &is_folder)) return;
    if (is_folder)
        remove_folder_at(folder, entry);
    else
        unlinkat(folder, entry, 0);
}

/* whole: the stem is the name itself, not just its beginning. */
static void remove_partials(const char *folder, const char *stem, size_t length, bool whole)
{
    DIR *entries = opendir(folder);
    if (!entries) return;
    for (const struct dirent *entry; (entry = readdir(entries));) {
        if (strncmp(entry->d_name, stem, length) != 0) continue;
        const char *suffix = whole ? entry->d_name + length : strstr(entry->d_name + length, PARTIAL);
        if (suffix) remove_if_left(dirfd(entries), entry->d_name, suffix);
    }
    closedir(entries);
}

void partial_sweep(const char *folder, const char *stem) { remove_partials(folder, stem, strlen(stem), false); }

static void sweep_beside(const char *path)
{
    char folder[PATH_MAX];
    const char *name = name_of(path);
    snprintf(folder, sizeof folder, "%.*s", name > path ? (int)(name - path) : 1, name > path ? path : ".");
    remove_partials(folder, name, stem_length(name), true);
}

bool partial_remove_folder(const char *path) { return remove_folder_at(AT_FDCWD, path); }

/* ---- New ones ---- */

static int make_file(const char *path) { return open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666); }

static int make_folder(const char *path)
{
    if (mkdir(path, 0777) != 0) return -1;
    return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Locks it; some file systems have no locks. Before it was locked, another host may have taken it for a dead one's. */
static bool claim(int fd)
{
    struct stat info;
    (void)flock(fd, LOCK_EX | LOCK_NB);
    return fstat(fd, &info) == 0 && info.st_nlink > 0;
}

static int create(const char *path, int (*make)(const char *path), char **partial)
{
    size_t size = strlen(path) + SUFFIX_MOST + 1;
    char *name = mem_alloc(MEM_GENERAL, size, 1);
    int fd = -1;
    if (!name) errno = ENOMEM;
    if (name) sweep_beside(path);
    for (int i = 0; name && fd < 0 && i < MOST_TRIES && format_partial(path, name, size); i++) {
        fd = make(name);
        if (fd < 0 && errno != EEXIST) break;
        if (fd >= 0 && !claim(fd)) {
            close(fd);
            fd = -1;
        }
    }
    if (fd >= 0) {
        *partial = name;
        return fd;
    }
    int cause = errno;
    mem_free(name);
    errno = cause;
    return -1;
}

int partial_create_file(const char *path, char **partial) { return create(path, make_file, partial); }

int partial_create_folder(const char *path, char **partial) { return create(path, make_folder, partial); }
