/* What the kernel says of processes (proc(5)). */
#ifndef FATHOM_PROCESS_H
#define FATHOM_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Resident bytes of this process now (VmRSS) and at most so far (VmHWM), from /proc/self/status. False when they cannot
 * be known; nothing is then set. Allocates nothing. */
bool process_memory_read(uint64_t *resident_bytes, uint64_t *peak_bytes);
/* The same from the text of a status file. */
bool process_memory_parse(const char *text, uint64_t *resident_bytes, uint64_t *peak_bytes);

/* This program from its beginning, with other arguments. Without /proc it is looked for under the name that it was
 * started by. Returns only where it cannot be started; errno says why. */
void process_execute_self(const char *const arguments[]);

/* Whether a process of this host is there, and no mere entry that its parent has not collected yet. Numbers are used
 * again: true says only that some process has this one. */
bool process_is_alive(uint64_t pid);

/* Where the numbers of processes count: the same for processes that see each other by them, and for no others. Machines,
 * and containers, may have one name; a kernel's start has a number of its own (random(4)), and what numbers processes is
 * their namespace (pid_namespaces(7)). 0 = unknown. */
uint64_t process_space(void);

#endif
