/* An input as a file that its reader opens by path: in memory, so that a fuzzer is not slowed down by a disk. */
#ifndef FATHOM_FUZZ_FILE_H
#define FATHOM_FUZZ_FILE_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct fuzz_file {
    int fd;
    char path[32];
};

static inline struct fuzz_file fuzz_file_make(const void *bytes, size_t length)
{
    struct fuzz_file file = {.fd = memfd_create("fuzz", MFD_CLOEXEC)};
    if (file.fd < 0 || write(file.fd, bytes, length) != (ssize_t)length) abort();
    snprintf(file.path, sizeof file.path, "/proc/self/fd/%d", file.fd);
    return file;
}

static inline void fuzz_file_finish(struct fuzz_file *file) { close(file->fd); }

#endif
