/* What the kernel says of this process's memory (proc(5), /proc/self/status). */
#ifndef FATHOM_PROCESS_MEMORY_H
#define FATHOM_PROCESS_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Resident bytes now (VmRSS) and at most so far (VmHWM). False when they cannot be known; nothing is then set. */
bool process_memory_read(uint64_t *resident_bytes, uint64_t *peak_bytes);
/* The same from the text of a status file. */
bool process_memory_parse(const char *text, uint64_t *resident_bytes, uint64_t *peak_bytes);

#endif
