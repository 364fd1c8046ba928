/* One thread per device, called together: the caller waits until all are done. */
#ifndef FATHOM_TEAM_H
#define FATHOM_TEAM_H

#include <stdbool.h>
#include <stdint.h>

#include "errors.h"

struct team;

/* What one member does; runs on its own thread. */
typedef bool (*team_fn)(void *context, uint32_t rank, struct error *err);
/* Called once per failed team_run, by the first member that fails, while others may still wait inside their work for it
 * (a collective): frees them. */
typedef void (*team_abort_fn)(void *context);

/* Starts the threads, which wait for work. on_abort may be NULL. */
bool team_create(uint32_t count, team_abort_fn on_abort, void *abort_context, struct team **team, struct error *err);
/* Ends and joins the threads; takes NULL. */
void team_destroy(struct team *team);

/* Runs work on all members, or on one. False when any failed: *err is of the one that failed first, as the others may
 * have failed because of it. Allocates nothing. */
bool team_run(struct team *team, team_fn work, void *context, struct error *err);
bool team_run_one(struct team *team, uint32_t rank, team_fn work, void *context, struct error *err);

#endif
