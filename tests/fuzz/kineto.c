/* Traces of PyTorch's profiler of any content: imported or refused, and nothing left of it in memory. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "import.h"
#include "mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    char path[64];
    struct error err = {0};
    struct trace_import_stats stats;
    int fd = memfd_create("kineto", MFD_CLOEXEC);
    if (fd < 0 || write(fd, bytes, length) != (ssize_t)length) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (!trace_import(path, "/dev/null", NULL, &stats, &err) && err.kind != ERROR_INPUT) abort();
    close(fd);
    if (mem_current_bytes(MEM_TRACE) != 0) abort();
    return 0;
}
