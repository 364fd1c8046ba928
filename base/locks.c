#define _GNU_SOURCE
#include "locks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "files.h"
#include "mem.h"

/* "1: FLOCK  ADVISORY  WRITE 1234 fe:00:5309610 0 EOF" (proc_locks(5)). 0 when it cannot be known: the holder is on
 * another host or in a container that is not seen from here. */
static long find_holder(int fd)
{
    char line[256];
    long pid, holder = 0;
    unsigned long long inode;
    unsigned device_major, device_minor;
    struct stat info;
    FILE *locks = fstat(fd, &info) == 0 ? fopen("/proc/locks", "re") : NULL;
    while (locks && holder == 0 && fgets(line, sizeof line, locks))
        if (sscanf(line, "%*d: FLOCK ADVISORY WRITE %ld %x:%x:%llu", &pid, &device_major, &device_minor, &inode) == 4 &&
            inode == info.st_ino && makedev(device_major, device_minor) == info.st_dev && pid > 0)
            holder = pid;
    if (locks) fclose(locks);
    return holder;
}

static bool refuse(int fd, const char *path, struct error *err)
{
    long holder = find_holder(fd);
    if (holder > 0)
        return error_set(err, ERROR_INPUT, "%s: process %ld is writing there; wait for it or name another", path,
                         holder);
    return error_set(err, ERROR_INPUT, "%s: another process is writing there; wait for it or name another", path);
}

bool locks_take(int fd, const char *path, struct error *err)
{
    struct stat mine, there;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) return errno != EWOULDBLOCK || refuse(fd, path, err);
    if (fstat(fd, &mine) != 0 || stat(path, &there) != 0 || mine.st_ino != there.st_ino || mine.st_dev != there.st_dev)
        return error_set(err, ERROR_INPUT, "%s: another process has just replaced it", path);
    return true;
}

#define LOCK_NAME  "fathom.lock"
#define MOST_TRIES 100

static char *join_lock(const char *folder)
{
    size_t size = strlen(folder) + sizeof "/" LOCK_NAME;
    char *path = mem_alloc(MEM_GENERAL, size, 1);
    if (path) snprintf(path, size, "%s/" LOCK_NAME, folder);
    return path;
}

static bool take_folder(struct folder_lock *lock, const char *folder, struct error *err)
{
    TRY(files_open_to_write(lock->path, &lock->fd, err));
    if (flock(lock->fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return true;
    return refuse(lock->fd, folder, err);
}

/* The holder removes the file when it leaves: who then has the old file's lock has nothing, and tries again. */
static bool is_named(const struct folder_lock *lock)
{
    struct stat mine, there;
    return fstat(lock->fd, &mine) == 0 && stat(lock->path, &there) == 0 && mine.st_ino == there.st_ino &&
           mine.st_dev == there.st_dev;
}

static void drop(struct folder_lock *lock)
{
    if (lock->fd >= 0) close(lock->fd);
    lock->fd = -1;
}

bool locks_enter_folder(struct folder_lock *lock, const char *folder, struct error *err)
{
    *lock = (struct folder_lock){.fd = -1};
    lock->path = join_lock(folder);
    if (!lock->path) return error_memory(err, strlen(folder), "a lock");
    bool ok = true;
    for (int i = 0; ok && i < MOST_TRIES; i++) {
        drop(lock);
        ok = take_folder(lock, folder, err);
        if (ok && is_named(lock)) return true;
    }
    if (ok) error_set(err, ERROR_INPUT, "%s: its lock changes hands all the time", folder);
    drop(lock);
    mem_free(lock->path);
    lock->path = NULL;
    return false;
}

/* A shared lock, for an instant, is refused where somebody has the other. */
bool locks_folder_is_held(const char *folder)
{
    char *path = join_lock(folder);
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    bool held = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (fd >= 0) close(fd);
    mem_free(path);
    return held;
}

void locks_try_file(struct folder_lock *lock, const char *path, bool *busy)
{
    *busy = false;
    *lock = (struct folder_lock){.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666)};
    if (lock->fd < 0) return;
    lock->path = mem_strdup(MEM_GENERAL, path);
    *busy = lock->path && ((flock(lock->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) || !is_named(lock));
    if (lock->path && !*busy) return;
    drop(lock);
    mem_free(lock->path);
    lock->path = NULL;
}

void locks_leave_folder(struct folder_lock *lock)
{
    struct stat info;
    if (lock->path && fstat(lock->fd, &info) == 0 && info.st_size == 0) unlink(lock->path);
    if (lock->path) drop(lock);
    mem_free(lock->path);
    lock->path = NULL;
}
