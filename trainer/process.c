#define _GNU_SOURCE
#include "process.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t status_field(const char *field)
{
    char text[4096];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0) return 0;
    text[length] = '\0';
    const char *line = strstr(text, field);
    return line ? strtoull(line + strlen(field), NULL, 10) * 1024 : 0;
}

uint64_t process_peak_bytes(void) { return status_field("\nVmHWM:"); }

uint64_t process_resident_bytes(void) { return status_field("\nVmRSS:"); }
