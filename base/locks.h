/* One writer at a time: locks of the kernel, which end with the process that holds them, however it ends. Where a file
 * system has none, everything goes on as if nobody else were there. */
#ifndef FATHOM_LOCKS_H
#define FATHOM_LOCKS_H

#include <stdbool.h>

#include "errors.h"

/* Locks the open file of this path until its last descriptor is closed. ERROR_INPUT when another process has it (and
 * which, as far as the kernel says) or has just put another file in its place. */
bool locks_take(int fd, const char *path, struct error *err);

struct folder_lock {
    int fd;
    char *path; /* of the empty file: "fathom.lock" in the folder */
};

/* Locks a folder that is there. ERROR_INPUT when another process has it or nothing can be written there. */
bool locks_enter_folder(struct folder_lock *lock, const char *folder, struct error *err);
/* Whether a process has the folder locked; nothing is written. Where that cannot be seen it is not. */
bool locks_folder_is_held(const char *folder);
/* The same of an empty file of this path, for what it stands for. *busy: another has it; a file that cannot be locked is no
 * lock, and nobody's. */
void locks_try_file(struct folder_lock *lock, const char *path, bool *busy);
/* Takes an unlocked or zeroed one too. */
void locks_leave_folder(struct folder_lock *lock);

#endif
