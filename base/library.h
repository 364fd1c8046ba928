/* Where libraries are that are loaded at run time, of toolkits that are folders of their own. */
#ifndef FATHOM_LIBRARY_H
#define FATHOM_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

/* root/lib64/name, root/lib/name or root/extras/CUPTI/lib64/name, the first that can be read. False where none can, and for
 * a root of NULL or "". */
bool library_in(const char *root, const char *name, char *path, size_t size);

/* In $CUDA_HOME, /usr/local/cuda, or `built`, where the build found it (NULL = nowhere); else the name alone, for the loader's
 * own search. */
void library_find(const char *name, const char *built, char *path, size_t size);

#endif
