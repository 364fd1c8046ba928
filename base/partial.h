/* What is being written stands beside its path under a name of its own, "NAME.partial-PID-RANDOM", until it is whole. It
 * is locked while its writer lives, so that what the dead left is known and goes away. */
#ifndef FATHOM_PARTIAL_H
#define FATHOM_PARTIAL_H

#include <stdbool.h>
#include <stddef.h>

/* Makes a new file, mode 0666 less the umask, open for reading and writing, in the folder of the path; never one that is
 * there already, and never through a link. Its path goes to *partial, which the caller frees with mem_free. What dead
 * writers of the same path left is removed first. -1 with errno set when that is not possible. */
int partial_create_file(const char *path, char **partial);
/* The same for a folder, mode 0777 less the umask; the descriptor is its own. */
int partial_create_folder(const char *path, char **partial);

/* Removes a folder and the files in it; folders in it make it stay. errno is that of the last step. */
bool partial_remove_folder(const char *path);

/* Removes what dead writers left in a folder of names that begin with `stem`. No error when that cannot be done. */
void partial_sweep(const char *folder, const char *stem);

#endif
