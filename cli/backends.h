/* The backends of this build, by name and by the devices that they drive. */
#ifndef FATHOM_BACKENDS_H
#define FATHOM_BACKENDS_H

#include <stdbool.h>

#include "backend.h"
#include "machine.h"

/* NULL = not in this build, or not at all. */
const struct backend *backends_find(const char *name);
/* Those of this build, with commas, into out; returns out. */
#define BACKENDS_NAMES 80
char *backends_names(char out[BACKENDS_NAMES]);
/* What runs plans for such devices when no other is asked for; NULL = nothing in this build. */
const struct backend *backends_for(enum device_kind kind);
/* Whether a backend of this name, of this build or another, runs on the host's processors. */
bool backends_on_host(const char *name);
/* Whether one of them says that the process must end without what libraries do at its end (backend.h). */
bool backends_left_behind(void);

#endif
