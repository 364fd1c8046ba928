#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hash.h"

/* "VmRSS:     1234 kB" at the start of a line. */
static bool find_field(const char *text, const char *field, uint64_t *bytes)
{
    size_t length = strlen(field);
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strncmp(line, field, length) != 0) continue;
        char *end;
        unsigned long long kilobytes = strtoull(line + length, &end, 10);
        if (end == line + length || strncmp(end, " kB", 3) != 0) return false;
        *bytes = (uint64_t)kilobytes * 1024;
        return true;
    }
    return false;
}

bool process_memory_parse(const char *text, uint64_t *resident_bytes, uint64_t *peak_bytes)
{
    uint64_t resident, peak;
    if (!find_field(text, "VmRSS:", &resident) || !find_field(text, "VmHWM:", &peak)) return false;
    *resident_bytes = resident;
    *peak_bytes = peak;
    return true;
}

/* The start of a small file; false when there is none. */
static bool read_start(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t length = read(fd, text, size - 1);
    close(fd);
    if (length <= 0) return false;
    text[length] = '\0';
    return true;
}

bool process_memory_read(uint64_t *resident_bytes, uint64_t *peak_bytes)
{
    char text[4096];
    return read_start("/proc/self/status", text, sizeof text) && process_memory_parse(text, resident_bytes, peak_bytes);
}

void process_execute_self(const char *const arguments[])
{
    char *const *given = (char *const *)(uintptr_t)arguments; /* execv changes none of them */
    execv("/proc/self/exe", given);
    const char *name = (const char *)(uintptr_t)getauxval(AT_EXECFN);
    if (name) execv(name, given);
}

/* "PID (NAME) STATE ...": a name may hold anything, so its end is looked for from behind. */
static bool is_ended(const char *stat)
{
    const char *name_end = strrchr(stat, ')');
    return name_end && name_end[1] == ' ' && strchr("ZXx", name_end[2]) != NULL;
}

bool process_is_alive(uint64_t pid)
{
    char path[64], stat[512];
    if (pid == 0 || pid > INT_MAX || (kill((pid_t)pid, 0) != 0 && errno == ESRCH)) return false;
    snprintf(path, sizeof path, "/proc/%" PRIu64 "/stat", pid);
    return !read_start(path, stat, sizeof stat) || !is_ended(stat);
}

uint64_t process_space(void)
{
    char boot[64];
    struct stat space;
    if (!read_start("/proc/sys/kernel/random/boot_id", boot, sizeof boot) || stat("/proc/self/ns/pid", &space) != 0)
        return 0;
    uint64_t hash = hash_bytes(&space.st_ino, sizeof space.st_ino, hash_bytes(boot, strlen(boot), 0));
    return hash ? hash : 1;
}
