#define _GNU_SOURCE
#include "process_memory.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

bool process_memory_read(uint64_t *resident_bytes, uint64_t *peak_bytes)
{
    char text[4096];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0) return false;
    text[length] = '\0';
    return process_memory_parse(text, resident_bytes, peak_bytes);
}
